"""Exports: what was written comes back equal, and those it was written for can read it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from random import Random

import datasets
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from dfa_lib.gpt.base import load_base
from dfa_lib.gpt.presets import PRESETS
from dfa_lib.instruct import export
from dfa_lib.instruct.conversations import load_records
from dfa_lib.records import QA, DataError, Finding, InstructRecord, write_jsonl
from dfa_lib.runtime import RESCUE
from dfa_lib.taxonomy import Region, Split, Task

FACES = RESCUE / "01_instruct"
RECORDS = load_records(FACES / "instruct.jsonl")
PIECES = ["", " ", "\n", "\r\n", "\t", '"', "'", "\\", "\\n", "{}", "[", "]", ",", "\x00"]
PIECES += ["\x85", "\u2028", "\u202e", "é", "e\u0301", "顔", "\U0001f469\u200d\U0001f9b1"]
PIECES += ["<b>", "&lt;", "image>", "%s", "The face"]


FORMATS: dict[str, Callable[[Iterable[InstructRecord], Path], None]] = {
    ".json": export.to_llava,
    ".parquet": partial(export.to_huggingface, root=FACES),
}
every_format = pytest.mark.parametrize("kind", FORMATS)


def read(out: Path, kind: str) -> list[InstructRecord]:
    """The records that travel in an export, split by split."""
    found = []
    for path in (out / f"{split}{kind}" for split in Split):
        if kind == ".parquet" and path.is_file():
            found += pyarrow.parquet.read_table(path)["dfa"].to_pylist()
        elif path.is_file():
            found += [row["dfa"] for row in json.loads(path.read_text("utf-8"))]
    return [InstructRecord.model_validate_json(one) for one in found]


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


@every_format
@pytest.mark.parametrize("source", ["rescue", "odd"])
def test_what_was_written_comes_back(kind: str, source: str, tmp_path: Path) -> None:
    records = RECORDS if source == "rescue" else [odd_record(number) for number in range(400)]
    FORMATS[kind](iter(records), tmp_path)
    ordered = sorted(records, key=lambda record: list(Split).index(record.face.split))
    back = as_file(read(tmp_path, kind), tmp_path / "back")
    assert back == as_file(ordered, tmp_path / "sent")


@every_format
def test_a_split_has_a_file_of_its_own(kind: str, tmp_path: Path) -> None:
    FORMATS[kind](RECORDS, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {f"{split}{kind}" for split in Split}
    for split in (Split.VAL, Split.TEST):
        (tmp_path / f"{split}{kind}").unlink()
    assert read(tmp_path, kind) == [r for r in RECORDS if r.face.split is Split.TRAIN]


@every_format
def test_an_export_replaces_the_last_one_or_leaves_it(kind: str, tmp_path: Path) -> None:
    FORMATS[kind](RECORDS, tmp_path)
    FORMATS[kind](RECORDS[:15], tmp_path)
    assert read(tmp_path, kind) == RECORDS[:15]
    beside = tmp_path / "recipe.json"
    beside.write_text("{}")

    def breaks_off() -> Iterator[InstructRecord]:
        yield RECORDS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FORMATS[kind](breaks_off(), tmp_path)
    assert read(tmp_path, kind) == RECORDS[:15] and beside.exists()


# --- those it is for ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> datasets.DatasetDict:
    folder = tmp_path_factory.mktemp("hub")
    export.to_huggingface(RECORDS, folder / "data", FACES)
    files = {split.value: str(folder / f"data/{split}.parquet") for split in Split}
    return datasets.load_dataset("parquet", data_files=files, cache_dir=str(folder / "cache"))


def test_datasets_loads_the_pictures(loaded: datasets.DatasetDict) -> None:
    assert {name: len(rows) for name, rows in loaded.items()} == {
        split.value: sum(r.face.split is split for r in RECORDS) for split in Split
    }
    records = {record.id: record for record in RECORDS}
    for row in loaded["test"]:
        with Image.open(FACES / records[row["id"]].face.image) as picture:
            assert np.array_equal(np.asarray(row["images"][0]), np.asarray(picture))


def test_a_chat_template_takes_the_messages(loaded: datasets.DatasetDict) -> None:
    """As a trainer does: template and picture through the processor of a real model."""
    _, processor = load_base(PRESETS["nano"])
    row = loaded["train"][0]
    record = next(record for record in RECORDS if record.id == row["id"])
    text = processor.apply_chat_template(row["messages"])
    assert text.count(processor.image_token) == 1
    places = [text.index(said) for qa in record.qa[:3] for said in (qa.question, qa.answer)]
    assert places[0] > text.index(processor.image_token) and places[0] < places[1] < places[2]
    batch = processor(images=row["images"], text=text, return_tensors="pt")
    assert batch["pixel_values"].shape[0] == 1


def test_datasets_finds_the_splits_of_a_folder(tmp_path: Path) -> None:
    export.to_huggingface(RECORDS, tmp_path / "data", FACES)
    found = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train", "validation", "test"}


def test_llava_reads_one_array_with_one_picture_a_face(tmp_path: Path) -> None:
    export.to_llava(RECORDS, tmp_path)
    for split in Split:
        for row in json.loads((tmp_path / f"{split}.json").read_text("utf-8")):
            turns = row["conversations"]
            assert (FACES / row["image"]).is_file() and row["images"] == [row["image"]]
            assert [turn["from"] for turn in turns] == ["human", "gpt"] * 7
            assert [turn["value"].count("<image>") for turn in turns] == [1] + [0] * 13
            assert turns[0]["value"].startswith("<image>\n")


def test_datasets_reads_it_as_llama_factory_does(tmp_path: Path) -> None:
    """The odd ones too: no column changes its type from record to record."""
    export.to_llava([odd_record(number) for number in range(400)], tmp_path)
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
        export.to_llava([worded(f"Is {token} real?")], tmp_path)


def test_a_picture_that_changed_or_is_gone_is_named(tmp_path: Path) -> None:
    face = RECORDS[0].face
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=rf"{face.image}: image of {face.id}: no such file"):
        export.to_huggingface(RECORDS, tmp_path / "out", tmp_path)
    (tmp_path / face.image).write_bytes(b"another")
    with pytest.raises(DataError, match="not the picture the record was made from; restore"):
        export.to_huggingface(RECORDS, tmp_path / "out", tmp_path)


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path; from dfa_lib.instruct import export\n"
        f"export.to_llava([], Path({str(tmp_path)!r}))\n"
        f"export.to_huggingface([], Path({str(tmp_path)!r}), Path())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = ended.stderr.splitlines()[-1]
    assert last == 'ImportError: no pyarrow for Parquet files: pip install "dfa_lib[export]"'
