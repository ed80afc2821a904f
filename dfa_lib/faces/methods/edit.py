"""FE, face editing: one attribute of the target's own face, one region, crisp outside it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.faces.geometry import (
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    HAIRLINE,
    LIP_INNER,
    LIP_OUTER,
    Mask,
    Points,
    Portrait,
    fill,
    grown,
    region_masks,
    resample_polyline,
)
from dfa_lib.faces.pixels import Alpha, blend, feather, from_lab, to_lab
from dfa_lib.taxonomy import Region

_LIPSTICKS = np.float32([[38, 52, 22], [30, 38, 8], [50, 58, 12], [45, 35, -18], [58, 50, 38]])
_HAIR_DYES = np.float32([[35, 42, 34], [62, 8, 42], [38, 28, -34], [45, -24, 8], [22, 2, 2]])


def makeup(
    rng: np.random.Generator, strength: float, target: Portrait
) -> tuple[Portrait, Alpha]:
    """Paint the lips in a flat colour."""
    size, marks = len(target.image), target.landmarks
    lips = fill(grown(marks[LIP_OUTER], rng.uniform(1.02, 1.12)), size)
    lips &= ~fill(marks[LIP_INNER], size)
    alpha = feather(lips, 0.5)
    return _dye(target, alpha, rng.choice(_LIPSTICKS), 0.75 * strength, 0.5 * strength)


def eyeshadow(
    rng: np.random.Generator, strength: float, target: Portrait
) -> tuple[Portrait, Alpha]:
    """Paint the lids from lash to brow in a flat colour."""
    size, marks = len(target.image), target.landmarks
    lids = np.zeros((size, size), bool)
    for eye, lash in ((EYE_LEFT, [36, 37, 38, 39]), (EYE_RIGHT, [42, 43, 44, 45])):
        rim = grown(marks[lash], (1.25, 1.0))
        lift = np.float32([0, 0.75 * np.ptp(marks[eye, 0]) * rng.uniform(0.5, 0.7)])
        lids |= fill(np.concatenate([rim, (rim - lift)[::-1]]), size)
    colour = np.float32([rng.uniform(25, 45), rng.uniform(-5, 35), rng.uniform(-40, 10)])
    return _dye(target, feather(lids, 0.7), colour, 0.7 * strength, 0.4 * strength)


def smooth_skin(
    rng: np.random.Generator, strength: float, target: Portrait
) -> tuple[Portrait, Alpha]:
    """Take pores, lines and shadows from the skin, as a beauty filter does."""
    size = len(target.image)
    masks = region_masks(target.landmarks, size)
    skin = masks[Region.CHEEKS] | masks[Region.FOREHEAD] | masks[Region.NOSE] | masks[Region.CHIN]
    smooth = cv2.bilateralFilter(target.image, 0, 45 * strength, size / 26 * strength)
    smooth = cv2.GaussianBlur(smooth, (0, 0), 0.8 * strength)
    glow = np.float32([rng.uniform(4, 8), rng.uniform(0, 3), rng.uniform(-3, 1)]) * strength
    alpha = feather(skin, 0.6)
    return Portrait(blend(target.image, from_lab(to_lab(smooth) + glow), alpha), target.landmarks), alpha


def age(rng: np.random.Generator, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Draw lines on the forehead and from the nose to the mouth."""
    size, marks = len(target.image), target.landmarks
    relief = np.zeros((size * 4, size * 4), np.float32)
    for line in _wrinkles(rng, marks):
        curve = np.round(resample_polyline(line, 24) * 32 + 16).astype(np.int32)
        cv2.polylines(relief, [curve], False, 1.0, 5, cv2.LINE_AA, 3)
    relief = cv2.resize(cv2.GaussianBlur(relief, (0, 0), 1.6), (size, size), interpolation=cv2.INTER_AREA)
    light = np.roll(relief, max(size // 100, 1), axis=0)
    change = (26 * light - 75 * relief)[..., None] * strength
    picture = np.clip(target.image + change, 0, 255).astype(np.uint8)
    return Portrait(picture, marks), np.clip(relief * 2, 0, 1)


def redraw_brows(
    rng: np.random.Generator, strength: float, target: Portrait
) -> tuple[Portrait, Alpha]:
    """Draw dense, flat eyebrows over the grown ones."""
    size, marks = len(target.image), target.landmarks
    brows = np.zeros((size, size), bool)
    thick = np.ptp(marks[BROW_LEFT, 0]) * rng.uniform(0.16, 0.26)
    for brow, order in ((marks[BROW_LEFT], 1), (marks[BROW_RIGHT], -1)):
        width = (np.float32([0.35, 0.8, 1, 1, 0.8])[::order] * thick)[:, None]
        lower = brow + width * np.float32([0, 1])
        brows |= fill(np.concatenate([brow - width * np.float32([0, 0.15]), lower[::-1]]), size)
    colour = np.float32([rng.uniform(10, 24), rng.uniform(2, 10), rng.uniform(2, 14)])
    return _dye(target, feather(brows, 0.5), colour, 0.85 * strength, 0.8 * strength)


def dye_hair(
    rng: np.random.Generator, strength: float, target: Portrait
) -> tuple[Portrait, Alpha]:
    """Dye what has the colour of the hair along the hairline, spilling a little."""
    size = len(target.image)
    middle = (target.landmarks[EYE_LEFT].mean(0) + target.landmarks[EYE_RIGHT].mean(0)) / 2
    line = target.landmarks[HAIRLINE] - middle
    cap = np.concatenate([middle + line * np.float32(1.55), (middle + line * np.float32(0.97))[::-1]])
    hair = _like_the_middle(target, fill(cap, size), fill(middle + line * np.float32(1.15), size))
    return _dye(target, feather(hair, 0.7), rng.choice(_HAIR_DYES), 0.8 * strength, 0.3 * strength)


def _like_the_middle(target: Portrait, cap: Mask, near: Mask) -> Mask:
    """Keep the pixels of ``cap`` whose colour is that of most of them close to the hairline."""
    lab = to_lab(target.image)
    sample = lab[cap & near]
    far = np.abs(lab - np.median(sample, axis=0)) @ np.float32([0.5, 1, 1])
    return cap & (far < 18)


def _dye(
    target: Portrait, alpha: Alpha, colour: NDArray[np.float32], chroma: float, flat: float
) -> tuple[Portrait, Alpha]:
    """Pull Lab colours under ``alpha`` to ``colour`` by the share ``chroma``; ``flat`` takes light and
    shade along."""
    lab = to_lab(target.image)
    share = np.float32([min(flat, 0.9), min(chroma, 1.0), min(chroma, 1.0)])
    return Portrait(blend(target.image, from_lab(lab + (colour - lab) * share), alpha), target.landmarks), alpha


def _wrinkles(rng: np.random.Generator, marks: Points) -> list[Points]:
    """Lines across the forehead, folds beside the nose, crow's feet."""
    brows, hair = marks[17:27], marks[HAIRLINE]
    top = hair[3:10]
    base = resample_polyline(brows[1:9], 7)
    heights = np.linspace(0.25, 0.75, int(rng.integers(2, 5)))
    lines = [base + (top - base) * np.float32(h + rng.normal(0, 0.02)) for h in heights]
    for nose, corner in ((31, 48), (35, 54)):
        out = (marks[corner] - marks[33]) * np.float32(0.25)
        lines.append(np.stack([marks[nose] + out * 0.5, marks[corner] + out - np.float32([0, 4]),
                               marks[corner] + out * 1.2]))
    for outer, inner in ((36, 39), (45, 42)):
        away = (marks[outer] - marks[inner]) * np.float32(0.45)
        for tilt in (-0.3, 0.1, 0.5):
            side = np.float32([0, tilt * np.linalg.norm(away)])
            lines.append(np.stack([marks[outer] + away * 0.25, marks[outer] + away + side]))
    return lines
