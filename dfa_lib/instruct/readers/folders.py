"""Folders of pictures: sorted into real/ and fake/, or one's own photographs to be forged."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from dfa_lib.instruct.readers.links import linked
from dfa_lib.instruct.readers.table import SPLITS, category_of, label_words, row_of
from dfa_lib.instruct.readers.words import method
from dfa_lib.instruct.rows import OWN_USE, Item, Row, Skip, clips
from dfa_lib.photo import SUFFIXES
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category


def imagefolder(root: Path, columns: Mapping[str, str] | None = None) -> Iterator[Item]:
    """Read every picture below ``root`` by the folders it lies in, and link its copies.

    real/ or bona_fide/, fake/ or forged/, FS/ FR/ FE/ EFS/ and the names of methods are
    understood, in any order and below train/, val/ and test/, and words by ``columns``
    ({"label.echt": "real"}). Raises DataError where there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"root={root}: no such folder; give one that holds real/ and fake/")
    return linked(_sorted(root, label_words(columns or {})), root)


def _sorted(root: Path, words: Mapping[str, str]) -> Iterator[Item]:
    for here, folders, files in os.walk(root):
        folders.sort()
        parts = Path(here).relative_to(root).parts
        known = _known([words.get(part.lower(), part) for part in parts])
        for name in sorted(files):
            path = "/".join((*parts, name))
            if Path(name).suffix.lower() not in SUFFIXES:
                yield Skip("not a picture by its name", path)
            elif "label" not in known:
                yield Skip("in no folder that tells real from fake: say label.FOLDER=real", path)
            else:
                yield row_of({"path": path, "dataset": "imagefolder", **known}, path)


def _known(parts: Sequence[str]) -> dict[str, str]:
    """Return the fields of a row that the folders above a picture tell."""
    known: dict[str, str] = {}
    for part in parts:
        category, _ = category_of(part)
        if part.lower() in SPLITS:
            known["split"] = part
        elif category:
            known["label"] = "forged" if category.forged else "bona fide"
            if category not in (Category.FORGED, Category.BONA_FIDE):
                known["category"] = part
        elif method(part) or known.get("label") == "forged":
            known |= {"label": "forged", "method": part}
    return known


def folder(root: Path) -> Iterator[Item]:
    """Read photographs and videos of one's own: a sub-folder per person, or a picture each.

    The first line of LICENSE.txt goes along. Landmarks may lie beside a photograph, as .npy with
    the 68 or 81 points of dlib. Raises DataError where there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"root={root}: no such folder; give one with photographs")
    note = root / "LICENSE.txt"
    licence = note.read_text("utf-8-sig").partition("\n")[0] if note.is_file() else OWN_USE
    for clip in clips(root, ""):
        if isinstance(clip, Skip):
            yield clip
            continue
        photographs = [(path, at) for path, at in clip.frames.values() if at is None]
        for path, at in photographs or map(clip.frames.get, clip.sampled()):
            first, *more = PurePosixPath(path).parts
            person = first if more else PurePosixPath(path).stem
            yield Row(path, "folder", Category.BONA_FIDE, (person,), licence, at=at)
