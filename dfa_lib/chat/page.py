"""The chat as HTML: transcript, verdict bars and the exported report.

Everything a model, a file name or a person wrote is escaped by the template, and the report
forbids itself any request by a content security policy.
"""

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from jinja2 import Environment, StrictUndefined

from dfa_lib.chat.occlusion import LEGEND, paint
from dfa_lib.chat.verdict import Verdict, percent
from dfa_lib.files import data_uri, png
from dfa_lib.instruct.reviews import Review

LIMITS = (
    "An analyst knows the faces and the forgeries that it has learnt from."
    " What it says is an exercise, and no evidence about a real person."
)
Role = Literal["picture", "person", "analyst", "note", "error"]
WHO: dict[Role, str] = {
    "person": "You",
    "analyst": "Analyst",
    "picture": "Picture",
    "note": "Note",
    "error": "Not done",
}


@dataclass(frozen=True)
class Turn:
    """One entry of the transcript; ``image`` (H, W, 3) where it shows a picture.

    ``who`` is the name of the analyst whose answer it is.
    """

    role: Role
    text: str
    image: np.ndarray | None = None
    who: str = ""


@dataclass
class Heard:
    """What one analyst has said of the picture on the table; ``evidence`` (g, g)."""

    history: list[tuple[str, str]] = field(default_factory=list)
    verdict: Verdict | None = None
    evidence: np.ndarray | None = None


def html(part: str, *given: object) -> str:
    """Return a part of the chat as HTML: the macro of that name in ``chat.html``.

    Pictures are (H, W, 3) uint8 and travel inside the page.
    """
    return str(getattr(_parts(), part)(*given))


@cache
def _parts() -> Any:
    folder = files("dfa_lib.chat")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        "uri": lambda image: data_uri(png(image)),
        "percent": percent,
        "paint": lambda evidence, image: paint(image, evidence),
    }
    style = (folder / "chat.css").read_text("utf-8")
    environment.globals |= {"WHO": WHO, "LIMITS": LIMITS, "LEGEND": LEGEND, "STYLE": style}
    return environment.from_string((folder / "chat.html").read_text("utf-8")).module


def review_text(review: Review) -> str:
    """Return a review in a sentence, for the transcript."""
    verb = "confirms" if review.confirms else "says"
    parts = [f"{review.person} {verb}: {review.category.phrase}"]
    for one in review.findings:
        words = f" ({one.evidence})" if one.evidence else ""
        parts.append(f"{one.region}: {one.artifact}{words}")
    parts.append(review.words)
    return ". ".join(part.rstrip(".") for part in parts if part) + "."
