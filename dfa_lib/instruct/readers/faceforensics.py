"""FaceForensics++ (Roessler et al. 2019): the tree of its download, or as DeepfakeBench has it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dfa_lib.instruct.readers.methods import method
from dfa_lib.instruct.rows import Home, Item, Row, Taken, beside, pictures
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
        folder = f"{base}manipulated_sequences/{label}/{_level(root, base)}"
        known = _SETS[world] | {"category": category, "method": name}
        for item in pictures(root, folder, world, taken, **known):
            yield replace(item, mask=mask_of(item.path)) if isinstance(item, Row) else item


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
        folder = f"{base}original_sequences/{name}/{_level(root, base)}"
        yield from pictures(root, folder, world, taken, category=Category.BONA_FIDE, **_SETS[world])


def mask_of(path: str) -> str | None:
    """Return where the mask of a forged frame lies: a PNG under c23, or a video of its own."""
    for level in _LEVELS:
        head, there, tail = path.partition(f"/{level}/")
        if there and tail.startswith("videos/"):
            return f"{head}/masks/{tail}"
        if there:
            return beside(f"{head}/c23/{tail}", "masks", ".png")
    return None


def _level(root: Path, base: str) -> str:
    folder = root / base / "original_sequences" / "youtube"
    for level in _LEVELS:
        if (folder / level).is_dir():
            return level
    raise DataError(f"{folder}: no {', '.join(_LEVELS)}; give the root of FaceForensics++")
