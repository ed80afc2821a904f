"""The Face Research Lab London Set: photographs of 102 consenting adults, CC BY 4.0."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import Image, Points, Portrait, from_frl189, move
from dfa_lib.instruct.people import Population, retaken
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Split


@dataclass(frozen=True)
class London(Population):
    """The Face Research Lab London Set (DeBruine & Jones): 102 consenting adults.

    ``root`` holds neutral_front/ and smiling_front/ with NNN_*.jpg and .tem (189 points
    each) and london_info.csv; a smile without a template borrows the neutral one. Takes
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
        image, points = _photo_and_points(self._photo(person, 0), self._photo(person, take))
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
def _photo_and_points(neutral: Path, path: Path) -> tuple[Image, Points]:
    """Read a photograph and its 81 landmarks, if need be carried over from the neutral one."""
    image, template = open_photo(path), path.with_suffix(".tem")
    if template.is_file():
        return image, read_tem(template)
    points = read_tem(neutral.with_suffix(".tem"))
    return image, carried(open_photo(neutral), image, points)


def carried(one: Image, other: Image, points: Points) -> Points:
    """Find ``points`` (n, 2) of one photograph of a person on another one.

    Brows and nose are found by matching at nine scales; dense optical flow does the rest.
    """
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (one, other))
    start = _match(first, second, points[17:36])
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    moved = cv2.warpAffine(first, start, second.shape[::-1], borderMode=cv2.BORDER_REFLECT_101)
    field = cv2.GaussianBlur(flow.calc(moved, second, None), (0, 0), 3)
    near = move(points, start)
    last = np.array(second.shape[::-1]) - 1
    columns, rows = np.clip(np.rint(near), 0, last).astype(int).T
    return near + field[rows, columns]


def _match(first: NDArray, second: NDArray, points: Points) -> NDArray[np.float32]:
    """Return scale and shift (2, 3) that bring the patch round ``points`` onto ``second``."""
    low = np.maximum(points.min(axis=0).astype(int) - 8, 0)
    high = points.max(axis=0).astype(int) + 8
    patch = first[low[1] : high[1], low[0] : high[0]]
    best: tuple[float, NDArray[np.float32]] = (-2.0, np.eye(2, 3, dtype=np.float32))
    for scale in np.linspace(0.9, 1.1, 9):
        sized = cv2.resize(patch, None, fx=float(scale), fy=float(scale))
        score, place = cv2.minMaxLoc(cv2.matchTemplate(second, sized, cv2.TM_CCOEFF_NORMED))[1::2]
        if score > best[0]:
            shift = np.array(place) - scale * low
            best = (score, np.float32([[scale, 0, shift[0]], [0, scale, shift[1]]]))
    return best[1]


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
