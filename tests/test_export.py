"""Exports: what was written comes back equal, and those it was written for can read it."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import datasets
import numpy as np
import pytest
from PIL import Image

from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.export import to_llava
from dfa_lib.records import QA, DataError, Finding, InstructRecord, write_jsonl
from dfa_lib.runtime import RESCUE
from dfa_lib.taxonomy import Region, Split, Task

FACES = RESCUE / "01_instruct"
RECORDS = load_records(FACES / "instruct.jsonl")
PIECES = ["", " ", "\n", "\r\n", "\t", '"', "'", "\\", "\\n", "{}", "[", "]", ",", "\x00"]
PIECES += ["\x85", "\u2028", "\u202e", "é", "e\u0301", "顔", "\U0001f469\u200d\U0001f9b1"]
PIECES += ["<b>", "&lt;", "image>", "%s", "The face"]


def read(out: Path) -> list[InstructRecord]:
    """The records that travel in an export, split by split."""
    files = [out / f"{split}.json" for split in Split]
    rows = [json.loads(file.read_text("utf-8")) for file in files if file.is_file()]
    return [InstructRecord.model_validate_json(row["dfa"]) for part in rows for row in part]


def odd_record(number: int) -> InstructRecord:
    """A rescue record with any texts, any number of questions, and fields that are unknown."""
    dice = Random(number)
    record = dice.choice(RECORDS)

    def text() -> str:
        return "".join(dice.choices(PIECES, k=dice.randrange(8)))

    def maybe(value: object) -> object:
        return dice.choice([None, value])

    known = {
        "id": f"{number}{text()}", "split": dice.choice(list(Split)), "method": maybe(text()),
        "dataset": text(), "identities": (text(),), "source": maybe(text()), "licence": text(),
        "crop": maybe((0.1, -2.5, 1e9, 1 / 3)), "landmarks": maybe(record.face.landmarks),
        "altered_regions": maybe((Region.NOSE,)), "subgroup": {text(): text()},
    }  # fmt: skip
    figures = {text(): dice.gauss(0, 10 ** dice.randrange(-8, 8))}
    finding = Finding(region="nose", artifact="blur", evidence=text(), figures=figures)
    said = {"text": text(), "findings": dice.choice([(), (finding,)]), "settings": (text(),)}
    return InstructRecord(
        face=record.face.model_copy(update=known),
        annotation=record.annotation.model_copy(update=said),
        qa=tuple(
            QA(task=dice.choice(list(Task)), question=text(), answer=text(), template=text())
            for _ in range(dice.choice([0, 1, 8]))
        ),
    )


def as_file(records: Iterable[InstructRecord], path: Path) -> bytes:
    write_jsonl(path, records)
    return path.read_bytes()


# --- round trips --------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["rescue", "odd"])
def test_what_was_written_comes_back(source: str, tmp_path: Path) -> None:
    records = RECORDS if source == "rescue" else [odd_record(number) for number in range(400)]
    to_llava(iter(records), tmp_path)
    ordered = sorted(records, key=lambda record: list(Split).index(record.face.split))
    back = as_file(read(tmp_path), tmp_path / "back")
    assert back == as_file(ordered, tmp_path / "sent")


def test_a_split_has_a_file_of_its_own(tmp_path: Path) -> None:
    to_llava(RECORDS, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {f"{split}.json" for split in Split}
    for split in (Split.VAL, Split.TEST):
        (tmp_path / f"{split}.json").unlink()
    assert read(tmp_path) == [r for r in RECORDS if r.face.split is Split.TRAIN]


def test_an_export_replaces_the_last_one_or_leaves_it(tmp_path: Path) -> None:
    to_llava(RECORDS, tmp_path)
    to_llava(RECORDS[:15], tmp_path)
    assert read(tmp_path) == RECORDS[:15]
    beside = tmp_path / "recipe.json"
    beside.write_text("{}")

    def breaks_off() -> Iterator[InstructRecord]:
        yield RECORDS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_llava(breaks_off(), tmp_path)
    assert read(tmp_path) == RECORDS[:15] and beside.exists()


# --- those it is for ----------------------------------------------------------------------


PAGE = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text("utf-8")
(PROGRAM,) = re.findall(r"```python\n([^`]*load_dataset[^`]*)```", PAGE)


def test_the_program_of_the_page_makes_a_data_set_with_pictures(tmp_path: Path) -> None:
    to_llava(RECORDS, tmp_path / "llava")
    shutil.copytree(FACES / "images", tmp_path / "images")
    exec(PROGRAM.replace("/shared/dfa", tmp_path.as_posix()), {})
    shutil.rmtree(tmp_path / "images")
    cache = str(tmp_path / "elsewhere")
    found = datasets.load_dataset(str(tmp_path / "parquet"), cache_dir=cache)
    assert set(found) == {"train", "validation", "test"}
    rows = {row["id"]: row for part in found.values() for row in part}
    assert {key: row["dfa"] for key, row in rows.items()} == {
        record.id: record.model_dump_json() for record in RECORDS
    }
    for record in RECORDS[::9]:
        with Image.open(FACES / record.face.image) as picture:
            assert np.array_equal(np.asarray(rows[record.id]["images"][0]), np.asarray(picture))


def test_llava_reads_one_array_with_one_picture_a_face(tmp_path: Path) -> None:
    to_llava(RECORDS, tmp_path)
    for split in Split:
        for row in json.loads((tmp_path / f"{split}.json").read_text("utf-8")):
            turns = row["conversations"]
            assert (FACES / row["image"]).is_file() and row["images"] == [row["image"]]
            assert [turn["from"] for turn in turns] == ["human", "gpt"] * 7
            assert [turn["value"].count("<image>") for turn in turns] == [1] + [0] * 13
            assert turns[0]["value"].startswith("<image>\n")


def test_datasets_reads_it_as_llama_factory_does(tmp_path: Path) -> None:
    """The odd ones too: no column changes its type from record to record."""
    to_llava([odd_record(number) for number in range(400)], tmp_path)
    rows = datasets.load_dataset(
        "json",
        data_files=str(tmp_path / "*.json"),
        cache_dir=str(tmp_path / "cache"),
        chunksize=5_000,
    )["train"]
    assert len(rows) == 400 and {"conversations", "images", "dfa"} < set(rows.column_names)


# --- what is refused ----------------------------------------------------------------------


def worded(question: str) -> InstructRecord:
    qa = RECORDS[0].qa[1].model_copy(update={"question": question})
    return RECORDS[0].model_copy(update={"qa": (RECORDS[0].qa[0], qa)})


@pytest.mark.parametrize("token", ["<image>", "<video>", "<audio>"])
def test_a_text_must_not_ask_for_a_picture(token: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=rf"face {RECORDS[0].face.id}: qa\.1: contains {token}.*reword"
    ):
        to_llava([worded(f"Is {token} real?")], tmp_path)
