"""What a chat is made of: the turns of its transcript and a person's reviews."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from dfa_lib.records import Finding, Record
from dfa_lib.taxonomy import Category

LIMITS = (
    "This analyst has learnt from a small world of faces and a few kinds of forgery."
    " What it says is an exercise, and no evidence about a real person."
)

Role = Literal["picture", "person", "analyst", "note", "error"]


def now() -> datetime:
    """Return the present moment with its time zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Turn:
    """One entry of the transcript; ``image`` (H, W, 3) where it shows a picture."""

    role: Role
    text: str
    image: np.ndarray | None = None
    when: datetime = field(default_factory=now)


class Review(Record):
    """A person's judgement of one picture: who, when, and what the analyst had said.

    ``forged`` is the analyst's P(forged), ``category`` the person's word. ``face`` is the
    id of a gallery face, or None for an upload, which is known by the ``sha256`` of its
    pixels only: the picture itself is not kept.
    """

    face: str | None
    sha256: str
    analyst: str
    forged: float
    category: Category
    findings: tuple[Finding, ...] = ()
    words: str = ""
    person: str
    when: datetime
