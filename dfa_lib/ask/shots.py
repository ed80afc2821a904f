"""Where pictures come from: files, folders, frames of videos, standard input."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dfa_lib.face.detect import Picture, pictures
from dfa_lib.photo import MAX_BYTES, SUFFIXES, VIDEO_SUFFIXES, is_video, open_photo
from dfa_lib.records import DataError

STDIN = "-"


@dataclass(frozen=True)
class Shot:
    """One picture: with its faces once somebody looked at it, or with why it is not one.

    ``source`` is a path, the content of a file, or a decoded frame (H, W, 3) uint8 RGB, whose
    time in its video is ``second``.
    """

    name: str
    source: Path | bytes | np.ndarray
    second: float | None = None
    faces: tuple[Picture, ...] = ()
    error: str = ""


def listed(pictures: Sequence[str]) -> list[Path | str]:
    """Return every file meant by paths, folders (searched below, in order) and "-", once each."""
    found: dict[Path | str, None] = {}
    for name in pictures:
        if not name or "://" in name:
            raise DataError(f"{name!r}: an address or nothing; save the picture and give its path")
        path = name if name == STDIN else Path(name)
        found |= dict.fromkeys(_below(path) if path != STDIN and path.is_dir() else [path])
    return list(found)


def shots(sources: Sequence[Path | str], every: float) -> Iterator[Shot]:
    """Yield the pictures of ``sources``; of videos, one frame each ``every`` seconds."""
    for source in sources:
        if source == STDIN:
            yield Shot("standard input", sys.stdin.buffer.read(MAX_BYTES + 1))
        elif is_video(source):
            yield from _frames(source, every)
        else:
            yield Shot(printable(source), source)


def look(shot: Shot, aligned: bool, side: int = 128) -> Shot:
    """Decode a picture and frame its faces, ``side`` pixels wide; no fault leaves this function."""
    if shot.error:
        return shot
    try:
        frame = isinstance(shot.source, np.ndarray)
        image = shot.source if frame else open_photo(shot.source, shot.name)
        faces = (image,) if aligned else tuple(pictures(image, side))
        return replace(shot, source=b"", faces=faces)  # many wait in memory, pictures need not
    except DataError as error:
        return replace(shot, error=str(error))
    except (cv2.error, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return replace(shot, error=f"{shot.name}: cannot be searched: {reason:.120}")


def printable(path: Path | str) -> str:
    """Return a file name on one line of UTF-8; what that cannot hold is written with escapes."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _below(folder: Path) -> list[Path]:
    """Return pictures and videos by their suffix; links to folders are not followed."""
    kinds = SUFFIXES | VIDEO_SUFFIXES
    found = [
        Path(root, name)
        for root, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in kinds and not name.startswith(".")
    ]
    if not found:
        raise DataError(f"{printable(folder)}: no picture or video in this folder; name another")
    return sorted(found)


def _frames(path: Path, every: float) -> Iterator[Shot]:
    """Decode only the frames that are wanted; the others are skipped unseen."""
    name, video, due = printable(path), cv2.VideoCapture(str(path)), 0.0
    try:
        while video.grab():
            second = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if second < due - 0.001:  # clocks of films are of milliseconds
                continue
            whole, frame = video.retrieve()
            if whole:
                yield Shot(name, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), round(second, 3))
                due = every * ((second + 0.001) // every + 1)  # a clip may start late
        if not due:
            why = f"{name}: no frame of this video can be decoded; save it as MP4 (H.264)"
            yield Shot(name, path, error=why)
    finally:
        video.release()
