"""What a person says of a face becomes a record, something to tune on and to score against."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stand_in import RedEye, gallery
from toy_bench import Teller, run_bench, toy_world

from dfa_lib.chat.session import ChatSession
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.presets import NANO
from dfa_lib.gpt.train import train
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.reviews import Review, fingerprint, read_reviews, reviewed
from dfa_lib.records import DataError, Finding, InstructRecord, write_jsonl
from dfa_lib.taxonomy import Artifact, Category, Region, Task

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RIM = Finding(region=Region.JAWLINE, artifact=Artifact.BLENDING_BOUNDARY, evidence="too soft")


@pytest.fixture
def faces(tmp_path: Path) -> FaceSet:
    return gallery(tmp_path / "faces")


def review(faces: FaceSet, name: str = "fs_0", **fields: object) -> Review:
    face = faces[name]
    made = {
        "face": name, "sha256": fingerprint(faces.image(face)), "analyst": "a", "person": "Ada",
        "category": face.category, "findings": (RIM,) * face.category.forged, "when": NOON,
    }  # fmt: skip
    return Review(**made | fields)


def answers(record: InstructRecord, task: Task) -> list[str]:
    return [qa.answer for qa in record.qa if qa.task is task]


def test_from_the_chat_to_a_file_that_tuning_reads(faces: FaceSet, tmp_path: Path) -> None:
    session = ChatSession(RedEye(), faces, tmp_path / "reviews.jsonl")
    session.pick("fs_0")
    session.verdict()
    session.add_finding(Region.JAWLINE, Artifact.BLENDING_BOUNDARY, "too soft")
    said = session.review(Category.FS, "Ada", "the rim")
    assert read_reviews(session.reviews) == [said] and not said.confirms
    records = reviewed(read_reviews(session.reviews), faces)["Ada"]
    write_jsonl(tmp_path / "mine.jsonl", records)
    (record,) = load_records(tmp_path / "mine.jsonl")
    assert record.annotation.annotator.name == "Ada" and record.annotation.findings == (RIM,)
    assert answers(record, Task.DF_C) == ["This face was made by face swapping."]
    assert answers(record, Task.AD)[0].startswith("The jawline shows a blending boundary.")
    assert len(record.qa) == 7


def test_the_later_review_of_a_person_wins_and_others_stay(faces: FaceSet, tmp_path: Path) -> None:
    later = review(faces, findings=(), when=NOON + timedelta(hours=1))
    rows = [later, review(faces), review(faces, person="Ben"), review(faces, "bona_fide_1")]
    write_jsonl(tmp_path / "one.jsonl", rows[:2])
    write_jsonl(tmp_path / "two.jsonl", rows[2:])
    found = reviewed(read_reviews(tmp_path / "one.jsonl", tmp_path / "two.jsonl"), faces)
    assert {person: [r.id for r in mine] for person, mine in found.items()} == {
        "Ada": ["fs_0", "bona_fide_1"],
        "Ben": ["fs_0"],
    }
    assert found["Ada"][0].annotation.findings == () and found["Ben"][0].annotation.findings


def test_a_verdict_without_a_finding_claims_no_clean_face(faces: FaceSet) -> None:
    forged, clean = reviewed([review(faces, findings=()), review(faces, "bona_fide_0")], faces)[
        "Ada"
    ]
    assert [qa.task for qa in forged.qa] == [Task.DF_D, Task.DF_C] and not forged.annotation.text
    assert answers(clean, Task.AD) == [clean.annotation.text] != [""]


def test_what_cannot_be_used_is_left_out_and_counted(
    faces: FaceSet, capsys: pytest.CaptureFixture
) -> None:
    unusable = [
        review(faces, face=None),
        review(faces, face="another_0"),
        review(faces, sha256="0" * 64),  # the gallery was made anew since
        review(faces, category=Category.FR),
    ]
    assert reviewed(unusable, faces) == {}
    told = capsys.readouterr().out
    assert "2 review(s) left out: of a picture that is not among" in told
    assert "contradicts how" in told and "which was not kept" in told


def test_a_broken_line_is_told(faces: FaceSet, tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text(review(faces).model_dump_json().replace('"jawline"', '"tail"') + "\n")
    with pytest.raises(DataError, match=r"reviews.jsonl:1: findings.0.region.*'tail'"):
        read_reviews(path)


def test_tuning_takes_them(faces: FaceSet, tmp_path: Path) -> None:
    records = reviewed([review(faces, one) for one in ("fs_0", "efs_1", "bona_fide_0")], faces)
    model, processor = load_base(NANO)
    preset = replace(NANO, epochs=1)
    log = train(add_lora(model, preset), processor, faces, records["Ada"], preset, tmp_path / "gpt")
    assert log and (tmp_path / "gpt" / "adapter" / "adapter_model.safetensors").exists()


def test_the_benchmark_scores_against_them(tmp_path: Path) -> None:
    """A person who saw a blur on the ears alone is matched by whoever says just that."""
    faces, records = toy_world(tmp_path / "world")
    ears = Finding(region=Region.EARS, artifact=Artifact.BLUR, evidence="")
    test = [face for face in faces.split("test") if face.category is Category.FE]
    mine = reviewed([review(faces, face.id, findings=(ears,)) for face in test], faces)["Ada"]
    agrees = Teller(lambda image, question: "The ears show blur.")

    def cover(*with_records: InstructRecord) -> float:
        bench = run_bench({"a": agrees}, faces, with_records, tmp_path / "out", resamples=10)
        return bench.data["analysts"]["a"]["AD"]["COVER"][0]

    assert cover(*records) == 0 and cover(*mine) == 1
