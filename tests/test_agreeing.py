"""Reviews by people as a reference: agreement by hand, and what is left out."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from toy_bench import told_by_two, toy_world

from dfa_lib.bench.human_agreement import MADE, agreement
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.reviews import Review, fingerprint, read_reviews
from dfa_lib.records import Face, Finding, write_jsonl
from dfa_lib.taxonomy import Artifact, Category, Region

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    return toy_world(tmp_path_factory.mktemp("toy") / "world")


@pytest.fixture(scope="module")
def out(world: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told_by_two(world, tmp_path_factory.mktemp("bench"))


def _review(faces: FaceSet, face: Face, at: int = 0, **fields: object) -> Review:
    """By default the truth, with every altered region blurred."""
    blur = [Finding(region=region, artifact=Artifact.BLUR, evidence="") for region in
            face.altered_regions]  # fmt: skip
    same = {
        "face": face.id, "sha256": fingerprint(faces.image(face)), "analyst": "right",
        "category": face.category, "findings": tuple(blur), "person": "A. Student",
        "when": START + timedelta(minutes=at),
    }  # fmt: skip
    return Review(**same | fields)


def test_people_who_know_agree_with_the_oracle(world: tuple, out: Path, tmp_path: Path) -> None:
    faces, _ = world
    chosen = faces.split("test").faces[:20]
    write_jsonl(tmp_path / "reviews.jsonl", [_review(faces, face) for face in chosen])
    found = agreement(out, read_reviews(tmp_path / "reviews.jsonl"), faces)
    assert list(found) == [MADE, "right", "wrong", "dice"]
    value = {name: {key: row[0] for key, row in rows.items()} for name, rows in found.items()}
    assert value[MADE] == {"DF-D": 1, "DF-C": 1}
    ones = dict.fromkeys(("DF-D", "DF-C", "finding precision", "finding recall"), 1)
    assert value["right"] == ones and value["wrong"] == dict.fromkeys(ones, 0)
    assert set(value["dice"]) == {"DF-D"}
    assert all(low < 1 for _, low, _ in found["right"].values())  # four people are few


def test_agreement_is_with_the_person_and_not_with_the_truth(world: tuple, out: Path) -> None:
    """One of four faces is called the wrong kind; two findings of which the oracle names one."""
    faces, _ = world
    of = {face.category: face for face in faces.split("test") if face.id[5:7] == "01"}
    ears = Finding(region=Region.EARS, artifact=Artifact.BLUR, evidence="")
    hair = Finding(region=Region.HAIRLINE, artifact=Artifact.BLUR, evidence="")
    reviews = [
        _review(faces, of[Category.FE], findings=(hair, ears)),
        _review(faces, of[Category.FS], category=Category.FR, findings=()),  # names nothing
        _review(faces, of[Category.BONA_FIDE]),
        _review(faces, of[Category.EFS], category=Category.BONA_FIDE, findings=()),
    ]
    found = agreement(out, reviews, faces)
    value = {key: row[0] for key, row in found["right"].items()}
    assert (
        (value["DF-D"], value["DF-C"])
        == (0.75, 0.5)
        == (
            found[MADE]["DF-D"][0],
            found[MADE]["DF-C"][0],
        )
    )
    # the oracle names hairline (said by the person) and three regions of the EFS face (not said)
    assert value["finding precision"] == pytest.approx(1 / 4)
    assert value["finding recall"] == pytest.approx(1 / 2)
    assert np.isnan(found["right"]["DF-D"][1:]).all()  # one person's face only: no interval


def test_what_cannot_be_scored_against_is_left_out_and_counted(
    world: tuple, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces, _ = world
    test, train = faces.split("test").faces, faces.split("train").faces
    odd = [
        _review(faces, test[0]).model_copy(update={"face": None}),
        _review(faces, train[0]),
        _review(faces, test[1], sha256="0" * 64),
    ]
    found = agreement(out, [*odd, _review(faces, test[2])], faces)
    assert found["right"]["DF-D"][0] == 1
    bona_fide = next(face for face in test if not face.category.forged)
    (only,) = agreement(out, [_review(faces, bona_fide)], faces)["wrong"].keys() & {
        "finding precision", "finding recall"
    }  # fmt: skip
    assert only == "finding precision"  # nobody named a finding: there is nothing to recall
    told = capsys.readouterr().out
    assert "1 review(s) left out: of an uploaded picture" in told
    assert "2 review(s) left out: of a picture that the exam does not ask about" in told
    assert agreement(out, odd, faces) == agreement(out, [], faces) == {}
