"""Light on a height field: wrapped Lambert with a warm terminator, sky fill and two highlights."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from facesim.canvas import Array, rgb
from facesim.identity import Pose

_WRAP = rgb([0.32, 0.21, 0.17])  # red light travels furthest under the skin


@dataclass(frozen=True)
class Light:
    """A key light from ``direction`` (3,) towards it, and a fill from everywhere."""

    direction: Array
    key: Array  # (3, 1, 1)
    fill: Array  # (3, 1, 1)

    @classmethod
    def of(cls, pose: Pose) -> Self:
        """The light of a pose, turned with the head so that its bumps catch it rightly."""
        side = pose.light_side - pose.yaw
        flat = np.cos(pose.light_height)
        direction = [flat * np.sin(side), -np.sin(pose.light_height), flat * np.cos(side)]
        tint = rgb([1 + 0.10 * pose.warmth, 1.0, 1 - 0.13 * pose.warmth]) * pose.exposure
        cool = rgb([0.96, 1.0, 1.05]) * pose.exposure
        share = pose.light_key
        key, fill = np.float32(1.28 * share), np.float32(0.97 - 0.78 * share)
        return cls(np.float32(direction), key * np.float32(tint), fill * np.float32(cool))

    def on(self, albedo: Array, height: Array, unit: float, gloss: Array | float = 0.0) -> Array:
        """Lit picture (3, H, W) of a surface: colour, ``height`` (H, W) in units, shine (H, W)."""
        x, y, z = _normals(height, unit)
        facing = self.direction[0] * x + self.direction[1] * y + self.direction[2] * z
        lit = np.maximum((facing + _WRAP) * (self.key / (1 + _WRAP)), 0)
        lit += (0.8 - 0.3 * y) * self.fill
        lit *= albedo
        middle = self.direction + np.float32([0, 0, 1])
        middle /= np.linalg.norm(middle)
        shine = np.maximum(middle[0] * x + middle[1] * y + middle[2] * z, 0)
        broad = np.square(np.square(np.square(shine)))
        lit += gloss * (0.05 * broad + 0.13 * np.square(np.square(broad))) * self.key
        return lit


def _normals(height: Array, unit: float) -> tuple[Array, Array, Array]:
    """Unit normals as three planes (H, W) of a height field in units; z points to the viewer."""
    height = np.ascontiguousarray(height, np.float32)
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=unit / 8)
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=unit / 8)
    z = 1 / np.sqrt(1 + dx * dx + dy * dy)
    return -dx * z, -dy * z, z
