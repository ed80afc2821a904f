"""FE, face editing: one attribute of the target's own face, one region, crisp outside it."""

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
    Image,
    Mask,
    Points,
    Portrait,
    fill,
    grown,
    region_masks,
    resample_polyline,
)
from dfa_lib.taxonomy import Region
from facesim.pixels import Alpha, blend, feather, from_lab, to_lab, uneven

_LIPSTICKS = np.float32([[38, 52, 22], [30, 38, 8], [50, 58, 12], [45, 35, -18], [58, 50, 38]])
_HAIR_DYES = np.float32([[35, 32, 28], [62, 8, 36], [38, 22, -26], [45, -20, 8], [16, 1, 1]])


def makeup(rng: np.random.Generator, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
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
    colour = to_lab(target.image)[lids].mean(axis=0) + uneven(rng, 24, 40)
    return _dye(target, feather(lids, 0.7), colour, 0.8 * strength, 0.6 * strength)


def smooth_skin(
    rng: np.random.Generator, strength: float, target: Portrait
) -> tuple[Portrait, Alpha]:
    """Take pores, lines and shadows from the skin, as a beauty filter does."""
    size = len(target.image)
    alpha = _skin(target.landmarks, size, Region.FOREHEAD, Region.CHEEKS, Region.NOSE, Region.CHIN)
    smooth = cv2.bilateralFilter(target.image, 0, 45 * strength, size / 26 * strength)
    smooth = cv2.GaussianBlur(smooth, (0, 0), 0.8 * strength)
    glow = np.float32([rng.uniform(4, 8), rng.uniform(0, 3), rng.uniform(-3, 1)]) * strength
    return _laid(target, from_lab(to_lab(smooth) + glow), alpha)


def age(rng: np.random.Generator, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Draw lines on the forehead and from the nose to the mouth, and roughen the skin there."""
    size, marks = len(target.image), target.landmarks
    lines = _drawn(_wrinkles(rng, marks), size)
    lit = np.roll(lines, max(size // 100, 1), axis=0)
    skin = _skin(marks, size, Region.FOREHEAD, Region.CHEEKS)
    rough = cv2.GaussianBlur(rng.standard_normal((size, size), np.float32), (0, 0), size / 85)
    gain = 0.14 * lit - 0.42 * lines + 0.2 * skin * rough
    picture = np.clip(target.image * (1 + strength * gain[..., None]), 0, 255).astype(np.uint8)
    return Portrait(picture, marks), np.maximum(np.clip(lines * 2, 0, 1), skin)


def _drawn(lines: list[Points], size: int) -> Alpha:
    """Draw thin soft lines at four times the size."""
    canvas = np.zeros((size * 4, size * 4), np.float32)
    for line in lines:
        curve = np.round(resample_polyline(line, 24) * 32 + 16).astype(np.int32)
        cv2.polylines(canvas, [curve], False, 1.0, size // 26, cv2.LINE_AA, 3)
    soft = cv2.GaussianBlur(canvas, (0, 0), size / 80)
    return cv2.resize(soft, (size, size), interpolation=cv2.INTER_AREA)


def _skin(marks: Points, size: int, *regions: Region) -> Alpha:
    """Opacity of some regions of the skin, with a nearly crisp edge."""
    masks = region_masks(marks, size)
    return feather(np.any([masks[region] for region in regions], axis=0), 0.6)


def redraw_brows(
    rng: np.random.Generator, strength: float, target: Portrait
) -> tuple[Portrait, Alpha]:
    """Draw dense, flat eyebrows over the grown ones."""
    size, marks = len(target.image), target.landmarks
    brows = np.zeros((size, size), bool)
    thick = np.ptp(marks[BROW_LEFT, 0]) * rng.uniform(0.15, 0.25)
    for brow, order in ((marks[BROW_LEFT], 1), (marks[BROW_RIGHT], -1)):
        width = (np.float32([0.35, 0.8, 1, 1, 0.8])[::order] * thick)[:, None]
        lower = brow + width * np.float32([0, 1])
        brows |= fill(np.concatenate([brow - width * np.float32([0, 0.15]), lower[::-1]]), size)
    own = to_lab(target.image)[brows].mean(axis=0)
    bleach = own[0] < 32 or rng.random() < 0.3  # darker than black nobody would see
    step = np.float32([rng.uniform(20, 34), rng.uniform(-4, 6), rng.uniform(-4, 10)])
    colour = own + step * np.float32([1 if bleach else -1, 1, 1])
    return _dye(target, feather(brows, 0.5), colour, 0.9 * strength, 0.8 * strength)


def dye_hair(rng: np.random.Generator, strength: float, target: Portrait) -> tuple[Portrait, Alpha]:
    """Dye what has the colour of the hair along the hairline: flat, cut off at the sides."""
    size, marks = len(target.image), target.landmarks
    middle = (marks[EYE_LEFT].mean(axis=0) + marks[EYE_RIGHT].mean(axis=0)) / 2
    outer, near, inner = (
        middle + (marks[HAIRLINE] - middle) * np.float32(k) for k in (1.55, 1.15, 0.97)
    )
    cap = fill(np.concatenate([outer, inner[::-1]]), size)
    hair = _like_the_middle(target, cap, fill(near, size))
    return _dye(target, feather(hair, 0.7), rng.choice(_HAIR_DYES), 0.85 * strength, 0.6 * strength)


def _like_the_middle(target: Portrait, cap: Mask, near: Mask) -> Mask:
    """Keep the pixels of ``cap`` whose colour is that of most of them close to the hairline."""
    lab = to_lab(target.image)
    sample = lab[cap & near]
    far = np.abs(lab - np.median(sample, axis=0)) @ np.float32([0.5, 1, 1])
    return cap & (far < 18)


def _dye(
    target: Portrait, alpha: Alpha, colour: NDArray[np.float32], chroma: float, flat: float
) -> tuple[Portrait, Alpha]:
    """Pull Lab towards ``colour``: a and b by the share ``chroma``, lightness by ``flat``."""
    lab = to_lab(target.image)
    share = np.float32([min(flat, 0.9), min(chroma, 1.0), min(chroma, 1.0)])
    return _laid(target, from_lab(lab + (colour - lab) * share), alpha)


def _laid(target: Portrait, above: Image, alpha: Alpha) -> tuple[Portrait, Alpha]:
    return Portrait(blend(target.image, above, alpha), target.landmarks), alpha


def _wrinkles(rng: np.random.Generator, marks: Points) -> list[Points]:
    """Return lines across the forehead, folds beside the nose and crow's feet."""
    unit = np.float32(marks[42, 0] - marks[39, 0])
    low, high = resample_polyline(marks[18:26], 7), marks[HAIRLINE][3:10]
    heights = np.linspace(0.25, 0.75, int(rng.integers(2, 5)))
    lines = [low + (high - low) * np.float32(h + rng.normal(0, 0.02)) for h in heights]
    for side, nose, mouth, eye in ((-1, 31, 48, 36), (1, 35, 54, 45)):
        fold = [(0.15, -0.1), (0.3, -0.2), (0.25, 0.1)]
        lines.append(marks[[nose, mouth, mouth]] + np.float32(fold) * np.float32([side, 1]) * unit)
        for tilt in (-0.25, 0.05, 0.3):
            foot = np.float32([(0.15, 0), (0.5, tilt)]) * np.float32([side, 1])
            lines.append(marks[eye] + foot * unit)
    return lines
