"""The camera every face passes through, bona fide or forged.

One distribution for all classes: what is left to tell them apart is the forgery.
"""

import cv2
import numpy as np

from dfa_lib.conditions import grey, jpeg
from dfa_lib.face.geometry import Image

_GREY_SHARE, _HARD_SHARE = 0.04, 0.15


def shoot(image: Image, rng: np.random.Generator, difficulty: float = 0.5) -> Image:
    """Photograph ``image`` (H, W, 3) uint8 once: lens, colour, sensor noise, resize, JPEG.

    One picture in seven is taken in hard light (dark, bright or tinted), one in 25 in grey.
    ``difficulty`` in [0, 1] scales how much of the fine detail the camera destroys.
    """
    picture = _colour(_lens(image, rng, difficulty), rng) + _noise(image.shape, rng, difficulty)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < _GREY_SHARE:
        picture = grey(picture)
    picture = _resized(picture, rng, difficulty)
    return jpeg(picture, rng.integers(92 - round(36 * difficulty), 98))


def _lens(image: Image, rng: np.random.Generator, difficulty: float) -> Image:
    sigma = rng.uniform(0.2, 0.3 + 0.6 * difficulty)
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _colour(image: Image, rng: np.random.Generator) -> np.ndarray:
    """White balance, exposure and tone curve; returns float32."""
    hard = rng.random() < _HARD_SHARE
    exposure = rng.uniform(0.55, 1.3) if hard else rng.uniform(0.82, 1.15)
    gain = exposure * rng.normal(1, 0.07 if hard else 0.025, 3)
    gamma = rng.uniform(0.85, 1.2)
    curve = np.linspace(0, 1, 256)[:, None] ** gamma * 255 * gain
    return cv2.LUT(image, curve.astype(np.float32)[None])


def _noise(shape: tuple[int, ...], rng: np.random.Generator, difficulty: float) -> np.ndarray:
    """Sensor noise that neighbours share, as demosaicing leaves it; colour noise is coarser."""
    level = rng.uniform(0.8, 1.5 + 3.5 * difficulty)
    grain = cv2.GaussianBlur(rng.standard_normal(shape[:2], np.float32), (0, 0), 0.6)
    tint = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 1.2)
    return level * (grain[..., None] / 0.45 * 0.9 + tint / 0.24 * 0.35)


def _resized(picture: Image, rng: np.random.Generator, difficulty: float) -> Image:
    height, width = picture.shape[:2]
    factor = rng.uniform(1 - 0.3 * difficulty, 1)
    small = (max(round(width * factor), 1), max(round(height * factor), 1))
    picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
