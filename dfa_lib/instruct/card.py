"""The data card that lies beside every instruct.jsonl."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfa_lib.instruct.wording import library
from dfa_lib.records import QA, Annotator, InstructRecord
from dfa_lib.taxonomy import CLASSES, Category, Split, Task
from facesim.forge import METHODS

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
        "## Balance of answers\n\n" + markdown_table(_balance(tally)),
        "## Balance of wordings\n\n" + markdown_table(_wordings(tally)),
        "## Sources, licences, people\n\n" + markdown_table(_sources(tally)),
        "## Annotators\n\n" + markdown_table(_annotators(tally)),
        "## How it was made\n\n" + _how(tally),
        "## Limits\n\n" + _limits(tally),
    ]
    return "\n\n".join(sections) + "\n"


@dataclass
class _Tally:
    """What is counted, record by record; only people are remembered by name."""

    images: Counter[tuple[Split, Category]] = field(default_factory=Counter)
    people: dict[Split, set[str]] = field(default_factory=lambda: {split: set() for split in Split})
    methods: Counter[tuple[Category, str]] = field(default_factory=Counter)
    tasks: Counter[Task] = field(default_factory=Counter)
    answers: Counter[tuple[str, str, Split]] = field(default_factory=Counter)
    templates: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)
    annotators: dict[Annotator, Counter[str]] = field(default_factory=dict)

    def add(self, record: InstructRecord) -> None:
        face, note = record.face, record.annotation
        self.images[face.split, face.category] += 1
        self.sources[face.dataset, face.licence] += 1
        self.tasks.update(qa.task for qa in record.qa)
        self.templates.update(qa.template for qa in record.qa)
        self.answers.update((*_answered(qa), face.split) for qa in record.qa)
        if face.category is not Category.EFS:  # a synthetic person is nobody
            self.people[face.split].update(face.identities)
        if face.category.forged:
            self.methods[face.category, face.method or "unknown"] += 1
        mine = self.annotators.setdefault(note.annotator, Counter())
        mine["images"] += 1
        mine["forged"] += face.category.forged
        mine["claims"] += len(note.findings)
        mine["supported"] += sum(finding.supported is True for finding in note.findings)
        mine["checked"] += sum(finding.supported is not None for finding in note.findings)


def markdown_table(rows: Iterable[Sequence[object]]) -> str:
    """Lay out rows of equal length as a Markdown table; the first is its head."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_split(tally: _Tally) -> Rows:
    there = {category for _, category in tally.images} | {*CLASSES}
    columns = [category for category in Category if category in there]
    rows: Rows = [["split", *columns, "people"]]
    for split in Split:
        counts = (tally.images[split, category] for category in columns)
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
        ["annotator", "model", "prompt", "images", "findings per forged image", "supported"]
    ]
    for who, mine in tally.annotators.items():
        each = f"{mine['claims'] / mine['forged']:.1f}" if mine["forged"] else "-"
        share = f"{mine['supported'] / mine['checked']:.0%}" if mine["checked"] else "not audited"
        name = (who.name, who.model or "-", who.prompt_version or "-")
        rows.append([*name, mine["images"], each, share])
    return rows


def _answered(qa: QA) -> tuple[str, str]:
    """The kind of a question, and its answer as far as answers of that kind can be counted."""
    kind = "/".join(qa.template.split("/")[:2])
    if qa.task in (Task.DF_D, Task.DF_C):
        return qa.task, qa.answer
    verdict = re.match(r"(Yes|No)[,.]", qa.answer)
    return kind, verdict[1] if verdict else ""


def _balance(tally: _Tally) -> Rows:
    """How often each answer is the right one, of all answers to that kind of question."""
    total = Counter[tuple[str, Split]]()
    for (question, _, split), n in tally.answers.items():
        total[question, split] += n
    counted = dict.fromkeys((question, answer) for question, answer, _ in tally.answers if answer)
    rows: Rows = [["question", "answer", *Split]]
    for question, answer in sorted(counted):
        shares = (
            f"{tally.answers[question, answer, split] / total[question, split]:.0%}"
            if total[question, split]
            else "-"
            for split in Split
        )
        rows.append([question, answer, *shares])
    return rows


def _wordings(tally: _Tally) -> Rows:
    """How often the least and the most used wording of each kind of question were used."""
    rows: Rows = [["question", "trained", "each used", "held out", "each used"]]
    for task in Task:
        for kind, known in library(task).questions.items():
            used = [
                [tally.templates[f"{task}/{kind}/{part}/{k}@{library(task).version}"]
                 for k in range(len(variants))]
                for part, variants in (("train", known.train), ("test", known.test))
            ]  # fmt: skip
            spread = (cell for n in used for cell in (len(n), f"{min(n):,} to {max(n):,}"))
            if any(map(sum, used)):
                rows.append([f"{task}/{kind}", *spread])
    return rows


def _how(tally: _Tally) -> str:
    names = {who.name for who in tally.annotators}
    told = [_PEOPLE]
    told += [_OURS] if _forged_here(tally) else []
    told += [_MEASURED] if "measuring" in names else []
    told += [_WRITTEN] if any(name.startswith("endpoint") for name in names) else []
    by_model = sum(n for name, n in tally.templates.items() if name.startswith("FC/endpoint/"))
    told.append(_TALKED.format(by_model=by_model, by_rule=tally.tasks[Task.FC] - by_model))
    return "\n\n".join(told)


def _limits(tally: _Tally) -> str:
    return "\n\n".join([*([_CLASSICAL] if _forged_here(tally) else []), _LIMITS])


def _forged_here(tally: _Tally) -> bool:
    return any(method in METHODS for _, method in tally.methods)


_PEOPLE = """Splits are by identity: no person is in two of them. Validation and test ask in
wordings that training never saw."""
_OURS = """Identities were chosen first and split; forgeries were made inside a split. Bona fide
and forged pictures went through the same simulated camera."""
_MEASURED = """A description by the annotator "measuring" names regions in which a forged picture
differs from its bona fide counterpart by more than two shots of one camera do; a wholly
synthetic face has no counterpart, so all its regions are named, and a finding counts as
supported where its figure lies a standard deviation or more off that of bona fide faces."""
_WRITTEN = """A description by the annotator "endpoint" was written by the language model named
beside it, which saw the picture (for FS, FR and FE beside its bona fide counterpart) and was
told the label. Such a model claims what is not there; the share of supported findings says how
often, where they were audited."""
_TALKED = """Of the questions and answers of free conversation {by_rule:,} were written by rule and
{by_model:,} by a language model, all from label and description alone."""
_CLASSICAL = """Forgeries by our own methods are classical image operations, not the output of
today's generators: a model tuned on them alone must not be trusted on pictures from the
internet."""
_LIMITS = """Descriptions name what was measured or what a model claims, which is not always what a
person would notice. No score on this data says whether a given person's picture is real."""
