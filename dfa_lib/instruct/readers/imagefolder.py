"""A folder of pictures sorted by hand: real/ and fake/, a folder per category or method."""

import os
from collections.abc import Iterator
from pathlib import Path

from dfa_lib.instruct.readers.found import PICTURES, Item, Skip
from dfa_lib.instruct.readers.methods import method
from dfa_lib.instruct.readers.table import category_of, row_of
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category

_SPLITS = ("train", "val", "valid", "validation", "test")


def imagefolder(root: Path) -> Iterator[Item]:
    """Read every picture below ``root`` by the folders it lies in.

    real/ or bona_fide/, fake/ or forged/, FS/ FR/ FE/ EFS/ and the names of methods are
    understood, in any order and below train/, val/ and test/; another folder below fake/ is a
    method we do not know. Raises DataError where no folder tells bona fide from forged.
    """
    if not root.is_dir():
        raise DataError(f"root={root}: no such folder; give one that holds real/ and fake/")
    labelled = False
    for here, folders, files in os.walk(root):
        folders.sort()
        parts = Path(here).relative_to(root).parts
        known = _known(parts)
        for name in sorted(files):
            path = "/".join((*parts, name))
            if Path(name).suffix.lower() not in PICTURES:
                yield Skip("not a picture by its name", path)
            elif "label" not in known:
                yield Skip("in no folder that tells bona fide from forged", path)
            else:
                labelled = True
                yield row_of({"path": path, "dataset": "imagefolder", **known}, path)
    if not labelled:
        raise DataError(f"root={root}: no picture in real/, fake/ or a folder named after a kind")


def _known(parts: tuple[str, ...]) -> dict[str, str]:
    """What the folders above a picture tell of it."""
    known: dict[str, str] = {}
    for part in parts:
        category, _ = category_of(part)
        if part.lower() in _SPLITS:
            known["split"] = part
        elif category:
            known["label"] = "forged" if category.forged else "bona fide"
            if category not in (Category.FORGED, Category.BONA_FIDE):
                known["category"] = part
        elif method(part) or known.get("label") == "forged":
            known |= {"label": "forged", "method": part}
    return known
