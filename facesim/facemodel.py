"""A face model that EFS draws from: new people out of the shape, skin and features of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from dfa_lib.face.geometry import Image, Points, Portrait, grown, hull, warp
from dfa_lib.records import DataError
from facesim.pixels import Rng, blend, feather, match_colour, match_shading

_FEATURES = np.r_[17:27, 36:48], np.r_[27:36], np.r_[48:68]
"""The landmarks of what one person lends: eyes with brows, nose, mouth."""


@dataclass(frozen=True)
class FaceModel:
    """Portraits of one size that people are put together from; at least 8."""

    portraits: tuple[Portrait, ...]

    @classmethod
    def fit(cls, portraits: Sequence[Portrait], *, limit: int = 150) -> Self:
        """Take aligned portraits; beyond ``limit`` evenly chosen ones serve."""
        if len(portraits) < 8:
            raise DataError(f"face model: {len(portraits)} portraits; give at least 8")
        spaced = np.unique(np.linspace(0, len(portraits) - 1, limit).astype(int))
        return cls(tuple(portraits[at] for at in spaced))

    def draw(self, rng: Rng) -> Portrait:
        """Draw a person who does not exist: no trace of a generator is laid on yet.

        Head and skin are one portrait's, the shape lies between that and another one's; eyes
        with brows, nose and mouth are those of three more, in the colours and shading of the
        first.
        """
        base = self.portraits[rng.integers(len(self.portraits))]
        share = np.float32(rng.uniform(0.3, 0.6))
        other = self._like(rng, base, _FEATURES[-1]).landmarks
        shape = base.landmarks + share * (other - base.landmarks)
        face = warp(base.image, base.landmarks, shape)
        for marks in _FEATURES:
            face = _lent(face, self._like(rng, base, marks), shape, marks)
        return Portrait(face, shape)

    def _like(self, rng: Rng, base: Portrait, marks: np.ndarray) -> Portrait:
        """Choose among the third of the portraits that are nearest to ``base`` at ``marks``."""
        at = np.stack([p.landmarks[marks] for p in self.portraits]) - base.landmarks[marks]
        order = np.argsort(np.abs(at - at.mean(axis=1, keepdims=True)).mean(axis=(1, 2)))
        return self.portraits[order[1 + rng.integers(len(order) // 3)]]


def _lent(face: Image, other: Portrait, shape: Points, marks: np.ndarray) -> Image:
    """Put what ``other`` has at the landmarks ``marks`` on a face of landmarks ``shape``."""
    size = len(face)
    near = hull(grown(shape[marks], (1.15, 1.25)), size)
    part = match_colour(warp(other.image, other.landmarks, shape), face, near)
    part = match_shading(part, face, size / 20, 1.0)
    return blend(face, part, feather(near, size / 50))
