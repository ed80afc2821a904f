"""Read a table, row by row: CSV, JSON, JSON Lines or Parquet."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from dfa_lib.records import DataError

Cells = dict[str, object]
_KINDS = "give a CSV, JSON, JSONL or Parquet file"


def rows(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the cells of each row by their columns, CSV's as text.

    Raises DataError where the file is no table, has no row, or names a column twice.
    """
    read = {".parquet": _parquet, ".json": _json, ".jsonl": _jsonl, ".ndjson": _jsonl}
    try:
        with path.open("rb") as file:
            if file.read(4) in (b"PK\3\4", b"\xd0\xcf\x11\xe0"):
                raise DataError("a workbook; save its sheet as CSV (UTF-8) and give that")
        found = read.get(path.suffix.lower(), _csv)(path)
        first = next(found, None)
        if first is None:
            raise DataError("no row; give a table with a picture in each row")
        yield from chain([first], found)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"root={path}: no such file; {_KINDS}") from None
    except ImportError:
        raise DataError(f"{path}: Parquet needs `pip install pyarrow`; or save as CSV") from None
    except UnicodeDecodeError as error:
        told = f"not a readable table (line {_undecodable(path)}: {error})"
        raise DataError(f"{path}: {told}; save it as UTF-8 CSV") from None
    except (OSError, TypeError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({error}); save it as UTF-8 CSV") from None


def _undecodable(path: Path) -> int:
    """Return the number of the first line that is not UTF-8."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return next((at for at, line in enumerate(file, start=1) if "\ufffd" in line), 1)


def _parquet(path: Path) -> Iterator[Cells]:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path)
    _once(table.schema_arrow.names)
    for batch in table.iter_batches(1000):
        yield from batch.to_pylist()


def _json(path: Path) -> Iterator[Cells]:
    """Read one array of objects; a file of one object a line may be named so as well."""
    text = path.read_text("utf-8-sig")
    if text.lstrip().startswith("["):
        yield from ({**row} for row in json.loads(text, object_pairs_hook=_cells))
        return
    try:
        yield {**json.loads(text, object_pairs_hook=_cells)}  # one object, on many lines
    except ValueError:
        yield from _jsonl(path)


def _jsonl(path: Path) -> Iterator[Cells]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield {**json.loads(line, object_pairs_hook=_cells)}
            except DataError as error:
                raise DataError(f"line {number}: {error}") from None
            except (ValueError, TypeError):
                told = "not an object in JSON, perhaps half-written; correct or remove it"
                raise DataError(f"line {number}: {told}") from None


def _csv(path: Path) -> Iterator[Cells]:
    """Skip what stands before the head: empty lines, and Excel's note of the delimiter."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        head, begin, delimiter = "", 0, ""
        while not head.strip() or head.lower().startswith("sep="):
            delimiter, begin = head.strip()[4:5] or delimiter, file.tell()
            if not (head := file.readline()):
                return
        file.seek(begin)
        table = csv.DictReader(file, delimiter=delimiter or max(",;\t", key=head.count))
        _once(table.fieldnames)
        for row in table:
            if any(row.pop(None, ())):
                raise DataError(f"line {table.line_num}: more cells than columns; quote its commas")
            yield row


def _cells(pairs: list[tuple[str, object]]) -> Cells:
    _once([name for name, _ in pairs])
    return dict(pairs)


def _once(columns: Sequence[str]) -> None:
    """Refuse two columns of one name: nobody could tell which of them counts."""
    names = [name.strip().lower() for name in columns if name]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"two columns are named {twice!r}; rename or remove one")
