"""FR, face reenactment: the target's own face with another expression."""

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
from facesim.pixels import Alpha, blend, feather, match_colour, resampled

_LIPS = slice(48, 68)
_UPPER_LIDS, _LOWER_LIDS = [37, 38, 43, 44], [41, 40, 47, 46]
_LOWER_LIP, _UPPER_LIP = [55, 56, 57, 58, 59, 65, 66, 67], [49, 50, 51, 52, 53, 61, 62, 63]
_CORNERS = [48, 60, 54, 64]


def warp_reenact(
    rng: np.random.Generator, strength: float, target: Portrait, driver: Portrait | None
) -> tuple[Portrait, Alpha]:
    """Warp the face to the driving expression; mouth and eyes come back soft from a generator."""
    marks = _speak(rng, strength, _blink(target.landmarks, rng.uniform(-0.2, 0.5)), driver)
    marks[17:27, 1] -= rng.uniform(-0.03, 0.09) * _unit(marks)
    face = _paint_mouth(rng, warp(target.image, target.landmarks, marks), marks)
    size = len(face)
    alpha = np.maximum(_mouth(target.landmarks, marks, size, 1.35), _eyes(marks, size))
    soft = resampled(face, _resolution(rng, strength, (0.42, 0.6)))
    return Portrait(blend(face, soft, alpha), marks), alpha


def mouth_reenact(
    rng: np.random.Generator, strength: float, target: Portrait, driver: Portrait | None
) -> tuple[Portrait, Alpha]:
    """Sync the lips only, as to a sound track: mouth and chin from a low-resolution generator."""
    marks = _speak(rng, strength, target.landmarks, driver)
    face = _paint_mouth(rng, warp(target.image, target.landmarks, marks), marks)
    size = len(face)
    mask = _mouth(target.landmarks, marks, size, 1.6)
    face = match_colour(face, target.image, mask > 0.5, rng.normal(0, 1.5 * strength, 3))
    soft = resampled(face, _resolution(rng, strength, (0.36, 0.52)))
    return Portrait(blend(target.image, soft, mask), marks), mask


def eye_reenact(
    rng: np.random.Generator, strength: float, target: Portrait, driver: Portrait | None
) -> tuple[Portrait, Alpha]:
    """Close or widen the eyes (to the driver's, where they differ) and redraw them softly."""
    own, driven = _opening(target.landmarks), driver and _opening(driver.landmarks)
    close = float(rng.choice([rng.uniform(0.55, 0.95), rng.uniform(-0.6, -0.4)]))
    if driven and abs(1 - driven / own) > 0.4:
        close = 1 - driven / own
    marks = _blink(target.landmarks, close)
    face = warp(target.image, target.landmarks, marks)
    alpha = np.maximum(_eyes(target.landmarks, len(face)), _eyes(marks, len(face)))
    soft = resampled(face, _resolution(rng, strength, (0.36, 0.5)))
    return Portrait(blend(target.image, soft, alpha), marks), alpha


def _resolution(rng: np.random.Generator, strength: float, bounds: tuple[float, float]) -> float:
    return float(np.clip(rng.uniform(*bounds) / strength**0.7, 0.22, 0.95))


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


def _speak(
    rng: np.random.Generator, strength: float, marks: Points, driver: Portrait | None
) -> Points:
    """Give the mouth the driver's shape, then open it and move its corners some more."""
    marks, unit = marks.copy(), _unit(marks)
    if driver is not None:
        lips, centre = driver.landmarks[_LIPS], driver.landmarks[_LIPS].mean(axis=0)
        wide = np.ptp(marks[LIP_OUTER, 0]) / (np.ptp(lips[:, 0]) + 1e-3)
        marks[_LIPS] = marks[_LIPS].mean(axis=0) + (lips - centre) * np.float32(wide)
    gap, smile = rng.uniform(0.0, 0.22) * strength, rng.uniform(-0.08, 0.12)
    marks[_LOWER_LIP, 1] += gap * unit * 0.8
    marks[_UPPER_LIP, 1] -= gap * unit * 0.2
    marks[_CORNERS, 1] -= smile * unit * 0.5
    marks[_CORNERS, 0] += np.float32([-1, -1, 1, 1]) * smile * unit
    marks[7:10, 1] += gap * unit * 0.4
    return marks


def _paint_mouth(rng: np.random.Generator, image: Image, marks: Points) -> Image:
    """Draw cavity and upper teeth anew: the source picture need not show any."""
    inner, size = marks[LIP_INNER], len(image)
    if np.ptp(inner[:, 1]) < 2:
        return image
    light = float(image[hull(marks[:27], size, 0.7)].mean()) / 140
    cavity = np.clip(np.array([62, 26, 26]) * light + rng.normal(0, 6, 3), 0, 255)
    teeth = np.clip(np.array([205, 195, 182]) * light + rng.normal(0, 6, 3), 0, 255)
    inside = fill(inner, size)
    upper = inner.copy()
    upper[5:8, 1] = inner[[3, 2, 1], 1] + np.ptp(inner[:, 1]) * rng.uniform(0.3, 0.55)
    picture = blend(image, np.broadcast_to(cavity, image.shape), feather(inside, 0.5))
    shown = feather(inside & fill(upper, size), 0.5)
    return blend(picture, np.broadcast_to(teeth, image.shape), shown)


def _mouth(old: Points, new: Points, size: int, grow: float) -> Alpha:
    """Opacity round the mouth before and after."""
    both = np.concatenate([old[LIP_OUTER], new[LIP_OUTER]])
    return feather(hull(grown(both, (grow * 0.9, grow * 1.15)), size), size / 100)


def _eyes(marks: Points, size: int) -> Alpha:
    """Opacity round both eyes."""
    left, right = (hull(grown(marks[eye], (1.35, 2.2)), size) for eye in (EYE_LEFT, EYE_RIGHT))
    return cv2.GaussianBlur((left | right).astype(np.float32), (0, 0), size / 110)
