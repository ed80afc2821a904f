"""The chat as HTML: transcript, verdict bars and the exported report.

Everything a model, a file name or a person wrote goes through ``html.escape``, and the
report forbids itself any request by a content security policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

import numpy as np

from dfa_lib.chat.occlusion import LEGEND, paint
from dfa_lib.chat.verdict import Verdict, percent
from dfa_lib.files import data_uri, png
from dfa_lib.instruct.reviews import Review
from dfa_lib.records import Finding

LIMITS = (
    "An analyst knows the faces and the forgeries that it has learnt from."
    " What it says is an exercise, and no evidence about a real person."
)

FORM = (
    '<h3>Your own verdict</h3><p class="dfa-small">Add a finding for each thing you see;'
    " a region you do not name counts as untouched.</p>"
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


def style() -> str:
    """Return the style sheet of chat and report as an HTML element."""
    return f"<style>{(files('dfa_lib.chat') / 'chat.css').read_text('utf-8')}</style>"


def picture(image: np.ndarray, alt: str, height: int = 128) -> str:
    """Return an image (H, W, 3) as an HTML element that holds its own data."""
    source = data_uri(png(image))
    return f'<img src="{source}" height="{height}" alt="{escape(alt)}">'


def transcript(turns: Sequence[Turn]) -> str:
    """Return all turns, oldest first, in a box that stays scrolled to the newest."""
    inner = "".join(map(turn_html, turns)) or '<p class="dfa-empty">No picture yet.</p>'
    return f'<div class="dfa-log" role="log" aria-label="Conversation"><div>{inner}</div></div>'


def turn_html(turn: Turn) -> str:
    """Return one entry of the transcript."""
    seen = "" if turn.image is None else f"<div>{picture(turn.image, 'face picture')}</div>"
    text = escape(turn.text).replace("\n", "<br>")
    who = escape(turn.who) or WHO[turn.role]
    return f'<div class="dfa-turn dfa-{turn.role}"><b>{who}</b> {text}{seen}</div>'


def live(text: str) -> str:
    """Return the answer that is being written, or a remark on what the analyst is doing."""
    return f'<div class="dfa-live" aria-live="polite">{escape(text)}</div>' if text else ""


def head() -> str:
    """Return the style, the title and the limits sentence."""
    return (
        f'{style()}<div class="dfa dfa-head"><h2>Deepfake analysis</h2>'
        f"<p>{escape(LIMITS)}</p></div>"
    )


def verdict_html(
    who: str, verdict: Verdict | None, others: Mapping[str, Verdict] = MappingProxyType({})
) -> str:
    """Return P(forged) and the category probabilities as labelled bars.

    ``others`` is what other analysts made of the same picture, by name.
    """
    title = f"<h3>{escape(who)}</h3>"
    if verdict is None:
        return f'<div class="dfa-verdict">{title}<p class="dfa-empty">No verdict yet.</p></div>'
    if verdict.abstained:
        bars = [f'<p class="dfa-refused">{escape(verdict.abstained)}</p>']
    else:
        kinds = [_bar(kind.phrase, p) for kind, p in verdict.categories.items()]
        bars = [_bar("P(forged)", verdict.forged, "dfa-main"), *kinds]
    bars += [f'<p class="dfa-small">{escape(verdict.origin)}</p>']
    rest = [_bar(f"{n}: P(forged)", one.forged) for n, one in others.items() if not one.abstained]
    return f'<div class="dfa-verdict">{title}{"".join(bars)}{"".join(rest)}</div>'


def found(findings: Sequence[Finding]) -> str:
    """Return what a person has found so far as a list."""
    rows = [f"<li>{escape(f'{f.region}: {f.artifact}. {f.evidence}')}</li>" for f in findings]
    return f'<ul class="dfa-found" aria-label="Findings">{"".join(rows)}</ul>' if rows else ""


def _bar(label: str, share: float, kind: str = "") -> str:
    return (
        f'<div class="dfa-bar {kind}"><span>{escape(label)}</span>'
        f'<span class="dfa-track"><i style="width:{share:.1%}"></i></span>'
        f"<span>{escape(percent(share))}</span></div>"
    )


def figure(image: np.ndarray, caption: str) -> str:
    """Return a picture with its caption, which is also its alternative text."""
    seen = picture(image, caption, 256)
    return f'<div class="dfa-figure">{seen}<p class="dfa-small">{escape(caption)}</p></div>'


def review_text(review: Review) -> str:
    """Return a review in a sentence, for the transcript."""
    seen = [f"{one.region}: {one.artifact}" for one in review.findings]
    words = [f" ({one.evidence})" if one.evidence else "" for one in review.findings]
    verb = "confirms" if review.confirms else "says"
    parts = [
        f"{review.person} {verb}: {review.category.phrase}",
        *map("".join, zip(seen, words, strict=True)),
        review.words,
    ]
    return ". ".join(part.rstrip(".") for part in parts if part) + "."


def report(
    turns: Sequence[Turn],
    analysts: Sequence[str],
    image: np.ndarray | None,
    said_by: Mapping[str, Heard],
) -> str:
    """Return the whole conversation as one HTML page that requests nothing.

    The last picture, ``image``, and what every analyst that was asked holds of it come last.
    """
    parts = [] if image is None else [figure(image, "The last picture")]
    for name, one in said_by.items():
        if one.verdict is not None:
            parts.append(verdict_html(name, one.verdict))
        if one.evidence is not None:
            parts.append(figure(paint(image, one.evidence), f"{name}: {LEGEND}"))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>Deepfake analysis</title>{style()}</head>"
        f'<body class="dfa dfa-report"><h1>Deepfake analysis</h1>'
        f'<p class="dfa-small">Analysts: {escape(", ".join(analysts))}. Exported {when}.</p>'
        f'<p class="dfa-limits">{escape(LIMITS)}</p>'
        f"{''.join(map(turn_html, turns))}{''.join(parts)}</body></html>"
    )
