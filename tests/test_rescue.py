"""A lesson that starts alone finds a small, whole copy of what the lessons before would write."""

from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut, chelsea

from dfa_lib.ask import __main__ as ask
from dfa_lib.bench.calibration import calibration
from dfa_lib.bench.scope import forged_logits, framed, refusals
from dfa_lib.face.detect import FaceCrop, find_faces
from dfa_lib.gpt.adapter import check_adapter
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.photo import open_photo
from dfa_lib.runtime import FINISHED, RESCUE, lesson
from dfa_lib.taxonomy import CLASSES, Split
from tools.make_rescue import choose

DDVQA = Path(__file__).parents[2] / "shared" / "data" / "ddvqa_c40" / "pictures"


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return FaceSet.read(RESCUE / "01_instruct")


def test_a_lesson_that_has_run_comes_before_the_rescue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, last in FINISHED.items():
        assert lesson(tmp_path, name) == RESCUE / name
        assert f"run lesson {name[:2]}" in capsys.readouterr().out
        (tmp_path / name / last).parent.mkdir(parents=True)
        assert lesson(tmp_path, name) == RESCUE / name, "half of a lesson is none"
        (tmp_path / name / last).touch()
        capsys.readouterr()
        assert lesson(tmp_path, name) == tmp_path / name
        assert capsys.readouterr().out == ""


def test_the_rescue_is_small_and_whole(faces: FaceSet) -> None:
    assert sum(file.stat().st_size for file in RESCUE.rglob("*") if file.is_file()) < 6_000_000
    records = load_records(faces.root / "instruct.jsonl")
    assert [record.face for record in records] == list(faces)
    for face in faces:
        assert sha256((faces.root / face.image).read_bytes()).hexdigest() == face.sha256
        assert faces.image(face).shape == (128, 128, 3)
        assert face.source is None or faces[face.source].split == face.split
        assert (faces.mask(face) is not None) == face.category.forged
    check_adapter(RESCUE / "02_gpt" / "adapter")


def test_every_split_has_what_its_lesson_needs(faces: FaceSet) -> None:
    seen = [{who for face in faces.split(split) for who in face.identities} for split in Split]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    for split in (Split.TRAIN, Split.TEST):
        assert {face.category for face in faces.split(split)} == set(CLASSES)


def test_methods_come_in_turn_with_their_counterparts(faces: FaceSet) -> None:
    few = choose(faces.split(Split.TRAIN), 12)
    methods = [face.method for face in few if face.method]
    assert len(set(methods)) == len(methods)
    assert {face.source for face in few if face.source} <= {face.id for face in few}


def test_the_first_command_needs_no_lesson(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A face of the sample world gets a calibrated verdict, a cat a sentence and no number."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(chelsea()).save("cat.png")
    face = RESCUE / "01_instruct" / "images" / "fs_0438.webp"
    assert ask.main([str(face), "--aligned"]) == 0
    said = capsys.readouterr().out
    assert "P(forged) is calibrated" in said and ask.SHIPPED_MODEL in said
    assert ask.main(["cat.png"]) == 1
    said = capsys.readouterr().out
    assert "No face was found" in said and "%" not in said


def test_a_portrait_of_another_world_gets_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once it was called forged, P(forged) 97 %."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut()).save("astronaut.png")
    assert ask.main(["astronaut.png"]) == 1
    said = capsys.readouterr().out
    assert "The face looks unlike those" in said and "%" not in said


@pytest.mark.skipif(not DDVQA.is_dir(), reason=f"no DD-VQA in {DDVQA}")
def test_frames_of_foreign_films_hardly_get_a_number() -> None:
    """Half of these are bona fide, and nearly all would be called forged."""
    analyst = LocalAnalyst(RESCUE / "02_gpt")
    fitted = calibration(analyst, RESCUE / "03_bench")
    frames = [face for path in sorted(DDVQA.glob("*.jpg"))[::20] for face in faces_on(path)]
    logits = forged_logits(analyst, list(map(framed, frames)), fitted.questions)
    refused = [bool(why) for why in refusals(analyst, frames, fitted.scope, logits)]
    assert len(frames) > 50 and sum(refused) / len(frames) > 0.75


def faces_on(path: Path) -> list[FaceCrop]:
    return find_faces(open_photo(path))[:1]
