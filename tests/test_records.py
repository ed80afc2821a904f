"""The data contracts: what is refused, in which words, and what survives an interruption."""

import pytest

from dfa_lib.records import (
    DataError,
    Face,
    InstructRecord,
    JsonlLog,
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


def test_an_unknown_category_names_file_line_field_and_what_is_allowed(tmp_path):
    message = refusal(written(tmp_path, face("a"), face("b", category="FX")))
    assert all(part in message for part in ("faces.jsonl:2", "category", "'FX'", "'EFS'", "mend"))


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
    with JsonlLog(path) as log:
        log.append(Face(**face("c")))
    assert [one.id for one in read_jsonl(path, Face)] == ["a", "c"]


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
