"""Export of DFA-Instruct in the format that LLaVA's trainers, LLaMA-Factory and ``datasets`` read.

A file per split, since a trainer takes whole files, and one conversation per face. The whole
record travels in the extra field ``dfa``, which trainers leave alone. Records pass through one
at a time, so that a data set of any size can be exported.
"""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from dfa_lib.files import atomic
from dfa_lib.records import DataError, InstructRecord
from dfa_lib.taxonomy import Split

_MEDIA = ("<image>", "<video>", "<audio>")  # replaced by trainers wherever they stand


def to_llava(records: Iterable[InstructRecord], out: Path) -> None:
    """Write train.json, val.json and test.json in place of those of an earlier export.

    The turns are in ShareGPT style. ``image`` (LLaVA) and ``images`` (LLaMA-Factory) are paths
    relative to the data root: pass that as ``image_folder`` or as ``media_dir``.
    Raises DataError for a text that holds an image token of its own.
    """
    begun: dict[Split, IO] = {}
    with ExitStack() as files:
        for record in records:
            split = record.face.split
            before = ",\n" if split in begun else "[\n"
            if split not in begun:
                begun[split] = files.enter_context(atomic(out / f"{split}.json"))
            row = json.dumps(_conversation(record), ensure_ascii=False)
            begun[split].write(before + row)  # a line each, so that it can be read in parts
        for file in begun.values():
            file.write("\n]\n")
    for split in set(Split) - begun.keys():
        (out / f"{split}.json").unlink(missing_ok=True)


def _conversation(record: InstructRecord) -> dict[str, object]:
    """Return a face with its turns of "human" and "gpt"; the picture is shown first."""
    turns = []
    shown = "<image>\n"
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
    return {
        "id": record.id,
        "image": image,
        "images": [image],
        "conversations": turns,
        "dfa": record.model_dump_json(),
    }
