"""What an analyst is asked, what it replies, and what the benchmark and the chat need of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dfa_lib.errors import DataError
from dfa_lib.taxonomy import Task

TASKS = (Task.DF_D, Task.DF_C, Task.AD)
"""The tasks of the benchmark; free conversation is for the chat."""
LONGEST_QUESTION = 500  # characters


def asked(text: str) -> str:
    """Return what a person asks, without blanks around it.

    Raises DataError if it is empty, too long or no UTF-8 text, whatever the locale took it for.
    """
    try:
        text = text.encode(errors="surrogateescape").decode().strip()
    except UnicodeError:
        raise DataError(f"question {text!a:.60}: not UTF-8 text; type it anew") from None
    if not 0 < len(text) <= LONGEST_QUESTION:
        raise DataError(f"question {text!a:.60}: ask in 1 to {LONGEST_QUESTION} characters")
    return text


@dataclass(frozen=True)
class Question:
    """What is asked about one image; with ``options``, which whole answer is likeliest."""

    text: str
    task: Task = Task.FC
    options: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Reply:
    """An answer; ``logprobs`` one per option (natural log, end of sequence included)."""

    text: str
    logprobs: tuple[float, ...] | None
    tokens: int
    seconds: float


class Analyst(Protocol):
    """Anything that answers questions on face images: local model, endpoint, baseline.

    It is asked ``tasks`` only, ``batch`` images at a time. ``fingerprint`` stands for its weights
    and settings: predictions on file are used again only where it is the same.
    """

    name: str
    tasks: tuple[Task, ...]
    batch: int
    fingerprint: str

    def reply(
        self, images: Sequence[np.ndarray], questions: Sequence[Sequence[Question]]
    ) -> list[list[Reply]]:
        """Answer ``questions[i]`` on ``images[i]`` (RGB uint8, (H, W, 3))."""
        ...


class ChatAnalyst(Analyst, Protocol):
    """An analyst to talk to.

    ``place`` says where pictures are sent, "" if they stay here; ``side`` is the size in pixels
    to which faces on photographs are framed for it.
    """

    place: str
    side: int

    def stream(
        self, image: np.ndarray, history: Sequence[tuple[str, str]], text: str
    ) -> Iterator[str]:
        """Answer ``text`` piece by piece, after ``history`` of (question, answer)."""
        ...
