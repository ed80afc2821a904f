"""Light on a face and what is behind the person."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import Points

Floats = NDArray[np.float32]
Rng = np.random.Generator


def shading(points: Points, size: int, rng: Rng, side: float | None = None) -> Floats:
    """Return the light (size, size, 3) to multiply a face with: one lamp and the room's tint.

    The lamp stands anywhere, or ``side`` degrees to the right, and is strong then. The normals
    are those of an ellipsoid through the ``points`` (81, 2) with a nose on it.
    """
    y, x = np.mgrid[:size, :size].astype(np.float32)
    centre, half = points.mean(axis=0), np.ptp(points, axis=0) / 2 * np.float32([1.15, 1.05])
    u, v = (x - centre[0]) / half[0], (y - centre[1]) / half[1]
    nose, eye = points[30], np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    off = ((x - nose[0]) / (0.22 * eye)) ** 2 + ((y - nose[1]) / (0.5 * eye)) ** 2
    depth = np.sqrt(np.clip(1.3 - u**2 - v**2, 0.05, None)) + 0.25 * np.exp(-off)
    depth = cv2.GaussianBlur(depth.astype(np.float32), (0, 0), size / 40)
    down, right = np.gradient(depth * half[0])
    normal = np.dstack([-right, -down, np.ones_like(depth)])
    normal /= np.sqrt(right**2 + down**2 + 1)[..., None]
    lamp = np.float32([rng.normal(0, 0.7), -abs(rng.normal(0.3, 0.4)), 1.0])
    share = rng.uniform(0.05, 0.5)
    if side is not None:
        lamp[[0, 2]], share = [np.sin(np.deg2rad(side)), np.cos(np.deg2rad(side))], 0.95
    lamp /= np.linalg.norm(lamp)
    light = 1.12 - share + share * np.clip(normal @ lamp, 0, None) / 0.85
    tint = 1 + rng.normal(0, 0.04) * np.float32([1, 0.1, -1]) + rng.normal(0, 0.008, 3)
    return (np.clip(light, 0.2, 1.4)[..., None] ** 0.6 * tint).astype(np.float32)


def background(size: int, rng: Rng) -> Floats:
    """Return what is behind a person, out of focus but with grain: (size, size, 3) in 0..1."""
    draw = (_wall, _room, _outdoors)[rng.choice(3, p=[0.94, 0.03, 0.03])]
    grain = 0.005 * rng.standard_normal((size, size, 1), np.float32)
    return np.clip(draw(size, rng) + grain, 0, 1).astype(np.float32)


def _ramp(size: int, rng: Rng) -> Floats:
    """A linear ramp (size, size, 1) in -1..1 in a random direction."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    return (np.cos(turn) * x + np.sin(turn) * y)[..., None]


def _colour(rng: Rng, saturation: float, value: tuple[float, float]) -> Floats:
    """Draw a colour as walls, wood, leaves and skies have it: (3,) RGB in 0..1."""
    hue = rng.normal(*((30, 12), (100, 25), (215, 15))[rng.choice(3, p=[0.55, 0.2, 0.25])])
    hsv = [[[hue % 360, saturation * rng.beta(1, 1.5), rng.uniform(*value)]]]
    return cv2.cvtColor(np.float32(hsv), cv2.COLOR_HSV2RGB)[0, 0]


def _wall(size: int, rng: Rng) -> Floats:
    """A plain wall; the light falls off to one side and to the corners."""
    saturation, value = (0.06, (0.86, 0.98)) if rng.random() < 0.85 else (0.1, (0.35, 0.86))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    light = 1 + rng.uniform(0, 0.12) * _ramp(size, rng)
    light -= rng.uniform(0, 0.1) * (x**2 + (y - 0.3) ** 2)[..., None]
    return _colour(rng, saturation, value) * light


def _room(size: int, rng: Rng) -> Floats:
    """Furniture and frames, as rectangles far out of focus."""
    room = np.ones((size, size, 3), np.float32) * _colour(rng, 0.25, (0.3, 0.8))
    for _ in range(rng.integers(3, 8)):
        x, y = (int(c) for c in rng.integers(-size // 4, size, 2))
        width, height = (int(c) for c in rng.integers(size // 8, size, 2))
        colour = _colour(rng, 0.35, (0.1, 0.9)).tolist()
        cv2.rectangle(room, (x, y), (x + width, y + height), colour, -1)
    return cv2.GaussianBlur(room, (0, 0), size * rng.uniform(0.08, 0.16))


def _outdoors(size: int, rng: Rng) -> Floats:
    """Foliage, sky or street: soft discs of related colours, out of focus."""
    tones = [_colour(rng, 0.35, (0.15, 0.8)) for _ in range(3)]
    scene = np.ones((size, size, 3), np.float32) * tones[0]
    for _ in range(rng.integers(30, 90)):
        x, y = (int(c) for c in rng.integers(0, size, 2))
        tone = tones[rng.integers(3)] * rng.uniform(0.7, 1.3)
        cv2.circle(scene, (x, y), int(rng.integers(size // 30, size // 6)), tone.tolist(), -1)
    return cv2.GaussianBlur(scene, (0, 0), size * rng.uniform(0.07, 0.13))
