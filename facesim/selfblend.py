"""Self-blended faces: a face blended with its own slightly altered copy.

The forgery that is no method's (Shiohara and Yamasaki, CVPR 2022): what it teaches to find is
the seam and the mismatch of the two halves, which many face swaps and reenactments leave.
"""

import cv2
import numpy as np

from dfa_lib.face.geometry import Image, Points, Portrait, grown, hull
from facesim import pixels as px
from facesim.pixels import Alpha, Rng

_HULLS = (slice(0, 68), slice(0, 81), slice(17, 68), np.r_[2:15, 27:36], slice(48, 68))
_HULL_SHARES = (0.35, 0.15, 0.25, 0.15, 0.10)
_OPACITIES = (0.5, 0.75, 1.0, 1.0, 1.0)


def self_blend(rng: Rng, face: Portrait) -> tuple[Image, Alpha]:
    """Blend a bona fide face (H, W, 3) with its own copy; return it and the opacity (H, W).

    The copy differs in colour or light, in sharpness and, by a few hundredths of the face, in
    place. Outside the opacity no pixel changes, so nothing tells of the blend but the blend.
    """
    span = float(np.ptp(face.landmarks[:68], axis=0).max())
    copy = _moved(_sharpness(_recoloured(face.image, rng), rng), face.landmarks, span, rng)
    alpha = _opacity(face, span, rng)
    return px.blend(face.image, copy, alpha), alpha


def _recoloured(image: Image, rng: Rng) -> Image:
    """Offset the colour in Lab, or light the copy from another side."""
    if rng.random() < 0.3:
        return px.relit(image, rng, rng.uniform(0.05, 0.2))
    return px.from_lab(px.to_lab(image) + px.uneven(rng, 2, 10))


def _sharpness(image: Image, rng: Rng) -> Image:
    """Pass the copy through a lower resolution, sharpen it, or leave it."""
    kind = rng.choice(["lower", "sharper", "same"], p=[0.45, 0.25, 0.3])
    if kind == "lower":
        return px.resampled(image, rng.uniform(0.3, 0.85))
    if kind == "sharper":
        detail = image - px.soft(image, len(image) / 120)
        return np.clip(image + rng.uniform(0.3, 0.9) * detail, 0, 255).astype(np.uint8)
    return image


def _moved(image: Image, landmarks: Points, span: float, rng: Rng) -> Image:
    """Turn, scale and shift the copy about the middle of the face."""
    x, y = (float(value) for value in landmarks[:68].mean(axis=0))
    matrix = cv2.getRotationMatrix2D((x, y), rng.normal(0, 2), rng.uniform(0.96, 1.04))
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * span
    size = image.shape[1::-1]
    return cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REFLECT_101)


def _opacity(face: Portrait, span: float, rng: Rng) -> Alpha:
    """Draw the hull of some landmarks, displaced a little, with a soft or a hard edge."""
    points = face.landmarks[_HULLS[rng.choice(len(_HULLS), p=_HULL_SHARES)]]
    points = grown(points, rng.uniform(0.85, 1.1))
    points += rng.normal(0, 0.015, points.shape).astype(np.float32) * span
    height, width = face.image.shape[:2]
    mask = hull(points, max(height, width))[:height, :width]
    return px.feather(mask, rng.uniform(0.005, 0.05) * span) * np.float32(rng.choice(_OPACITIES))
