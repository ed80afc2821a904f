"""The data contracts: what is refused, in which words, and what survives an interruption."""

import os
import pickle
import tracemalloc
from pathlib import Path
from unicodedata import normalize

import pytest

from dfa_lib.records import (
    ById,
    DataError,
    Face,
    InstructRecord,
    JsonlLog,
    Stored,
    inside,
    read_jsonl,
    write_jsonl,
)


def face(name: str = "bf_0001", **changed: object) -> dict:
    return {
        "id": name,
        "image": f"images/{name}.png",
        "sha256": "0" * 64,
        "category": "bona fide",
        "dataset": "procedural",
        "identities": ["p1"],
        "split": "train",
        "licence": "CC0",
        **changed,
    }


def written(folder, *lines: dict, end: str = "\n"):
    path = folder / "faces.jsonl"
    text = "\n".join(Face.model_construct(**line).model_dump_json(warnings=False) for line in lines)
    path.write_text(text + end, encoding="utf-8")
    return path


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_jsonl(path, Face))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_written_is_read(tmp_path):
    faces = [Face(**face(f"bf_{i}")) for i in range(3)]
    write_jsonl(tmp_path / "faces.jsonl", faces)
    assert list(read_jsonl(tmp_path / "faces.jsonl", Face)) == faces


@pytest.mark.parametrize(
    "frame, person, named",
    [("1.png", "1.png", False), ("film.mp4#9", "film.mp4", False), ("7/1.png", "7", True),
     (None, "p0-test-0001", True)],
    ids=["picture", "film", "person", "drawn person"],
)  # fmt: skip
def test_a_picture_or_film_is_nobodys_name(frame: str | None, person: str, named: bool) -> None:
    assert Face(**face(frame=frame, identities=[person])).named == named


def test_an_unknown_category_names_file_line_field_and_what_is_allowed(tmp_path):
    message = refusal(written(tmp_path, face("a"), face("b", category="FX")))
    assert all(
        part in message for part in ("faces.jsonl:2", "category", "'FX'", "'EFS'", "correct")
    )


@pytest.mark.parametrize(
    "image", ["../secret.png", "/etc/passwd", "a/../../b.png", "C:\\x.png", ""]
)
def test_a_picture_outside_the_data_root_is_refused(tmp_path, image):
    message = refusal(written(tmp_path, face(image=image)))
    assert "faces.jsonl:1: image" in message and "inside the data root" in message


def test_a_link_out_of_the_data_root_is_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="outside the data root"):
        inside(root, "link/secret.png")


def test_a_duplicate_id_names_both_lines(tmp_path):
    message = refusal(written(tmp_path, face("a"), face("b"), face("a")))
    assert "faces.jsonl:3" in message and "line 1" in message and "'a'" in message


def test_an_unknown_field_is_not_swallowed(tmp_path):
    path = tmp_path / "faces.jsonl"
    line = Face(**face()).model_dump_json()
    path.write_text(line[:-1] + ',"colour":"red"}\n', encoding="utf-8")
    assert "colour" in refusal(path)


def test_a_torn_last_line_loses_itself_and_nothing_else(tmp_path):
    path = written(tmp_path, face("a"), face("b"))
    path.write_text(path.read_text("utf-8")[:-30], encoding="utf-8")
    assert [one.id for one in read_jsonl(path, Face)] == ["a"]
    with JsonlLog(path, Face) as log:
        log.append(Face(**face("c")))
    assert [one.id for one in read_jsonl(path, Face)] == ["a", "c"]


@pytest.mark.parametrize(
    "content",
    ["one\ntwo", "no line end", '{"path": "a"}\n{"id":"x', '[{"id": 1}]', '{"id":"a"}\n', "\xff\n"],
)
def test_a_file_that_is_no_log_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=r"notes\.txt: not a log of this command; choose another"):
        JsonlLog(path, Face)
    assert path.read_text("latin-1") == content


def test_a_pipe_and_a_device_are_no_logs(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/full"), tmp_path):
        with pytest.raises(DataError, match="a device or a folder; choose a file"):
            JsonlLog(path, Face)


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_accents_may_be_composed_otherwise(tmp_path, stored):
    there = tmp_path / normalize(stored, "Zoë.jpg")
    there.touch()
    assert {inside(tmp_path, normalize(form, "Zoë.jpg")) for form in ("NFC", "NFD")} == {there}


def test_a_torn_line_in_the_middle_is_refused(tmp_path):
    path = written(tmp_path, face("a"), face("b"))
    lines = path.read_text("utf-8").splitlines()
    path.write_text(lines[0][:40] + "\n" + lines[1] + "\n", encoding="utf-8")
    assert "faces.jsonl:1" in refusal(path)


def test_a_missing_file_and_a_binary_file_are_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "faces.jsonl")
    (tmp_path / "faces.jsonl").write_bytes(b"\xff\xfe\x00\x01\n")
    assert "UTF-8" in refusal(tmp_path / "faces.jsonl")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "faces.jsonl"
    write_jsonl(path, [Face(**face("a"))])

    def broken():
        yield Face(**face("b"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, broken())
    assert [one.id for one in read_jsonl(path, Face)] == ["a"]


def test_an_instruct_record_is_known_by_its_face():
    note = {"face": "a", "findings": [], "text": "-", "annotator": {"name": "measuring"}}
    record = InstructRecord.model_validate({"face": face("a"), "annotation": note, "qa": []})
    assert record.id == "a"


# --- records beyond memory ----------------------------------------------------------------


def test_stored_records_are_a_sequence_like_any_other(tmp_path):
    faces = [Face(**face(f"bf_{i}", dataset="é" * i)) for i in range(7)]
    write_jsonl(tmp_path / "faces.jsonl", faces)
    stored = pickle.loads(pickle.dumps(Stored(tmp_path / "faces.jsonl", Face)))
    assert list(stored) == faces and len(stored) == 7 and faces[3] in stored
    assert [stored[3], stored[-1]] == [faces[3], faces[-1]]
    assert list(stored[1:5:2]) == faces[1:5:2] and isinstance(stored[1:], Stored)
    with pytest.raises(IndexError):
        stored[7]


def test_stored_records_are_not_in_memory(tmp_path):
    path = tmp_path / "faces.jsonl"
    write_jsonl(path, [Face(**face(f"bf_{i}", dataset="x" * 20_000)) for i in range(2000)])
    tracemalloc.start()
    stored = ById(Stored(path, Face))
    held = sum(len(stored[name].dataset) for name in stored)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held == 40_000_000 and most < 8_000_000  # 4 MB may be Python's table of names


def test_stored_records_leave_out_a_torn_line_and_name_a_broken_one(tmp_path):
    path = written(tmp_path, face("a"), face("b", category="FX"), face("c"), end='\n{"id": "d')
    stored = Stored(path, Face)
    assert len(stored) == 3 and stored[2].id == "c"
    with pytest.raises(DataError, match=r"faces\.jsonl: byte \d+: category: .*'FX'.*correct"):
        stored[1]
    with pytest.raises(DataError, match="no such file"):
        Stored(tmp_path / "nothing.jsonl", Face)


def test_by_id_finds_what_a_sequence_holds():
    faces = [Face(**face(name)) for name in "ab"]
    known = ById(faces)
    assert known["b"] is faces[1] and "c" not in known and list(known) == ["a", "b"]
    with pytest.raises(KeyError):
        known["c"]
