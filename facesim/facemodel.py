"""A face model that EFS draws from: sampled shape, features and skin of several people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from dfa_lib.face.geometry import (
    LIP_OUTER,
    NOSE_BASE,
    NOSE_BRIDGE,
    Image,
    Points,
    Portrait,
    grown,
    hull,
    warp,
)
from dfa_lib.records import DataError
from facesim.pixels import blend, feather, match_colour, match_shading

_FEATURES = (np.r_[17:27, 36:48], np.r_[NOSE_BRIDGE, NOSE_BASE], np.r_[LIP_OUTER])
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
        those of three others, in its colours and shading.
        """
        who = rng.choice(len(self.portraits), 1 + len(_FEATURES), replace=False)
        base, *others = (self.portraits[k] for k in who)
        shape = self._shape(rng, base.landmarks)
        face = warp(base.image, base.landmarks, shape)
        for other, marks in zip(others, _FEATURES, strict=True):
            face = _lent(face, other, shape, marks)
        return Portrait(face, shape)

    def _shape(self, rng: np.random.Generator, near: Points) -> Points:
        """Draw landmarks (81, 2) that lie by half at those of ``near``."""
        step = rng.normal(0, 0.6, len(self.axes)).astype(np.float32) @ self.axes
        return (0.5 * near + 0.5 * self.mean.reshape(-1, 2) + step.reshape(-1, 2)).astype(
            np.float32
        )


def _lent(face: Image, other: Portrait, shape: Points, marks: np.ndarray) -> Image:
    """Put what ``other`` has at the landmarks ``marks`` on a face of landmarks ``shape``."""
    size = len(face)
    near = hull(grown(shape[marks], (1.2, 1.35)), size)
    part = match_colour(warp(other.image, other.landmarks, shape), face, near)
    part = match_shading(part, face, size / 20, 1.0)
    return blend(face, part, feather(near, size / 50))
