"""An analyst's scope: everyday copies of faces like those it learnt are in, other pictures out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import RedEye, portrait, red_patch, wall
from toy_bench import toy_world

from dfa_lib.analysts import Question, Reply
from dfa_lib.bench.calibration import Calibration
from dfa_lib.bench.coverage import risk_coverage, strangers
from dfa_lib.bench.exam import LEAST_VAL, set_exam
from dfa_lib.bench.scope import POOR, Scope, detail, flaw, forged_logits, refusals, traits
from dfa_lib.chat.verdict import judge
from dfa_lib.conditions import blur
from dfa_lib.conditions import tilt as turned
from dfa_lib.face.detect import CUT_OFF, find_face
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.records import DataError, Face, Prediction
from dfa_lib.taxonomy import Task
from facesim.people import portrait as modelled

FORGED = Question("Forged?", Task.DF_D, tuple(OPTIONS[Task.DF_D].values()))


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
    assert (far <= scope.limit).mean() > 0.8 and scope.faces == 30
    green = np.full((64, 64, 3), (0, 255, 0), np.uint8)
    assert scope.distances(Eye(), [green])[0] > 2 * scope.limit


def test_a_score_has_to_exceed_what_bona_fide_faces_reach_on_pictures_as_soft(
    faces: list[np.ndarray],
) -> None:
    softest = np.quantile([traits(blur(image, 1.5))[0] for image in faces[:60]], 0.95)

    class Nose(Eye):
        """Holds what is blurred for forged, a little."""

        def reply(
            self, images: Sequence[np.ndarray], questions: Sequence[Sequence[Question]]
        ) -> list[list[Reply]]:
            def said(image: np.ndarray, question: Question) -> Reply:
                lead = {"forged": softest - traits(image)[0]}
                logs = tuple(lead.get(label, 0.0) for label in OPTIONS[question.task])
                return Reply("", logs, 1, 0.0)

            pairs = zip(images, questions, strict=True)
            return [[said(image, one) for one in asked] for image, asked in pairs]

    scope = Scope.fit(Nose(), faces[:60], faces[60:90], faces[60:90], [FORGED])
    softer, *_ = scope.margin
    assert softer > 0.5
    held_out = [blur(image, 1.5) for image in faces[90:]]
    logits = forged_logits(Nose(), held_out, [FORGED])
    assert (logits > 0).mean() > 0.8 and scope.close(held_out, logits).mean() > 0.3
    assert (
        not scope.close(held_out, logits + 9).any() and not scope.close(held_out, logits - 9).any()
    )
    assert not scope.close(faces[90:], forged_logits(Nose(), faces[90:], [FORGED])).any()
    (verdict,) = judge(Nose(), held_out[:1], calibration=Calibration(1.0, (FORGED,), 60, scope))
    assert verdict.forged is None and verdict.abstained.startswith("Too close to call")
    assert refusals(Nose(), held_out[:1], scope) == [""]
    assert refusals(Nose(), held_out[:1], scope, logits[:1]) == [verdict.abstained]


def test_a_scope_of_an_exam_needs_people_of_all_splits(tmp_path: Path) -> None:
    exam = set_exam(toy_world(tmp_path)[0])
    scope = Scope.of(Eye(), exam)
    assert scope.faces == len(exam.val) and scope.margin.shape == (8,)
    assert Scope.of(Eye(), replace(exam, val=())) is None
    assert Scope.of(Eye(), replace(exam, val=exam.val[: LEAST_VAL - 1])) is None


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
    assert flaw(wall()).startswith("No face was found")
    assert "cut off by the edge" in flaw(replace(face, cut=CUT_OFF))
    left, top, _, _ = face.box
    assert "is 40 pixels wide" in flaw(replace(face, box=(left, top, left + 40, top + 40)))
    assert "too blurred" in flaw(replace(face, image=cv2.GaussianBlur(face.image, (0, 0), 8)))
    assert "tilted by 1" in flaw(turned(portrait(128), 15))
    aside = np.roll(portrait(128), 12, axis=1)
    assert flaw(aside).startswith("No face was found")
    assert flaw(replace(face, image=aside)) == ""  # it was framed by its landmarks
    assert flaw(replace(face, image=turned(face.image, 15))) == ""  # it was levelled


@pytest.mark.parametrize("level", [0.5, 1.0, 1.5])
def test_detail_is_that_of_edges_and_not_of_contrast(level: float) -> None:
    face = cv2.cvtColor(modelled("sharp", 1, 128).image, cv2.COLOR_RGB2GRAY)
    softer, darker = blur(face, level), (face * 0.5).round().astype(np.uint8)
    assert detail(softer) < 0.85 * detail(face) < detail(darker) < 1.2 * detail(face)
    assert detail(cv2.GaussianBlur(face, (0, 0), 6 * level)) < detail(softer)
    assert detail(np.full((64, 64), 90, np.uint8)) == 0


@pytest.mark.parametrize(
    ("way", "trait", "sign"),
    [("median filter", 0, -1), ("strong JPEG", 1, 1), ("median filter", 1, 1)],
)
def test_what_spoils_a_picture_moves_a_trait(way: str, trait: int, sign: int) -> None:
    face, rng = modelled("sharp", 1, 128).image, np.random.default_rng(0)
    assert sign * (traits(POOR[way](face, rng)) - traits(face))[trait] > 0.2
    green = (face * np.float32([0.8, 1, 0.8])).astype(np.uint8)
    assert np.all((traits(green) - traits(face))[2:] < -0.2)


def test_a_verdict_outside_has_no_number(scope: Scope) -> None:
    calibrated = Calibration(1.0, (), 60, replace(scope, limit=0.0))
    assert refusals(Eye(), [red_patch()], None) == [""]
    (verdict,) = judge(Eye(), [red_patch()], calibration=calibrated)
    assert verdict.forged is None and "unlike those" in verdict.sentence
    (found,) = judge(Eye(), [find_face(portrait())], calibration=calibrated)
    assert "let the face be found" in verdict.sentence and "camera" in found.sentence
    calibrated = Calibration(1.0, (FORGED,), 60, replace(scope, limit=1e9))
    verdict, none = judge(Eye(), [red_patch(), wall()], calibration=calibrated)
    assert verdict.scoped and "60 validation faces" in verdict.origin and none.abstained


def test_risk_falls_with_coverage_and_abstaining_counts_as_wrong(tmp_path: Path) -> None:
    faces, _ = toy_world(tmp_path)
    exam = set_exam(faces)
    rng = np.random.default_rng(0)
    logit = {face.id: 2.0 + rng.normal(0, 3) for face in exam.test}  # in favour of the truth
    given = [_said(face, logit[face.id]) for face in exam.test]
    refused = ["unlike"] * 6 + [""] * (len(exam.test) - 6)
    told = risk_coverage(given, refused, exam, 50)
    scores = {name: one[0] for name, one in told["scores"].items()}
    right = np.array([logit[face.id] > 0 for face in exam.test])
    assert scores["coverage"] == pytest.approx(1 - 6 / len(right))
    assert scores["ACC, abstaining is wrong"] == pytest.approx(right[6:].sum() / len(right))
    assert scores["ACC of faces judged"] == pytest.approx(right[6:].mean())
    assert (
        scores["AURC random"] == pytest.approx(1 - right[6:].mean()) and scores["AURC random"] > 0
    )
    share, risk = np.transpose(told["curve"])
    assert scores["AURC"] == pytest.approx(risk.mean()) and risk.mean() < risk[-1]
    assert share[-1] == scores["coverage"]
    nothing = risk_coverage(given, ["unlike"] * len(given), exam, 50)
    assert nothing["scores"]["coverage"][0] == 0 and nothing["curve"] == []


def test_strangers_are_no_faces_or_of_another_world() -> None:
    photograph = np.random.default_rng(0).integers(0, 255, (90, 140, 3), np.uint8)
    strange = strangers([portrait(128)] * 6, [photograph])
    assert {kind: len(pictures) for kind, pictures in strange.items()} == {
        "no face": 13,
        "another world": 6,
    }
    assert all(one.shape == (128, 128, 3) for pictures in strange.values() for one in pictures)
    parts, noise = strange["no face"][:6], strange["no face"][-1:]  # between them, scrambled faces
    assert all(refusals(RedEye(), [*parts, *noise], None))


def _said(face: Face, towards_truth: float) -> Prediction:
    lead = towards_truth if face.category.forged else -towards_truth
    return Prediction(
        analyst="toy", face=face.id, task=Task.DF_D, prompt="?", text="",
        answer="forged" if lead > 0 else "bona fide",
        options={"forged": lead, "bona fide": 0.0}, seconds=0.0, tokens=1,
    )  # fmt: skip
