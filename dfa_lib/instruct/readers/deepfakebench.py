"""The JSON lists of DeepfakeBench (Yan et al. 2023), which DF40 and others use too."""

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from dfa_lib.instruct.readers.faceforensics import LICENCE as FF_LICENCE
from dfa_lib.instruct.readers.words import method
from dfa_lib.instruct.rows import Item, Row, Skip, cast, frame_name
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split

_FOLDERS = ("", "dataset_json", "preprocessing/dataset_json")
_LICENCE = "CC BY-NC 4.0 (DeepfakeBench), and the terms of the data set"
_WORLDS = dict.fromkeys(("FaceForensics++", "ff", "DF40_train"), "ff") | dict.fromkeys(
    ("cdf", "Celeb-DF-v1", "Celeb-DF-v2"), "cdf"
)
_SETS = {"ff": "faceforensics", "cdf": "celebdf", "dfd": "deepfakedetection"}


def deepfakebench(root: Path) -> Iterator[Item]:
    """Read all lists in ``root``, its dataset_json/ or preprocessing/dataset_json/.

    Paths may carry a private prefix and backslashes: the longest tail that exists below
    ``root`` counts, nothing outside of it. Raises DataError where there is no list.
    """
    lists = [path for folder in _FOLDERS for path in sorted((root / folder).glob("*.json"))]
    if not lists:
        raise DataError(f"root={root}: no JSON list; put those of DeepfakeBench into dataset_json/")
    _folder.cache_clear()  # the tree may have changed since
    for path in lists:
        try:
            content = json.loads(path.read_text("utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            yield Skip("not a readable JSON list", path.relative_to(root).as_posix())
            continue
        for keys, frames in _entries(content, ()):
            yield from _entry(root, path.stem, keys, frames)


def _entries(node: object, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list]]:
    """Yield every list of frames and the keys above it: some lists name a compression."""
    if isinstance(node, dict) and isinstance(node.get("frames"), list):
        yield keys, node["frames"]
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _entries(value, (*keys, key))


def _entry(root: Path, stem: str, keys: tuple[str, ...], frames: list) -> Iterator[Item]:
    """Yield the rows of one entry under the keys (set, label, split, ..., video)."""
    where = "/".join(keys)
    label, split = (keys[1], keys[2].lower()) if len(keys) > 3 else ("", "")
    if split not in [*Split]:
        yield Skip("an entry without set, label and split", where)
    elif not frames:
        yield Skip("an empty list of frames", where)
    elif label.startswith("CelebDF") and split != Split.TEST:
        yield Skip("Celeb-DF lists its test videos under train and val too", where)
    else:
        level = keys[3] if len(keys) > 4 and keys[3] != "c23" else ""
        for listed in sorted({str(path) for path in frames}):
            if path := _located(root, listed):
                yield _row(path, stem, label, Split(split), level, keys[-1])
            else:
                yield Skip("listed, but not below the data root", listed)


def _row(path: str, stem: str, label: str, split: Split, level: str, video: str) -> Row | Skip:
    parts = PurePosixPath(path).parts
    tree = next((k for k, part in enumerate(parts[:-1]) if part in ("DF40", "DF40_train")), None)
    known = _known(stem, label, None if tree is None else parts[tree + 1])
    if known is None:
        return Skip("an unknown method", f"{stem}: {label}")
    world = next((_WORLDS[part] for part in parts if part in _WORLDS), stem.lower())
    world = "dfd" if label.startswith("DFD_") else world
    people, scene = cast(world, video)
    return Row(
        path=path,
        dataset=_SETS.get(world, world) if tree is None else "df40",
        category=known[0],
        method=known[1],
        people=people,
        scene=None if known[0] is Category.EFS else f"{scene}/{frame_name(path)} {level}".strip(),
        listed=(split,),
        licence=FF_LICENCE if world in ("ff", "dfd") and tree is None else _LICENCE,
    )


def _known(stem: str, label: str, folder: str | None) -> tuple[Category, str | None] | None:
    """Return category and method: bona fide by the label's suffix, else by folder or file name.

    DF40 labels simswap and uniface as roop: the label is asked last, and never within DF40.
    """
    if label.lower().endswith(("_real", "-real")):
        return Category.BONA_FIDE, None
    if folder is not None:
        return method(folder)
    return method(stem.removesuffix("_ff").removesuffix("_cdf")) or method(label)


def _located(root: Path, listed: str) -> str | None:
    """Return the path below ``root`` that a list means, or None: never one outside of it."""
    *parts, name = PurePosixPath(listed.replace("\\", "/").lstrip("/")).parts or ("..",)
    folder = None if ".." in (*parts, name) else _folder(root, tuple(parts))
    return None if folder is None else f"{folder}/{name}".lstrip("/")


@lru_cache(maxsize=4096)
def _folder(root: Path, parts: tuple[str, ...]) -> str | None:
    """Return the longest tail of a path that is a folder below ``root``."""
    tails = ("/".join(parts[skip:]) for skip in range(max(len(parts), 1)))
    return next((tail for tail in tails if os.path.isdir(root / tail)), None)
