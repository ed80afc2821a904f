"""What a chat is made of: the turns of its transcript."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np

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
