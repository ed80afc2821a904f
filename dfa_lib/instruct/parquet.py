"""Parquet files with conversations and pictures inside, as Hugging Face data sets have them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise ImportError('no pyarrow for Parquet files: pip install "dfa_lib[export]"') from None

Row = dict[str, Any]

_GROUP = 128  # rows held in memory, and read at once
_TEXT, _VALUE = pa.string(), {"dtype": "string", "_type": "Value"}
_PICTURE = pa.struct({"bytes": pa.binary(), "path": _TEXT})
_CONTENT = pa.struct({"type": _TEXT, "text": _TEXT})
_MESSAGE = pa.struct({"role": _TEXT, "content": pa.list_(_CONTENT)})
_FEATURES = {
    "id": _VALUE,
    "images": [{"_type": "Image"}],
    "messages": [{"role": _VALUE, "content": [{"type": _VALUE, "text": _VALUE}]}],
    "dfa": _VALUE,
}
SCHEMA = pa.schema(
    {"id": _TEXT, "images": pa.list_(_PICTURE), "messages": pa.list_(_MESSAGE), "dfa": _TEXT},
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
"""The columns, and the note by which ``datasets`` knows that the bytes are a picture."""


@contextmanager
def parquet_file(path: Path) -> Iterator[Callable[[Row], None]]:
    """Yield what writes one row to a new Parquet file at ``path``."""
    rows: list[Row] = []
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as file:

        def flush() -> None:
            file.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
            rows.clear()

        def write(row: Row) -> None:
            rows.append(row)
            if len(rows) == _GROUP:
                flush()

        yield write
        if rows:
            flush()


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a Parquet file, a few in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_GROUP, columns=list(columns)):
            yield from batch.to_pylist()
