"""What a reader yields (pictures, homes of people, things left out) and how names are read."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from dfa_lib.records import Finding
from dfa_lib.taxonomy import Category, Split

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv"}
FRAMES_PER_VIDEO = 32
"""As many as DeepfakeBench takes."""
_SIDE_FOLDERS = {"landmarks", "masks"}
_VIDEO_HEADS = (b"ftyp", b"RIFF", b"\x1aE\xdf\xa3")


@dataclass(frozen=True, slots=True)
class Found:
    """One picture of a manifest and what is known of it; nobody has opened it yet.

    ``path`` is a picture, or a video with the frame number ``at``, below the data root.
    ``scene`` names the bona fide picture that is seen: a forgery shares it with its
    counterpart. ``listed`` are the splits in which the set itself lists the picture.
    ``findings`` and ``text`` are what people said about it. Unknown is a value: None or empty,
    a forgery of unknown kind is ``Category.FORGED``, and where nobody is known the picture
    counts as a person of its own.
    """

    path: str
    dataset: str
    category: Category
    people: tuple[str, ...]
    licence: str
    method: str | None = None
    scene: str | None = None
    at: int | None = None
    listed: tuple[Split, ...] = ()
    mask: str | None = None
    landmarks: str | None = None
    subgroup: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = field(default=(), compare=False)  # cannot be hashed
    text: str | None = None

    @property
    def frame(self) -> str:
        """Path and frame number in one word, unique in a data root."""
        return self.path if self.at is None else f"{self.path}#{self.at}"


@dataclass(frozen=True, slots=True)
class Home:
    """The split to which the lists of a data set give a person."""

    person: str
    split: Split


@dataclass(frozen=True, slots=True)
class Skip:
    """Something that a reader leaves out, and why."""

    reason: str
    path: str
    count: int = 1


Item = Found | Home | Skip


@dataclass(frozen=True, slots=True)
class Clip:
    """A video, or the folder its frames were written to: frame number -> file name."""

    path: str
    frames: Mapping[str, str] | range

    @property
    def name(self) -> str:
        """The name of the folder, or of the file without its suffix."""
        path = PurePosixPath(self.path)
        return path.stem if isinstance(self.frames, range) else path.name

    def picture(self, frame: str) -> tuple[str, int | None]:
        """Path, and number within a video, of one frame."""
        if isinstance(self.frames, range):
            return self.path, int(frame)
        return (PurePosixPath(self.path) / self.frames[frame]).as_posix(), None

    def sampled(self, like: Sequence[str] = ()) -> list[str]:
        """Those of ``like`` that it has too, else up to 32 frames spread over the whole clip.

        A forgery takes the frames of its counterpart: of its own choice few would match.
        """
        known = sorted(map(str, self.frames), key=lambda name: (len(name), name))
        if shared := set(known).intersection(like):
            return [name for name in like if name in shared]
        count = min(FRAMES_PER_VIDEO, len(known))
        return [known[k] for k in np.linspace(0, len(known) - 1, count).round().astype(int)]


def clips(root: Path, folder: str) -> Iterator[Clip | Skip]:
    """Every video and every folder of pictures below ``folder``, in the order of their names."""
    for here, folders, files in os.walk(root / folder):
        folders[:] = sorted(set(folders) - _SIDE_FOLDERS)
        where = PurePosixPath(Path(here).relative_to(root))
        kinds = {name: Path(name).suffix.lower() for name in sorted(files)}
        for name in (name for name, kind in kinds.items() if kind in VIDEOS):
            path = (where / name).as_posix()
            count = _frame_count(root / path)
            yield Clip(path, range(count)) if count else Skip("not a readable video", path)
        pictures: dict[str, str] = {}
        for name in (name for name, kind in kinds.items() if kind in PICTURES):
            if pictures.setdefault(frame_name(name), name) != name:
                yield Skip("another picture of this number or name", (where / name).as_posix())
        if pictures:
            yield Clip(where.as_posix(), pictures)
        elif not folders and not files:
            yield Skip("an empty folder", where.as_posix())


Taken = dict[str, list[str]]
"""Which frames of a bona fide clip were taken; what was forged from it takes the same ones."""


def pictures(root: Path, folder: str, world: str, taken: Taken, **known: object) -> Iterator[Item]:
    """Sample every clip below ``folder``, in its frames/ or videos/ where there is such a folder.

    ``known`` holds for all pictures. Bona fide folders come first, for the sake of ``taken``.
    """
    kinds = [kind for kind in ("frames", "videos") if (root / folder / kind).is_dir()]
    for clip in clips(root, "/".join([folder, *kinds[:1]])):
        yield from [clip] if isinstance(clip, Skip) else shots(clip, world, taken, **known)


def shots(clip: Clip, world: str, taken: Taken, **known: object) -> Iterator[Found]:
    """Sample one clip, whose name tells who is seen in it."""
    people, scene = cast(world, clip.name)
    chosen = clip.sampled(taken.get(scene, ()))
    taken.setdefault(scene, chosen)
    for frame in chosen:
        path, at = clip.picture(frame)
        yield Found(
            **{"path": path, "at": at, "people": people, "scene": f"{scene}/{frame}"} | known
        )


def _frame_count(path: Path) -> int:
    """Frames of a video; 0 for anything else, such as a playlist that names other files."""
    with path.open("rb") as file:
        head = file.read(8)
    if not any(mark in head for mark in _VIDEO_HEADS):
        return 0
    return max(int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)), 0)


def frame_name(file: str) -> str:
    """The frame a file holds: "007.png" and "7.png" are the same one."""
    stem = PurePosixPath(file).stem
    return str(int(stem)) if stem.isdecimal() else stem


def cast(world: str, video: str) -> tuple[tuple[str, ...], str]:
    """Who is seen in a video and which bona fide video it was made from, read from its name.

    "ff": 071_054 is 071 with the face of 054; "cdf": id0_id16_0009 is id0_0009 with that of
    id16; "dfd": 01_02__kitchen__X is 01__kitchen with that of 02; elsewhere a name is a person.
    """
    pattern = _NAMES.get(world)
    match = pattern.fullmatch(video) if pattern else None
    if match is None:
        return (f"{world}/{video}",), f"{world}/{video}"
    target, source, rest = match["target"], match["source"], match["rest"]
    people = (target, source) if source else (target,)
    return tuple(f"{world}/{person}" for person in people), f"{world}/{target}{rest or ''}"


_NAMES = {
    "ff": re.compile(r"(?P<target>\d{3})(?:_(?P<source>\d{3}))?(?P<rest>)"),
    "cdf": re.compile(r"(?P<target>id\d+)(?:_(?P<source>id\d+))?(?P<rest>_\d+)"),
    "dfd": re.compile(r"(?P<target>\d\d)(?:_(?P<source>\d\d))?(?P<rest>__.+?)(?:__[A-Z0-9]{8})?"),
}


def beside(path: str, folder: str, suffix: str) -> str | None:
    """The file that belongs to a frame in the folder ``folder`` beside frames/."""
    head, frames, tail = path.rpartition("/frames/")
    return f"{head}/{folder}/{PurePosixPath(tail).with_suffix(suffix)}" if frames else None
