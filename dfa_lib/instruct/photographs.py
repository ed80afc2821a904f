"""The people of a folder of photographs, to be forged like those of the London Set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfa_lib.face.geometry import Portrait
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.people import retaken
from dfa_lib.records import DataError, Face
from dfa_lib.taxonomy import Split

_FEWEST = 6  # two in every split, to swap between


@dataclass(frozen=True)
class Photographs:
    """Those who are seen in the faces that ``import_faces`` has put under ``root``.

    Takes beyond a person's photographs are re-framed and, half of them, mirrored.
    """

    root: Path
    size: int = 128
    written: int = 0  # when, in ns since 1970: nothing is remembered beyond that

    dataset: ClassVar[str] = "folder"
    shares: ClassVar[dict[Split, float]] = {Split.TRAIN: 0.70, Split.VAL: 0.06, Split.TEST: 0.24}
    takes: ClassVar[int] = 1

    @property
    def licence(self) -> str:
        """The first line of LICENSE.txt in the folder."""
        return next(iter(_album(self.root, self.written).values()))[0].licence

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """The first ``wanted`` persons of a split; hashes order people, shares divide them."""
        everyone = sorted(
            _album(self.root, self.written), key=lambda name: sha256(name.encode()).digest()
        )
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

    def subgroup(self, person: str) -> dict[str, str]:
        """Nothing: nobody was asked."""
        return {}

    def frame(self, person: str, take: int) -> str:
        """The photograph, relative to the folder."""
        mine = _album(self.root, self.written)[person]
        return mine[take % len(mine)].frame or ""


@lru_cache(maxsize=2)
def _album(root: Path, written: int) -> dict[str, list[Face]]:
    """Everybody's faces, as they were at the time ``written``."""
    album: dict[str, list[Face]] = {}
    for face in FaceSet.read(root):
        album.setdefault(face.identities[0], []).append(face)
    return album
