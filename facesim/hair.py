"""Strands of hair: noise drawn out along the flow of hair that the face model knows."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import NOSE_BASE, Points, hull

Floats = NDArray[np.float32]
Rng = np.random.Generator


def haired(
    colours: Floats,
    outline: Floats,
    hairy: Floats,
    flow: Floats,
    points: Points,
    sleek: bool,
    rng: Rng,
) -> tuple[Floats, Floats]:
    """Give the faces of a person hair; returns colours (n, S, S, 3) and opacity (n, S, S).

    ``colours`` (n, S, S, 3) in 0..1, ``outline`` (n, S, S), the distance to the silhouette in px,
    and ``flow`` (S, S, 3), how hair lies, are those of the face model; ``hairy`` (S, S) in 0..1
    says where hair is. ``sleek`` hair is combed back from the face of landmarks ``points``
    (81, 2); half of it is long and falls behind the neck.
    """
    tone = _toned(colours, hairy, points)
    mean = _mean(tone, hairy)
    if sleek:
        flow = _combed_back(flow, points)
        tone = np.stack([0.5 * one + 0.5 * cv2.GaussianBlur(one, (0, 0), 2.5) for one in tone])
    fine, broad = strands(flow, rng, 0.7), strands(flow, rng, 1.6)
    contrast = np.minimum(1.2 * flow[..., 2] / (mean.mean() + 0.1), 0.3)
    texture = 0.5 * fine + 0.7 * broad if sleek else fine + broad
    lit = tone * (1 + contrast * texture)[..., None]
    colours = colours + hairy[..., None] * (lit - colours)
    reach = rng.uniform(0, 0.3) if sleek else rng.uniform(0.2, 0.7)  # of single strands, in px
    ragged = reach * hairy * (1.2 * fine + 0.6 * broad)
    opacity = np.clip((outline + ragged) / (2 + 1.5 * hairy) + 0.5, 0, 1)
    if rng.random() < (0.5 if sleek else 0.03):
        return _falling(colours, opacity, mean, points, rng)
    return colours.astype(np.float32), opacity.astype(np.float32)


def strands(flow: Floats, rng: Rng, width: float) -> Floats:
    """Draw a texture (S, S) of mean 0 and deviation 1: strands about ``width`` px wide.

    ``flow`` (S, S, 3) says how hair lies, as ``tools.fit_people.flow`` measures it: where it
    knows no direction, the strands curl.
    """
    size = len(flow)
    curl = cv2.GaussianBlur(rng.standard_normal((size, size, 2), np.float32), (0, 0), 5)
    way = flow[..., :2] / np.maximum(flow[..., 2:], 1e-4) + 0.3 * curl / curl.std()
    angle = 0.5 * np.arctan2(way[..., 1], way[..., 0])
    step = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    at = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2), axis=-1)
    noise = cv2.GaussianBlur(rng.standard_normal((size, size), np.float32), (0, 0), width)
    for reach in (1.5, 3, 6):  # either way, as a flow has no sense: lines of 20 pixels
        along = [
            cv2.remap(noise, at + by * step, None, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)
            for by in (-reach, reach)
        ]
        noise = (noise + along[0] + along[1]) / 3
    noise -= cv2.GaussianBlur(noise, (0, 0), 4 * width)
    return noise / noise.std()


def _toned(colours: Floats, hairy: Floats, points: Points) -> Floats:
    """Return ``colours`` (n, S, S, 3) as hair has them: of one hue, darker than the skin.

    Mixing people brings the tones of their hair together and lightens its outer edge.
    """
    clear = np.clip(colours, 0.01, 1)
    grey = clear.mean(axis=-1)
    skin = np.median(grey[0][hull(points[NOSE_BASE], len(hairy), (2, 3))])
    red, green, blue = _mean(clear, hairy)
    mean = (red + green + blue) / 3
    warm = np.clip(1.1 * (red - blue) / mean, 0.04, 0.5)
    dark = max(min(mean, 1.1 * skin - 0.15), 0.03)
    smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 6) for one in grey])
    even = np.sqrt(np.clip(smooth / dark, 0.4, 1.6)) * (grey / smooth) ** 0.9
    return 1.3 * dark**1.3 * even[..., None] * (1 + warm * np.float32([1, -0.05, -0.95]))


def _mean(colours: Floats, share: Floats) -> Floats:
    """Return the mean colour (3,) of pictures (n, S, S, 3), each pixel by its ``share`` (S, S)."""
    return np.einsum("nyxc,yx->c", colours, share + 1e-6) / (len(colours) * (share + 1e-6).sum())


def _combed_back(flow: Floats, points: Points) -> Floats:
    """Turn the flow (S, S, 3) towards the crown, behind the middle of the hairline."""
    y, x = np.indices(flow.shape[:2], np.float32)
    crown = points[74] - np.float32([0, 70])
    twice = 2 * np.arctan2(y - crown[1], x - crown[0])
    back = flow[..., 2:] * np.dstack([np.cos(twice), np.sin(twice), np.ones_like(x)])
    return 0.3 * flow + 0.7 * back


def _falling(
    colours: Floats, opacity: Floats, tone: Floats, points: Points, rng: Rng
) -> tuple[Floats, Floats]:
    """Let hair of a colour ``tone`` (3,) fall behind the neck, down to the shoulders or lower."""
    size = opacity.shape[-1]
    y, x = np.indices((size, size), np.float32)
    down = np.full((size, size, 3), [-1, 0, 1], np.float32)
    fine, broad = strands(down, rng, 0.8), strands(down, rng, 2)
    half, top = np.ptp(points[[0, 16], 0]) / 2, points[0, 1] - 8
    ends = rng.uniform(2, 14) + np.sort(rng.uniform(0, 12, 2))
    wide = half + np.interp(y, [top, top + 40, size], [-2, *ends])
    wide += rng.uniform(0, 2) * np.sin(y * rng.uniform(0.06, 0.14) + np.sign(x - size / 2))
    aside = np.abs(x - points[8, 0])
    low = size * (rng.uniform(0.8, 0.9) if rng.random() < 0.3 else 1.2)
    edge = np.minimum(np.minimum(wide - aside, y - top), low - y + 2 * broad)
    veil = np.clip((edge + 0.3 * fine + 0.5 * broad) / 4 + 0.5, 0, 1)
    deep = np.clip((aside / half - 0.55) * 2, 0.15, 1) ** 0.7  # in the shadow of the neck
    behind = tone * (deep * (0.95 + 0.1 * fine + 0.16 * broad))[..., None]
    whole, body = 1 - (1 - opacity) * (1 - veil), opacity[..., None]
    mixed = body * colours + (1 - body) * veil[..., None] * behind
    return (mixed / np.maximum(whole, 0.01)[..., None]).astype(np.float32), whole.astype(np.float32)
