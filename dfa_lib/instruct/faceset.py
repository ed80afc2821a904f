"""A folder of faces: faces.jsonl and the pictures it speaks of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from dfa_lib.files import read_json
from dfa_lib.photo import open_photo
from dfa_lib.records import ById, DataError, Face, Stored, inside, read_jsonl
from dfa_lib.shards import Shard, ends_in_newline, shard_path
from dfa_lib.taxonomy import Split

_LARGE = 16 * 2**20
"""Bytes of faces.jsonl, about 10,000 faces, beyond which these are not held in memory."""


@dataclass(frozen=True)
class FaceSet:
    """Faces whose pictures lie under ``root``; index it by id, or iterate over it.

    ``faces`` may be ``Stored`` (``records``): then they need not fit in memory.
    """

    root: Path
    faces: Sequence[Face]

    @classmethod
    def read(cls, root: Path, shard: Shard | None = None) -> "FaceSet":
        """Open the folder that ``load_faces`` wrote, or one shard of it.

        Faces of a large file stay on disk until they are asked for (``Stored``).
        """
        path = shard_path(root / "faces.jsonl", shard)
        if path.is_file() and not ends_in_newline(path):
            raise DataError(f"{path}: cut off at the end; remove it and make the faces again")
        if path.is_file() and path.stat().st_size > _LARGE:
            return cls(root, Stored(path, Face))
        return cls(root, tuple(read_jsonl(path, Face)))

    @property
    def source(self) -> str:
        """The source that ``load_faces`` was given, else the data sets of the faces."""
        note = self.root / "recipe.json"
        if note.exists():
            return str(read_json(note)["source"])
        return " + ".join(sorted({face.dataset for face in self}))

    def split(self, name: Split | str) -> "FaceSet":
        """The faces of one split: "train", "val" or "test"."""
        return replace(self, faces=tuple(face for face in self.faces if face.split == name))

    def image(self, face: Face) -> np.ndarray:
        """The picture of a face, (size, size, 3) uint8 RGB."""
        return open_photo(inside(self.root, face.image), face.image)

    def mask(self, face: Face) -> np.ndarray | None:
        """Where a forged face was altered, (size, size) uint8; None where that is not known."""
        if face.mask is None:
            return None
        return open_photo(inside(self.root, face.mask), face.mask)[..., 0]

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    def __getitem__(self, face_id: str) -> Face:
        if face_id not in self._by_id:
            raise DataError(f"face {face_id!r}: not among the {len(self)} of {self.root}")
        return self._by_id[face_id]

    @cached_property
    def _by_id(self) -> ById[Face]:
        return ById(self.faces)
