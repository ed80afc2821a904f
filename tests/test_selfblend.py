"""Self-blended faces: the operator, and what an import makes of it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import toy_portrait
from trees import picture

from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.conversations import build_conversations
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split, Task
from facesim.people import generator
from facesim.selfblend import self_blend

FACE = toy_portrait(0)


@pytest.mark.parametrize("seed", range(12))
def test_a_blend_changes_the_face_and_nothing_else(seed: int) -> None:
    image, alpha = self_blend(generator("test", seed), FACE)
    assert image.shape == FACE.image.shape and image.dtype == np.uint8
    assert alpha.shape == FACE.image.shape[:2] and 0 <= alpha.min() < 0.49 < alpha.max() <= 1
    changed = np.abs(image.astype(int) - FACE.image).max(axis=2)
    assert not changed[alpha == 0].any(), "a pixel outside the blend tells of it"
    assert changed[alpha > 0.4].mean() > 1, "nothing to be learned"


def test_blends_of_a_face_differ_and_are_repeatable() -> None:
    first, again, other = (self_blend(generator("test", seed), FACE)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_an_oblong_photograph_can_be_blended() -> None:
    wide = cv2.copyMakeBorder(FACE.image, 0, 0, 0, 60, cv2.BORDER_REFLECT_101)
    image, alpha = self_blend(generator("test"), type(FACE)(wide, FACE.landmarks))
    assert image.shape == wide.shape and alpha.shape == wide.shape[:2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(10):
        picture(tmp_path / f"data/real/{number}.png", number)
        picture(tmp_path / f"data/fake/{number}.png", number + 1)
    return tmp_path / "data"


def test_an_import_makes_them_of_bona_fide_training_faces_alone(root: Path) -> None:
    settings = {"root": root, "size": 96, "workers": 1}
    faces = load_faces("imagefolder", root.parent / "out", self_blended=2, **settings)
    plain = load_faces("imagefolder", root.parent / "plain", **settings)
    made = [face for face in faces if face.method == "self_blended"]
    real = [f.id for f in plain.split(Split.TRAIN) if not f.category.forged]
    assert sorted(face.source for face in made) == sorted(2 * real)
    kept = [(face.id, face.sha256) for face in faces if face not in made]
    assert kept == [(face.id, face.sha256) for face in plain], "the other faces are as without"
    for face in made:
        twin, mask = faces[face.source], faces.mask(face)
        assert face.category is Category.FORGED and face.split is Split.TRAIN
        assert face.identities == twin.identities and face.landmarks == twin.landmarks
        changed = np.abs(faces.image(face).astype(int) - faces.image(twin)).max(axis=2)
        assert changed.any() and changed[cv2.dilate(mask, np.ones((7, 7))) == 0].max(initial=0) <= 2
    few = FaceSet(faces.root, (*(faces[key] for key in real[:3]), made[0]))
    *_, record = build_conversations(few, annotate(few, workers=1), root.parent / "told")
    assert Task.DF_C not in {qa.task for qa in record.qa}, "of which kind it is, nobody can say"


def test_drawn_faces_need_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="self_blended: the forgeries"):
        load_faces(out=tmp_path, self_blended=1)
