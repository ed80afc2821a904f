"""FaceForensics++ (Roessler et al. 2019): the tree of its download, or as DeepfakeBench has it."""

import json
from collections.abc import Iterator
from pathlib import Path

from dfa_lib.instruct.readers.words import method
from dfa_lib.instruct.rows import Home, Item, Taken, recorded, sampled
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split

LICENCE = "FaceForensics++ terms of use (research only, no redistribution)"
_LEVELS = ("c23", "raw", "c40")
_METHODS = "Deepfakes Face2Face FaceSwap NeuralTextures FaceShifter DeepFakeDetection".split()
_SETS = {
    "ff": {"dataset": "faceforensics", "licence": LICENCE},
    "dfd": {"dataset": "deepfakedetection", "licence": LICENCE, "listed": (Split.TEST,)},
}


def faceforensics(root: Path) -> Iterator[Item]:
    """Read one compression level (c23 before raw before c40), the same for all methods.

    Frames (cropped, with landmarks) are taken where they were extracted, else the videos.
    People are assigned by train.json, val.json and test.json; DeepFakeDetection, which has no
    split, is for testing alone. Raises DataError where tree or lists are missing.
    """
    base = "FaceForensics++/" if (root / "FaceForensics++").is_dir() else ""
    yield from homes(root / base)
    taken: Taken = {}
    yield from originals(root, base, taken)
    for label in _METHODS:
        world = "dfd" if label == "DeepFakeDetection" else "ff"
        category, name = method(label)
        known = _SETS[world] | {"category": category, "method": name}
        for clip in recorded(root, f"{base}manipulated_sequences/{label}/{_level(root, base)}"):
            yield from sampled(clip, world, taken, **known)


def homes(folder: Path) -> Iterator[Home]:
    """Yield the split of every person by the three lists of pairs in ``folder``."""
    for split in Split:
        path = folder / f"{split}.json"
        try:
            people = {str(one) for pair in json.loads(path.read_text("utf-8-sig")) for one in pair}
        except (OSError, ValueError, TypeError):
            raise DataError(
                f"{path}: no list of pairs; get train.json, val.json and test.json from"
                " https://github.com/ondyari/FaceForensics (dataset/splits)"
            ) from None
        yield from (Home(f"ff/{person}", split) for person in sorted(people))


def originals(root: Path, base: str, taken: Taken) -> Iterator[Item]:
    """Yield the bona fide pictures: the videos from YouTube and those of the actors."""
    for world, name in (("ff", "youtube"), ("dfd", "actors")):
        for clip in recorded(root, f"{base}original_sequences/{name}/{_level(root, base)}"):
            yield from sampled(clip, world, taken, category=Category.BONA_FIDE, **_SETS[world])


def _level(root: Path, base: str) -> str:
    folder = root / base / "original_sequences" / "youtube"
    for level in _LEVELS:
        if (folder / level).is_dir():
            return level
    raise DataError(f"{folder}: no {', '.join(_LEVELS)}; give the root of FaceForensics++")
