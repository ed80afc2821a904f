"""The same test faces at several difficulties: what stays, what changes, and how scores move."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dfa_lib.analysts import Question, Reply
from dfa_lib.bench.baselines import Control, choose
from dfa_lib.bench.exam import set_exam
from dfa_lib.bench.sweep import sweep
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Task
from facesim.forge import METHODS
from facesim.generate import remake

EASY, AS_MADE, HARD = 0.1, 0.5, 1.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return load_faces(out=tmp_path_factory.mktemp("world"), n=60, difficulty=AS_MADE)


@pytest.fixture(scope="module")
def versions(world: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> dict[float, FaceSet]:
    ids = {face.id for face in world.split("test")}
    return remake(world.root, ids, tmp_path_factory.mktemp("v") / "v", (EASY, AS_MADE, HARD))


def test_the_same_difficulty_gives_the_same_files(
    world: FaceSet, versions: dict[float, FaceSet]
) -> None:
    assert list(versions[AS_MADE]) == list(world.split("test"))  # pictures by their hash


def test_another_difficulty_changes_pictures_and_nobody(versions: dict[float, FaceSet]) -> None:
    for easy, hard in zip(versions[EASY], versions[HARD], strict=True):
        assert (easy.id, easy.method, easy.identities) == (hard.id, hard.method, hard.identities)
        assert easy.sha256 != hard.sha256


def test_another_method_forges_the_same_people(world: FaceSet, tmp_path: Path) -> None:
    ids = {face.id for face in world.split("test") if face.category != "EFS"}
    by = {"method": METHODS["makeup"]}
    made = remake(world.root, ids, tmp_path / "made", [AS_MADE], **by)[AS_MADE]
    assert {face.id for face in made} == ids
    for face in made:
        before = world[face.id]
        assert face.identities[0] == before.identities[0] and face.split == before.split
        assert face.method == ("makeup" if before.category.forged else None)
        assert (face.sha256 == before.sha256) == (face.method == before.method)


def test_faces_of_another_making_are_refused(world: FaceSet, tmp_path: Path) -> None:
    shutil.copy(world.root / "faces.jsonl", tmp_path)
    with pytest.raises(DataError, match=r"recipe\.json: missing"):
        remake(tmp_path, {"bf_0000"}, tmp_path / "out", [EASY])
    assert not (tmp_path / "out").exists()


def test_remaking_leaves_what_else_lies_in_the_folder(world: FaceSet) -> None:
    before = sorted(world.root.rglob("*.*"))
    ids = {next(iter(world.split("test"))).id}
    for _ in range(2):
        assert len(remake(world.root, ids, world.root, [EASY])[EASY]) == 1
    shutil.rmtree(world.root / f"{EASY:g}")
    assert sorted(world.root.rglob("*.*")) == before


class Oracle(Control):
    """Knows the truth on one version by heart, and says the same of every face of another."""

    name = "oracle"

    def __init__(self, faces: FaceSet) -> None:
        self.known = {faces.image(f).tobytes(): 1.0 * f.category.forged for f in faces}

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        forged = self.known.get(image.tobytes(), 0.5)
        share = {"forged": forged, "bona fide": 1 - forged}
        return choose(question, [share[name] for name in OPTIONS[Task.DF_D]])


def test_each_version_is_scored_by_its_own_pictures(
    world: FaceSet, versions: dict[float, FaceSet]
) -> None:
    questions = set_exam(world).questions[Task.DF_D]
    scores = sweep({"oracle": Oracle(versions[HARD])}, versions, questions, resamples=50)
    value, low, high = scores["oracle"][HARD]
    assert value == high == 1 and low < 1
    assert scores["oracle"][EASY] == (0.5, 0.5, 0.5)
