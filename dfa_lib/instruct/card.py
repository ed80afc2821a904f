"""The data card that lies beside every instruct.jsonl."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfa_lib.instruct.wording import library
from dfa_lib.records import Annotator, InstructRecord
from dfa_lib.taxonomy import Category, Split, Task

Rows = list[Sequence[object]]


def write_card(path: Path, records: Iterable[InstructRecord]) -> None:
    """Write what the data set holds, where it comes from and what it must not be used for.

    One pass over ``records``, which are counted and not kept.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_text(data_card(records), encoding="utf-8")
    partial.replace(path)


def data_card(records: Iterable[InstructRecord]) -> str:
    """Word the data card in Markdown."""
    tally = _Tally()
    for record in records:
        tally.add(record)
    sections = [
        "# Data card: DFA-Instruct",
        f"{tally.images.total():,} images, {tally.tasks.total():,} QA.",
        "## Images by split\n\n" + markdown_table(_by_split(tally)),
        "## Forgery methods\n\n" + markdown_table(_methods(tally)),
        "## Questions and answers\n\n" + markdown_table(_questions(tally)),
        "## Sources, licences, people\n\n" + markdown_table(_sources(tally)),
        "## Annotators\n\n" + markdown_table(_annotators(tally)),
        _LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


@dataclass
class _Tally:
    """What is counted, record by record; only people are remembered by name."""

    images: Counter[tuple[Split, Category]] = field(default_factory=Counter)
    people: dict[Split, set[str]] = field(default_factory=lambda: {split: set() for split in Split})
    methods: Counter[tuple[Category, str]] = field(default_factory=Counter)
    tasks: Counter[Task] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    annotators: dict[Annotator, Counter[str]] = field(default_factory=dict)

    def add(self, record: InstructRecord) -> None:
        face, note = record.face, record.annotation
        self.images[face.split, face.category] += 1
        self.sources[face.dataset, face.licence] += 1
        self.tasks.update(qa.task for qa in record.qa)
        if face.category is not Category.EFS:  # a synthetic person is nobody
            self.people[face.split].update(face.identities)
        if face.category.forged:
            self.methods[face.category, face.method or "unknown"] += 1
        mine = self.annotators.setdefault(note.annotator, Counter())
        mine["images"] += 1
        mine["forged"] += face.category.forged
        mine["claims"] += len(note.findings)
        mine["supported"] += sum(bool(finding.supported) for finding in note.findings)


def markdown_table(rows: Iterable[Sequence[object]]) -> str:
    """Lay out rows of equal length as a Markdown table; the first is its head."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_split(tally: _Tally) -> Rows:
    rows: Rows = [["split", *Category, "people"]]
    for split in Split:
        counts = (tally.images[split, category] for category in Category)
        rows.append([split, *counts, len(tally.people[split])])
    return rows


def _methods(tally: _Tally) -> Rows:
    order = list(Category)
    rows = sorted(tally.methods.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return [["category", "method", "images"], *([*key, n] for key, n in rows)]


def _questions(tally: _Tally) -> Rows:
    rows: Rows = [["task", "QA", "wordings trained", "held out", "version"]]
    for task in Task:
        kinds = library(task).questions.values()
        trained, held = sum(len(k.train) for k in kinds), sum(len(k.test) for k in kinds)
        rows.append([task, tally.tasks[task], trained, held, library(task).version])
    return rows


def _sources(tally: _Tally) -> Rows:
    rows = sorted(tally.sources.items())
    return [["data set", "licence", "images"], *([*key, n] for key, n in rows)]


def _annotators(tally: _Tally) -> Rows:
    rows: Rows = [
        ["annotator", "model", "images", "findings per forged image", "supported findings"]
    ]
    for who, mine in tally.annotators.items():
        each = f"{mine['claims'] / mine['forged']:.1f}" if mine["forged"] else "-"
        share = f"{mine['supported'] / mine['claims']:.0%}" if mine["claims"] else "-"
        rows.append([who.name, who.model or "-", mine["images"], each, share])
    return rows


_LIMITS = """## How it was made

Identities were chosen first and split; forgeries were made inside a split, so that no person
is in two of them. Bona fide and forged pictures went through the same simulated camera. An
artifact description by the annotator "measuring" names regions in which a forged picture
differs from its bona fide counterpart by more than two shots of one camera do; a wholly
synthetic face has no counterpart, so all its regions are named, and a finding counts as
supported where its figure lies a standard deviation or more off that of bona fide faces. Free
conversation was written by rule from labels and descriptions. Validation and test ask in
wordings that training never saw.

## Limits

The forgeries are classical image operations, not the output of today's generators: a model
tuned on them alone must not be trusted on pictures from the internet. Descriptions name what
was measured, which is not always what a person would notice. No score on this data says
whether a given person's picture is real."""
