"""Exports: DFA-Instruct in the formats that other trainers read.

A folder per format with a file per split, since a trainer takes whole files, and one
conversation per face. The whole record travels in the extra field ``dfa``, which trainers
leave alone. Records pass through one at a time, so that a data set of any size can be exported.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dfa_lib.files import digest
from dfa_lib.records import DataError, Face, InstructRecord, inside
from dfa_lib.taxonomy import Split

Row = dict[str, Any]
Write = Callable[[Row], object]

_MEDIA = ("<image>", "<video>", "<audio>")  # replaced by trainers wherever they stand
_GROUP = 128  # rows of Parquet held in memory


def to_llava(records: Iterable[InstructRecord], out: Path) -> None:
    """Write train.json, val.json and test.json as LLaVA's trainers and LLaMA-Factory read them.

    The turns are in ShareGPT style. ``image`` (LLaVA) and ``images`` (LLaMA-Factory) are paths
    relative to the data root: pass that as ``image_folder`` or as ``media_dir``.
    Raises DataError for a text that holds an image token of its own.
    """
    _write(records, out, ".json", _array, _conversation)


def to_huggingface(records: Iterable[InstructRecord], out: Path, root: Path) -> None:
    """Write Parquet with ``messages`` and the pictures themselves, read from below ``root``.

    ``datasets.load_dataset`` takes the folder as it is, and splits by file name. Masks are
    left behind. Needs the extra ``dfa_lib[export]``.
    Raises DataError for a picture that is not the one its record was made from.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ImportError('no pyarrow for Parquet files: pip install "dfa_lib[export]"') from None
    _write(records, out, ".parquet", _parquet, partial(_messages, root=root))


def _conversation(record: InstructRecord) -> Row:
    """Return a face with its turns of "human" and "gpt"; the picture is shown first."""
    turns, shown = [], "<image>\n"
    for number, qa in enumerate(record.qa):
        if found := [token for token in _MEDIA if token in qa.question + qa.answer]:
            raise DataError(
                f"face {record.id}: qa.{number}: contains {found[0]}, which trainers replace"
                " by a picture; reword it"
            )
        turns.append({"from": "human", "value": shown + qa.question})
        turns.append({"from": "gpt", "value": qa.answer})
        shown = ""
    image = record.face.image
    return {"id": record.id, "image": image, "images": [image], "conversations": turns}


def _messages(record: InstructRecord, root: Path) -> Row:
    face, messages, shown = record.face, [], [{"type": "image", "text": None}]
    for qa in record.qa:
        asked, said = ([{"type": "text", "text": text}] for text in (qa.question, qa.answer))
        messages.append({"role": "user", "content": shown + asked})
        messages.append({"role": "assistant", "content": said})
        shown = []
    picture = [{"bytes": _picture(face, root), "path": face.image}]
    return {"id": face.id, "images": picture, "messages": messages}


def _picture(face: Face, root: Path) -> bytes:
    """Return the file of a face's picture, if it is still the one that was described."""
    path = inside(root, face.image)
    content = path.read_bytes() if path.is_file() else None
    if content is None or digest(content) != face.sha256:
        problem = "no such file" if content is None else "not the picture the record was made from"
        raise DataError(f"{path}: image of {face.id}: {problem}; restore it")
    return content


def _write(
    records: Iterable[InstructRecord],
    out: Path,
    suffix: str,
    writer: Callable[[Path], AbstractContextManager[Write]],
    row: Callable[[InstructRecord], Row],
) -> None:
    """Write the ``row`` of every record to the file of its split; in the end, replace old ones."""
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=out) as folder:
        with ExitStack() as files:
            write: dict[Split, Write] = {}
            for record in records:
                split = record.face.split
                if split not in write:
                    opened = writer(Path(folder) / f"{split}{suffix}")
                    write[split] = files.enter_context(opened)
                write[split](row(record) | {"dfa": record.model_dump_json()})
        for split in Split:
            (out / f"{split}{suffix}").unlink(missing_ok=True)
        for path in Path(folder).iterdir():
            path.replace(out / path.name)


@contextmanager
def _array(path: Path) -> Iterator[Write]:
    """Open a JSON array with an element a line, so that it can be read in parts."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        before = chain(["[\n"], repeat(",\n"))
        yield lambda row: file.write(next(before) + json.dumps(row, ensure_ascii=False))
        file.write("\n]\n")


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    """Open a Parquet file; by a note in it ``datasets`` knows that the bytes are a picture."""
    import pyarrow as pa
    import pyarrow.parquet

    text, value = pa.string(), {"dtype": "string", "_type": "Value"}
    content = pa.struct({"type": text, "text": text})
    fields = {
        "id": text,
        "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": text})),
        "messages": pa.list_(pa.struct({"role": text, "content": pa.list_(content)})),
        "dfa": text,
    }
    messages = [{"role": value, "content": [{"type": value, "text": value}]}]
    told = {"id": value, "images": [{"_type": "Image"}], "messages": messages, "dfa": value}
    note = json.dumps({"info": {"features": told}})
    schema, rows = pa.schema(fields, {"huggingface": note}), []
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as file:

        def write(row: Row | None) -> None:
            rows.extend([row] if row else [])
            if rows and (row is None or len(rows) == _GROUP):
                file.write_batch(pa.RecordBatch.from_pylist(rows, schema))
                rows.clear()

        yield write
        write(None)
