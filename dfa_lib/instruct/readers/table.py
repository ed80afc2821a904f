"""A table of one's own: CSV, JSON Lines or Parquet, one picture a row."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from dfa_lib.findings import findings
from dfa_lib.instruct.readers.found import Found, Item, Skip
from dfa_lib.instruct.readers.methods import method
from dfa_lib.records import DataError, Finding
from dfa_lib.taxonomy import CLASSES, Category, Split

COLUMNS = {
    "path": "image picture file filename file_name filepath image_path video",
    "label": "class target is_fake fake",
    "category": "kind type",
    "method": "generator manipulation model",
    "person": "persons people identity identities subject",
    "counterpart": "source original pair",
    "split": "subset partition set",
    "mask": "mask_path",
    "landmarks": "landmarks_path",
    "text": "description caption comment",
    "frame": "time at frame_number",
    "dataset": "data_set",
    "licence": "license",
}
"""What a column means, and the other names it goes by."""
_LABELS = {
    **dict.fromkeys(("real", "0", "0.0", "false", "original", "genuine", "pristine"), False),
    **dict.fromkeys(("bona fide", "bona_fide", "bonafide", "bona-fide", "authentic"), False),
    **dict.fromkeys(("fake", "1", "1.0", "true", "forged", "forgery", "deepfake"), True),
    **dict.fromkeys(("manipulated", "synthetic", "spoof", "generated", "altered"), True),
}
_SPLITS = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), Split.VAL),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}


def table(path: Path) -> Iterator[Item]:
    """Read the rows of a table; paths in it are relative to its folder.

    ``path`` and ``label`` must be there; a column may go by another name of ``COLUMNS``, and
    one called subgroup.age tells what a person consented to have told. Raises DataError where
    the file cannot be read or lacks one of the two.
    """
    missing: list[str] = []
    for number, raw in enumerate(_rows(path), start=1):
        if number == 1:
            named = _named(list(raw))
            missing = [name for name in ("path", "label") if name not in named.values()]
        if missing:
            raise DataError(
                f"{path}: no column {' and no column '.join(missing)} among"
                f" {', '.join(map(str, raw))[:200]}; name the columns path and label"
            )
        row = {named[key]: _text(value) for key, value in raw.items() if key in named}
        if row.get("path", "").startswith(f"{path.parent.resolve()}/"):
            row["path"] = row["path"].removeprefix(f"{path.parent.resolve()}/")
        yield row_of({key: value for key, value in row.items() if value}, f"row {number}")


def row_of(row: Mapping[str, str], where: str) -> Item:
    """One row of a manifest from words, or why it is none."""
    if not row.get("path"):
        return Skip("no path", where)
    path = _posix(row["path"])
    category, name = category_of(row.get("label", ""), row.get("category", ""), row.get("method"))
    if category is None:
        return Skip("a label that is neither bona fide nor forged", f"{where}: {row.get('label')}")
    split = _SPLITS.get(row.get("split", "").lower())
    frame = row.get("frame", "")
    counterpart = _posix(row.get("counterpart", ""))
    people = tuple(filter(None, (one.strip() for one in row.get("person", "").split(";"))))
    text = row.get("text")
    return Found(
        path=path,
        at=int(float(frame)) if frame.replace(".", "", 1).isdigit() else None,
        dataset=row.get("dataset", "table"),
        category=category,
        method=name,
        people=people or (counterpart or path,),
        licence=row.get("licence", "not stated: for your own use"),
        scene=counterpart or path,
        listed=(split,) if split else (),
        mask=_posix(row["mask"]) if "mask" in row else None,
        landmarks=_posix(row["landmarks"]) if "landmarks" in row else None,
        subgroup=tuple(
            (key.removeprefix("subgroup."), value)
            for key, value in row.items()
            if key.startswith("subgroup.")
        ),
        findings=read_findings(text) if text and category.forged else (),
        text=text,
    )


def category_of(
    label: str, kind: str = "", name: str | None = None
) -> tuple[Category | None, str | None]:
    """Category and method by what is known; forged of unknown kind where only that is said."""
    forged = _LABELS.get(label.strip().lower())
    words = (kind.strip().lower(), label.strip().lower())
    named = next((c for c in CLASSES for word in words if word in (c.lower(), c.phrase)), None)
    known = method(name) if name else None
    if forged is False or (forged is None and named is Category.BONA_FIDE):
        return Category.BONA_FIDE, None
    if named and named.forged:
        return named, known[1] if known else name
    if known and (forged or not label):
        return known
    return (Category.FORGED, name) if forged else (None, name)


def read_findings(text: str) -> tuple[Finding, ...]:
    """The (region, artifact) claims that a person's words make, each with these as evidence."""
    return tuple(
        Finding(region=region, artifact=artifact, evidence=text)
        for region, artifact in sorted(findings(text))
    )


def _rows(path: Path) -> Iterator[Mapping[str, object]]:
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            import pyarrow.parquet

            for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1000):
                yield from batch.to_pylist()
        elif kind in (".jsonl", ".ndjson"):
            with path.open(encoding="utf-8-sig") as file:
                yield from (json.loads(line) for line in file if line.strip())
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                head = file.readline()
                file.seek(0)
                delimiter = max(",;\t", key=head.count)
                yield from csv.DictReader(file, delimiter=delimiter)
    except FileNotFoundError:
        raise DataError(f"root={path}: no such file; give a CSV, JSONL or Parquet file") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error}); save it as UTF-8 CSV") from None


def _named(columns: list[str]) -> dict[str, str]:
    """What each column of a table means; of two that mean the same the first counts."""
    meanings = {alias: name for name, more in COLUMNS.items() for alias in (name, *more.split())}
    found: dict[str, str] = {}
    for exact in (True, False):
        for column in columns:
            plain = str(column).strip().lower().replace(" ", "_")
            name = plain if plain.startswith("subgroup.") else meanings.get(plain)
            if name and (plain == name) is exact and name not in found.values():
                found[column] = name
    return found


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    return "" if value is None else str(value).strip()


def _posix(path: str) -> str:
    """A path as it is below the root: of Windows too, without ./ at its head."""
    return PurePosixPath(path.replace("\\", "/")).as_posix() if path else ""
