"""A small painter: float images in linear light, anti-aliased shapes and noise.

Coordinates are face units: the origin lies between the eyes, one unit is the distance
between them, x goes to image right and y down. Pictures are planar, (3, H, W), because
masks (H, W) and colours (3, 1, 1) then multiply along whole rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
_SHIFT = 4  # sub-pixel bits of OpenCV's drawing calls


def rgb(values: ArrayLike) -> Array:
    """Three numbers as a factor or colour (3, 1, 1) for planar pictures."""
    return np.asarray(values, np.float32).reshape(3, 1, 1)


def linear(colour: ArrayLike) -> Array:
    """Display colour in [0, 1] as linear light (3, 1, 1); gamma 2 is cheap to undo."""
    return np.square(rgb(colour))


def at(*xy: float) -> Array:
    """A point (2,) or offset in face units."""
    return np.float32(xy)


@dataclass
class Canvas:
    """A planar image (3, H, W) float32, or a window of one; painting is in place."""

    image: Array
    unit: float  # pixels
    origin: tuple[float, float]  # pixels

    @classmethod
    def blank(cls, side: int) -> Self:
        """A square canvas on which a head with hair and shoulders has its place."""
        return cls(np.zeros((3, side, side), np.float32), 0.205 * side, (0.5 * side, 0.455 * side))

    def copy(self, colour: Array) -> "Canvas":
        """A new canvas of the same place, filled with ``colour`` (3, 1, 1)."""
        image = np.empty(self.image.shape, np.float32)
        image[:] = colour
        return Canvas(image, self.unit, self.origin)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[1], self.image.shape[2]

    @property
    def u(self) -> Array:
        """Horizontal position of each column, (1, W), in face units."""
        columns = np.arange(self.shape[1], dtype=np.float32)[None, :]
        return (columns + np.float32(0.5 - self.origin[0])) / np.float32(self.unit)

    @property
    def v(self) -> Array:
        """Vertical position of each row, (H, 1), in face units."""
        rows = np.arange(self.shape[0], dtype=np.float32)[:, None]
        return (rows + np.float32(0.5 - self.origin[1])) / np.float32(self.unit)

    def window(self, centre: ArrayLike, half: tuple[float, float]) -> "Canvas":
        """The part of the canvas within ``half`` (width, height) units of ``centre``."""
        x, y = np.asarray(centre) * self.unit + self.origin
        dx, dy = half[0] * self.unit, half[1] * self.unit
        left, top = max(int(x - dx), 0), max(int(y - dy), 0)
        right, bottom = max(int(x + dx), left) + 1, max(int(y + dy), top) + 1
        view = self.image[:, top:bottom, left:right]
        return Canvas(view, self.unit, (self.origin[0] - left, self.origin[1] - top))

    def fill(self, outline: ArrayLike, soft: float = 0.0) -> Array:
        """Coverage (H, W) in [0, 1] of a polygon ``outline`` (n, 2), blurred by ``soft`` units."""
        mask = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(mask, [self._fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
        return self.soften(mask * np.float32(1 / 255), soft)

    def strokes(self, lines: ArrayLike, width: float, soft: float = 0.0) -> Array:
        """Coverage (H, W) of polylines (k, n, 2), ``width`` and ``soft`` in units."""
        mask = np.zeros(self.shape, np.uint8)
        thick = max(round(width * self.unit), 1)
        cv2.polylines(mask, list(self._fixed(lines)), False, 255, thick, cv2.LINE_AA, _SHIFT)
        return self.soften(mask * np.float32(1 / 255), soft)

    def soften(self, mask: Array, sigma: float) -> Array:
        """Blur by a Gaussian of ``sigma`` units; wide ones are computed on a smaller grid."""
        pixels = sigma * self.unit
        if pixels < 0.3:
            return mask
        step = max(int(pixels / 2), 1)
        height, width = mask.shape
        if step > 1:
            small = (max(width // step, 4), max(height // step, 4))
            mask = cv2.resize(mask, small, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(mask, (0, 0), pixels / step)
        return cv2.resize(blurred, (width, height)) if step > 1 else blurred

    def paint(self, mask: Array, colour: Array) -> None:
        """Lay ``colour`` (3, 1, 1) or (3, H, W) over the image where ``mask`` (H, W) is."""
        self.image += mask * (colour - self.image)

    def tint(self, mask: Array, factor: Sequence[float]) -> None:
        """Multiply the image by ``factor`` per channel where ``mask`` is 1, by 1 where it is 0."""
        self.image *= 1 + mask * (rgb(factor) - 1)

    def blob(self, centre: ArrayLike, sigma: tuple[float, float]) -> Array:
        """A Gaussian (H, W) of height 1 round ``centre``."""
        return self.blobs(np.float32([[*np.asarray(centre), *sigma, 1]]))

    def blobs(self, table: Array) -> Array:
        """Sum (H, W) of Gaussians, one (x, y, sigma x, sigma y, height) per row of ``table``."""
        x, y, sx, sy, height = (table[:, k : k + 1] for k in range(5))
        across = np.exp(-0.5 * np.square((self.u - x) / sx))
        down = height * np.exp(-0.5 * np.square((self.v.T - y) / sy))
        return down.T @ across

    def noise(self, rng: Generator, grain: float) -> Array:
        """Smooth noise (H, W), mean 0 and deviation near 1, with features ``grain`` units wide."""
        height, width = self.shape
        rows, columns = (max(round(n / (grain * self.unit)), 2) for n in (height, width))
        if rows >= height:
            return rng.standard_normal((height, width), dtype=np.float32)
        coarse = rng.standard_normal((rows, columns), dtype=np.float32)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    def _fixed(self, points: ArrayLike) -> NDArray[np.int32]:
        pixels = np.asarray(points) * self.unit + np.asarray(self.origin) - 0.5
        return np.round(pixels * 2**_SHIFT).astype(np.int32)


def smooth(points: ArrayLike, n: int = 8) -> Array:
    """Catmull-Rom curve through ``points`` (m, 2), ``n`` samples per span and the last point."""
    p = np.asarray(points, np.float32)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, n, endpoint=False, dtype=np.float32)[:, None]
    square, cube = t**2, t**3
    weights = (2 * square - t - cube, 2 - 5 * square + 3 * cube)
    weights += (t + 4 * square - 3 * cube, cube - square)
    spans = np.stack([p[k : len(p) - 3 + k] for k in range(4)])
    curve = np.einsum("nk,kmd->mnd", 0.5 * np.concatenate(weights, axis=1), spans)
    return np.concatenate([curve.reshape(-1, 2), p[-2:-1]])


def ellipse(centre: ArrayLike, radii: tuple[float, float], angle: float = 0.0) -> Array:
    """Outline (24, 2) of an ellipse turned by ``angle`` radians (clockwise as seen)."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x, y = radii[0] * np.cos(turn), radii[1] * np.sin(turn)
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack([c * x - s * y, s * x + c * y], axis=1)
    return (turned + np.asarray(centre)).astype(np.float32)
