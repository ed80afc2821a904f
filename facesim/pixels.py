"""Pixel operations the forgery methods share: blend, soften, recolour, relight."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import HAIRLINE, JAW, Image, Mask, Points, hull

Alpha = NDArray[np.float32]


def feather(mask: Mask, sigma: float) -> Alpha:
    """Return a mask (H, W) with an edge of ``sigma`` pixels as opacity in [0, 1]."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(sigma, 0.1))


def blend(below: NDArray, above: NDArray, alpha: Alpha) -> Image:
    """Lay one picture (H, W, 3) over another with opacity ``alpha`` (H, W)."""
    mixed = below + (above.astype(np.float32) - below) * alpha[..., None]
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def resampled(image: Image, factor: float) -> Image:
    """Pass a picture through ``factor`` times its resolution, as a small generator does."""
    height, width = image.shape[:2]
    small = (max(round(width * factor), 2), max(round(height * factor), 2))
    low = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)


def to_lab(image: Image) -> NDArray[np.float32]:
    """Return CIE Lab (H, W, 3), L in [0, 100]."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def from_lab(lab: NDArray[np.float32]) -> Image:
    """Undo ``to_lab``, clipping what no screen can show."""
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8)


def match_colour(image: Image, like: Image, mask: Mask, offset: NDArray | float = 0.0) -> Image:
    """Give ``image`` the Lab mean and spread of ``like`` inside ``mask``, plus an error ``offset``.

    This is the colour transfer of Reinhard et al. (2001).
    """
    lab, model = to_lab(image), to_lab(like)
    mean, spread = lab[mask].mean(axis=0), lab[mask].std(axis=0)
    scale = np.clip(model[mask].std(axis=0) / (spread + 1e-3), 0.6, 1.6)
    return from_lab((lab - mean) * scale + model[mask].mean(axis=0) + offset)


def relight(image: Image, rng: np.random.Generator, amount: float) -> Image:
    """Brighten one side and darken the other by up to ``amount`` (fraction of the grey value)."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    gain = 1 + 2 * amount * (np.cos(angle) * x + np.sin(angle) * y)
    return np.clip(image * gain[..., None], 0, 255).astype(np.uint8)


def inner_face(landmarks: Points, size: int, grow: float = 1.0) -> Mask:
    """Return the face from just above the brows to the chin as a mask (size, size)."""
    return hull(landmarks[:27], size, grow)


def head(landmarks: Points, size: int, grow: float = 1.0) -> Mask:
    """Return the face up to the hairline as a mask (size, size)."""
    return hull(np.concatenate([landmarks[JAW], landmarks[HAIRLINE]]), size, grow)


def uneven(rng: np.random.Generator, low: float, high: float) -> NDArray[np.float32]:
    """Draw a Lab offset (3,) in any direction, between ``low`` and ``high`` long."""
    way = rng.standard_normal(3)
    return (way / (np.linalg.norm(way) + 1e-6) * rng.uniform(low, high)).astype(np.float32)
