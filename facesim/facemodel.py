"""A face model that EFS draws from: sampled shape, features and skin of several people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from dfa_lib.face.geometry import Image, Points, Portrait, grown, hull, warp
from dfa_lib.records import DataError
from facesim.pixels import blend, feather, match_colour, match_shading

_FEATURES = np.r_[17:27, 36:48], np.r_[27:36], np.r_[48:68]
"""The landmarks of what one person lends: eyes with brows, nose, mouth."""


@dataclass(frozen=True)
class FaceModel:
    """Portraits of one size, with the principal components of their shape.

    ``mean`` (162,), ``axes`` (k, 162): landmarks in pixels; an axis is as long as one
    standard deviation.
    """

    portraits: tuple[Portrait, ...]
    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, portraits: Sequence[Portrait], *, limit: int = 150, k: int = 12) -> Self:
        """Fit to aligned portraits of one size; beyond ``limit`` evenly chosen ones serve."""
        if len(portraits) < 8:
            raise DataError(f"face model: {len(portraits)} portraits; give at least 8")
        spaced = np.unique(np.linspace(0, len(portraits) - 1, limit).astype(int))
        chosen = tuple(portraits[at] for at in spaced)
        rows = np.stack([portrait.landmarks.ravel() for portrait in chosen])
        mean = rows.mean(axis=0)
        _, spread, axes = np.linalg.svd(rows - mean, full_matrices=False)
        axes = axes[:k] * spread[:k, None] / np.sqrt(len(rows) - 1)
        return cls(chosen, mean.astype(np.float32), axes.astype(np.float32))

    def draw(self, rng: np.random.Generator) -> Portrait:
        """Draw a person who does not exist: no trace of a generator is laid on yet.

        Head and skin are one portrait's in a new shape; eyes with brows, nose and mouth are
        those of others, in its colours and shading.
        """
        base = self.portraits[rng.integers(len(self.portraits))]
        shape = self._shape(rng, base.landmarks)
        face = warp(base.image, base.landmarks, shape)
        for marks in _FEATURES:
            face = _lent(face, self._like(rng, base, marks), shape, marks)
        return Portrait(face, shape)

    def _like(self, rng: np.random.Generator, base: Portrait, marks: np.ndarray) -> Portrait:
        """Choose among the third of the portraits that are nearest to ``base`` at ``marks``."""
        at = np.stack([p.landmarks[marks] for p in self.portraits]) - base.landmarks[marks]
        order = np.argsort(np.abs(at - at.mean(axis=1, keepdims=True)).mean(axis=(1, 2)))
        return self.portraits[order[1 + rng.integers(len(order) // 3)]]

    def _shape(self, rng: np.random.Generator, near: Points) -> Points:
        """Draw landmarks (81, 2) halfway between those of ``near`` and other ones."""
        step = rng.normal(0, 0.6, len(self.axes)) @ self.axes
        return np.float32((near + (self.mean + 2 * step).reshape(-1, 2)) / 2)


def _lent(face: Image, other: Portrait, shape: Points, marks: np.ndarray) -> Image:
    """Put what ``other`` has at the landmarks ``marks`` on a face of landmarks ``shape``."""
    size = len(face)
    near = hull(grown(shape[marks], (1.15, 1.25)), size)
    part = match_colour(warp(other.image, other.landmarks, shape), face, near)
    part = match_shading(part, face, size / 20, 1.0)
    return blend(face, part, feather(near, size / 50))
