"""The data card that lies beside every instruct.jsonl."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dfa_lib.files import write_atomic
from dfa_lib.instruct.wording import library
from dfa_lib.records import QA, InstructRecord
from dfa_lib.taxonomy import CLASSES, Category, Split, Task
from facesim.forge import METHODS

Rows = list[Sequence[object]]


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
    tables = {
        "Images by split": _by_split(tally),
        "Forgery methods": [["category", "method", "images"], *_methods(tally)],
        "Questions and answers": _questions(tally),
        "Balance of answers": _balance(tally),
        "Balance of wordings": _wordings(tally),
        "Sources, licences, people": [
            ["data set", "licence", "images"],
            *([*key, n] for key, n in sorted(tally.sources.items())),
        ],
        "Annotators": _annotators(tally),
    }
    sections = [
        "# Data card: DFA-Instruct",
        f"{tally.images.total():,} images, {tally.tasks.total():,} QA.",
        *(f"## {title}\n\n{markdown_table(rows)}" for title, rows in tables.items()),
        *(f"Refused by the server, so not as asked: {one}." for one in sorted(tally.not_as_asked)),
        "## How it was made",
        *_how(tally),
        "## Limits",
        *([_CLASSICAL] if tally.forged_here else []),
        _LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


class _Tally:
    """What is counted, record by record; only people are remembered by name."""

    def __init__(self) -> None:
        self.images, self.methods, self.sources = (Counter[tuple]() for _ in range(3))
        self.tasks, self.answers, self.templates = Counter[Task](), Counter[tuple](), Counter[str]()
        self.annotators: dict[tuple[str, str, str], Counter[str]] = {}
        self.not_as_asked: set[str] = set()
        self.people: dict[Split, set[str]] = {split: set() for split in Split}

    @property
    def forged_here(self) -> bool:
        """True where any forgery is by a method of ours."""
        return any(method in METHODS for _, method in self.methods)

    def add(self, record: InstructRecord) -> None:
        """Count one record."""
        face, note = record.face, record.annotation
        self.images[face.split, face.category] += 1
        self.sources[face.dataset, face.licence] += 1
        for qa in record.qa:
            self.tasks[qa.task] += 1
            self.templates[qa.template] += 1
            self.answers[(*_answered(qa), face.split)] += 1
        if face.category is not Category.EFS:  # a synthetic person is nobody
            self.people[face.split].update(face.identities)
        if face.category.forged:
            self.methods[face.category, face.method or "unknown"] += 1
        self.not_as_asked |= {f"{note.annotator.model}: {words}" for words in note.settings}
        who, checked = note.annotator, [finding.supported for finding in note.findings]
        key = who.name, who.model or "-", who.prompt_version or "-"
        self.annotators.setdefault(key, Counter()).update(
            images=1,
            forged=face.category.forged,
            claims=len(checked),
            supported=checked.count(True),
            checked=len(checked) - checked.count(None),
        )


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
    return [[*key, n] for key, n in rows]


def _questions(tally: _Tally) -> Rows:
    rows: Rows = [["task", "QA", "wordings trained", "held out", "version"]]
    for task in Task:
        kinds = library(task).questions.values()
        trained, held = sum(len(k.train) for k in kinds), sum(len(k.test) for k in kinds)
        rows.append([task, tally.tasks[task], trained, held, library(task).version])
    return rows


def _annotators(tally: _Tally) -> Rows:
    head = "annotator, model, prompt, images, findings per forged image, supported"
    rows: Rows = [head.split(", ")]
    for who, mine in tally.annotators.items():
        each = f"{mine['claims'] / mine['forged']:.1f}" if mine["forged"] else "-"
        share = f"{mine['supported'] / mine['checked']:.0%}" if mine["checked"] else "not audited"
        rows.append([*who, mine["images"], each, share])
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


def _wordings(tally: _Tally) -> Rows:
    """Tell how often the least and the most used wording of each kind of question were used."""
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


def _how(tally: _Tally) -> list[str]:
    names = {name for name, _, _ in tally.annotators}
    by_model = sum(n for name, n in tally.templates.items() if name.startswith("FC/endpoint/"))
    talked = _TALKED.format(by_model=by_model, by_rule=tally.tasks[Task.FC] - by_model)
    written = any(name.startswith("endpoint") for name in names)
    told = {
        _PEOPLE: True,
        _OURS: tally.forged_here,
        _MEASURED: "measuring" in names,
        _WRITTEN: written,
        talked: True,
    }
    return [text for text, holds in told.items() if holds]


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
