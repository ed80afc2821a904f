"""What a chat is made of: the turns of its transcript, and an analyst's opinion of a picture."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from dfa_lib.chat.verdict import Verdict

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
    """One entry of the transcript; ``image`` (H, W, 3) where it shows a picture.

    ``who`` is the name of the analyst whose answer it is.
    """

    role: Role
    text: str
    image: np.ndarray | None = None
    who: str = ""
    when: datetime = field(default_factory=now)


@dataclass
class Opinion:
    """What one analyst has said of the picture on the table; ``evidence`` (g, g)."""

    history: list[tuple[str, str]] = field(default_factory=list)
    verdict: Verdict | None = None
    evidence: np.ndarray | None = None
