"""Pixel operations the forgery methods share: blend, soften, recolour, relight, distort.

Pictures are uint8 RGB (S, S, 3), opacities float32 (S, S) in [0, 1].
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import Image, Mask, Points, Portrait, region_masks
from dfa_lib.taxonomy import Region

Alpha = NDArray[np.float32]
Rng = np.random.Generator


def feather(mask: Mask, sigma: float) -> Alpha:
    """Return a mask (H, W) with an edge of ``sigma`` pixels as opacity in [0, 1]."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(sigma, 0.1))
    return np.where(soft < 1 / 255, np.float32(0), np.minimum(soft, 1))


def over(portrait: Portrait, *regions: Region, sigma: float = 1.0) -> Alpha:
    """Return the opacity (S, S) of some regions of a face, with an edge of ``sigma`` pixels."""
    masks = region_masks(portrait.landmarks, len(portrait.image))
    return feather(np.any([masks[region] for region in regions], axis=0), sigma)


def blend(below: NDArray, above: NDArray, alpha: Alpha) -> Image:
    """Lay one picture (H, W, 3) over another with opacity ``alpha`` (H, W)."""
    mixed = below + (above.astype(np.float32) - below) * alpha[..., None]
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def laid(
    target: Portrait, above: NDArray, alpha: Alpha, landmarks: Points | None = None
) -> tuple[Portrait, Alpha]:
    """Lay a picture over a portrait; return the new portrait and the opacity."""
    marks = target.landmarks if landmarks is None else landmarks
    return Portrait(blend(target.image, above, alpha), marks), alpha


def dose(strength: float) -> float:
    """Return how much of a manipulation is done: all of it from a third of full strength on."""
    return min(3 * strength, 1.0)


def soft(image: NDArray, sigma: float) -> NDArray[np.float32]:
    """Blur a picture (H, W, 3) or plane (H, W) by ``sigma`` pixels; returns float32."""
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), max(sigma, 0.1))


def resampled(image: NDArray, factor: float) -> NDArray:
    """Pass a picture through ``factor`` times its resolution, as a small generator does."""
    height, width = image.shape[:2]
    small = (max(round(width * factor), 2), max(round(height * factor), 2))
    low = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)


def to_lab(image: NDArray) -> NDArray[np.float32]:
    """Return CIE Lab (H, W, 3), L in [0, 100]."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def from_lab(lab: NDArray[np.float32]) -> Image:
    """Undo ``to_lab``, clipping what no screen can show."""
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8)


def match_colour(image: Image, like: Image, mask: Mask) -> Image:
    """Give ``image`` the Lab mean and spread of ``like`` inside ``mask`` (Reinhard et al. 2001)."""
    lab, model = to_lab(image), to_lab(like)
    mean, spread = lab[mask].mean(axis=0), lab[mask].std(axis=0)
    scale = np.clip(model[mask].std(axis=0) / (spread + 1e-3), 0.6, 1.6)
    return from_lab((lab - mean) * scale + model[mask].mean(axis=0))


def match_shading(image: Image, like: Image, sigma: float, share: float) -> Image:
    """Give ``image`` the coarse shading and colour of ``like``; it keeps its finer detail.

    Coarse is what a blur of ``sigma`` pixels leaves; ``share`` in [0, 1] of the gap is closed.
    """
    gap = soft(like, sigma) - soft(image, sigma)
    return np.clip(image + share * gap + 0.5, 0, 255).astype(np.uint8)


def relit(image: Image, rng: Rng, amount: float) -> Image:
    """Brighten one side and darken the other by up to ``amount`` (fraction of the grey value)."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    gain = 1 + 2 * amount * (np.cos(angle) * x + np.sin(angle) * y)
    return np.clip(image * gain[..., None], 0, 255).astype(np.uint8)


def plastic(image: Image, strength: float) -> Image:
    """Take pores and fine lines, keep edges, and even the shading out: skin like plastic.

    What today's beauty filters and diffusion models leave: a bilateral filter, and coarse
    shading pulled by up to four fifths towards a still coarser one.
    """
    size = len(image)
    smooth = cv2.bilateralFilter(image, 0, 80 * strength + 1, size / 30 * strength + 0.3)
    even = soft(smooth, size / 10) - soft(smooth, size / 40)
    return np.clip(smooth + 0.8 * strength * even + 0.5, 0, 255).astype(np.uint8)


def smeared(image: Image, rng: Rng, grain: float, reach: float) -> Image:
    """Displace every pixel by a smooth random field: ``grain`` pixels wide, ``reach`` far."""
    size = len(image)
    field = soft(rng.standard_normal((size, size, 2)), grain)
    field *= reach / (field.std() + 1e-6)
    y, x = np.indices((size, size), np.float32)
    at = np.stack([x, y], axis=2) + field
    return cv2.remap(image, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def grid(image: NDArray, rng: Rng, depth: float) -> Image:
    """Modulate by the checkerboard that transposed convolutions leave (Odena et al. 2016).

    ``depth`` is a fraction of the grey value; a period takes four pixels.
    """
    y, x = np.indices(image.shape[:2]) + rng.integers(4, size=2)[:, None, None]
    cell = np.where((x // 2 + y // 2) % 2, 1.0, -1.0)
    return np.clip(image * (1 + depth * cell[..., None]), 0, 255).astype(np.uint8)


def uneven(rng: Rng, low: float, high: float) -> NDArray[np.float32]:
    """Draw a Lab offset (3,) in any direction, between ``low`` and ``high`` long."""
    way = rng.standard_normal(3)
    return (way / (np.linalg.norm(way) + 1e-6) * rng.uniform(low, high)).astype(np.float32)
