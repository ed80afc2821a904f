"""Skin where mixing people leaves veils of their hair: forehead and neck."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import NOSE_BASE, Points, hull

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Skin:
    """Areas of the mean face, as opacities (S, S, 1) in 0..1 of what is done there.

    ``sides`` is how far the neck takes the tone of its ``middle``, ``shade`` the brightness (S, S,
    1) that neck has then, dark under the chin and at the sides; ``cheeks`` (2, 2) are pixels.
    """

    forehead: Floats
    middle: Floats
    sides: Floats
    shade: Floats
    cheeks: Points

    @classmethod
    def of(cls, points: Points, size: int) -> Self:
        """Find the areas by the landmarks ``points`` (81, 2) of a picture of ``size`` pixels."""
        forehead = hull(np.concatenate([points[70:79], points[[18, 25]]]), size, 0.88)
        forehead[int(points[[18, 25], 1].min()) - 6 :] = False
        neck = ~hull(points[:68], size, 1.02)
        neck[: int(points[3, 1])] = False
        middle = np.zeros((size, size), bool)
        middle[int(points[8, 1]) + 2 :, int(points[6, 0]) : int(points[10, 0])] = True
        y, x = np.mgrid[:size, :size].astype(np.float32)
        aside = np.abs(x - points[8, 0]) / (points[13, 0] - points[8, 0])
        chin = np.exp(-np.maximum(y - points[8, 1] + 22 * aside**2, 0) / 14)
        sides = (0.1 + 0.75 * np.clip(2.5 * aside - 0.8, 0, 1)) * _edged(neck, 4)
        shade = (1 - 0.12 * chin * _edged(neck, 1.5)) * (1 - 0.1 * sides * aside**3)
        areas = (_edged(forehead, 5), middle.astype(np.float32), sides, shade)
        cheeks = points[NOSE_BASE][[0, 4]] + np.float32([[-12, -8], [12, -8]])
        return cls(*(area[..., None] for area in areas), cheeks)

    def tone(self, colours: Floats) -> Floats:
        """Return the colour (3,) of the cheeks in a blurred picture (S, S, 3)."""
        return np.mean([colours[int(y), int(x)] for x, y in self.cheeks], axis=0)

    def mended(self, colours: Floats) -> Floats:
        """Lighten a dark forehead, and give the neck one tone: (S, S, 3) in 0..1."""
        smooth = np.maximum(coarse(colours, 5), 0.02)
        lighter = np.clip(0.92 * self.tone(smooth) / smooth, 1, 2.5)
        calm = 0.7 * colours + 0.3 * smooth  # more would leave the forehead without skin
        colours = colours + self.forehead * (calm * lighter - colours)
        share = coarse(self.middle, 16)[..., None] + 1e-4
        neck = coarse(colours * self.middle, 16) / share
        return (colours + self.sides * (neck - colours)) * self.shade


def coarse(image: Floats, sigma: float) -> Floats:
    """Blur by many pixels, at a quarter of the size, where it costs a twentieth."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), (width, height))


def _edged(mask: NDArray[np.bool_], sigma: float) -> Floats:
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
