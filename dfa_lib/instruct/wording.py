"""How questions and answers are worded: template libraries and the grammar of findings.

The libraries are data files (``templates/*.json``). Each carries a version, and its
questions come in wordings for training and wordings kept back for validation and test.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby

from dfa_lib.records import Finding, Record
from dfa_lib.taxonomy import CLASSES, Category, Region, Split, Task


class Wordings(Record):
    """The ways one kind of question is put; ``test`` is never seen in training."""

    train: tuple[str, ...]
    test: tuple[str, ...]


class Library(Record):
    """The template library of one task: wordings of each kind of question, and the answers."""

    version: str
    task: Task
    questions: dict[str, Wordings]
    answers: dict[str, str]


@cache
def library(task: Task) -> Library:
    """Read the template library of ``task`` that ships with the package."""
    name = task.value.lower().replace("-", "_") + ".json"
    path = files("dfa_lib.instruct") / "templates" / name
    return Library.model_validate_json(path.read_text("utf-8"))


def wordings(task: Task, split: Split, kind: str = "ask") -> tuple[str, ...]:
    """The wordings of one kind of question; validation and test share the held-out ones."""
    variants = library(task).questions[kind]
    return variants.train if split is Split.TRAIN else variants.test


def say(task: Task, answer: str, findings: Sequence[Finding] = (), **fields: str) -> str:
    """Fill the answer template ``answer`` of ``task``; ``findings`` share one artifact."""
    if findings:
        fields |= about([finding.region for finding in findings])
        artifact = findings[0].artifact.value
        fields["artifact"] = f"a {artifact}" if artifact.endswith(_COUNTED) else artifact
    return library(task).answers[answer].format(**fields)


def meaning(category: Category) -> str:
    """Say in a sentence what a forgery category means; nothing for bona fide or unknown kinds."""
    named = category.forged and category in CLASSES
    return say(Task.FC, f"meaning {category.value}") if named else ""


def about(regions: Sequence[Region]) -> dict[str, str]:
    """The template fields of some regions: "the eyes and nose", and the verbs that agree."""
    names = joined([region.value for region in regions])
    many = len(regions) > 1 or regions[0] in _PLURAL
    verbs = {"show": "show", "look": "look"} if many else {"show": "shows", "look": "looks"}
    return {"regions": f"the {names}", "Regions": f"The {names}"} | verbs


def joined(words: Sequence[str]) -> str:
    """Join words as a list is spoken: "nose, mouth and chin"."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def describe(findings: Sequence[Finding]) -> str:
    """Word an artifact description: regions in the order of the taxonomy, and no figures.

    Neighbours that show the same artifact share a sentence; the last one says that the rest
    looks natural.
    """
    if not findings:
        return say(Task.AD, "clean")
    ordered = sorted(findings, key=lambda finding: list(Region).index(finding.region))
    runs = [list(run) for _, run in groupby(ordered, key=lambda finding: finding.artifact)]
    sentences = [say(Task.AD, "claim", run) for run in runs]
    return " ".join([*sentences, say(Task.AD, "rest")])


_PLURAL = {Region.EYEBROWS, Region.EYES, Region.CHEEKS, Region.EARS}
_COUNTED = ("boundary", "mismatch", "pattern", "distortion")  # how they end that take an "a"
