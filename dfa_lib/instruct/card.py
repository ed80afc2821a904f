"""The data card that lies beside every instruct.jsonl, and the tables it is made of."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import StrictUndefined, Template

from dfa_lib.files import write_atomic
from dfa_lib.instruct.answers import signature
from dfa_lib.instruct.wording import library
from dfa_lib.records import QA, Annotation, InstructRecord
from dfa_lib.taxonomy import CLASSES, Category, Split, Task
from facesim.forge import METHODS

Rows = list[Sequence[object]]
_ORDER = list(Category)


def markdown_table(rows: Iterable[Sequence[object]]) -> str:
    """Lay out rows of equal length as a Markdown table; the first is its head."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class AuditTable(defaultdict[tuple[str, Category], Counter[str]]):
    """Counts per annotator and category; a notebook shows them as a table, and so does ``print``.

    Each has "faces", "claims", "supported" and "unsupported" ones, the latter being hallucinated
    regions, and the "words" of all descriptions.
    """

    def __init__(self) -> None:
        super().__init__(Counter)

    def add(self, note: Annotation, category: Category) -> None:
        """Count one audited annotation on a face of a category."""
        verdicts = [claim.supported for claim in note.findings]
        self[signature(note.annotator), category].update(
            faces=1,
            claims=len(verdicts),
            supported=verdicts.count(True),
            unsupported=verdicts.count(False),
            words=len(note.text.split()),
        )

    def _repr_markdown_(self) -> str:
        head = "annotator,category,faces,claims,checked,supported,hallucinated regions"
        rows: Rows = [[*head.split(","), "words per description"]]
        for annotator, category in sorted(self, key=lambda key: (key[0], _ORDER.index(key[1]))):
            n = self[annotator, category]
            checked = n["supported"] + n["unsupported"]
            share = f"{n['supported'] / checked:.0%}" if checked else "-"
            counts = (f"{count:,}" for count in (n["faces"], n["claims"], checked))
            words = f"{n['words'] / n['faces']:.1f}"
            rows.append([annotator, category, *counts, share, f"{n['unsupported']:,}", words])
        return markdown_table(rows)

    __str__ = _repr_markdown_


def write_card(path: Path, records: Iterable[InstructRecord]) -> None:
    """Write what the data set holds, where it comes from and what it must not be used for.

    One pass over ``records``, which are counted and not kept.
    """
    write_atomic(path, data_card(records))


def data_card(records: Iterable[InstructRecord]) -> str:
    """Return the data card in Markdown."""
    tally = _Tally()
    for record in records:
        tally.add(record)
    methods = sorted(tally.methods.items(), key=lambda one: (_ORDER.index(one[0][0]), one[0][1]))
    tables = {
        "Images by split": _by_split(tally),
        "Forgery methods": [["category", "method", "images"], *([*k, n] for k, n in methods)],
        "Questions and answers": _questions(tally),
        "Balance of answers": _balance(tally),
        "Sources, licences, people": [
            ["data set", "licence", "images"],
            *([*key, n] for key, n in sorted(tally.sources.items())),
        ],
    }
    names = {annotator.partition(" · ")[0] for annotator, _ in tally.audit}
    by_model = sum(n for one, n in tally.templates.items() if one.startswith("FC/endpoint/"))
    text = files("dfa_lib.instruct").joinpath("card.md.jinja").read_text("utf-8")
    card = Template(text, trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    return card.render(
        images=tally.images.total(),
        qa=tally.templates.total(),
        tables={title: markdown_table(rows) for title, rows in tables.items()}
        | {"Annotators": str(tally.audit)},
        not_as_asked=sorted(tally.not_as_asked),
        ours=any(method in METHODS for _, method in tally.methods),
        measured="measuring" in names,
        written=any(name.startswith("endpoint") for name in names),
        by_model=by_model,
        by_rule=sum(n for one, n in tally.templates.items() if one.startswith("FC/")) - by_model,
    )


class _Tally:
    """What is counted, record by record; only people are remembered by name."""

    def __init__(self) -> None:
        self.images, self.methods, self.sources = (Counter[tuple]() for _ in range(3))
        self.templates, self.answers = Counter[str](), Counter[tuple]()
        self.audit, self.not_as_asked = AuditTable(), set[str]()
        self.people: dict[Split, set[str]] = defaultdict(set)

    def add(self, record: InstructRecord) -> None:
        """Count one record."""
        face, note = record.face, record.annotation
        self.images[face.split, face.category] += 1
        self.sources[face.dataset, face.licence] += 1
        self.audit.add(note, face.category)
        self.not_as_asked |= {f"{note.annotator.model}: {words}" for words in note.settings}
        for qa in record.qa:
            self.templates[qa.template] += 1
            self.answers[(*_answered(qa), face.split)] += 1
        if face.category is not Category.EFS:  # a synthetic person is nobody
            self.people[face.split].update(face.identities)
        if face.category.forged:
            self.methods[face.category, face.method or "unknown"] += 1


def _by_split(tally: _Tally) -> Rows:
    there = {category for _, category in tally.images} | {*CLASSES}
    columns = [category for category in Category if category in there]
    rows: Rows = [["split", *columns, "people"]]
    for split in Split:
        counts = (tally.images[split, category] for category in columns)
        rows.append([split, *counts, len(tally.people[split])])
    return rows


def _questions(tally: _Tally) -> Rows:
    """Tell how often the least and the most used wording of each kind of question were used."""
    rows: Rows = [["question", "version", "QA", "trained", "each used", "held out", "each used"]]
    for task in Task:
        version = library(task).version
        for kind, known in library(task).questions.items():
            used = [
                [tally.templates[f"{task}/{kind}/{part}/{k}@{version}"] for k in range(len(many))]
                for part, many in (("train", known.train), ("test", known.test))
            ]
            if total := sum(map(sum, used)):
                spread = (cell for n in used for cell in (len(n), f"{min(n):,} to {max(n):,}"))
                rows.append([f"{task}/{kind}", version, f"{total:,}", *spread])
    return rows


def _answered(qa: QA) -> tuple[str, str]:
    """Return the kind of a question, and its answer as far as such answers can be counted."""
    if qa.task in (Task.DF_D, Task.DF_C):
        return qa.task, qa.answer
    verdict = re.match(r"(Yes|No)[,.]", qa.answer)
    return "/".join(qa.template.split("/")[:2]), verdict[1] if verdict else ""


def _balance(tally: _Tally) -> Rows:
    """Tell how often each answer is the right one, of all answers to that kind of question."""
    total = Counter[tuple]()
    for (question, _, split), n in tally.answers.items():
        total[question, split] += n
    rows: Rows = [["question", "answer", *Split]]
    for question, answer in sorted({key[:2] for key in tally.answers if key[1]}):
        counts = ((tally.answers[question, answer, s], total[question, s]) for s in Split)
        rows.append([question, answer, *(f"{n / of:.0%}" if of else "-" for n, of in counts)])
    return rows
