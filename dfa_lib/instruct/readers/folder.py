"""A folder of photographs of one's own: one sub-folder per person, or one picture each."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dfa_lib.instruct.readers.found import Clip, Found, Item, clips
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category


def folder(root: Path) -> Iterator[Item]:
    """Read all photographs and videos below ``root``; the first line of LICENSE.txt goes along.

    Landmarks may lie beside a photograph: .npy with the 68 or 81 points of dlib, or .tem.
    Raises DataError where there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"root={root}: no such folder; give one with photographs")
    note = root / "LICENSE.txt"
    licence = note.read_text("utf-8").splitlines()[:1] if note.is_file() else []
    for clip in clips(root, ""):
        yield from (
            _photographs(clip, (licence or ["not stated: for your own use"])[0])
            if isinstance(clip, Clip)
            else [clip]
        )


def _photographs(clip: Clip, licence: str) -> Iterator[Found]:
    for frame in clip.frames if isinstance(clip.frames, dict) else clip.sampled():
        path, at = clip.picture(frame)
        parts = PurePosixPath(path).parts
        yield Found(
            path=path,
            at=at,
            dataset="folder",
            category=Category.BONA_FIDE,
            people=(parts[0] if len(parts) > 1 else PurePosixPath(path).stem,),
            licence=licence,
        )
