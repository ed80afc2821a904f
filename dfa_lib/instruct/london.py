"""The Face Research Lab London Set: photographs of 102 consenting adults, CC BY 4.0."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfa_lib.face.detect import find_face
from dfa_lib.face.geometry import Image, Points, Portrait, from_frl189
from dfa_lib.instruct.people import Population, retaken
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Split


@dataclass(frozen=True)
class London(Population):
    """The Face Research Lab London Set (DeBruine & Jones): 102 consenting adults.

    ``root`` holds neutral_front/ and smiling_front/ with NNN_*.jpg and .tem (189 points
    each) and london_info.csv; where a photograph has no template the face is found on it. Takes
    beyond the two photographs are re-framed and, half of them, mirrored.
    """

    root: Path
    size: int = 128

    dataset: ClassVar[str] = "london"
    licence: ClassVar[str] = "CC BY 4.0 (Face Research Lab London Set, DeBruine & Jones)"
    shares: ClassVar[dict[Split, float]] = {Split.TRAIN: 0.65, Split.VAL: 0.08, Split.TEST: 0.27}
    takes: ClassVar[int] = 2

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """The first ``wanted`` persons of a split, by number."""
        mine = [person for person in _london_people(self.root) if london_split(person) is split]
        return mine[:wanted]

    def portrait(self, person: str, take: int) -> Portrait:
        """Align photograph ``take`` mod 2; later takes vary framing and side."""
        image, points = photo_and_points(self._photo(person, take))
        return retaken(Portrait(image, points), f"london-{person}", take, self.takes, self.size)

    def subgroup(self, person: str) -> dict[str, str]:
        """Age band, gender and ethnicity as the set gives them."""
        row = self.row(person)
        age, gender, ethnicity = (row[f"face_{name}"] for name in ("age", "gender", "eth"))
        return {"age": _band(age), "gender": gender, "ethnicity": ethnicity}

    def row(self, person: str) -> dict[str, str]:
        """Return what london_info.csv says of a person, by column."""
        return _london_people(self.root)[person]

    def frame(self, person: str, take: int) -> str:
        """The photograph, relative to the root."""
        return self._photo(person, take).relative_to(self.root).as_posix()

    def _photo(self, person: str, take: int) -> Path:
        folder = self.root / ("neutral_front", "smiling_front")[take % 2]
        found = sorted(folder.glob(f"{person}_*.jpg"))
        if not found:
            raise DataError(f"{folder}/{person}_*.jpg: missing; unpack the London Set again")
        return found[0]


def london_split(person: str) -> Split:
    """The split of a person of the London Set ("001" to "173"), the same for every seed.

    A hash decides, so that the committed base, the lessons and the benchmark agree on whom
    no model may see. The salt was chosen for 66 / 8 / 28 people and a test split with
    every ethnicity.
    """
    place = int(sha256(f"340/{person}".encode()).hexdigest(), 16) % 100
    return Split.TRAIN if place < 65 else Split.VAL if place < 73 else Split.TEST


@lru_cache(maxsize=64)
def photo_and_points(path: Path) -> tuple[Image, Points]:
    """Read a photograph (H, W, 3) and its landmarks (81, 2), measured or else found."""
    image, template = open_photo(path), path.with_suffix(".tem")
    if template.is_file():
        return image, read_tem(template)
    return image, find_face(image, path.name).landmarks


@cache
def _london_people(root: Path) -> dict[str, dict[str, str]]:
    """Read london_info.csv: person -> row."""
    table = root / "london_info.csv"
    if not table.is_file() or not (root / "neutral_front").is_dir():
        raise DataError(
            f"root={root}: no London Set there; get neutral_front, smiling_front and the table"
            " of the Face Research Lab London Set (DeBruine & Jones, CC BY 4.0) from"
            " https://doi.org/10.6084/m9.figshare.5047666 and give their folder"
        )
    with table.open(encoding="utf-8-sig", newline="") as file:
        return {row["face_id"]: row for row in csv.DictReader(file)}


def read_tem(path: Path) -> Points:
    """Read the 189 points of a Psychomorph template and turn them into 81 landmarks."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
        count = int(lines[0])
        points = np.array([line.split()[:2] for line in lines[1 : count + 1]], np.float32)
    except (OSError, ValueError, IndexError):
        raise DataError(f"{path}: not a readable template; unpack the London Set again") from None
    return from_frl189(points)


def _band(age: str) -> str:
    try:
        years = float(age)
    except ValueError:
        return "unknown"
    return "18-24" if years < 25 else "25-34" if years < 35 else "35 and over"
