"""EFS, entire face synthesis: a person who does not exist, with the traces of a generator.

The person comes drawn from a face model, without traces. Each method lays two or three of
the traces of its kind of generator on some regions; the others stay clean. A trace takes what
a method takes and returns a changed picture with the opacity at which it shows.
"""

from collections.abc import Callable

import numpy as np

from dfa_lib.face.geometry import EYE_LEFT, EYE_RIGHT, LIP_OUTER, Image, Portrait, grown, hull, warp
from dfa_lib.taxonomy import Category, Region
from facesim import pixels as px
from facesim.methods import register
from facesim.pixels import Alpha, Rng

Trace = Callable[[Rng, float, Portrait], tuple[Image, Alpha]]


@register(Category.EFS)
def gan_face(rng: Rng, strength: float, person: Portrait) -> tuple[Portrait, Alpha]:
    """Leave what generative adversarial networks leave (Matern et al. 2019).

    Eyes that differ, ears and hair that melt, a blotchy background, by ``strength``; what is
    altered carries the grid of the upsampling, up to 3.5 % of the grey value deep.
    """
    traces = odd_eyes, odd_side, melted_hair, melted_ears, blotchy_background
    face, alpha = _with_some(rng, strength, person, traces)
    return px.laid(face, px.grid(face.image, rng, 0.035 * strength), alpha)


@register(Category.EFS)
def diffusion_face(rng: Rng, strength: float, person: Portrait) -> tuple[Portrait, Alpha]:
    """Leave what diffusion models leave.

    Plastic skin, lips and teeth in soft bands, hair that runs into the skin, by ``strength``.
    """
    traces = plastic_forehead, plastic_cheeks, vague_mouth, melted_hair, blotchy_background
    return _with_some(rng, strength, person, traces)


@register(Category.EFS)
def morph(rng: Rng, strength: float, person: Portrait) -> tuple[Portrait, Alpha]:
    """Leave what morphs of several people leave (Ferrara et al. 2014).

    Double contours, as dense as 0.6 ``strength``, and features that do not fit.
    """
    return _with_some(rng, strength, person, (double_outline, double_brows, odd_side, odd_eyes))


def _with_some(
    rng: Rng, strength: float, person: Portrait, traces: tuple[Trace, ...]
) -> tuple[Portrait, Alpha]:
    """Lay two or three of ``traces`` on, one after the other."""
    alpha = np.zeros(person.image.shape[:2], np.float32)
    for k in rng.choice(len(traces), int(rng.integers(2, 4)), replace=False):
        layer, where = traces[k](rng, strength, person)
        person, alpha = px.laid(person, layer, where)[0], np.maximum(alpha, where)
    return person, alpha


def odd_eyes(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Make one eye larger, ragged and of another colour."""
    size, marks = len(person.image), person.landmarks.copy()
    eye = (EYE_LEFT, EYE_RIGHT)[rng.integers(2)]
    marks[eye] = grown(marks[eye], (1, 1 + rng.uniform(0.35, 0.55) * strength))
    marks[eye] += np.float32(rng.normal(0, 0.06 * strength * np.ptp(marks[eye, 0]), 2))
    face = warp(person.image, person.landmarks, marks)
    face = px.smeared(face, rng, size / 60, size / 120 * strength)
    iris = px.feather(hull(marks[eye], size, 0.95), 0.7)
    face = px.from_lab(px.to_lab(face) + px.uneven(rng, 12, 22) * strength * iris[..., None])
    return face, px.feather(hull(grown(marks[eye], (1.3, 1.8)), size), size / 90)


def odd_side(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Move brow, nostril and lid of one side."""
    size, marks = len(person.image), person.landmarks.copy()
    side = _SIDES[rng.integers(2)]
    for part in side:
        way = rng.choice([-1, 1], 2) * rng.uniform(0.4, 1, 2) * [0.02, 0.035]
        marks[part] += np.float32(way * size * strength)
    face = warp(person.image, person.landmarks, marks)
    return face, px.feather(hull(marks[np.concatenate(side)], size, 1.35), size / 40)


_SIDES = (np.r_[17:22], np.r_[36:42], np.r_[31:33]), (np.r_[22:27], np.r_[42:48], np.r_[34:36])


def melted_hair(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Let hair and forehead run into each other along the hairline."""
    return _melted(rng, strength, person, Region.HAIRLINE)


def melted_ears(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Let the ears run into hair and background."""
    return _melted(rng, strength, person, Region.EARS)


def _melted(rng: Rng, strength: float, person: Portrait, region: Region) -> tuple[Image, Alpha]:
    size = len(person.image)
    face = px.smeared(person.image, rng, size / 26, size / 70 * strength)
    return px.soft(face, size / 130 * strength), px.over(person, region, sigma=size / 60)


def blotchy_background(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Warp the background and cover it with soft blotches."""
    size = len(person.image)
    face = px.to_lab(px.smeared(person.image, rng, size / 16, size / 24 * strength))
    blotch = px.soft(rng.standard_normal((size, size, 3)), size / rng.uniform(10, 20))
    blotch *= np.float32([5, 1.5, 1.5]) * strength / (blotch.std() + 1e-6)
    return px.from_lab(face + blotch), px.over(person, Region.BACKGROUND, sigma=size / 60)


def plastic_forehead(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Make the forehead smooth and shiny."""
    return _plastic(rng, strength, person, Region.FOREHEAD)


def plastic_cheeks(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Make cheeks, nose and chin smooth and shiny."""
    return _plastic(rng, strength, person, Region.CHEEKS, Region.NOSE, Region.CHIN)


def _plastic(rng: Rng, strength: float, person: Portrait, *regions: Region) -> tuple[Image, Alpha]:
    face = px.to_lab(px.plastic(px.plastic(person.image, strength), strength))
    glow = np.float32([rng.uniform(3, 6), rng.uniform(0, 4), rng.uniform(0, 5)])
    return px.from_lab(face + glow * strength), px.over(person, *regions, sigma=len(face) / 50)


def vague_mouth(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Melt lips and teeth into soft bands."""
    size = len(person.image)
    face = px.smeared(person.image, rng, size / 40, size / 60 * strength)
    lips = hull(grown(person.landmarks[LIP_OUTER], (1.15, 1.3)), size)
    return px.resampled(face, 1 - 0.8 * strength), px.feather(lips, size / 80)


def double_outline(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Show the outline of a second head: hair, ears and jaw lie double."""
    where = px.over(person, Region.HAIRLINE, Region.EARS, Region.JAWLINE, sigma=3)
    return _shifted(rng, person, 0.03), 0.6 * strength * where


def double_brows(rng: Rng, strength: float, person: Portrait) -> tuple[Image, Alpha]:
    """Show brows and nose double."""
    where = px.over(person, Region.EYEBROWS, Region.NOSE, sigma=2)
    return _shifted(rng, person, 0.02), 0.6 * strength * where


def _shifted(rng: Rng, person: Portrait, reach: float) -> Image:
    """Return the picture with the face scaled and shifted by ``reach`` of its side."""
    size, angle = len(person.image), rng.uniform(0, 2 * np.pi)
    way = np.float32([np.cos(angle), np.sin(angle)]) * reach * size
    marks = grown(person.landmarks, 1 + rng.choice([-1, 1]) * reach) + way
    return warp(person.image, person.landmarks, marks)
