"""The data card that lies beside every instruct.jsonl, and the tables it is made of."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from jinja2 import StrictUndefined, Template

from dfa_lib.records import QA, Annotation, InstructRecord
from dfa_lib.taxonomy import CLASSES, Category, Split, Task
from facesim.forge import METHODS

Rows = list[Sequence[object]]
Claims = defaultdict[tuple[str, Category], Counter[str]]
"""By annotator and category: faces, claims, those supported and unsupported, words."""
_ORDER = list(Category)


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
    head = "annotator,category,faces,claims,checked,supported,hallucinated regions"
    rows: Rows = [[*head.split(","), "words per description"]]
    for annotator, category in sorted(claims, key=lambda key: (key[0], _ORDER.index(key[1]))):
        n = claims[annotator, category]
        checked = n["supported"] + n["unsupported"]
        share = f"{n['supported'] / checked:.0%}" if checked else "-"
        counts = (f"{count:,}" for count in (n["faces"], n["claims"], checked))
        words = f"{n['words'] / n['faces']:.1f}"
        rows.append([annotator, category, *counts, share, f"{n['unsupported']:,}", words])
    return markdown_table(rows)


def data_card(records: Iterable[InstructRecord]) -> str:
    """Return, as Markdown, what the data hold, where they come from and what they are not for.

    One pass over ``records``, which are counted and not kept.
    """
    images, methods, sources, answers = (Counter[tuple]() for _ in range(4))
    claims = Claims(Counter)
    people: dict[Split, set[str]] = defaultdict(set)
    refused: set[str] = set()
    conversations = Counter[bool]()  # written by a model, or by rule
    for record in records:
        face, note = record.face, record.annotation
        images[face.split, face.category] += 1
        sources[face.dataset, face.licence] += 1
        count_claims(claims, note, face.category)
        refused |= {f"{note.annotator.model}: {words}" for words in note.settings}
        answers.update((*_answered(qa), face.split) for qa in record.qa)
        templates = (qa.template for qa in record.qa if qa.template.startswith("FC/"))
        conversations.update(one.startswith("FC/endpoint/") for one in templates)
        if face.category is not Category.EFS:  # a synthetic person is nobody
            people[face.split].update(face.identities)
        if face.category.forged:
            methods[face.category, face.method or "unknown"] += 1
    by_method = sorted(methods, key=lambda one: (_ORDER.index(one[0]), one[1]))
    tables = {
        "Images by split": markdown_table(_by_split(images, people)),
        "Forgery methods": markdown_table(
            [["category", "method", "images"], *([*one, methods[one]] for one in by_method)]
        ),
        "Balance of answers": markdown_table(_balance(answers)),
        "Sources, licences, people": markdown_table(
            [["data set", "licence", "images"], *([*one, sources[one]] for one in sorted(sources))]
        ),
        "Annotators": claims_table(claims),
    }
    text = files("dfa_lib.instruct").joinpath("card.md.jinja").read_text("utf-8")
    card = Template(text, trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    return card.render(
        images=images.total(),
        qa=answers.total(),
        tables=tables,
        not_as_asked=sorted(refused),
        ours=any(method in METHODS for _, method in methods),
        annotators={annotator.partition(" ")[0] for annotator, _ in claims},
        by_model=conversations[True],
        by_rule=conversations[False],
    )


def _by_split(images: Counter[tuple], people: Mapping[Split, set[str]]) -> Rows:
    there = {category for _, category in images} | {*CLASSES}
    columns = [category for category in Category if category in there]
    counts = ([images[split, one] for one in columns] for split in Split)
    rows = ([split, *n, len(people[split])] for split, n in zip(Split, counts, strict=True))
    return [["split", *columns, "people"], *rows]


def _answered(qa: QA) -> tuple[str, str]:
    """Return the kind of a question, and its answer as far as such answers can be counted."""
    if qa.task in (Task.DF_D, Task.DF_C):
        return qa.task, qa.answer
    verdict = re.match(r"(Yes|No)[,.]", qa.answer)
    return "/".join(qa.template.split("/")[:2]), verdict[1] if verdict else ""


def _balance(answers: Counter[tuple]) -> Rows:
    """Tell how often each answer is the right one, of all answers to that kind of question."""
    total = Counter[tuple]()
    for (question, _, split), n in answers.items():
        total[question, split] += n
    rows: Rows = [["question", "answer", *Split]]
    for question, answer in sorted({key[:2] for key in answers if key[1]}):
        counts = ((answers[question, answer, s], total[question, s]) for s in Split)
        rows.append([question, answer, *(f"{n / of:.0%}" if of else "-" for n, of in counts)])
    return rows
