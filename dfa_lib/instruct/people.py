"""Whom we can photograph: a population is real people or generated ones.

A population knows who belongs to which split and takes any number of portraits of a
person; the same person and take always give the same portrait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from dfa_lib.face.geometry import Portrait, align, frame, move
from dfa_lib.taxonomy import Split
from facesim.people import generator, portrait


class Population(Protocol):
    """People to photograph; hashable, so that portraits can be cached."""

    dataset: ClassVar[str]
    licence: ClassVar[str]
    shares: ClassVar[dict[Split, float]]
    takes: ClassVar[int]  # portraits of a person that differ in more than framing

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """Up to ``wanted`` persons of a split."""
        ...

    def portrait(self, person: str, take: int) -> Portrait:
        """One aligned picture of a person, before the camera."""
        ...

    def subgroup(self, person: str) -> dict[str, str]:
        """What the person consented to have told: age band, gender, ethnicity."""
        ...

    def frame(self, person: str, take: int) -> str:
        """The name of the photograph behind a portrait."""
        ...


@dataclass(frozen=True)
class Procedural:
    """Generated people; another ``seed`` is another population."""

    seed: int = 0
    size: int = 128

    dataset: ClassVar[str] = "procedural"
    licence: ClassVar[str] = "CC BY 4.0 (model of the Face Research Lab London Set)"
    shares: ClassVar[dict[Split, float]] = {Split.TRAIN: 0.70, Split.VAL: 0.06, Split.TEST: 0.24}
    takes: ClassVar[int] = 6

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """As many as are ``wanted``: the split is part of the person's number."""
        return [f"p{self.seed}-{split}-{number:04d}" for number in range(wanted)]

    def portrait(self, person: str, take: int) -> Portrait:
        """Photograph a person; the take decides on expression, light and background."""
        return portrait(person, take, self.size)

    def subgroup(self, person: str) -> dict[str, str]:
        """Nothing: these people do not exist."""
        return {}

    def frame(self, person: str, take: int) -> str:
        """The number of the take."""
        return f"take {take}"


def retaken(photo: Portrait, name: str, take: int, own: int, size: int) -> Portrait:
    """Return take ``take`` of a person with ``own`` photographs, aligned to ``size``.

    The first ``own`` takes are the photographs; later ones are re-framed and half of them
    mirrored, by dice that ``name`` and ``take`` decide.
    """
    if take < own:
        return align(photo.image, photo.landmarks, size)
    rng = generator(name, take)
    portrait = _reframed(photo, rng, size)
    return mirrored(portrait) if rng.random() < 0.5 else portrait


def _reframed(photo: Portrait, rng: np.random.Generator, size: int) -> Portrait:
    """Align a photograph a little off: up to 3 degrees, 4 % of scale and 2 % of shift."""
    turn, zoom = np.deg2rad(rng.uniform(-3, 3)), rng.uniform(0.96, 1.04)
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    span = np.ptp(photo.landmarks, axis=0).max()
    centre, shift = photo.landmarks.mean(axis=0), rng.uniform(-0.02, 0.02, 2) * span
    spin = np.array([[cos, -sin], [sin, cos]])
    off = move(photo.landmarks, np.column_stack([spin, centre + shift - spin @ centre]))
    picture = align(photo.image, off, size).image
    return Portrait(picture, move(photo.landmarks, frame(off, size)))


def mirrored(portrait: Portrait) -> Portrait:
    """Flip a portrait left to right; the landmarks keep their order."""
    points = portrait.landmarks[_MIRROR].copy()
    points[:, 0] = portrait.image.shape[1] - 1 - points[:, 0]
    return Portrait(np.ascontiguousarray(portrait.image[:, ::-1]), points)


_MIRROR = np.r_[
    16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40,
    54:47:-1, 59:54:-1, 64:59:-1, 67, 66, 65, 80:67:-1,
]  # fmt: skip
