"""Light on a height field: wrapped Lambert with a warm terminator, sky fill and two highlights."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from dfa_lib.faces.canvas import Array, relief
from dfa_lib.faces.identity import Pose

_WRAP = np.float32([0.42, 0.30, 0.25])  # red light travels furthest under the skin


@dataclass(frozen=True)
class Light:
    """A key light from ``direction`` (3,) towards it, and a fill from everywhere."""

    direction: Array
    key: Array
    fill: Array

    @classmethod
    def of(cls, pose: Pose) -> Self:
        """The light of a pose, turned with the head so that fixed bumps catch it rightly."""
        side = pose.light_side - pose.yaw
        flat = np.cos(pose.light_height)
        direction = [flat * np.sin(side), -np.sin(pose.light_height), flat * np.cos(side)]
        tint = np.float32([1 + 0.10 * pose.warmth, 1.0, 1 - 0.13 * pose.warmth]) * pose.exposure
        cool = np.float32([0.96, 1.0, 1.05]) * pose.exposure
        share = pose.light_key
        return cls(np.float32(direction), 1.30 * share * tint, (1.05 - 0.8 * share) * cool)

    def on(self, albedo: Array, height: Array, unit: float, gloss: Array | float = 0.0) -> Array:
        """Lit picture (H, W, 3) of a surface: colour, ``height`` (H, W) in units, shine (H, W)."""
        normal = relief(height, unit)
        facing = normal @ self.direction
        lambert = np.clip((facing[..., None] + _WRAP) / (1 + _WRAP), 0, None)
        sky = (0.8 - 0.3 * normal[..., 1])[..., None]
        middle = self.direction + np.float32([0, 0, 1])
        shine = np.clip(normal @ (middle / np.linalg.norm(middle)), 0, 1)
        shine = gloss * (0.05 * shine**10 + 0.13 * shine**40)
        return albedo * (lambert * self.key + sky * self.fill) + shine[..., None] * self.key
