"""Strands of hair over the mean head, as polylines.

A strand is given in polar coordinates of the head: an angle, 0 at the right of the image over
the crown to pi at the left, and a height, 0 on the hairline and 1 on the outline of the hair.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import HAIRLINE, JAW, Points

Floats = NDArray[np.float32]
Rng = np.random.Generator
_T = np.linspace(0, 1, 14, dtype=np.float32)  # from the root of a strand to its end


@dataclass(frozen=True)
class Strands:
    """Polylines ``points`` (n, steps, 2) px, and a number ``lock`` (n, 1) that neighbours share."""

    points: Floats
    lock: Floats

    @classmethod
    def none(cls) -> Self:
        """Return no strands at all."""
        return cls(np.zeros((0, len(_T), 2), np.float32), np.zeros((0, 1), np.float32))


@dataclass(frozen=True)
class Head:
    """Where hair may grow: a centre (2,), the hairline and the outline as radii by angle."""

    centre: Floats
    angles: Floats
    hairline: Floats
    outline: Floats

    @classmethod
    def of(cls, points: Points, outline: Floats, thick: float, sides: float, rng: Rng) -> Self:
        """Measure a head by its landmarks (81, 2) and the distance to its silhouette (S, S).

        Hair stands about ``thick`` px high on top and a share ``sides`` of that over the ears.
        """
        line = np.concatenate([points[JAW][[16]], points[HAIRLINE][::-1], points[JAW][[0]]])
        centre = points[JAW][[0, 16]].mean(axis=0)
        away = line - centre
        angles = np.arctan2(-away[:, 1], away[:, 0])
        reach = np.linalg.norm(away, axis=1)
        angles, reach = _even(angles, reach)
        way = np.stack([np.cos(angles), -np.sin(angles)], axis=-1)
        far = np.arange(0, 60, 2, dtype=np.float32)
        at = (centre + (reach[:, None] + far)[..., None] * way[:, None]).astype(np.float32)
        inside = cv2.remap(outline, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        high = np.clip((np.cumprod(inside > 0, axis=1)).sum(axis=1) * 2.0, 5, thick)
        wide, tall = reach[[2, -3]].mean() + 0.5 * thick, reach.max() + 0.75 * thick
        oval = 1 / np.hypot(np.cos(angles) / wide, np.sin(angles) / tall)
        high = np.maximum(0.35 * high + 0.65 * (oval - reach), 4)
        high = cv2.GaussianBlur(high[:, None].astype(np.float32), (0, 0), 1.5)[:, 0]
        lean, dent = rng.normal(0, 0.06 * thick, 2)
        uneven = lean * np.cos(angles) + dent * np.sin(3 * angles)
        fade = sides + (1 - sides) * np.clip(1.6 * np.sin(angles) - 0.1, 0, 1)
        return cls(centre, angles, reach, np.float32(reach + np.maximum(fade * (high + uneven), 4)))

    def at(self, angle: Floats, height: Floats) -> Floats:
        """Return the pixels (..., 2) of angles and heights."""
        inner = np.interp(angle, self.angles, self.hairline)
        outer = np.interp(angle, self.angles, self.outline)
        reach = inner + (outer - inner) * height
        way = np.stack([np.cos(angle), -np.sin(angle)], axis=-1)
        return (self.centre + reach[..., None] * way).astype(np.float32)

    def height(self, size: int) -> Floats:
        """Return how high every pixel lies, (size, size): 0 on the hairline, 1 on the outline."""
        y, x = np.mgrid[:size, :size].astype(np.float32) - self.centre[::-1, None, None]
        angle, reach = np.arctan2(-y, x), np.hypot(x, y)
        inner = np.interp(angle, self.angles, self.hairline)
        outer = np.interp(angle, self.angles, self.outline)
        height = (reach - inner) / (outer - inner)
        return np.where(angle < -0.1, -1, height).astype(np.float32)


def _even(angles: Floats, reach: Floats) -> tuple[Floats, Floats]:
    """Resample the hairline at angles 0.13 apart, and round its corners."""
    even = np.linspace(-0.1, np.pi + 0.1, 27, dtype=np.float32)
    found = np.interp(even, angles, reach).astype(np.float32)
    return even, cv2.GaussianBlur(found[:, None], (0, 0), 1)[:, 0]


def combed(head: Head, rng: Rng, count: int, reach: float, part: float, lift: float) -> Strands:
    """Strands combed away from the angle ``part``, ``reach`` radians long."""
    start = rng.uniform(-0.1, np.pi + 0.1, (count, 1))
    height = rng.uniform(0, 1, (count, 1)) ** 0.8
    away = np.clip((start - part) / 0.5, -1, 1)
    length = reach * rng.uniform(0.6, 1.3, (count, 1))
    lock = _locks(rng, start, height)
    limit = rng.normal(0.05, 0.06, (count, 1))  # where hair is cut before the ears
    angle = np.clip(start + length * (away + 0.5 * lock) * _T, limit, np.pi - limit)
    rise = lift * rng.uniform(0.2, 1.2, (count, 1)) + 0.12 * lock + 2 * _stray(rng, count)
    return Strands(head.at(angle, height + rise * _T), lock)


def tied(head: Head, rng: Rng, count: int, part: float) -> Strands:
    """Strands drawn back tightly from the hairline over the head."""
    start = rng.uniform(-0.12, np.pi + 0.12, (count, 1))
    height = rng.uniform(0, 0.75, (count, 1)) ** 1.4
    upward = (np.pi / 2 - start) * 0.25 + 0.5 * np.clip((start - part) / 0.3, -1, 1)
    lock = _locks(rng, start, height)
    angle = start + (upward + 0.06 * lock) * _T
    top = 0.97 + 2 * _stray(rng, count)
    return Strands(head.at(angle, np.minimum(height + 0.7 * _T, top)), lock)


def curls(head: Head, rng: Rng, count: int, radius: float) -> Strands:
    """Strands that are small arcs anywhere on the head and a little above."""
    start = rng.uniform(-0.15, np.pi + 0.15, (count, 1)).astype(np.float32)
    height = rng.uniform(0, 1.05, (count, 1)).astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi, (count, 1)) + rng.uniform(2, 5, (count, 1)) * _T
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    size = radius * rng.uniform(0.5, 1.3, (count, 1, 1))
    return Strands(head.at(start, height) + size * ring, _locks(rng, start, height))


@dataclass(frozen=True)
class Fall:
    """How long hair hangs: ``end`` the row it reaches, ``wave`` and inward ``curl`` in px.

    ``inner`` is the height of the strands nearest to the face, of which a share ``tuck`` goes
    behind the ears.
    """

    end: float
    wave: float
    inner: float
    curl: float = 0
    tuck: float = 0


def hanging(head: Head, rng: Rng, count: int, part: float, fall: Fall) -> Strands:
    """Strands from the angle ``part`` over the head and down beside the face."""
    side = rng.random((count, 1)) < part / np.pi  # to the right of the image
    height, astray = rng.uniform(fall.inner, 1, (count, 1)), 0.8 * _stray(rng, count, 0.008)
    first = part + (1 - 2 * side) * (0.012 + 0.05 * np.abs(rng.normal(0, 1, (count, 1))))
    goal = np.where(side, 0.0, np.pi) + rng.normal(0, 0.04, (count, 1))
    over, drop = np.clip(2 * _T, 0, 1), np.clip(2 * _T - 1, 0, 1)
    lock = _locks(rng, 3 * side + 0.3 * first, height)
    lock = lock + np.abs(rng.normal(0, 1.5, (count, 1))) * (astray > 0)
    rise = (0.1 * lock + astray) * over + 0.12 * (1 - height) * np.sin(np.pi * over)
    at = head.at(first + (goal - first) * over, height + rise)
    swing = (7 * height - 4 + 3 * lock) * np.sin(1.8 * drop) - fall.curl * drop**3
    swing += 30 * fall.tuck * np.clip(0.7 - height, 0, 1) * np.clip(3 * drop, 0, 1)
    swing += fall.wave * np.sin(drop * rng.uniform(7, 8) + 2.5 * lock + side) * np.sqrt(drop)
    at[..., 0] += np.where(side, 1.0, -1.0) * swing
    down = fall.end * (1.03 - 0.12 * rng.random((count, 1)) ** 2) + 5 * lock - head.centre[1]
    at[..., 1] += drop * down
    return Strands(at, lock)


def _locks(rng: Rng, start: Floats, height: Floats) -> Floats:
    """A number about -1..1 that strands growing near one another share, as locks do."""
    total = np.zeros_like(start)
    for frequency in (6, 14, 31):
        phase = rng.uniform(0, 6.28, 2)
        total += np.sin(
            frequency * start + phase[0] + 2 * np.sin(frequency * 0.4 * height + phase[1])
        )
    return 0.5 * total + rng.normal(0, 0.25, start.shape)


def _stray(rng: Rng, count: int, share: float = 0.033) -> Floats:
    """How far strands (count, 1) fly away from the head: a ``share`` does, by up to 0.2."""
    return (rng.random((count, 1)) < share) * rng.uniform(0, 0.2, (count, 1))
