"""The manifest: one row per picture, whatever the source, and how names of clips are read.

A source is a function that yields rows, homes of people and what it leaves out; it opens no
picture. Everything else (``importer``) is the same for all sources.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from dfa_lib.photo import SUFFIXES, VIDEO_SUFFIXES, is_video
from dfa_lib.records import Finding
from dfa_lib.taxonomy import Category, Split

FRAMES_PER_VIDEO = 32
"""As many as DeepfakeBench takes."""
OWN_USE = "not stated: for your own use"
_NO_VIDEO = "not a readable video"
_SIDE_FOLDERS = {"landmarks", "masks"}


@dataclass(frozen=True, slots=True)
class Row:
    """One picture and what is known of it; None or empty means unknown.

    ``path`` is a picture, or a video with the frame number ``at``, below the data root.
    ``people`` are those seen; where nobody is known the picture is a person of its own.
    ``scene`` names the bona fide picture that is seen: a forgery shares it with its
    counterpart. ``listed`` are the splits in which the set itself lists the picture. ``links``
    name what else must be in the same split.
    ``findings`` and ``text`` are what people said about it, ``voices`` the words of each of
    several people.
    """

    path: str
    dataset: str
    category: Category
    people: tuple[str, ...]
    licence: str = OWN_USE
    method: str | None = None
    scene: str | None = None
    at: int | None = None
    listed: tuple[Split, ...] = ()
    links: tuple[str, ...] = ()
    mask: str | None = None
    landmarks: str | None = None
    subgroup: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = field(default=(), compare=False)  # cannot be hashed
    text: str | None = None
    voices: tuple[str, ...] = ()

    @property
    def bound(self) -> tuple[str, ...]:
        """People and links: whoever shares one of them is in the same split."""
        return self.people + self.links

    @property
    def frame(self) -> str:
        """Path and frame number in one word, unique in a data root."""
        return self.path if self.at is None else f"{self.path}#{self.at}"


@dataclass(frozen=True, slots=True)
class Home:
    """The split to which the lists of a data set assign a person."""

    person: str
    split: Split


@dataclass(frozen=True, slots=True)
class Skip:
    """Something that a source leaves out, and why."""

    reason: str
    path: str


Item = Row | Home | Skip | str
"""A string is what a source says of itself: it is printed before any picture is opened."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A video, or the folder its frames were written to.

    ``frames`` maps the number of a frame to its path and its number within a video.
    """

    path: str
    name: str
    frames: dict[str, tuple[str, int | None]]

    def sampled(self, like: Sequence[str] = ()) -> list[str]:
        """Return the frames of ``like`` that it has too, else up to 32 spread over the clip.

        A forgery takes the frames of its counterpart: of its own choice few would match.
        """
        known = sorted(self.frames, key=lambda name: (len(name), name))
        if shared := self.frames.keys() & like:
            return [name for name in like if name in shared]
        count = min(FRAMES_PER_VIDEO, len(known))
        return [known[k] for k in np.linspace(0, len(known) - 1, count).round().astype(int)]


def clips(root: Path, folder: str) -> Iterator[Clip | Skip]:
    """Yield every video and every folder of pictures below ``folder``, sorted by name."""
    for here, folders, files in os.walk(root / folder):
        folders[:] = sorted(set(folders) - _SIDE_FOLDERS)
        where = PurePosixPath(Path(here).relative_to(root))
        frames: dict[str, tuple[str, int | None]] = {}
        for file in sorted(files):
            path = (where / file).as_posix()
            kind = Path(file).suffix.lower()
            if kind in VIDEO_SUFFIXES:
                film = {str(at): (path, at) for at in range(_frame_count(root / path))}
                yield Clip(path, Path(file).stem, film) if film else Skip(_NO_VIDEO, path)
            elif kind in SUFFIXES and frames.setdefault(frame_name(file), (path, None))[0] != path:
                yield Skip("another picture of this number or name", path)
        if frames:
            yield Clip(where.as_posix(), where.name, frames)
        elif not folders and not files:
            yield Skip("an empty folder", where.as_posix())


def recorded(root: Path, folder: str) -> Iterator[Clip | Skip]:
    """Yield the clips of ``folder``: from its frames/ where there is one, else its videos/."""
    kinds = [kind for kind in ("frames", "videos") if (root / folder / kind).is_dir()]
    return clips(root, "/".join([folder, *kinds[:1]]))


Taken = dict[str, list[str]]
"""The frames taken of each bona fide scene; what was forged from it takes the same ones."""


def sampled(clip: Clip | Skip, world: str, taken: Taken, **known: object) -> Iterator[Item]:
    """Yield sampled rows of one clip, whose name tells who is seen, with ``known`` fields.

    Read bona fide clips first, to fill ``taken``.
    """
    if isinstance(clip, Skip):
        yield clip
        return
    people, scene = cast(world, clip.name)
    chosen = clip.sampled(taken.get(scene, ()))
    taken.setdefault(scene, chosen)
    for frame in chosen:
        path, at = clip.frames[frame]
        fields = {"path": path, "at": at, "people": people, "scene": f"{scene}/{frame}"}
        yield Row(**fields | known)


def _frame_count(path: Path) -> int:
    """Return the frames of a video; 0 for anything else, such as a playlist of other files."""
    film = cv2.VideoCapture(str(path)) if is_video(path) else None
    return max(int(film.get(cv2.CAP_PROP_FRAME_COUNT)), 0) if film else 0


def frame_name(file: str) -> str:
    """Return the frame a file holds: "007.png" and "7.png" are the same one."""
    stem = PurePosixPath(file).stem
    return str(int(stem)) if stem.isdecimal() else stem


def cast(world: str, video: str) -> tuple[tuple[str, ...], str]:
    """Read from the name of a video who is seen, and which bona fide video it was made from.

    "ff": 071_054 is 071 with the face of 054; "cdf": id0_id16_0009 is id0_0009 with that of
    id16; "dfd": 01_02__kitchen__X is 01__kitchen with that of 02; elsewhere a name is a person.
    """
    match = _NAMES[world].fullmatch(video) if world in _NAMES else None
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
