"""FE, face editing: one attribute of the target's own face, in the regions it concerns."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import (
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    HAIRLINE,
    LIP_INNER,
    LIP_OUTER,
    Mask,
    Portrait,
    fill,
    grown,
    hull,
)
from dfa_lib.taxonomy import Category, Region
from facesim import pixels as px
from facesim.methods import register
from facesim.pixels import Alpha, Rng

_SKIN = Region.FOREHEAD, Region.CHEEKS, Region.NOSE, Region.CHIN
_FEATURES = Region.EYES, Region.EYEBROWS, Region.MOUTH
# CIE Lab: lightness as a share of the own one, a and b added at full strength
_LIPSTICKS = np.float32(
    [[0.72, 34, 8], [0.6, 26, -4], [0.9, 20, 12], [1.25, -18, -4], [1.4, -24, 4], [1.2, -14, 10]]
)
_SHADOWS = np.float32([[0.5, 12, -24], [0.4, 6, 8], [0.6, 24, 2], [0.5, -18, -8], [1.4, 8, 20]])
_DYES = np.float32([[1.7, 10, 30], [1.2, 30, 16], [0.7, 14, -14], [1.5, -4, -8], [0.55, 2, 2]])


@register(Category.FE)
def makeup(rng: Rng, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Paint the lips: red, dark or nude.

    ``strength`` is how far colour and lightness go, and how far the paint runs over the edge:
    by up to an eighth of the lips.
    """
    size, marks = len(target.image), target.landmarks
    lips = fill(grown(marks[LIP_OUTER], rng.uniform(1.0, 1.0 + 0.12 * strength)), size)
    lips &= ~fill(marks[LIP_INNER], size)
    return _tinted(rng, target, px.feather(lips, size / 200), rng.choice(_LIPSTICKS), strength)


@register(Category.FE)
def eyeshadow(rng: Rng, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Shade the lids from the lashes towards the brows, densest at the lashes.

    ``strength`` is how far colour and lightness go.
    """
    size, marks = len(target.image), target.landmarks
    alpha = np.zeros((size, size), np.float32)
    for eye, lash in ((EYE_LEFT, [36, 37, 38, 39]), (EYE_RIGHT, [42, 43, 44, 45])):
        rim, wide = grown(marks[lash], (1.25, 1.0)), np.ptp(marks[eye, 0])
        for lift in np.linspace(0.15, rng.uniform(0.35, 0.5), 4):
            upper = (rim - np.float32([0, lift * wide]))[::-1]
            alpha += px.feather(fill(np.concatenate([rim, upper]), size), size / 80) / 4
        alpha[fill(marks[eye], size)] = 0
    return _tinted(rng, target, alpha, rng.choice(_SHADOWS), strength)


@register(Category.FE)
def smooth_skin(rng: Rng, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Take pores, lines and shading from the skin and tone it, as beauty filters do.

    ``strength`` widens the bilateral filter (Tomasi and Manduchi 1998) in space and in range.
    """
    alpha = px.over(target, *_SKIN, sigma=len(target.image) / 60)
    alpha *= 1 - px.over(target, *_FEATURES)
    tone = rng.uniform(-1, 1, 3) * np.float32([4, 3, 3]) * strength
    layer = px.to_lab(px.plastic(target.image, strength)) + tone.astype(np.float32)
    return px.laid(target, px.from_lab(layer), alpha)


@register(Category.FE)
def age(rng: Rng, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Deepen the creases the face has, and mottle its skin, paler or redder.

    ``strength`` scales all three; no line is drawn that is not there in the picture.
    """
    size = len(target.image)
    lab = px.to_lab(target.image)
    light = lab[..., 0]
    creases = px.soft(light, size / 250) - px.soft(light, size / 40)
    deeper = np.clip(np.minimum(creases, 0.3 * creases), -4, 2)
    spots = px.soft(rng.standard_normal((size, size)), size / 70)
    spots /= spots.std() + 1e-6
    lab[..., 0] += strength * (rng.uniform(2.4, 3.2) * deeper + 1.5 * spots + rng.uniform(-2, 2))
    lab[..., 1:] *= 1 + rng.choice([-1, 1]) * rng.uniform(0.4, 0.55) * strength
    lab[..., 1] += 1.5 * strength * spots
    skin = px.over(target, Region.FOREHEAD, Region.CHEEKS, Region.CHIN, sigma=size / 35)
    skin *= 1 - px.over(target, Region.NOSE, *_FEATURES, sigma=size / 60)
    return _decoded(rng, target, px.from_lab(lab), skin, strength, rim=0)


@register(Category.FE)
def redraw_brows(rng: Rng, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Fill the brows in, denser and wider than they grew, or bleach them away.

    ``strength`` is how flat the new colour covers the hairs, up to 85 %.
    """
    size, marks = len(target.image), target.landmarks
    brows = np.zeros((size, size), bool)
    thick = np.ptp(marks[BROW_LEFT, 0]) * rng.uniform(0.16, 0.26)
    for brow, order in ((marks[BROW_LEFT], 1), (marks[BROW_RIGHT], -1)):
        width = (np.float32([0.5, 0.9, 1, 0.8, 0.4])[::-order] * thick)[:, None]
        lower = brow + width * np.float32([0, 1])
        brows |= fill(np.concatenate([brow - width * np.float32([0, 0.2]), lower[::-1]]), size)
    lab = px.to_lab(target.image)
    skin = lab[hull(marks[27:31], size, 1.3)].mean(axis=0)
    dark = lab[brows][:, 0].mean() < 0.6 * skin[0]
    goal = skin * [0.92, 1, 1] if dark or rng.random() < 0.3 else skin * [0.4, 0.6, 0.6]
    layer = lab + (goal - lab) * np.float32(0.85 * strength)
    hairs = px.soft(rng.standard_normal((size // 2, size)), size / 250)
    hairs = cv2.resize(hairs / hairs.std(), (size, size), interpolation=cv2.INTER_CUBIC)
    alpha = px.feather(brows, size / 90) * np.clip(0.75 + 0.25 * hairs, 0, 1)
    return _decoded(rng, target, px.from_lab(layer), alpha, strength)


@register(Category.FE)
def dye_hair(rng: Rng, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Dye what has the colour of the hair along the hairline; the dye ends at the sides.

    ``strength`` is how far colour and lightness go, and how far strands turn flat.
    """
    size, marks = len(target.image), target.landmarks
    middle = (marks[EYE_LEFT].mean(axis=0) + marks[EYE_RIGHT].mean(axis=0)) / 2
    outer, near, inner = (
        middle + (marks[HAIRLINE] - middle) * np.float32(k) for k in (1.7, 1.15, 0.97)
    )
    cap = fill(np.concatenate([outer, inner[::-1]]), size)
    alpha = px.feather(cap, size / 80) * _like(target, cap & fill(near, size))
    return _tinted(rng, target, alpha, rng.choice(_DYES), strength)


def _like(target: Portrait, sample: Mask) -> Alpha:
    """How near each pixel is in colour to most of those in ``sample``, in [0, 1].

    What is nearer to the wall, as the upper corners of the picture show it, is not.
    """
    lab, edge = px.to_lab(target.image), len(sample) // 10
    wall = np.concatenate([lab[:edge, :edge], lab[:edge, -edge:]]).reshape(-1, 3)
    near, far = (
        np.abs(lab - np.median(part, axis=0)) @ np.float32([0.5, 1, 1])
        for part in (lab[sample], wall)
    )
    share = np.clip(2 - near / 12, 0, 1) * np.clip((far - near) / 6 + 0.5, 0, 1)
    return cv2.GaussianBlur(share, (0, 0), 0.8)


def _tinted(
    rng: Rng, target: Portrait, alpha: Alpha, tint: NDArray[np.float32], strength: float
) -> tuple[Portrait, Alpha]:
    """Scale lightness by ``tint[0]`` and add ``tint[1:]`` to a and b; both by ``strength``.

    Light and shade stay, but flatter. What is dark already turns lighter, or nobody would see.
    """
    lab = px.to_lab(target.image)
    dark = (lab[..., 0] * alpha).sum() < 38 * alpha.sum()
    gain = max(tint[0], 1 / tint[0]) if dark else tint[0]
    lab[..., 0] *= 1 + strength * (gain - 1)
    lab[..., 1:] += strength * tint[1:]
    lab[..., 0] += 0.3 * strength * (px.soft(lab[..., 0], len(lab) / 40) - lab[..., 0])
    return _decoded(rng, target, px.from_lab(lab), alpha, strength)


def _decoded(
    rng: Rng, target: Portrait, above: NDArray, alpha: Alpha, strength: float, rim: int = 32
) -> tuple[Portrait, Alpha]:
    """Lay an edit over a portrait as the decoder of an editing network returns it.

    The place and a margin of 1 / ``rim`` of the side (0: none) lose up to 70 % of their
    resolution and gain the faint grid of transposed convolutions; ``strength`` scales both.
    """
    size, near = len(target.image), alpha
    if rim:
        reach = np.ones((size // rim | 1,) * 2, np.uint8)
        wide = cv2.dilate((alpha > 0.1).astype(np.uint8), reach) > 0
        near = np.maximum(alpha, px.feather(wide, size / 90))
    picture = px.resampled(px.blend(target.image, above, alpha), 1 - 0.7 * strength)
    return px.laid(target, px.grid(picture, rng, 0.035 * strength), near)
