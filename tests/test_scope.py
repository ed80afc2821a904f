"""An analyst's scope: everyday copies of faces like those it learnt are in, other pictures out."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import RedEye, portrait, red_patch, wall

from dfa_lib.analysts import Question
from dfa_lib.bench.calibration import Calibration
from dfa_lib.bench.scope import EVERYDAY, Scope, flaw, refusals
from dfa_lib.chat.verdict import judge
from dfa_lib.face.detect import find_face
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Task
from facesim.people import portrait as modelled


class Eye(RedEye):
    """An analyst whose features are a few means and deviations of the picture."""

    fingerprint = "these weights"

    def features(self, images: list[np.ndarray]) -> np.ndarray:
        """(N, 24) float32."""
        small = [
            cv2.resize(image, (2, 2), interpolation=cv2.INTER_AREA).ravel() for image in images
        ]
        large = [one.reshape(4, -1, 3).std(axis=1).ravel() for one in images]
        return np.concatenate([small, large], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    return [modelled("scope", k, 64).image for k in range(120)]


@pytest.fixture(scope="module")
def scope(faces: list[np.ndarray]) -> Scope:
    return Scope.fit(Eye(), faces[:60], faces[60:90])


def test_faces_alike_are_kept_and_others_are_not(scope: Scope, faces: list[np.ndarray]) -> None:
    far = scope.distances(Eye(), faces[90:])
    assert (far <= scope.limit).mean() > 0.8 and scope.faces == 60
    rng = np.random.default_rng(0)
    assert scope.distances(Eye(), [rng.integers(0, 255, (64, 64, 3), np.uint8)])[0] > scope.limit
    with pytest.raises(DataError, match="needs training and validation faces"):
        Scope.fit(Eye(), [], faces)


def test_a_scope_is_of_one_analyst_and_one_file(scope: Scope, tmp_path: Path) -> None:
    assert Scope.read(tmp_path, "these weights") is None
    path = scope.save(tmp_path)
    again = Scope.read(tmp_path, "these weights")
    assert np.array_equal(again.whiten, scope.whiten) and again.limit == scope.limit
    assert Scope.read(tmp_path, "other weights") is None
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"scope.safetensors: .*; run lesson 03 again"):
        Scope.read(tmp_path, "these weights")


def test_what_needs_no_scope_is_always_checked() -> None:
    face = find_face(portrait())
    assert flaw(face) == "" and flaw(portrait(128)) == ""
    assert flaw(wall()).startswith("this picture: no face was found")
    left, top, _, _ = face.box
    assert "is 40 pixels wide" in flaw(replace(face, box=(left, top, left + 40, top + 40)))
    assert "too blurred" in flaw(replace(face, image=cv2.GaussianBlur(face.image, (0, 0), 8)))


def test_a_verdict_outside_has_no_number(scope: Scope) -> None:
    calibrated = Calibration(1.0, (), 60, replace(scope, limit=0.0))
    assert refusals(Eye(), [red_patch()], None) == [""]
    (verdict,) = judge(Eye(), [red_patch()], calibration=calibrated)
    assert verdict.forged is None and "unlike those" in verdict.sentence
    asked = Question("Forged?", Task.DF_D, tuple(OPTIONS[Task.DF_D].values()))
    calibrated = Calibration(1.0, (asked,), 60, replace(scope, limit=1e9))
    verdict, none = judge(Eye(), [red_patch(), wall()], calibration=calibrated)
    assert verdict.scoped and "60 validation faces" in verdict.origin and none.abstained


@pytest.mark.parametrize("kind", EVERYDAY)
def test_everyday_changes_leave_a_face(kind: str) -> None:
    rng = np.random.default_rng(0)
    changed = EVERYDAY[kind](portrait(128), 0.8, rng)
    assert changed.shape == (128, 128, 3) and changed.dtype == np.uint8 and flaw(changed) == ""
    assert (kind == "clean") == np.array_equal(changed, portrait(128))
