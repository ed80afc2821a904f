"""A table of one's own: CSV, JSON Lines or Parquet, one picture a row."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from dfa_lib.findings import findings
from dfa_lib.instruct.readers.methods import method
from dfa_lib.instruct.rows import OWN_USE, Item, Row, Skip
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
_BONA_FIDE = "real 0 0.0 false original genuine pristine bona_fide bonafide bona-fide authentic"
_FORGED = "fake 1 1.0 true forged forgery deepfake manipulated synthetic spoof generated altered"
SPLITS = dict(train=Split.TRAIN, training=Split.TRAIN, val=Split.VAL, valid=Split.VAL,
              validation=Split.VAL, dev=Split.VAL, test=Split.TEST, testing=Split.TEST)  # fmt: skip


def table(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Item]:
    """Read the rows of a table; paths in it are relative to its folder.

    ``path`` and ``label`` must be there; a column may go by another name of ``COLUMNS``, or by
    any name that ``columns`` gives (meaning -> column), and one called subgroup.age tells what
    a person consented to have told. Raises DataError where the file cannot be read or lacks
    one of the two.
    """
    there: dict[str, None] = {}
    for number, raw in enumerate(_lines(path), start=1):
        if not raw.keys() <= there.keys():
            there |= dict.fromkeys(raw)
            named = _named(path, list(there), columns or {})
        row = {name: _text(raw.get(column)) for name, column in named.items()}
        row["path"] = row["path"].removeprefix(f"{path.parent.resolve()}/")
        yield row_of({key: value for key, value in row.items() if value}, f"row {number}")


def row_of(row: Mapping[str, str], where: str) -> Row | Skip:
    """Return one row of a manifest from words, or why it is none."""
    if not row.get("path"):
        return Skip("no path", where)
    category, name = category_of(row.get("label", ""), row.get("category", ""), row.get("method"))
    if category is None:
        return Skip("a label that is neither bona fide nor forged", f"{where}: {row.get('label')}")
    path, frame, text = _posix(row["path"]), row.get("frame", ""), row.get("text")
    number = re.fullmatch(r"(\d{1,9})(\.\d*)?", frame)
    scene = _posix(row.get("counterpart", "")) or path
    people = tuple(filter(None, (one.strip() for one in row.get("person", "").split(";"))))
    split = SPLITS.get(row.get("split", "").lower())
    subgroup = ((key.removeprefix("subgroup."), value) for key, value in row.items()
                if key.startswith("subgroup."))  # fmt: skip
    return Row(
        path=path,
        at=int(number[1]) if number else None,
        dataset=row.get("dataset", "table"),
        category=category,
        method=name,
        people=people or (scene,),
        licence=row.get("licence", OWN_USE),
        scene=scene,
        listed=(split,) if split else (),
        mask=_posix(row.get("mask", "")) or None,
        landmarks=_posix(row.get("landmarks", "")) or None,
        subgroup=tuple(subgroup),
        findings=tuple(
            Finding(region=region, artifact=artifact, evidence=text)
            for region, artifact in sorted(findings(text) if text and category.forged else ())
        ),
        text=text,
    )


def category_of(
    label: str, kind: str = "", name: str | None = None
) -> tuple[Category | None, str | None]:
    """Return category and method by what is known; FORGED where only that much is said."""
    words = (kind.strip().lower(), label.strip().lower())
    plain = words[1].replace(" ", "_")
    named = next((c for c in CLASSES for word in words if word in (c.lower(), c.phrase)), None)
    known = method(name) if name else None
    forged = plain in _FORGED.split()
    if plain in _BONA_FIDE.split() or (not forged and named is Category.BONA_FIDE):
        return Category.BONA_FIDE, None
    if named and named.forged:
        return named, known[1] if known else name
    if known and (forged or not label):
        return known
    return (Category.FORGED, name) if forged else (None, name)


def _lines(path: Path) -> Iterator[Mapping[str, object]]:
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            import pyarrow.parquet

            for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1000):
                yield from batch.to_pylist()
            return
        with path.open(encoding="utf-8-sig", newline="") as file:
            if kind in (".jsonl", ".ndjson"):
                yield from (_object(line) for line in file if line.strip())
                return
            head = file.readline()
            file.seek(0)
            yield from csv.DictReader(file, delimiter=max(",;\t", key=head.count))
    except FileNotFoundError:
        raise DataError(f"root={path}: no such file; give a CSV, JSONL or Parquet file") from None
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error}); save it as UTF-8 CSV") from None


def _object(line: str) -> Mapping[str, object]:
    if not isinstance(row := json.loads(line), dict):
        raise ValueError(f"a line is no JSON object: {line.strip():.40}")
    return row


def _named(path: Path, there: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return meaning -> column; of two columns that mean the same the exact name counts."""
    meanings = {alias: name for name, more in COLUMNS.items() for alias in more.split()}
    plain = {column: str(column).strip().lower().replace(" ", "_") for column in there}
    aliased = {meanings[word]: column for column, word in reversed(plain.items())
               if word in meanings}  # fmt: skip
    exact = {word: column for column, word in plain.items()
             if word in COLUMNS or word.startswith("subgroup.")}  # fmt: skip
    named = aliased | exact | mapping
    odd = [name for name in mapping if name not in COLUMNS and not name.startswith("subgroup.")]
    if odd:
        raise DataError(f"columns: {odd[0]!r} is unknown; choose from {', '.join(COLUMNS)}")
    missing = [name for name in ("path", "label") if name not in named]
    if missing := missing + [column for column in mapping.values() if column not in plain]:
        raise DataError(
            f"{path}: no column {' and no column '.join(missing)} among"
            f" {', '.join(map(str, there))[:200]}; name the columns path and label"
        )
    return named


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    return "" if value is None else str(value).strip()


def _posix(path: str) -> str:
    """Return a path as it is below the root: of Windows too, without ./ at its head."""
    return PurePosixPath(path.replace("\\", "/")).as_posix() if path else ""
