"""Exports: DFA-Instruct in the formats that other trainers read, and back without loss.

A folder per format with a file per split, since a trainer takes whole files, and one
conversation per face. What a format has no word for (labels, landmarks, the annotation)
travels in the extra field ``dfa``, which trainers leave alone. Records pass through one at
a time, so that a data set of any size can be exported.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from shutil import rmtree
from typing import Any

from pydantic import Json

from dfa_lib.records import QA, Annotation, DataError, Face, InstructRecord, Record, inside, parse
from dfa_lib.taxonomy import Split, Task

Row = dict[str, Any]
Write = Callable[[Row], object]

_LLAVA, _SHAREGPT, _HUGGINGFACE = "{}.json", "{}.jsonl", "{}.parquet"  # of a split
_PICTURE = "<image>"
_MEDIA = (_PICTURE, "<video>", "<audio>")  # replaced by trainers wherever they stand


class _Kept(Record):
    """What a conversation does not show of its record; ``number`` is its place among all."""

    number: int
    face: Face
    annotation: Annotation
    asked: tuple[tuple[Task, str], ...]  # task and template


class _Turn(Record, extra="ignore"):
    value: str


class _Chat(Record, extra="ignore"):
    conversations: tuple[_Turn, ...]
    dfa: Json[_Kept]


Entry = tuple[_Kept, list[str]]
"""What is kept of a record, and its questions and answers in turn."""


def to_llava(records: Iterable[InstructRecord], out: Path) -> None:
    """Write train.json, val.json and test.json for LLaVA's trainers; ``image`` is a path.

    Paths are relative to the data root: pass that as ``image_folder``.
    Raises DataError for a text that holds an image token of its own.
    """
    # an element a line: read as it was written, in parts
    _write(records, out, _LLAVA, _llava, partial(_lines, first="[\n", between=",\n", last="\n]\n"))


def to_sharegpt(records: Iterable[InstructRecord], out: Path) -> None:
    """Write train.jsonl, val.jsonl and test.jsonl in ShareGPT style, as LLaMA-Factory reads it.

    Paths in ``images`` are relative to the data root: pass that as ``media_dir``.
    Raises DataError for a text that holds an image token of its own.
    """
    _write(records, out, _SHAREGPT, _sharegpt, partial(_lines, first="", between="\n", last="\n"))


def to_huggingface(records: Iterable[InstructRecord], out: Path, root: Path) -> None:
    """Write Parquet with ``messages`` and the pictures themselves, read from below ``root``.

    ``datasets.load_dataset`` takes the folder as it is, and splits by file name. Masks are
    left behind. Needs the extra ``dfa_lib[export]``.
    Raises DataError for a picture that is not the one its record was made from.
    """
    from dfa_lib.instruct.parquet import parquet_file  # here: pyarrow is an extra

    _write(records, out, _HUGGINGFACE, partial(_messages, root=root), parquet_file)


def from_llava(out: Path) -> Iterator[InstructRecord]:
    """Yield the records that ``to_llava`` wrote, in their order.

    Texts may have been edited since, if every element is still on a line of its own.
    """
    return _read(out, _LLAVA, _chats)


def from_sharegpt(out: Path) -> Iterator[InstructRecord]:
    """Yield the records that ``to_sharegpt`` wrote, in their order."""
    return _read(out, _SHAREGPT, _chats)


def from_huggingface(out: Path, root: Path | None = None) -> Iterator[InstructRecord]:
    """Yield the records that ``to_huggingface`` wrote, in their order.

    With ``root``, their pictures are written below it, as they were.
    """
    return _read(out, _HUGGINGFACE, partial(_rows, root=root))


def _llava(record: InstructRecord) -> Row:
    return {"id": record.id, "image": record.face.image, "conversations": _turns(record)}


def _sharegpt(record: InstructRecord) -> Row:
    return {"conversations": _turns(record), "images": [record.face.image]}


def _turns(record: InstructRecord) -> list[Row]:
    """Return the conversation as turns of "human" and "gpt"; the picture is shown first."""
    turns, shown = [], f"{_PICTURE}\n"
    for number, qa in enumerate(record.qa):
        if found := [token for token in _MEDIA if token in qa.question + qa.answer]:
            raise DataError(
                f"face {record.id}: qa.{number}: contains {found[0]}, which trainers replace"
                " by a picture; reword it"
            )
        turns.append({"from": "human", "value": shown + qa.question})
        turns.append({"from": "gpt", "value": qa.answer})
        shown = ""
    return turns


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
    if content is None or sha256(content).hexdigest() != face.sha256:
        problem = "no such file" if content is None else "not the picture the record was made from"
        raise DataError(f"{path}: image of {face.id}: {problem}; restore it")
    return content


def _write(
    records: Iterable[InstructRecord],
    out: Path,
    name: str,
    row: Callable[[InstructRecord], Row],
    writer: Callable[[Path], AbstractContextManager[Write]],
) -> None:
    """Write the ``row`` of every record to the file of its split; in the end, replace old ones."""
    folder = out / ".partial"
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as files:
        write: dict[Split, Write] = {}
        for number, record in enumerate(records):
            split, asked = record.face.split, tuple((qa.task, qa.template) for qa in record.qa)
            if split not in write:
                write[split] = files.enter_context(writer(folder / name.format(split)))
            kept = _Kept(number=number, face=record.face, annotation=record.annotation, asked=asked)
            write[split](row(record) | {"dfa": kept.model_dump_json()})
    for split in Split:
        (out / name.format(split)).unlink(missing_ok=True)
    for path in folder.iterdir():
        path.replace(out / path.name)
    folder.rmdir()


@contextmanager
def _lines(path: Path, first: str, between: str, last: str) -> Iterator[Write]:
    """Open a JSON file with a row a line."""
    before = chain([first], iter(lambda: between, None))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda row: file.write(next(before) + json.dumps(row, ensure_ascii=False))
        file.write(last)


def _read(
    out: Path, name: str, entries: Callable[[Path], Iterator[Entry]]
) -> Iterator[InstructRecord]:
    """Yield the records of all splits in the order in which they were written."""
    files = [path for split in Split if (path := out / name.format(split)).is_file()]
    if not files:
        raise DataError(f"{out}: no {name.format('train')}; export into this folder first")
    yield from map(_record, heapq.merge(*map(entries, files), key=lambda entry: entry[0].number))


def _chats(path: Path) -> Iterator[Entry]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if (row := line.strip().removesuffix(",")) not in "[]":
                chat = parse(row, _Chat, f"{path}:{number}")
                texts = [turn.value for turn in chat.conversations]
                yield chat.dfa, [text.removeprefix(f"{_PICTURE}\n") for text in texts]


def _rows(path: Path, root: Path | None) -> Iterator[Entry]:
    from dfa_lib.instruct.parquet import parquet_rows

    for row in parquet_rows(path, ["messages", "dfa", *(["images"] if root else [])]):
        kept = parse(row["dfa"], _Kept, f"{path}: dfa")
        if root:
            picture = inside(root, kept.face.image)
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(row["images"][0]["bytes"])
        yield kept, [message["content"][-1]["text"] for message in row["messages"]]


def _record(entry: Entry) -> InstructRecord:
    kept, texts = entry
    if len(texts) != 2 * len(kept.asked):
        raise DataError(
            f"face {kept.face.id}: conversation: {len(texts)} turns, not the"
            f" {2 * len(kept.asked)} that were written; restore them"
        )
    turns = zip(kept.asked, texts[::2], texts[1::2], strict=True)
    qa = [QA(task=task, question=q, answer=a, template=t) for (task, t), q, a in turns]
    return InstructRecord(face=kept.face, annotation=kept.annotation, qa=tuple(qa))
