"""Forge a face: pick a method, apply it, and say truthfully what it altered.

The methods see pixels and 81 landmarks only, so the same ones serve drawn faces and
photographs. See ``facesim/methods`` for the algorithms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dfa_lib.face.geometry import Image, Points, Portrait, region_masks
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Region
from facesim.facemodel import FaceModel
from facesim.methods import edit, reenact, swap, synthesise
from facesim.pixels import Alpha

__all__ = ["METHODS", "FaceModel", "Forgery", "Method", "altered_regions", "forge"]

LEAST_CHANGE = 5.0  # grey levels, mean over a region
LEAST_PIXELS = 12
_ATTEMPTS = 8


@dataclass(frozen=True)
class Method:
    """One concrete generator inside a category."""

    name: str
    category: Category
    operate: Callable[..., tuple[Portrait, Alpha]]


@dataclass(frozen=True)
class Forgery:
    """A forged portrait, the opacity ``mask`` (S, S) of what was laid on it, and where it shows."""

    portrait: Portrait
    mask: Alpha
    altered: tuple[Region, ...]


_OPERATORS = {
    Category.FS: (swap.poisson_swap, swap.feather_swap, swap.lowres_swap),
    Category.FR: (reenact.warp_reenact, reenact.mouth_reenact, reenact.eye_reenact),
    Category.FE: (
        edit.makeup,
        edit.eyeshadow,
        edit.smooth_skin,
        edit.age,
        edit.redraw_brows,
        edit.dye_hair,
    ),
    Category.EFS: (synthesise.appearance_model, synthesise.morph),
}
METHODS: dict[str, Method] = {
    operator.__name__: Method(operator.__name__, category, operator)
    for category, operators in _OPERATORS.items()
    for operator in operators
}


def forge(
    method: str,
    rng: np.random.Generator,
    target: Portrait | None = None,
    donor: Portrait | None = None,
    model: FaceModel | None = None,
    difficulty: float = 0.5,
) -> Forgery:
    """Apply a method of ``METHODS``; redraw, stronger each time, until a region is altered.

    ``target`` is the face to forge (not for EFS); ``donor`` the other person of FS, or the
    driving face of FR, which may be missing; ``model`` is what EFS draws from. ``difficulty``
    in [0, 1] weakens the traces. Raises DataError when material is missing or nothing shows.
    """
    chosen = METHODS.get(method)
    if chosen is None:
        raise DataError(f"method: {method!r} is unknown; choose one of {', '.join(METHODS)}")
    material = _material(chosen, target, donor, model)
    strength = float(np.interp(difficulty, [0, 0.5, 1], [1.6, 1.0, 0.6]))
    for attempt in range(_ATTEMPTS):
        portrait, mask = chosen.operate(rng, strength * 1.2**attempt, *material)
        altered = _truth(chosen.category, target, portrait, mask)
        if altered:
            return Forgery(portrait, mask.astype(np.float32), altered)
    raise DataError(f"method: {method} left no trace on this face; draw another one")


def _material(
    method: Method, target: Portrait | None, donor: Portrait | None, model: FaceModel | None
) -> tuple[Portrait | FaceModel | None, ...]:
    wanted: dict[Category, dict[str, Portrait | FaceModel | None]] = {
        Category.FS: {"target": target, "donor": donor},
        Category.FR: {"target": target},
        Category.FE: {"target": target},
        Category.EFS: {"model": model},
    }
    for name, thing in wanted[method.category].items():
        if thing is None:
            raise DataError(f"{name}: missing; {method.name} ({method.category}) needs one")
    driver = (donor,) if method.category is Category.FR else ()
    return (*wanted[method.category].values(), *driver)


def _truth(
    category: Category, target: Portrait | None, forged: Portrait, mask: Alpha
) -> tuple[Region, ...]:
    """Measured against the bona fide face; entire synthesis, which has none, goes by its mask."""
    if category is Category.EFS or target is None:
        regions = region_masks(forged.landmarks, len(mask)).items()
        return tuple(r for r, m in regions if m.sum() >= LEAST_PIXELS and mask[m].mean() > 0.5)
    return altered_regions(target.image, forged.image, target.landmarks)


def altered_regions(before: Image, after: Image, landmarks: Points) -> tuple[Region, ...]:
    """Return the regions (at least 12 pixels) that differ by more than 5 grey levels on average."""
    change = np.abs(before.astype(np.int16) - after).mean(axis=2)
    regions = region_masks(landmarks, len(before)).items()
    return tuple(
        region
        for region, mask in regions
        if mask.sum() >= LEAST_PIXELS and change[mask].mean() > LEAST_CHANGE
    )
