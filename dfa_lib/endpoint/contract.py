"""Requests, answers, prices and ceilings of an endpoint."""

import math
import struct
from typing import NamedTuple

from pydantic import JsonValue, field_validator

from dfa_lib.records import DataError, Record

_PNG = b"\x89PNG\r\n\x1a\n"


class Request(Record):
    """One question: instructions, text and pictures, each from ``dfa_lib.files.png``.

    ``id`` is for the caller alone, and not sent. ``max_tokens`` bounds the answer. Another
    ``seed`` is another request: that is how to draw several answers to one question.
    A picture that could carry EXIF or GPS is refused.
    """

    id: str
    text: str
    system: str = ""
    images: tuple[bytes, ...] = ()
    max_tokens: int = 800
    seed: int | None = None

    @field_validator("images")
    @classmethod
    def _bare(cls, images: tuple[bytes, ...]) -> tuple[bytes, ...]:
        for image in images:
            if _chunks(image) != {b"IHDR", b"IDAT", b"IEND"}:
                raise ValueError("not a bare PNG; encode each picture with files.png")
        return images


def _chunks(png: bytes) -> set[bytes]:
    """The kinds of chunks in a PNG file; bytes that are none of it count as a chunk."""
    kinds, at = {png[: len(_PNG)]} - {_PNG}, len(_PNG)
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8].ljust(8, b"\0"))
        kinds.add(kind)
        at += 12 + length
    return kinds


class Reply(Record):
    """One answer of a server as the cache keeps it.

    ``first`` holds log-probabilities of the first token, if the endpoint's ``options`` ask for
    them; ``cost`` is in dollars; ``cut`` tells that the limit of tokens ended it. ``settings`` are
    what the server did not take as asked, such as "seed: not sent".
    """

    text: str | None = None
    refusal: str | None = None
    first: dict[str, float] | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    cut: bool = False
    settings: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """True if it says nothing, and no limit of tokens is to blame."""
        return not ((self.text or "").strip() or self.refusal or self.cut)


class Answer(Reply):
    """Result of one request.

    ``text`` is the model's, ``parsed`` what the schema made of it. An answer that stayed
    invalid has ``text`` and ``error``; a failed request has ``error`` alone. Tokens and cost
    include a second attempt; ``cached``: paid for earlier.
    """

    id: str
    parsed: dict[str, JsonValue] | None = None
    error: str | None = None
    cached: bool = False

    @property
    def failed(self) -> bool:
        """True if nothing came back: the next run asks again."""
        return self.error is not None and self.text is None


class Spend(NamedTuple):
    """Requests, tokens (in and out) and dollars."""

    requests: float = 0
    tokens: float = 0
    money: float = 0.0

    def plus(self, other: "Spend", times: int = 1) -> "Spend":
        """The sum, with ``other`` taken so many times."""
        return Spend(*(a + times * b for a, b in zip(self, other, strict=True)))


class Ceiling(NamedTuple):
    """The most that may be spent on one cache, earlier runs included; no limit unless given."""

    requests: float = math.inf
    tokens: float = math.inf
    money: float = math.inf


class CeilingReached(DataError):
    """What comes next, at most ``bound``, could pass the ceiling, so it was not sent."""

    def __init__(self, spent: Spend, bound: Spend, ceiling: Ceiling) -> None:
        sums = zip(("requests", "tokens", "dollars"), spent, bound, ceiling, strict=True)
        told = ", ".join(
            f"{used:,.6g} of {limit:,.6g} {name}, and what comes next may take {more:,.6g}"
            for name, used, more, limit in sums
            if used + more > limit
        )
        super().__init__(f"ceiling: {told}; raise it and run again, nothing is paid for twice")


class Prices(Record):
    """Dollars per million tokens, the most tokens a picture may cost, and the batch discount."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0
    image_tokens: int = 1_445
    batch: float = 0.5

    def of(self, tokens_in: int, tokens_out: int, batch: bool = False) -> float:
        """The price in dollars of so many tokens."""
        money = (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6
        return money * self.batch if batch else money


PRICES = {
    "gpt-4o": Prices(tokens_in=2.50, tokens_out=10.00),
    "gpt-4o-mini": Prices(tokens_in=0.15, tokens_out=0.60, image_tokens=48_169),
}
"""The vendor's list prices as last looked up; give ``prices`` where they have changed.

A picture is 85 tokens and 170 for each of at most 8 tiles (mini: 2,833 and 5,667).
"""


class Estimate(Record):
    """What a run may cost at most: every answer as long as allowed, every byte a token."""

    requests: int
    answered: int
    tokens: int
    money: float | None

    def __str__(self) -> str:
        new = self.requests - self.answered
        money = "price unknown" if self.money is None else f"at most ${self.money:,.2f}"
        return (
            f"{self.requests:,} requests, {self.answered:,} answered already;"
            f" {new:,} to send: at most {self.tokens:,} tokens, {money}"
        )
