"""FS, face swapping: another person's inner face on the target's head.

The donor's face is warped to the target's landmarks and takes on its colours and coarse
shading, which keeps beards and shadows from showing twice; ``strength`` scales what betrays
it: the colour that is left over, the resolution of the generator, light and edge.
"""

import cv2
import numpy as np

from dfa_lib.face.geometry import Image, Mask, Portrait, grown, hull, warp
from dfa_lib.taxonomy import Category
from facesim import pixels as px
from facesim.methods import register
from facesim.pixels import Alpha, Rng


@register(Category.FS)
def poisson_swap(
    rng: Rng, strength: float, target: Portrait, donor: Portrait
) -> tuple[Portrait, Alpha]:
    """Clone the donor's face by its gradients (Perez et al. 2003).

    Colour bleeds inwards from the edge, and the face is as soft as ``strength`` makes it.
    """
    mask = _mask(rng, target, 0.88, 0.95)
    face = _generated(rng, strength, target, donor, rng.uniform(0.45, 0.6))
    return px.laid(target, _cloned(face, target.image, mask), px.feather(mask, 0.5))


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


@register(Category.FS)
def feather_swap(
    rng: Rng, strength: float, target: Portrait, donor: Portrait
) -> tuple[Portrait, Alpha]:
    """Lay the face over the target with a feathered edge, as early swap programs do.

    ``strength`` scales the error of its colour and a light that falls from another side, which
    darkens one half of the face by up to 60 %.
    """
    size = len(target.image)
    alpha = px.feather(_mask(rng, target, 0.86, 0.95), size / 60)
    face = _generated(rng, strength, target, donor, rng.uniform(0.5, 0.7))
    return px.laid(target, px.relit(face, rng, 0.3 * strength), alpha)


@register(Category.FS)
def lowres_swap(
    rng: Rng, strength: float, target: Portrait, donor: Portrait
) -> tuple[Portrait, Alpha]:
    """Paste the output of a small generator, a box cut to the face (Li and Lyu 2019).

    At full ``strength`` it has a quarter to three eighths of the resolution around it, and the
    grid of its upsampling shows.
    """
    size = len(target.image)
    inner = grown(target.landmarks[17:68], (rng.uniform(1.1, 1.25), rng.uniform(1.05, 1.2)))
    low, high = inner.min(axis=0), inner.max(axis=0)
    box = np.array([low, [high[0], low[1]], high, [low[0], high[1]]], np.float32)
    alpha = px.feather(hull(box, size) & _mask(rng, target, 0.98, 1.0), size / 100)
    face = _generated(rng, strength, target, donor, rng.uniform(0.25, 0.38))
    return px.laid(target, px.grid(face, rng, 0.025 * strength), alpha)


def _mask(rng: Rng, target: Portrait, low: float, high: float) -> Mask:
    """Outline what is swapped: brows to chin or, with one in three, to the upper lip only."""
    part = target.landmarks[_TO_LIP if rng.random() < 1 / 3 else _TO_CHIN]
    return hull(part, len(target.image), rng.uniform(low, high))


_TO_CHIN, _TO_LIP = np.r_[:27], np.r_[:4, 13:27, 50:53]


def _generated(rng: Rng, strength: float, target: Portrait, donor: Portrait, scale: float) -> Image:
    """Return the donor's face in the target's shape and, nearly, in its colours.

    At full strength it has ``scale`` times the resolution of the picture.
    """
    size = len(target.image)
    face = warp(donor.image, donor.landmarks, target.landmarks)
    face = px.match_colour(face, target.image, hull(target.landmarks[_TO_CHIN], size, 0.85))
    face = px.match_shading(face, target.image, size / 12, 1 - 0.5 * strength)
    face = px.from_lab(px.to_lab(face) + px.uneven(rng, 4 * strength, 10 * strength))
    face = px.blend(target.image, face, np.full((size, size), px.dose(strength), np.float32))
    return px.resampled(face, 1 - (1 - scale) * strength)
