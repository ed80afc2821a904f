"""The exam every analyst sits: which faces, which questions, which answers to choose from.

It is written to ``protocol.json``, and its hash stands in every report, so that numbers of
different exams are not put side by side.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np

from dfa_lib.analysts import TASKS, Question, Reply
from dfa_lib.bench.perturb import LEVELS
from dfa_lib.files import digest, write_atomic
from dfa_lib.findings import verdict
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.wording import wordings
from dfa_lib.records import DataError, Face, inside
from dfa_lib.taxonomy import CLASSES, Category, Split, Task

VERSION = "dfa-bench-2"
LEAST_VAL = 20
"""Validation faces to calibrate on: of fewer, one face moves a share by more than .05, and one new
face in twenty or more lies beyond the farthest."""
_ROOM = 256 * 2**20
"""Bytes of decoded pictures that are kept: some 5,000 of 128 pixels."""


class Asked(NamedTuple):
    """One task on one face, in all wordings in which it is asked."""

    face: Face
    task: Task
    wordings: tuple[Question, ...]


@dataclass(frozen=True)
class InMemory(FaceSet):
    """Faces whose pictures are decoded once and then kept, as many as there is room for.

    All analysts look at the same pictures, and to decode one takes about as long as a small
    model needs to look at it. Splits keep theirs in the same place, so nobody may change one.
    """

    kept: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def image(self, face: Face) -> np.ndarray:
        """Return the picture of a face, (size, size, 3) uint8 RGB, read-only."""
        if face.image in self.kept:
            return self.kept[face.image]
        image = super().image(face)
        image.setflags(write=False)
        if (len(self.kept) + 1) * image.nbytes <= _ROOM:
            self.kept[face.image] = image
        return image


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
    def protocol(self) -> dict:
        """Everything that decides the numbers: pictures, wordings, answers, levels, seed."""
        return {
            "version": VERSION,
            "seed": self.seed,
            "questions": {
                task.value: [{"text": q.text, "options": q.options} for q in asked]
                for task, asked in self.questions.items()
            },
            "perturbations": dict(LEVELS),
            "test": {face.id: face.sha256 for face in self.test},
            "val": {face.id: face.sha256 for face in self.val},
        }

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the protocol."""
        return _hash(self.protocol)

    def save(self, folder: Path) -> Path:
        """Write ``folder``/protocol.json, with its hash; return the path."""
        path = folder / "protocol.json"
        content = {"hash": self.hash, **self.protocol}
        write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def read(cls, path: Path, faces: FaceSet) -> "Exam":
        """Open a protocol; raise DataError if it was changed, or ``faces`` are others."""
        try:
            content = json.loads(path.read_text("utf-8"))
            said = content.pop("hash")
            test, val = (tuple(faces[one] for one in content[part]) for part in ("test", "val"))
            questions = {Task(task): asked_in(content, Task(task)) for task in content["questions"]}
            seed = content["seed"]
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}: {error!r}; run the benchmark to write a protocol") from None
        exam = cls(faces, test, val, tuple(faces.split(Split.TRAIN)), questions, seed)
        if said != _hash(content) or said != exam.hash:
            raise DataError(f"{path}: hash: not of these faces and questions; run it again")
        _refuse_other_pictures(faces, [*test, *val])
        return exam

    def asked(self, face: Face, task: Task) -> tuple[Question, ...]:
        """What is asked about a face: every wording of a closed task, one of AD.

        Probabilities are averaged over wordings; descriptions cannot be, so their wordings are
        dealt over the faces, by id.
        """
        every = self.questions[task]
        return (every[int(digest(face.id)[:8], 16) % len(every)],) if task is Task.AD else every

    def plan(self, tasks: Sequence[Task] = TASKS) -> list[list[Asked]]:
        """What each face is asked: ``tasks`` on test faces, DF-D alone on validation faces."""
        known = [task for task in tasks if task in self.questions]
        few = [task for task in known if task is Task.DF_D]
        rows = [(face, known) for face in self.test] + [(face, few) for face in self.val if few]
        return [[Asked(face, task, self.asked(face, task)) for task in mine] for face, mine in rows]


def set_exam(
    faces: FaceSet,
    seed: int = 0,
    paraphrases: int = 3,
    limit: int | None = None,
    val_limit: int = 300,
) -> Exam:
    """Choose faces and held-out wordings; ``limit`` and ``val_limit`` bound the faces asked.

    Raises DataError if there is nothing to test, a test identity, the counterpart of a test face
    or the same picture is in another split, or a picture is not the one of faces.jsonl.
    """
    test, val, train = (faces.split(name).faces for name in (Split.TEST, Split.VAL, Split.TRAIN))
    if not test:
        raise DataError(f"{faces.root}: no test face; load faces of all three splits")
    _refuse_leaks(test, [*train, *val])
    test, val = some(test, limit, seed), some(val, val_limit, seed)
    _refuse_other_pictures(faces, [*test, *val])
    questions = {task: _questions(task, seed, paraphrases) for task in TASKS}
    return Exam(faces, test, val, tuple(train), questions, seed)


def asked_in(protocol: Mapping, task: Task) -> tuple[Question, ...]:
    """The wordings of a task that the content of protocol.json holds."""
    return tuple(
        Question(one["text"], task, one["options"] and tuple(one["options"]))
        for one in protocol["questions"][task]
    )


def truth(face: Face, task: Task) -> str | None:
    """The right label of a face for DF-D or DF-C; None for a forgery of unknown kind."""
    if task is Task.DF_C:
        return face.category.value if face.category in CLASSES else None
    return "forged" if face.category.forged else Category.BONA_FIDE.value


def told(face: Face) -> dict:
    """What a report tells of a face that it shows."""
    category = face.category.value
    return {"face": face.id, "image": face.image, "category": category, "method": face.method}


def too_few(val: Sequence[Face]) -> bool:
    """Whether neither a temperature nor a limit can be fitted on these validation faces.

    They are fewer than ``LEAST_VAL``, or all bona fide, or all forged.
    """
    return len(val) < LEAST_VAL or len({face.category.forged for face in val}) < 2


def label_scores(
    task: Task, asked: Sequence[Question], replies: Sequence[Reply]
) -> dict[str, float]:
    """The log-probability of each label of a closed task, averaged over its wordings.

    Without log-probabilities the answers in words are votes, and the score is the log of a
    label's share. Each label has half a vote to begin with: a few answers make nobody certain.
    """
    if all(reply.logprobs is not None for reply in replies):
        scores = np.mean([reply.logprobs for reply in replies], axis=0)
    else:
        pairs = zip(replies, asked, strict=True)
        votes = [verdict(reply.text, task, question.text) for reply, question in pairs]
        counts = np.array([votes.count(label) + 0.5 for label in OPTIONS[task]])
        scores = np.log(counts / (len(votes) + 0.5 * len(counts)))
    return dict(zip(OPTIONS[task], scores.tolist(), strict=True))


def some(faces: Sequence[Face], limit: int | None, seed: int) -> tuple[Face, ...]:
    """At most ``limit`` faces, drawn by id and left in their order."""
    if limit is None or limit >= len(faces):
        return tuple(faces)
    drawn = set(Random(seed).sample(sorted(face.id for face in faces), limit))
    return tuple(face for face in faces if face.id in drawn)


def _questions(task: Task, seed: int, paraphrases: int) -> tuple[Question, ...]:
    """Wordings never trained on: some for the closed tasks, all for the description."""
    variants = wordings(task, Split.TEST)
    if task is Task.AD:
        return tuple(Question(text, task, None) for text in variants)
    chosen = Random(f"{seed}/{task}").sample(variants, min(paraphrases, len(variants)))
    return tuple(Question(text, task, tuple(OPTIONS[task].values())) for text in chosen)


def _refuse_leaks(test: Iterable[Face], others: Iterable[Face]) -> None:
    """Raise DataError where a person, a pair or a picture is on both sides."""
    known = {mark: face.id for face in others for mark in _marks(face)}
    for face in test:
        for what, value in filter(known.__contains__, _marks(face)):
            raise DataError(
                f"face {face.id}: {what}: {value!r} is also outside the test split, with"
                f" {known[what, value]}; split by identity"
            )


def _marks(face: Face) -> Iterator[tuple[str, str]]:
    """Yield what only faces of one split may share."""
    yield from (("identities", one) for one in face.identities)
    yield "source", face.source or face.id
    yield "sha256", face.sha256


def _refuse_other_pictures(faces: FaceSet, asked: Iterable[Face]) -> None:
    for face in asked:
        path = inside(faces.root, face.image)
        if not path.is_file() or digest(path.read_bytes()) != face.sha256:
            raise DataError(f"{path}: sha256: the picture of {face.id} has changed; load it again")


def _hash(protocol: dict) -> str:
    return digest(json.dumps(protocol, sort_keys=True))
