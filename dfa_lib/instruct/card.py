"""The data card that lies beside every instruct.jsonl, and the tables it is made of."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dfa_lib.records import QA, Annotation, InstructRecord
from dfa_lib.taxonomy import CLASSES, Category, Split, Task
from facesim.forge import METHODS

Claims = defaultdict[tuple[str, Category], Counter[str]]
"""By annotator and category: faces, claims, those supported and unsupported, words."""
_ORDER = list(Category)
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    trim_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)


def markdown_table(rows: Iterable[Sequence[object]]) -> str:
    """Lay out rows of equal length as a Markdown table; the first is its head."""
    head, *body = [[str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def count_claims(claims: Claims, note: Annotation, category: Category) -> None:
    """Count one annotation on a face of a category; its audit, if any, says what is supported."""
    verdicts = [claim.supported for claim in note.findings]
    claims[str(note.annotator), category].update(
        faces=1,
        claims=len(verdicts),
        supported=verdicts.count(True),
        unsupported=verdicts.count(False),
        words=len(note.text.split()),
    )


def claims_table(claims: Claims) -> str:
    """Tabulate claims as Markdown; the unsupported ones are hallucinated regions."""
    rows = sorted(claims.items(), key=lambda row: (row[0][0], _ORDER.index(row[0][1])))
    return _PAGES.get_template("claims.md.jinja").render(claims=rows).rstrip()


def data_card(records: Iterable[InstructRecord]) -> str:
    """Return, as Markdown, what the data hold, where they come from and what they are not for.

    One pass over ``records``, which are counted and not kept.
    """
    images, methods, sources, answers, asked = (Counter[tuple]() for _ in range(5))
    claims = Claims(Counter)
    people: dict[Split, set[str]] = defaultdict(set)
    refused: set[str] = set()
    nameless = 0
    conversations = Counter[bool]()  # written by a model, or by rule
    for record in records:
        face, note = record.face, record.annotation
        images[face.split, face.category] += 1
        sources[face.dataset, face.licence] += 1
        count_claims(claims, note, face.category)
        refused |= {f"{note.annotator.model}: {words}" for words in note.settings}
        for qa in record.qa:
            kind, answer = _answered(qa)
            asked[kind, face.split] += 1
            answers[kind, answer, face.split] += 1
            if qa.task is Task.FC:
                conversations[qa.template.startswith("FC/endpoint/")] += 1
        if face.named and face.category is not Category.EFS:  # a synthetic person is nobody
            people[face.split].update(face.identities)
        nameless += not face.named
        if face.category.forged:
            methods[face.category, face.method or "unknown"] += 1
    there = {category for _, category in images} | {*CLASSES}
    return _PAGES.get_template("card.md.jinja").render(
        images=images,
        categories=[category for category in Category if category in there],
        people=people,
        nameless=nameless,
        methods=sorted(methods.items(), key=lambda one: (_ORDER.index(one[0][0]), one[0][1])),
        answers=answers,
        asked=asked,
        closed=sorted({(kind, answer) for kind, answer, _ in answers if answer}),
        sources=sorted(sources.items()),
        claims=claims_table(claims),
        splits=[*Split],
        not_as_asked=sorted(refused),
        ours=any(method in METHODS for _, method in methods),
        annotators={annotator.partition(" ")[0] for annotator, _ in claims},
        by_model=conversations[True],
        by_rule=conversations[False],
    )


def _answered(qa: QA) -> tuple[str, str]:
    """Return the kind of a question, and its answer as far as such answers can be counted."""
    if qa.task in (Task.DF_D, Task.DF_C):
        return qa.task, qa.answer
    verdict = re.match(r"(Yes|No)[,.]", qa.answer)
    return "/".join(qa.template.split("/")[:2]), verdict[1] if verdict else ""
