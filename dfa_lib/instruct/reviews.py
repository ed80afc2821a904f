"""A person's reviews as records, and as conversations to tune on or to score against.

The person is the annotator. Which use a review may have follows from the split of its face:
reviews of training faces are for tuning, those of test faces for scoring alone.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np

from dfa_lib.files import digest
from dfa_lib.instruct.conversations import converse
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.wording import describe
from dfa_lib.records import Annotation, Annotator, Face, Finding, InstructRecord, Record, read_jsonl
from dfa_lib.taxonomy import Category, Task


class Review(Record):
    """A person's judgement of one picture: who, when, and what the analyst had said.

    ``forged`` is the analyst's P(forged) and ``said`` its category, None where it gave no
    verdict; ``category``, ``findings`` and ``words`` are the person's. ``face`` is the id of a
    gallery face, or None for an upload, which is known by the ``sha256`` of its pixels only:
    the picture itself is not kept.
    """

    face: str | None
    sha256: str
    analyst: str
    forged: float | None = None
    said: Category | None = None
    category: Category
    findings: tuple[Finding, ...] = ()
    words: str = ""
    person: str
    when: datetime

    @property
    def confirms(self) -> bool:
        """True where the person agrees with the analyst's category."""
        return self.category is self.said


def fingerprint(image: np.ndarray) -> str:
    """SHA-256 of the pixels of a picture (H, W, 3): how a review knows what it is about."""
    return digest(image.tobytes())


def read_reviews(*paths: Path) -> list[Review]:
    """Read files of reviews; of a person's reviews of one picture only the latest counts.

    Raises DataError with file, line and field for a broken one.
    """
    every = sorted((r for path in paths for r in read_jsonl(path, Review)), key=lambda r: r.when)
    return [*{(review.person, review.sha256): review for review in every}.values()]


def reviewed(reviews: Iterable[Review], faces: FaceSet) -> dict[str, list[InstructRecord]]:
    """Make conversations of reviews of ``faces``, by the name of the person.

    How often a review cannot be used, and why, is printed: one of an upload, one of a picture
    that is not in ``faces``, and one that contradicts how the face was made, which is known.
    """
    found: dict[str, list[InstructRecord]] = {}
    unused = Counter[str]()
    known = {face.id: face for face in faces}
    for review in reviews:
        face = known.get(review.face)
        if problem := _unusable(review, face, faces):
            unused[problem] += 1
        else:
            found.setdefault(review.person, []).append(_conversation(review, face))
    for problem, count in unused.items():
        print(f"{count} review(s) left out: {problem}")
    return found


def _unusable(review: Review, face: Face | None, faces: FaceSet) -> str:
    if review.face is None:
        return "of an uploaded picture, which was not kept"
    if face is None or fingerprint(faces.image(face)) != review.sha256:
        return f"of a picture that is not among these {len(faces):,} faces of {faces.root}"
    unknown = review.category.forged and face.category is Category.FORGED
    if review.category is not face.category and not unknown:
        return "contradicts how the face was made"
    return ""


def _conversation(review: Review, face: Face) -> InstructRecord:
    """About seven QA; the two verdicts alone where the person named no finding of a forgery."""
    described = bool(review.findings) or not review.category.forged
    note = Annotation(
        face=face.id,
        findings=review.findings,
        text=describe(review.findings) if described else "",
        annotator=Annotator(name=review.person),
    )
    record = converse(face, note)
    verdicts = tuple(qa for qa in record.qa if qa.task in (Task.DF_D, Task.DF_C))
    return record if described else record.model_copy(update={"qa": verdicts})
