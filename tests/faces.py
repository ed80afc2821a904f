"""Small faces for tests that need landmarks and pixels, but nothing of the renderer."""

import cv2
import numpy as np

from dfa_lib.face.geometry import Image, Points, Portrait, resample_polyline

_LEFT_EYE = [(43, 58), (46, 56), (51, 56), (55, 59), (51, 61), (46, 61)]
_LIPS = [(52, 90), (57, 88), (61, 86.5), (64, 87), (67, 86.5), (71, 88), (76, 90)]
_LIPS += [(71, 94), (67, 95.5), (64, 96), (61, 95.5), (57, 94)]
_INNER = [(54, 90), (60, 89.7), (64, 89.8), (68, 89.7), (74, 90)]
_INNER += [(68, 90.5), (64, 90.8), (60, 90.5)]


def _mirrored(points: list[tuple[float, float]], order: list[int]) -> list[tuple[float, float]]:
    return [(128 - points[k][0], points[k][1]) for k in order]


def marks(size: int) -> Points:
    """Return the 81 landmarks of a plain, upright face in the common frame of ``size``."""
    jaw = resample_polyline(
        np.array([(31, 60), (34, 84), (48, 107), (64, 112), (80, 107), (94, 84), (97, 60)]), 17
    )
    brow = [(39, 50), (43, 47), (48, 46.5), (53, 48), (57, 50)]
    nose = [
        (64, 58),
        (64, 64),
        (64, 70),
        (64, 75),
        (57, 79),
        (60, 80),
        (64, 81),
        (68, 80),
        (71, 79),
    ]
    hair = resample_polyline(
        np.array([(33, 50), (38, 32), (52, 23), (76, 23), (90, 32), (95, 50)]), 13
    )
    eyes = _LEFT_EYE + _mirrored(_LEFT_EYE, [3, 2, 1, 0, 5, 4])
    middle = brow + _mirrored(brow, [4, 3, 2, 1, 0]) + nose + eyes + _LIPS + _INNER
    points = np.concatenate([jaw, np.array(middle), hair])
    return (points * size / 128).astype(np.float32)


def dotted(points: Points, size: int) -> Image:
    """Return a black picture with soft white dots at ``points``."""
    y, x = np.indices((size, size))
    width = size / 64
    near = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * width**2)) for px, py in points]
    dots = (255 * np.clip(np.sum(near, axis=0), 0, 1)).astype(np.uint8)
    return np.repeat(dots[..., None], 3, axis=2)


def toy_portrait(seed: int, size: int = 128) -> Portrait:
    """Return a grainy oval face with hair, brows, eyes and lips, its features moved a little."""
    rng = np.random.default_rng(seed)
    points = marks(size)
    points += rng.normal(0, size / 200, points.shape).astype(np.float32)
    image = np.full((size, size, 3), rng.integers(60, 200, 3), np.uint8)
    skin, hair = rng.integers((150, 110, 90), (230, 170, 150)), rng.integers(20, 90, 3)
    _paint(image, (points[68:81] - size / 2) * 1.3 + size / 2, hair)
    _paint(image, np.concatenate([points[:17], points[80:67:-1]]), skin)
    for part, colour in ((slice(17, 22), hair), (slice(22, 27), hair), (slice(36, 42), (240,) * 3)):
        _paint(image, points[part], colour)
    _paint(image, points[42:48], (240, 240, 240))
    _paint(image, points[48:60], (170, 70, 75))
    grain = rng.normal(0, 8, image.shape)
    return Portrait(np.clip(image + grain, 0, 255).astype(np.uint8), points)


def _paint(image: Image, outline: Points, colour: object) -> None:
    tone = [int(value) for value in colour]
    cv2.fillPoly(image, [np.round(outline).astype(np.int32)], tone, cv2.LINE_AA)
