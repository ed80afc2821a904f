"""A small painter: float images in linear light, anti-aliased shapes, noise and shading.

Coordinates are face units: the origin lies between the eyes, one unit is the distance
between them, x goes to image right and y down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float32]
_SHIFT = 4  # sub-pixel bits of OpenCV's drawing calls


def linear(colour: Sequence[float] | Array) -> Array:
    """Turn display values in [0, 1] into linear light (gamma 2, which is cheap to undo)."""
    return np.square(np.asarray(colour, np.float32))


@dataclass
class Canvas:
    """An image (H, W, 3) float32 in linear light, or a window of one; painting is in place."""

    image: Array
    unit: float
    origin: tuple[float, float]

    @classmethod
    def blank(cls, side: int) -> Self:
        """A square canvas on which a head with hair and shoulders has its place."""
        return cls(np.zeros((side, side, 3), np.float32), 0.22 * side, (0.5 * side, 0.45 * side))

    @property
    def u(self) -> Array:
        """Horizontal position of each column, (1, W), in face units."""
        columns = np.arange(self.image.shape[1], dtype=np.float32)[None, :]
        return (columns + np.float32(0.5 - self.origin[0])) / np.float32(self.unit)

    @property
    def v(self) -> Array:
        """Vertical position of each row, (H, 1), in face units."""
        rows = np.arange(self.image.shape[0], dtype=np.float32)[:, None]
        return (rows + np.float32(0.5 - self.origin[1])) / np.float32(self.unit)

    def window(self, centre: Array, half: tuple[float, float]) -> "Canvas":
        """The part of the canvas within ``half`` (width, height) units of ``centre``."""
        x, y = (centre[k] * self.unit + self.origin[k] for k in (0, 1))
        dx, dy = half[0] * self.unit, half[1] * self.unit
        left, top = max(int(x - dx), 0), max(int(y - dy), 0)
        view = self.image[top : int(y + dy) + 1, left : int(x + dx) + 1]
        return Canvas(view, self.unit, (self.origin[0] - left, self.origin[1] - top))

    def fill(self, outline: Array, soft: float = 0.0) -> Array:
        """Coverage (H, W) in [0, 1] of the polygon ``outline`` (n, 2), blurred by ``soft`` units."""
        mask = np.zeros(self.image.shape[:2], np.uint8)
        cv2.fillPoly(mask, [self._fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
        return self.soften(mask.astype(np.float32) / 255, soft)

    def strokes(self, lines: Sequence[Array], width: float, soft: float = 0.0) -> Array:
        """Coverage (H, W) of polylines, ``width`` and ``soft`` in units."""
        mask = np.zeros(self.image.shape[:2], np.uint8)
        thick = max(round(width * self.unit), 1)
        cv2.polylines(mask, [self._fixed(a) for a in lines], False, 255, thick, cv2.LINE_AA, _SHIFT)
        return self.soften(mask.astype(np.float32) / 255, soft)

    def soften(self, mask: Array, sigma: float) -> Array:
        """Blur by a Gaussian of ``sigma`` units; wide ones are computed on a smaller grid."""
        pixels = sigma * self.unit
        if pixels < 0.3:
            return mask
        step = max(int(pixels / 2.5), 1)
        height, width = mask.shape[:2]
        if step > 1:
            small = (max(width // step, 4), max(height // step, 4))
            mask = cv2.resize(mask, small, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(mask, (0, 0), pixels / step)
        return cv2.resize(blurred, (width, height)) if step > 1 else blurred

    def paint(self, mask: Array, colour: Array) -> None:
        """Lay ``colour`` (3,) or (H, W, 3) over the image where ``mask`` (H, W) is."""
        self.image += mask[..., None] * (colour - self.image)

    def tint(self, mask: Array, factor: Sequence[float]) -> None:
        """Multiply the image by ``factor`` per channel where ``mask`` is 1, by 1 where it is 0."""
        self.image *= 1 + mask[..., None] * (np.float32(factor) - 1)

    def blob(self, centre: Array, sigma: tuple[float, float]) -> Array:
        """A Gaussian (H, W) of height 1 round ``centre``."""
        across = np.exp(-0.5 * np.square((self.u - centre[0]) / np.float32(sigma[0])))
        return across * np.exp(-0.5 * np.square((self.v - centre[1]) / np.float32(sigma[1])))

    def blobs(self, table: Array) -> Array:
        """Sum (H, W) of Gaussians, one (x, y, sigma x, sigma y, height) per row of ``table``."""
        x, y, sx, sy, height = (np.float32(table[:, k : k + 1]) for k in range(5))
        across = np.exp(-0.5 * np.square((self.u - x) / sx))
        down = height * np.exp(-0.5 * np.square((self.v.T - y) / sy))
        return down.T @ across

    def noise(self, rng: Generator, grain: float) -> Array:
        """Smooth noise (H, W), mean 0 and deviation near 1, with features ``grain`` units wide."""
        height, width = self.image.shape[:2]
        rows, columns = (max(round(n / (grain * self.unit)), 2) for n in (height, width))
        if rows >= height:
            return rng.standard_normal((height, width), dtype=np.float32)
        coarse = rng.standard_normal((rows, columns), dtype=np.float32)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    def _fixed(self, points: Array) -> NDArray[np.int32]:
        pixels = np.asarray(points) * self.unit + np.asarray(self.origin) - 0.5
        return np.round(pixels * 2**_SHIFT).astype(np.int32)


def smooth(points: Array, n: int = 8, closed: bool = False) -> Array:
    """Catmull-Rom curve through ``points`` (m, 2) with ``n`` samples per span."""
    ends = points[[-1]], points[[0, 1]]
    if not closed:
        ends = 2 * points[[0]] - points[[1]], 2 * points[[-1]] - points[[-2]]
    p = np.concatenate([ends[0], points, ends[1]])
    t = np.linspace(0, 1, n, endpoint=False, dtype=np.float32)[:, None]
    weights = 0.5 * np.concatenate(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1
    )
    spans = np.stack([p[k : len(p) - 3 + k] for k in range(4)], axis=1)
    curve = np.einsum("nk,mkd->mnd", weights, spans).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[[-1]]])


def relief(height: Array, unit: float) -> Array:
    """Unit normals (H, W, 3) of a height field (H, W) in units; z points to the viewer."""
    height, scale = np.asarray(height, np.float32), unit / 8
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=scale)
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=scale)
    length = 1 / np.sqrt(1 + dx * dx + dy * dy)
    return np.stack([-dx * length, -dy * length, length], axis=-1)
