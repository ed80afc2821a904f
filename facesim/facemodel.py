"""A face model of shape and texture by principal components (active appearance model)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import Image, Points, Portrait, warp
from dfa_lib.records import DataError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Components:
    """``mean`` (d,), ``axes`` (k, d) of unit length, and what each example has on them (n, k)."""

    mean: Floats
    axes: Floats
    scores: Floats

    @classmethod
    def of(cls, rows: Floats, k: int) -> Self:
        """Fit ``k`` principal components to ``rows`` (n, d); n is far below d."""
        mean = rows.mean(axis=0)
        power, turn = np.linalg.eigh((rows - mean) @ (rows - mean).T)
        keep = np.argsort(power)[::-1][: min(k, len(rows) - 1)]
        axes = turn[:, keep].T @ (rows - mean)
        axes /= np.linalg.norm(axes, axis=1, keepdims=True) + 1e-6
        return cls(mean, axes, (rows - mean) @ axes.T)

    def draw(self, rng: np.random.Generator, near: int, spread: float) -> Floats:
        """Draw a new row (d,): example ``near``, pulled to the mean, moved at random."""
        step = rng.normal(0, spread, len(self.axes)) * self.scores.std(axis=0)
        score = np.sqrt(max(1 - spread**2, 0)) * self.scores[near] + step
        return (self.mean + score.astype(np.float32) @ self.axes).astype(np.float32)


@dataclass(frozen=True)
class FaceModel:
    """What EFS draws from: components of shape and texture, and the portraits they came from."""

    shape: Components
    texture: Components
    portraits: tuple[Portrait, ...]

    @classmethod
    def fit(cls, portraits: Sequence[Portrait], *, limit: int = 150) -> Self:
        """Fit to aligned portraits of one size; beyond ``limit`` evenly chosen ones serve."""
        if len(portraits) < 8:
            raise DataError(f"face model: {len(portraits)} portraits; give at least 8")
        spaced = np.unique(np.linspace(0, len(portraits) - 1, limit).astype(int))
        chosen = [portraits[k] for k in spaced]
        marks = np.stack([portrait.landmarks for portrait in chosen])
        shape = Components.of(marks.reshape(len(chosen), -1), 12)
        mean = shape.mean.reshape(-1, 2)
        rows = [warp(p.image, p.landmarks, mean).ravel() for p in chosen]
        texture = Components.of(np.stack(rows).astype(np.float32), 60)
        return cls(shape, texture, tuple(chosen))

    @property
    def mean_shape(self) -> Points:
        """The mean landmarks (81, 2)."""
        return self.shape.mean.reshape(-1, 2)

    def draw_shape(self, rng: np.random.Generator, near: int, spread: float = 0.6) -> Points:
        """Draw landmarks (81, 2) near those of portrait ``near``."""
        return self.shape.draw(rng, near, spread).reshape(-1, 2)

    def draw_texture(self, rng: np.random.Generator, near: int, spread: float = 0.6) -> Image:
        """Draw a picture (S, S, 3) in the mean shape near portrait ``near``."""
        row = self.texture.draw(rng, near, spread)
        return np.clip(row, 0, 255).astype(np.uint8).reshape(self.portraits[near].image.shape)
