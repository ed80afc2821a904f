"""DF40 (Yan et al. 2024): forty methods as folders; bona fide pictures come from elsewhere."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dfa_lib.instruct.readers import celebdf, faceforensics
from dfa_lib.instruct.readers.found import Clip, Found, Item, Skip, Taken, cast, clips, shots
from dfa_lib.instruct.readers.methods import method
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split

_BASE = "deepfakes_detection_datasets/"
_TREES = [f"{base}{tree}" for base in ("", _BASE) for tree in ("DF40_train", "DF40")]
_STRUCTURE = {"ff", "cdf", "frames", "videos", "inversions", "fake", "real", *celebdf.BONA_FIDE}
_FLAT = re.compile(r"(id\d+_\d{4}|\d{5}|\d{3})(?:_(\d+))?")  # e4e: <video>_<frame>.jpg
_KNOWN = {"dataset": "df40", "licence": "CC BY-NC 4.0 (DF40)"}


def df40(root: Path) -> Iterator[Item]:
    """Read DF40_train/<method> and DF40/<method> below ``root``, whatever their inner layout.

    The bona fide counterparts and the splits of people are those of FaceForensics++/ and
    Celeb-DF-v2/ beside them; nine methods bring bona fide pictures of their own and are for
    testing alone. The counterpart of a reenactment shows the person, not always the moment.
    Raises DataError where there is no tree of DF40.
    """
    trees = [tree for tree in _TREES if (root / tree).is_dir()]
    if not trees:
        raise DataError(f"root={root}: no DF40 or DF40_train; give the folder that holds them")
    taken: Taken = {}
    if (root / "FaceForensics++").is_dir():
        yield from faceforensics.homes(root / "FaceForensics++")
        yield from faceforensics.originals(root, "FaceForensics++/", taken)
    if (root / "Celeb-DF-v2").is_dir():
        yield from celebdf.originals(root, "Celeb-DF-v2/", taken)
    for tree in trees:
        for path in sorted((root / tree).iterdir()):
            yield from _method(root, f"{tree}/{path.name}", taken)


def _method(root: Path, folder: str, taken: Taken) -> Iterator[Item]:
    known = method(PurePosixPath(folder).name)
    if known is None:
        yield Skip("no method of DF40; move it into the folder of its method", folder)
        return
    for clip in clips(root, folder):
        yield from [clip] if isinstance(clip, Skip) else _clip(clip, folder, *known, taken)


def _clip(clip: Clip, folder: str, category: Category, name: str, taken: Taken) -> Iterator[Found]:
    """Read one folder of pictures by the words of its path."""
    parts = PurePosixPath(clip.path).relative_to(folder).parts
    training = "DF40_train/" in folder
    own = {"fake", "real"}.intersection(parts)
    nobody = category is Category.EFS and "real" not in parts
    world = f"df40/{name}" if own else "cdf" if "cdf" in parts else "ff"
    known: dict[str, object] = {"category": category, "method": name, **_KNOWN}
    known["listed"] = (Split.TEST,) if own else (Split.TRAIN,) if training else ()
    if "real" in parts:
        known |= {"category": Category.BONA_FIDE, "method": None}
    if nobody:
        world, known["scene"] = (f"{world}/fake" if own else world), None
    flat = _STRUCTURE.issuperset(parts)
    yield from _flat(clip, world, known) if flat else shots(clip, world, taken, **known)


def _flat(clip: Clip, world: str, known: dict[str, object]) -> Iterator[Found]:
    """Read a folder in which every picture is somebody else."""
    for frame in clip.frames:
        path, at = clip.picture(frame)
        parts = _FLAT.fullmatch(frame) if world in ("ff", "cdf") else None
        video, number = (parts[1], parts[2]) if parts else (frame, None)
        people, scene = cast(world, video)
        seen = f"{scene}/{int(number)}" if number else scene
        yield Found(**{"path": path, "at": at, "people": people, "scene": seen} | known)
