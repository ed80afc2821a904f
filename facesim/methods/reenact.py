"""FR, face reenactment: the target's own face with another expression.

The expression is moved by a warp of the landmarks; what the picture does not show, the inside
of the mouth, is made up. ``strength`` scales how badly: soft, lifeless, eyes that disagree.
"""

import cv2
import numpy as np

from dfa_lib.face.geometry import (
    EYE_LEFT,
    EYE_RIGHT,
    LIP_INNER,
    LIP_OUTER,
    Image,
    Points,
    Portrait,
    fill,
    grown,
    hull,
    warp,
)
from dfa_lib.taxonomy import Category
from facesim import pixels as px
from facesim.methods import register
from facesim.pixels import Alpha, Rng

_LIPS = slice(48, 68)
_UPPER_LIDS, _LOWER_LIDS = [37, 38, 43, 44], [41, 40, 47, 46]
_LOWER_LIP, _UPPER_LIP = [55, 56, 57, 58, 59, 65, 66, 67], [49, 50, 51, 52, 53, 61, 62, 63]
_CORNERS = [48, 60, 54, 64]


@register(Category.FR)
def warp_reenact(
    rng: Rng, strength: float, target: Portrait, driver: Portrait | None
) -> tuple[Portrait, Alpha]:
    """Give the whole face the driver's expression, as one-shot talking heads do.

    A dense warp, whose gaps a generator fills (Siarohin et al. 2019): mouth and eyes lose up to
    half of their resolution with ``strength``, and the teeth are one soft band.
    """
    close = rng.choice([rng.uniform(0.25, 0.5), rng.uniform(-0.35, -0.2)])
    marks = _blink(target.landmarks, px.dose(strength) * close)
    marks = _speak(rng, strength, marks, driver)
    marks[17:27, 1] -= px.dose(strength) * rng.uniform(-0.04, 0.12) * _unit(marks)
    face = _filled_mouth(rng, strength, warp(target.image, target.landmarks, marks), marks)
    size = len(face)
    near = np.maximum(_mouth(target.landmarks, marks, size, 1.35), _eyes(marks, size))
    face = px.blend(face, px.resampled(face, 1 - rng.uniform(0.55, 0.7) * strength), near)
    both = np.concatenate([target.landmarks, marks])
    return px.laid(target, face, px.feather(hull(both, size, 1.05), size / 60), marks)


@register(Category.FR)
def mouth_reenact(
    rng: Rng, strength: float, target: Portrait, driver: Portrait | None
) -> tuple[Portrait, Alpha]:
    """Sync the lips only, as to a sound track (Prajwal et al. 2020).

    The patch from nose to chin is soft and of slightly wrong colour, by ``strength``.
    """
    marks = _speak(rng, strength, target.landmarks, driver)
    face = _filled_mouth(rng, strength, warp(target.image, target.landmarks, marks), marks)
    alpha = _mouth(target.landmarks, marks, len(face), 1.7)
    face = px.from_lab(px.to_lab(face) + px.uneven(rng, 2 * strength, 7 * strength))
    return px.laid(target, px.resampled(face, 1 - rng.uniform(0.6, 0.75) * strength), alpha, marks)


@register(Category.FR)
def eye_reenact(
    rng: Rng, strength: float, target: Portrait, driver: Portrait | None
) -> tuple[Portrait, Alpha]:
    """Turn the gaze and move the lids (Ganin et al. 2016).

    By ``strength`` one eye follows less than the other, loses its catch-light, and both soften.
    """
    own, driven = _opening(target.landmarks), driver and _opening(driver.landmarks)
    close = float(rng.choice([rng.uniform(0.3, 0.55), rng.uniform(-0.45, -0.25)]))
    if driven and 0.25 < abs(1 - driven / own) < 0.6:
        close = 1 - driven / own
    marks = _blink(target.landmarks, close * px.dose(strength))
    face = _looking(rng, strength, target, marks)
    size = len(face)
    alpha = np.maximum(_eyes(target.landmarks, size), _eyes(marks, size))
    return px.laid(target, px.resampled(face, 1 - rng.uniform(0.45, 0.6) * strength), alpha, marks)


def _looking(rng: Rng, strength: float, target: Portrait, marks: Points) -> Image:
    """Warp the lids to ``marks`` and the irises aside; take the light from one of the eyes."""
    old, new = [target.landmarks], [marks]
    aside = rng.choice([-1, 1]) * rng.uniform(0.1, 0.16) * px.dose(strength)
    lame = rng.integers(2)
    for k, eye in enumerate((EYE_LEFT, EYE_RIGHT)):
        centre, wide = target.landmarks[eye].mean(axis=0), np.ptp(target.landmarks[eye, 0])
        iris = centre + np.float32([[-0.2, 0], [0, 0], [0.2, 0]]) * wide
        shift = aside * wide * (1 - 1.2 * strength * (k == lame))
        old, new = [*old, iris], [*new, iris + np.float32([shift, 0])]
    face = warp(target.image, np.concatenate(old), np.concatenate(new))
    lid = px.feather(hull(marks[(EYE_LEFT, EYE_RIGHT)[lame]], len(face), 0.95), 0.6)
    dull = cv2.morphologyEx(face, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return px.blend(face, dull, lid * px.dose(strength))


def _unit(marks: Points) -> float:
    """The distance between the eyes in pixels, the measure of all movements."""
    return float(np.linalg.norm(marks[EYE_RIGHT].mean(axis=0) - marks[EYE_LEFT].mean(axis=0)))


def _opening(marks: Points) -> float:
    gap = marks[_LOWER_LIDS] - marks[_UPPER_LIDS]
    return float(np.linalg.norm(gap, axis=1).mean()) / _unit(marks) + 1e-3


def _blink(marks: Points, close: float) -> Points:
    """Lower the upper lids by the share ``close`` of the opening (negative: raise them)."""
    marks = marks.copy()
    marks[_UPPER_LIDS] += np.float32(close) * (marks[_LOWER_LIDS] - marks[_UPPER_LIDS])
    return marks


def _speak(rng: Rng, strength: float, marks: Points, driver: Portrait | None) -> Points:
    """Give the mouth the driver's shape, then open it and move its corners some more."""
    new, unit = marks.copy(), _unit(marks)
    if driver is not None:
        lips, centre = driver.landmarks[_LIPS], driver.landmarks[_LIPS].mean(axis=0)
        wide = np.ptp(marks[LIP_OUTER, 0]) / (np.ptp(lips[:, 0]) + 1e-3)
        new[_LIPS] = marks[_LIPS].mean(axis=0) + (lips - centre) * np.float32(0.5 + 0.5 * wide)
    gap, smile = rng.uniform(0.05, 0.16), rng.uniform(-0.08, 0.12)
    new[_LOWER_LIP, 1] += gap * unit * 0.8
    new[_UPPER_LIP, 1] -= gap * unit * 0.2
    new[_CORNERS, 1] -= smile * unit * 0.5
    new[_CORNERS, 0] += np.float32([-1, -1, 1, 1]) * smile * unit
    new[7:10, 1] += gap * unit * 0.4
    return (marks + np.float32(px.dose(strength)) * (new - marks)).astype(np.float32)


def _filled_mouth(rng: Rng, strength: float, image: Image, marks: Points) -> Image:
    """Make up the inside of an open mouth: teeth as a soft band in warm shade, never black."""
    inner, size = marks[LIP_INNER], len(image)
    high, wide = np.ptp(inner[:, 1]), np.ptp(inner[:, 0])
    if high < 2:
        return image
    skin = px.to_lab(image)[hull(marks[27:36], size)].mean(axis=0)
    shade = skin * [0.45, 1.1, 0.9] + rng.normal(0, 2, 3)
    teeth = skin * [0.9, 0.3, 0.6] + [9, 0, 0] + rng.normal(0, 2, 3)
    y, x = np.indices((size, size), np.float32)
    middle = inner.mean(axis=0) - np.float32([0, 0.12 * high])
    band = np.exp(-(((y - middle[1]) / (0.36 * high)) ** 4) - ((x - middle[0]) / (0.4 * wide)) ** 4)
    inside = px.from_lab(shade + (teeth - shade) * band[..., None])
    return px.blend(image, inside, px.feather(fill(inner, size), 0.7) * min(2 * strength, 1))


def _mouth(old: Points, new: Points, size: int, grow: float) -> Alpha:
    """Opacity round the mouth before and after."""
    both = np.concatenate([old[LIP_OUTER], new[LIP_OUTER]])
    return px.feather(hull(grown(both, (grow * 0.9, grow * 1.15)), size), size / 90)


def _eyes(marks: Points, size: int) -> Alpha:
    """Opacity round both eyes."""
    left, right = (hull(grown(marks[eye], (1.35, 2.2)), size) for eye in (EYE_LEFT, EYE_RIGHT))
    return px.feather(left | right, size / 100)
