"""Populations to photograph: generated people, the London Set, or a folder of photographs.

A population knows who belongs to which split and takes any number of portraits of a
person; the same person and take always give the same portrait.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfa_lib.face.detect import find_face
from dfa_lib.face.geometry import Image, Points, Portrait, align, frame, from_frl189, mirrored, move
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError, Face
from dfa_lib.taxonomy import Split
from facesim.people import Part, generator, portrait

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
    parts: ClassVar[dict[str, Part]] = {"train": (0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1)}
    """Which anchors of the face model people of a split are mixed of: no two splits share one."""

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """Return as many as are ``wanted``: the split is part of the person's number."""
        return [f"p{self.seed}-{split}-{number:04d}" for number in range(wanted)]

    def portrait(self, person: str, take: int) -> Portrait:
        """Photograph a person; the take decides on expression, light and background."""
        split = person.split("-")[1]
        return portrait(person, take, self.size, part=self.parts[split])


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


@dataclass(frozen=True)
class Photographs(Population):
    """The people in the faces that ``import_faces`` has put under ``root``.

    Takes beyond a person's photographs are re-framed and, half of them, mirrored.
    """

    root: Path
    size: int = 128
    written: int = 0  # when, in ns since 1970: other faces make another population

    dataset: ClassVar[str] = "folder"
    takes: ClassVar[int] = 1

    @property
    def licence(self) -> str:
        """The first line of LICENSE.txt in the folder."""
        return next(iter(self._album.values()))[0].licence

    def people(self, split: Split, wanted: int) -> Sequence[str]:
        """Return the first ``wanted`` persons of a split; hashes order them, shares divide.

        Raises DataError where there are fewer than six.
        """
        everyone = sorted(self._album, key=lambda name: sha256(name.encode()).digest())
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
        mine = self._album[person]
        face = mine[take % len(mine)]
        photo = Portrait(FaceSet(self.root, ()).image(face), np.float32(face.landmarks))
        return retaken(photo, f"folder-{person}", take, len(mine), self.size)

    def frame(self, person: str, take: int) -> str:
        """Return the photograph, relative to the folder."""
        mine = self._album[person]
        return mine[take % len(mine)].frame or ""

    @cached_property
    def _album(self) -> dict[str, list[Face]]:
        """Everybody's faces."""
        album: dict[str, list[Face]] = {}
        for face in FaceSet.read(self.root):
            album.setdefault(face.identities[0], []).append(face)
        return album


def population_of(source: str, root: Path, seed: int, size: int) -> Population:
    """Return the people of a source whose forgeries are ours; DataError for any other."""
    if source == "procedural":
        return Procedural(seed, size)
    if source == "london":
        return London(root, size)
    if source == "folder":
        return Photographs(root, size, (root / "faces.jsonl").stat().st_mtime_ns)
    raise DataError(f"source={source}: its forgeries were made elsewhere and cannot be made again")


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


def retaken(photo: Portrait, name: str, take: int, own: int, size: int) -> Portrait:
    """Return take ``take`` of a person with ``own`` photographs, aligned to ``size``.

    The first ``own`` takes are the photographs; later ones are re-framed and half of them
    mirrored, at random by a seed of ``name`` and ``take``.
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
