"""The data card that lies beside every instruct.jsonl."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dfa_lib.instruct.wording import library
from dfa_lib.records import InstructRecord
from dfa_lib.taxonomy import Category, Split, Task


def write_card(path: Path, records: Sequence[InstructRecord]) -> None:
    """Write what the data set holds, where it comes from and what it must not be used for."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(data_card(records), encoding="utf-8")
    partial.replace(path)


def data_card(records: Sequence[InstructRecord]) -> str:
    """Word the data card in Markdown."""
    sections = [
        "# Data card: DFA-Instruct",
        f"{len(records):,} images, {sum(len(record.qa) for record in records):,} QA.",
        "## Images by split\n\n" + _table(_by_split(records)),
        "## Forgery methods\n\n" + _table(_methods(records)),
        "## Questions and answers\n\n" + _table(_questions(records)),
        "## Sources, licences, people\n\n" + _table(_sources(records)),
        "## Annotators\n\n" + _table(_annotators(records)),
        _LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


def _table(rows: Iterable[Sequence[object]]) -> str:
    head, *body = [[str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_split(records: Sequence[InstructRecord]) -> list[list[object]]:
    count = Counter((record.face.split, record.face.category) for record in records)
    people: dict[Split, set[str]] = {split: set() for split in Split}
    for face in (record.face for record in records):
        if face.category is not Category.EFS:  # a synthetic person is nobody
            people[face.split].update(face.identities)
    rows: list[list[object]] = [["split", *Category, "people"]]
    for split in Split:
        rows.append([split, *(count[split, category] for category in Category), len(people[split])])
    return rows


def _methods(records: Sequence[InstructRecord]) -> list[Sequence[object]]:
    forged = (record.face for record in records if record.face.category.forged)
    count = Counter((face.category, face.method or "unknown") for face in forged)
    rows = sorted(count.items(), key=lambda item: (list(Category).index(item[0][0]), item[0][1]))
    return [["category", "method", "images"], *([*key, n] for key, n in rows)]


def _questions(records: Sequence[InstructRecord]) -> list[Sequence[object]]:
    count = Counter(qa.task for record in records for qa in record.qa)
    rows: list[Sequence[object]] = [["task", "QA", "wordings trained", "held out", "version"]]
    for task in Task:
        kinds = library(task).questions.values()
        trained, held = sum(len(k.train) for k in kinds), sum(len(k.test) for k in kinds)
        rows.append([task, count[task], trained, held, library(task).version])
    return rows


def _sources(records: Sequence[InstructRecord]) -> list[Sequence[object]]:
    count = Counter((record.face.dataset, record.face.licence) for record in records)
    return [["data set", "licence", "images"], *([*key, n] for key, n in sorted(count.items()))]


def _annotators(records: Sequence[InstructRecord]) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [
        ["annotator", "model", "images", "findings per forged image", "supported findings"]
    ]
    for who in dict.fromkeys(record.annotation.annotator for record in records):
        mine = [record for record in records if record.annotation.annotator == who]
        forged = sum(record.face.category.forged for record in mine)
        claims = [finding for record in mine for finding in record.annotation.findings]
        each = f"{len(claims) / forged:.1f}" if forged else "-"
        share = f"{sum(bool(c.supported) for c in claims) / len(claims):.0%}" if claims else "-"
        rows.append([who.name, who.model or "-", len(mine), each, share])
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
