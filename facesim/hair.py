"""Hair as a picture: cut, colour and light, laid on the heads of the face model."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import BROW_LEFT, BROW_RIGHT, NOSE_BASE, Points, hull
from facesim.strands import Fall, Head, Strands, combed, curls, hanging, tied

Floats = NDArray[np.float32]
Rng = np.random.Generator
Layer = tuple[Floats, Floats]  # brightness about 1 and opacity in 0..1 of strands, both (S, S)
_FINE = 2  # strands are drawn at twice the size, so that they are finer than a pixel
_GREY = 110  # of a strand of brightness 1, while drawing
_TONES = np.float32(
    [[13, 12, 13], [27, 22, 20], [48, 37, 30], [78, 60, 46], [116, 93, 68], [168, 142, 106]]
)
"""RGB from black over brown to fair, evenly spaced on a scale from 0 to 1."""
_SHORT = {"shorn": 0.15, "short": 0.35, "swept": 0.3, "curly": 0.2}
_LONG = {"tied": 0.66, "bob": 0.12, "long": 0.22}
_THICK = {
    "shorn": (14, 0.5),
    "short": (34, 0.4),
    "swept": (34, 0.45),
    "curly": (38, 0.7),
    "tied": (22, 0.8),
    "bob": (26, 1.0),
    "long": (25, 1.0),
}
"""How many px hair stands from the hairline on top, and which share of that at the sides."""


def haired(
    colours: Floats, outline: Floats, hairy: Floats, points: Points, long: float, rng: Rng
) -> tuple[Floats, Floats]:
    """Put hair on the faces of a person; returns colours (n, S, S, 3) and opacity (n, S, S).

    ``colours`` (n, S, S, 3) and ``outline`` (n, S, S), the distance to the silhouette in px, are
    those of the face model, ``hairy`` (S, S) in 0..1 says where it has hair, ``points`` (81, 2)
    are the landmarks and ``long`` is the chance of hair that is not short.
    """
    cuts = _LONG if rng.random() < long else _SHORT
    cut = str(rng.choice(list(cuts), p=list(cuts.values())))
    thick, sides = _THICK[cut]
    head = Head.of(points, outline[0], thick * rng.uniform(0.8, 1.25), sides, rng)
    size, contrast = outline.shape[-1], rng.uniform(0.25, 0.45)
    front, back = (drawn(strands, size, rng, contrast) for strands in _grown(cut, head, rng))
    luma = cv2.cvtColor(np.clip(colours[0], 0, 1), cv2.COLOR_RGB2GRAY)
    dark = float((luma * hairy).sum() / max(hairy.sum(), 1e-3))
    shade = _tone(_fairness(luma, dark, points) + rng.normal(0, 0.1))
    texture = np.clip(luma / (dark + 0.02), 0.65, 1.6)[..., None]
    colours = colours + hairy[..., None] * (0.95 * shade * texture - colours)
    shadow = cv2.GaussianBlur(np.roll(front[1], 3, axis=0), (0, 0), 4) * (1 - hairy)
    colours *= 1 - 0.25 * shadow[..., None]
    body = np.clip(np.minimum(outline, (1 - head.height(size)) * 12) / 2.5 + 0.5, 0, 1)
    return _laid(colours, body, front, back, shade, _sheen(head, size, rng))


def _laid(
    colours: Floats, body: Floats, front: Layer, back: Layer, shade: Floats, sheen: Floats
) -> tuple[Floats, Floats]:
    """Lay hair before and behind a body of opacity (n, S, S)."""
    sheen, body = sheen[..., None], body[..., None]
    (light, veil), (dim, beyond) = ([one[..., None] for one in layer] for layer in (front, back))
    light = light * _hollow(len(light))
    over = shade * light * (0.9 + 0.3 * sheen) + 0.06 * sheen * np.clip(light - 0.6, 0, 1.2)
    under = 0.55 * shade * dim
    opacity = 1 - (1 - veil) * (1 - body) * (1 - beyond)
    mixed = veil * over + (1 - veil) * (body * colours + (1 - body) * beyond * under)
    return (mixed / np.maximum(opacity, 0.01)).astype(np.float32), opacity[..., 0]


def _hollow(size: int) -> Floats:
    """Return the shade (S, S, 1) in 0..1 of what hangs beside the neck, darkest next to it."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    deep = np.clip((y - 0.55) / 0.3, 0, 1) * np.clip((0.4 - np.abs(x - 0.5)) / 0.15, 0, 1)
    return (1 - 0.5 * deep)[..., None]


def _grown(cut: str, head: Head, rng: Rng) -> tuple[Strands, Strands]:
    """Return the strands of a cut before the head and behind it."""
    part = float(np.clip(rng.normal(np.pi / 2, 0.4), 0.9, 2.2))
    wave, behind = rng.uniform(0, 4), Strands.none()
    if cut == "shorn":
        return combed(head, rng, 1800, 0.04, part, 0.25), behind
    if cut == "short":
        reach, lift = rng.uniform(0.15, 0.35), rng.uniform(0.1, 0.35)
        return combed(head, rng, 2400, reach, part, lift), behind
    if cut == "swept":
        reach, lift = rng.uniform(0.35, 0.6), rng.uniform(0.05, 0.25)
        return combed(head, rng, 2400, reach, part, lift), behind
    if cut == "curly":
        return curls(head, rng, 1900, rng.uniform(2, 5)), behind
    if cut == "tied":
        if rng.random() < 0.5:  # half of it hangs down the back
            behind = hanging(head, rng, 1100, part, Fall(250, wave, -0.9))
        return tied(head, rng, 2400, part), behind
    end, tuck = rng.uniform(165, 205) if cut == "bob" else 250, rng.uniform(0, 1)
    fall = Fall(end, wave, -0.15, rng.uniform(0, 14), tuck)
    deep = Fall(end, wave, -0.8)
    return hanging(head, rng, 2000, part, fall), hanging(head, rng, 500, part, deep)


def _tone(fairness: float) -> Floats:
    """Return the colour (3,) in 0..1 of hair between black (0) and fair (1)."""
    at = np.linspace(0, 1, len(_TONES))
    return np.float32([np.interp(fairness, at, channel) for channel in _TONES.T]) / 255


def _fairness(luma: Floats, dark: float, points: Points) -> float:
    """Guess the tone of hair from brows and skin of a face (S, S), and its hair's luma ``dark``."""
    size = len(luma)
    inside = [hull(points[brow], size, (0.9, 0.6)) for brow in (BROW_LEFT, BROW_RIGHT)]
    brows = np.quantile(luma[np.any(inside, axis=0)], 0.3)
    skin = np.median(luma[hull(points[NOSE_BASE], size, (2, 3))])
    return float(2 * (brows - 0.13) + 2 * (dark - 0.27) - 2.5 * np.maximum(0.56 - skin, 0))


def _sheen(head: Head, size: int, rng: Rng) -> Floats:
    """Light on the round of the hair, (S, S) in 0..1: a broken band between hairline and crown."""
    broken = cv2.GaussianBlur(rng.normal(0, 1, (1, size)).astype(np.float32), (0, 0), 3)
    middle = 0.5 + 0.25 * broken / broken.std()
    height = head.height(size)
    y = np.arange(size, dtype=np.float32)[:, None]
    fading = np.clip((head.centre[1] - y) / 40, 0, 1)
    return (fading * np.exp(-(((height - middle) / 0.3) ** 2))).astype(np.float32)


def drawn(strands: Strands, size: int, rng: Rng, contrast: float) -> Layer:
    """Draw strands, later ones over earlier ones, each of its own brightness."""
    canvas = np.zeros((size * _FINE, size * _FINE, 2), np.uint8)
    fine = rng.normal(0, 0.6, len(strands.lock))
    shade = np.clip(1 + contrast * (strands.lock[:, 0] + fine), 0.3, 2.2)
    lines = np.round((strands.points + 0.5) * _FINE * 16).astype(np.int32)
    order = np.argsort(shade + rng.normal(0, 0.7 * contrast, len(shade)))  # dark ones lie deep
    for line, grey in zip(lines[order], shade[order] * _GREY, strict=True):
        cv2.polylines(canvas, [line], False, (float(grey), 255.0), 1, cv2.LINE_AA, 4)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 0.8)
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small[..., 0] / np.maximum(small[..., 1], 1) * (255 / _GREY), small[..., 1] / 255
