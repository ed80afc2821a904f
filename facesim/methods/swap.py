"""FS, face swapping: another person's inner face on the target's head."""

import cv2
import numpy as np

from dfa_lib.face.geometry import Image, Mask, Portrait, grown, hull, warp
from facesim.pixels import (
    Alpha,
    blend,
    feather,
    inner_face,
    match_colour,
    relight,
    resampled,
    uneven,
)


def poisson_swap(
    rng: np.random.Generator, strength: float, target: Portrait, donor: Portrait
) -> tuple[Portrait, Alpha]:
    """Clone the donor's face by its gradients (Perez et al. 2003): colour bleeds inwards."""
    size = len(target.image)
    mask = inner_face(target.landmarks, size, rng.uniform(0.88, 0.95))
    face = _generated(rng, strength, target, donor, (0.58, 0.75))
    return Portrait(_cloned(face, target.image, mask), target.landmarks), feather(mask, 0.5)


def _cloned(face: Image, onto: Image, mask: Mask) -> Image:
    """Clone what the mask shows; only its surroundings are solved, which saves most of the time."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    near = np.s_[max(y - 3, 0) : y + height + 3, max(x - 3, 0) : x + width + 3]
    part, small = np.ascontiguousarray(onto[near]), mask[near].astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(small)
    centre = (x + width // 2, y + height // 2)
    source = np.ascontiguousarray(face[near])
    picture = onto.copy()
    picture[near] = cv2.seamlessClone(source, part, small, centre, cv2.NORMAL_CLONE)
    return picture


def feather_swap(
    rng: np.random.Generator, strength: float, target: Portrait, donor: Portrait
) -> tuple[Portrait, Alpha]:
    """Lay the recoloured face over the target with a feathered edge; its light does not agree."""
    size = len(target.image)
    alpha = feather(inner_face(target.landmarks, size, rng.uniform(0.86, 0.95)), size / 80)
    face = _generated(rng, strength, target, donor, (0.6, 0.8))
    face = relight(face, rng, 0.12 * strength)
    return Portrait(blend(target.image, face, alpha), target.landmarks), alpha


def lowres_swap(
    rng: np.random.Generator, strength: float, target: Portrait, donor: Portrait
) -> tuple[Portrait, Alpha]:
    """Paste the square output of a small generator: too smooth, and its edge can be seen."""
    size = len(target.image)
    inner = grown(target.landmarks[17:68], (rng.uniform(1.1, 1.25), rng.uniform(1.05, 1.2)))
    low, high = inner.min(axis=0), inner.max(axis=0)
    corners = np.array([low, [high[0], low[1]], high, [low[0], high[1]]], np.float32)
    alpha = feather(hull(corners, size), size / 130)
    alpha *= feather(inner_face(target.landmarks, size, 1.0), size / 130)
    face = _generated(rng, strength, target, donor, (0.42, 0.6))
    return Portrait(blend(target.image, face, alpha), target.landmarks), alpha


def _generated(
    rng: np.random.Generator,
    strength: float,
    target: Portrait,
    donor: Portrait,
    resolution: tuple[float, float],
) -> Image:
    """Return the donor's face in the target's shape and, nearly, in its colours."""
    face = warp(donor.image, donor.landmarks, target.landmarks)
    core = inner_face(target.landmarks, len(face), 0.85)
    face = match_colour(face, target.image, core, uneven(rng, 3 * strength, 6 * strength))
    return resampled(face, float(np.clip(rng.uniform(*resolution) / strength**0.7, 0.25, 0.95)))
