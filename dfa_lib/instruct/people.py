"""Whom we can photograph: generated people, or those of a folder of photographs.

A population knows who belongs to which split and takes any number of portraits of a
person; the same person and take always give the same portrait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfa_lib.face.geometry import Portrait, align, frame, move
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, Face
from dfa_lib.taxonomy import Split
from facesim.people import generator, portrait

_FEWEST = 6  # two in every split, to swap between


class Population:
    """People to photograph; hashable, so that portraits can be cached."""

    dataset: ClassVar[str]
    licence: str
    shares: ClassVar[dict[Split, float]] = {Split.TRAIN: 0.70, Split.VAL: 0.06, Split.TEST: 0.24}
    takes: ClassVar[int]  # portraits of a person that differ in more than framing

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """Return up to ``wanted`` persons of a split."""
        raise NotImplementedError

    def portrait(self, person: str, take: int) -> Portrait:
        """Return one aligned picture of a person, before the camera."""
        raise NotImplementedError

    def frame(self, person: str, take: int) -> str:
        """Return the name of the photograph behind a portrait."""
        return f"take {take}"

    def subgroup(self, person: str) -> dict[str, str]:
        """Return what the person consented to have told: age band, gender, ethnicity."""
        return {}


@dataclass(frozen=True)
class Procedural(Population):
    """Generated people; another ``seed`` is another population."""

    seed: int = 0
    size: int = 128

    dataset: ClassVar[str] = "procedural"
    licence: ClassVar[str] = "CC BY 4.0 (model of the Face Research Lab London Set)"
    takes: ClassVar[int] = 6

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """Return as many as are ``wanted``: the split is part of the person's number."""
        return [f"p{self.seed}-{split}-{number:04d}" for number in range(wanted)]

    def portrait(self, person: str, take: int) -> Portrait:
        """Photograph a person; the take decides on expression, light and background."""
        return portrait(person, take, self.size)


@dataclass(frozen=True)
class Photographs(Population):
    """Those who are seen in the faces that ``import_faces`` has put under ``root``.

    Takes beyond a person's photographs are re-framed and, half of them, mirrored.
    """

    root: Path
    size: int = 128
    written: int = 0  # when, in ns since 1970: nothing is remembered beyond that

    dataset: ClassVar[str] = "folder"
    takes: ClassVar[int] = 1

    @property
    def licence(self) -> str:
        """The first line of LICENSE.txt in the folder."""
        return next(iter(_album(self.root, self.written).values()))[0].licence

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """Return the first ``wanted`` persons of a split; hashes order them, shares divide.

        Raises DataError where there are fewer than six.
        """
        album = _album(self.root, self.written)
        everyone = sorted(album, key=lambda name: sha256(name.encode()).digest())
        if len(everyone) < _FEWEST:
            raise DataError(
                f"root: only {len(everyone)} people with a usable photograph; three splits"
                f" need {_FEWEST}, each in a folder of their own or one picture each"
            )
        bounds = np.rint(np.cumsum([0, *self.shares.values()]) * len(everyone)).astype(int)
        bounds[1:3] = np.clip(bounds[1:3], [2, 4], len(everyone) - np.array([4, 2]))
        bounds[2] = max(bounds[2], bounds[1] + 2)
        at = list(self.shares).index(split)
        return everyone[bounds[at] : bounds[at + 1]][:wanted]

    def portrait(self, person: str, take: int) -> Portrait:
        """Align photograph ``take`` of a person; later takes vary framing and side."""
        mine = _album(self.root, self.written)[person]
        face = mine[take % len(mine)]
        photo = Portrait(FaceSet(self.root, ()).image(face), np.float32(face.landmarks))
        return retaken(photo, f"folder-{person}", take, len(mine), self.size)

    def frame(self, person: str, take: int) -> str:
        """Return the photograph, relative to the folder."""
        mine = _album(self.root, self.written)[person]
        return mine[take % len(mine)].frame or ""


@lru_cache(maxsize=2)
def _album(root: Path, written: int) -> dict[str, list[Face]]:
    """Return everybody's faces, as they were at the time ``written``."""
    album: dict[str, list[Face]] = {}
    for face in FaceSet.read(root):
        album.setdefault(face.identities[0], []).append(face)
    return album


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
