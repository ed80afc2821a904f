"""DF40 (Yan et al. 2024): forty methods as folders; bona fide pictures come from elsewhere."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dfa_lib.instruct.readers import celebdf, faceforensics
from dfa_lib.instruct.readers.words import method
from dfa_lib.instruct.rows import Clip, Item, Skip, Taken, clips, sampled
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split

_KNOWN = {"dataset": "df40", "licence": "CC BY-NC 4.0 (DF40)"}
_BASE = "deepfakes_detection_datasets"
_TREES = ("DF40_train", "DF40", f"{_BASE}/DF40_train", f"{_BASE}/DF40")
_STRUCTURE = {"ff", "cdf", "frames", "videos", "inversions", "fake", "real", *celebdf.BONA_FIDE}
_FLAT = re.compile(r"(id\d+_\d{4}|\d{5}|\d{3})(?:_(\d+))?")  # e4e: <video>_<frame>.jpg


def df40(root: Path) -> Iterator[Item]:
    """Read DF40_train/<method> and DF40/<method> below ``root``, whatever their inner layout.

    The bona fide counterparts and the splits of people are those of FaceForensics++/ and
    Celeb-DF-v2/ beside them; nine methods bring bona fide pictures of their own and are for
    testing alone. The counterpart of a reenactment shows the person, not always the moment.
    Raises DataError where there is no tree of DF40.
    """
    folders = [path for tree in _TREES for path in sorted((root / tree).glob("*"))]
    if not folders:
        raise DataError(f"root={root}: no DF40 or DF40_train; give the folder that holds them")
    taken: Taken = {}
    if (root / "FaceForensics++").is_dir():
        yield from faceforensics.homes(root / "FaceForensics++")
        yield from faceforensics.originals(root, "FaceForensics++/", taken)
    if (root / "Celeb-DF-v2").is_dir():
        yield from celebdf.originals(root, "Celeb-DF-v2/", taken)
    for path in folders:
        folder = path.relative_to(root).as_posix()
        known = method(path.name)
        if known is None:
            yield Skip("no method of DF40; move it into the folder of its method", folder)
            continue
        for clip in clips(root, folder):
            yield from [clip] if isinstance(clip, Skip) else _clip(clip, folder, *known, taken)


def _clip(clip: Clip, folder: str, category: Category, name: str, taken: Taken) -> Iterator[Item]:
    """Yield the rows of one folder of pictures, by the words of its path."""
    parts = PurePosixPath(clip.path).relative_to(folder).parts
    own = {"fake", "real"}.intersection(parts)
    world = f"df40/{name}" if own else "cdf" if "cdf" in parts else "ff"
    listed = (Split.TEST,) if own else (Split.TRAIN,) if "DF40_train/" in folder else ()
    known = {"category": category, "method": name, "listed": listed}
    if "real" in parts:
        known |= {"category": Category.BONA_FIDE, "method": None}
    elif category is Category.EFS:
        world = f"{world}/fake" if own else world
        known["scene"] = None
    flat = _STRUCTURE.issuperset(parts)
    for one in _alone(clip, world) if flat else [clip]:
        yield from sampled(one, world, {} if flat else taken, **_KNOWN, **known)


def _alone(clip: Clip, world: str) -> Iterator[Clip]:
    """Yield each picture as a clip of its own, for folders in which every one is somebody else."""
    for frame, place in clip.frames.items():
        parts = _FLAT.fullmatch(frame) if world in ("ff", "cdf") else None
        video, number = parts.groups() if parts else (frame, None)
        yield Clip(clip.path, video, {str(int(number)) if number else "": place})
