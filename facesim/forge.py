"""Forge a face: pick a method, apply it, and say truthfully what it altered.

The methods see pixels and 81 landmarks only, so the same ones serve modelled people and
photographs. See ``facesim/methods`` for the algorithms.
"""

from dataclasses import dataclass

import numpy as np

from dfa_lib.face.geometry import Image, Points, Portrait, region_masks
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Region
from facesim.facemodel import FaceModel
from facesim.methods import MATERIAL, METHODS, Method, edit, reenact, register, swap, synthesise
from facesim.pixels import Alpha

__all__ = [
    "METHODS",
    "FaceModel",
    "Forgery",
    "Method",
    "NoTrace",
    "altered_regions",
    "forge",
    "register",
]

LEAST_CHANGE = 5.0  # grey levels, mean over a region
LEAST_PIXELS = 12
_ATTEMPTS = 8
_LISTED = swap, reenact, edit, synthesise  # what they define is in METHODS once they are imported


class NoTrace(DataError):
    """A method changed too little of a face to be seen, a very dark one for instance."""


@dataclass(frozen=True)
class Forgery:
    """A forged portrait, the opacity ``mask`` (S, S) of what was laid on it, and where it shows."""

    portrait: Portrait
    mask: Alpha
    altered: tuple[Region, ...]


def forge(
    method: str | Method,
    rng: np.random.Generator,
    target: Portrait | None = None,
    donor: Portrait | None = None,
    model: FaceModel | None = None,
    difficulty: float = 0.5,
) -> Forgery:
    """Apply a method, by name or itself; redraw, stronger each time, until a region is altered.

    ``target`` is the face to forge (not for EFS); ``donor`` the other person of FS, or the
    driving face of FR, which may be missing; ``model`` draws the people of EFS. ``difficulty``
    in [0, 1] weakens the traces. Raises DataError when material is missing, and NoTrace when
    nothing shows.
    """
    chosen = method if isinstance(method, Method) else METHODS.get(method)
    if chosen is None:
        raise DataError(f"method: {method!r} is unknown; choose one of {', '.join(METHODS)}")
    given = {"target": target, "donor": donor, "model": model}
    for name in _REQUIRED[chosen.category]:
        if given[name] is None:
            raise DataError(f"{name}: missing; {chosen.name} ({chosen.category}) needs one")
    strength = float(np.interp(difficulty, *_STRENGTH))
    for attempt in range(_ATTEMPTS):
        before = model.draw(rng) if chosen.category is Category.EFS else target
        material = {"target": before, "donor": donor, "driver": donor, "person": before}
        used = {name: material[name] for name in MATERIAL[chosen.category]}
        portrait, mask = chosen.operate(rng, min(strength * 1.25**attempt, 1.0), **used)
        altered = altered_regions(before.image, portrait.image, before.landmarks)
        if altered:
            return Forgery(portrait, mask, altered)
    raise NoTrace(f"method: {chosen.name} left no trace on this face; draw another one")


_REQUIRED = {
    Category.FS: ("target", "donor"),
    Category.FR: ("target",),
    Category.FE: ("target",),
    Category.EFS: ("model",),
}
_STRENGTH = (0, 0.3, 1), (1.0, 0.95, 0.3)  # of the traces, by difficulty


def altered_regions(before: Image, after: Image, landmarks: Points) -> tuple[Region, ...]:
    """Return the regions (at least 12 pixels) that differ by more than 5 grey levels on average.

    ``before`` and ``after`` (S, S, 3) uint8 are the picture before and after the forgery, both
    before the camera; ``landmarks`` (81, 2) are those of ``before``.
    """
    change = np.abs(before.astype(np.int16) - after).mean(axis=2)
    regions = region_masks(landmarks, len(before)).items()
    return tuple(
        region
        for region, mask in regions
        if mask.sum() >= LEAST_PIXELS and change[mask].mean() > LEAST_CHANGE
    )
