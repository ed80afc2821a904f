"""Agreement of people who described the same face: the ceiling of AD on human findings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfa_lib import findings
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.intervals import BootstrapSample
from dfa_lib.records import Record, read_jsonl

PEOPLE = "annotations.people.jsonl"


class Voices(Record):
    """The descriptions of one face by several people, in their own words."""

    face: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Pooled region F1 of each person against all others, with a 95 % interval.

    The interval is a bootstrap over the identities shown; ``people`` is how many descriptions
    of the ``faces`` were compared.
    """

    region_f1: float
    low: float
    high: float
    faces: int
    people: int

    def __str__(self) -> str:
        return (
            f"people who described the same face agree at region F1 {self.region_f1:.3f}"
            f" [{self.low:.3f}, {self.high:.3f}] ({self.faces:,} faces, {self.people:,} people)"
        )


def inter_annotator_agreement(faces: FaceSet) -> Agreement | None:
    """Score the regions in a person's words against those in the words of all others.

    Words are read as those of an analyst are (``findings.regions``).
    None where no forged face of ``faces`` was described by two people.
    """
    path = Path(faces.root) / PEOPLE
    known = {face.id: face for face in faces}
    read = [one for one in read_jsonl(path, Voices) if one.face in known] if path.exists() else []
    if not read:
        return None
    counts = np.array([_counts(one) for one in read])
    sample = BootstrapSample.of([known[one.face] for one in read])

    def f1(weights: np.ndarray) -> np.ndarray:
        hits, named = (weights @ counts).T
        return np.divide(hits, named, out=np.full(len(hits), np.nan), where=named > 0)

    value, low, high = sample.estimate(f1)
    return Agreement(value, low, high, len(read), sum(len(one.texts) for one in read))


def _counts(voices: Voices) -> tuple[int, int]:
    """Twice the hits, and all that is named by either side, over every person of a face."""
    said = [findings.regions(text) for text in voices.texts]
    others = [set().union(*said[:at], *said[at + 1 :]) for at in range(len(said))]
    hits = sum(2 * len(mine & rest) for mine, rest in zip(said, others, strict=True))
    return hits, sum(map(len, said + others))
