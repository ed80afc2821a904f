"""The exam every analyst sits: which faces, which questions, which answers to choose from.

Its hash stands in every report, so that numbers of different exams are not put side by side.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from dfa_lib.gpt.analyst import Question
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.wording import wordings
from dfa_lib.records import DataError, Face
from dfa_lib.taxonomy import Category, Split, Task

VERSION = "dfa-bench-1"


@dataclass(frozen=True)
class Exam:
    """Faces and questions; ``val`` is asked DF-D only, to fit the temperature on it."""

    faces: FaceSet
    test: tuple[Face, ...]
    val: tuple[Face, ...]
    train: tuple[Face, ...]
    questions: dict[Task, tuple[Question, ...]]
    seed: int

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything that decides the numbers: pictures, wordings, answers, seed."""
        content = {
            "version": VERSION,
            "test": {face.id: face.sha256 for face in self.test},
            "val": {face.id: face.sha256 for face in self.val},
            "questions": {
                task: [(question.text, question.options) for question in asked]
                for task, asked in self.questions.items()
            },
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def set_exam(
    faces: FaceSet,
    seed: int = 0,
    paraphrases: int = 3,
    limit: int | None = None,
    val_limit: int = 300,
) -> Exam:
    """Choose faces and held-out wordings; ``limit`` and ``val_limit`` bound the faces asked.

    Raises DataError if there is nothing to test, or a test identity is in another split.
    """
    test, val, train = (faces.split(name).faces for name in (Split.TEST, Split.VAL, Split.TRAIN))
    if not test:
        raise DataError(f"{faces.root}: no test face; load faces of all three splits")
    _refuse_leaks(test, [*train, *val])
    return Exam(
        faces,
        some(test, limit, seed),
        some(val, val_limit, seed),
        tuple(train),
        {task: _questions(task, seed, paraphrases) for task in (Task.DF_D, Task.DF_C, Task.AD)},
        seed,
    )


def truth(face: Face, task: Task) -> str:
    """The right label of a face for DF-D or DF-C."""
    if task is Task.DF_C:
        return face.category.value
    return "forged" if face.category.forged else Category.BONA_FIDE.value


def labels(task: Task) -> tuple[str, ...]:
    """The labels of a closed task, in the order in which its answers are offered."""
    return tuple(OPTIONS[task])


def some(faces: Sequence[Face], limit: int | None, seed: int) -> tuple[Face, ...]:
    """At most ``limit`` faces, drawn by id and left in their order."""
    if limit is None or limit >= len(faces):
        return tuple(faces)
    drawn = set(Random(seed).sample(sorted(face.id for face in faces), limit))
    return tuple(face for face in faces if face.id in drawn)


def _questions(task: Task, seed: int, paraphrases: int) -> tuple[Question, ...]:
    """Wordings never trained on: several for the closed tasks, one for the description."""
    variants = wordings(task, Split.TEST)
    if task is Task.AD:
        return (Question(variants[seed % len(variants)], task, None),)
    chosen = Random(f"{seed}/{task}").sample(variants, min(paraphrases, len(variants)))
    return tuple(Question(text, task, tuple(OPTIONS[task].values())) for text in chosen)


def _refuse_leaks(test: tuple[Face, ...], others: list[Face]) -> None:
    known = {identity for face in others for identity in face.identities}
    for face in test:
        if leaked := known.intersection(face.identities):
            raise DataError(
                f"face {face.id}: identities: {min(leaked)!r} is also outside the test split;"
                " split by identity"
            )
