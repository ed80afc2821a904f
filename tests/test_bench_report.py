"""Protocol, report and submissions; videos, subgroups and spoilt pictures by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_bench import InWords, Teller, anti_oracle, bench, oracle, run_bench, toy_world, values

from dfa_lib.analysts import Question
from dfa_lib.bench import perturb
from dfa_lib.bench.baselines import Chance
from dfa_lib.bench.detection_metrics import TaskPredictions, detection_details, video
from dfa_lib.bench.exam import Exam, set_exam
from dfa_lib.bench.plots import robustness_curves
from dfa_lib.bench.report import Report, scoreboard
from dfa_lib.instruct.conversations import build_conversations
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.intervals import BootstrapSample
from dfa_lib.records import Annotator, DataError, Face, InstructRecord, Prediction, read_jsonl
from dfa_lib.taxonomy import Category, Task


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceSet, list[InstructRecord]]:
    return toy_world(tmp_path_factory.mktemp("toy") / "world")


# --- the page and the table


def test_the_report_is_whole_and_escaped(world: tuple, tmp_path: Path) -> None:
    def rude(image: np.ndarray, question: Question) -> str:
        if question.task is Task.AD:
            return "<script>alert(1)</script> The nose shows blur."
        return anti_oracle(image, question)

    data = bench(world, tmp_path, **{"dfa-gpt": Teller(rude), "chance": Chance()})
    assert data == json.loads((tmp_path / "report.json").read_text())
    assert data.keys() >= {"analysts", "n", "source", "majority_share", "constant"}
    assert (data["n"], data["identities"], data["source"]) == (60, 12, "toy")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "http://" not in page and "https://" not in page
    assert page.count("data:image/jpeg;base64,") == 2 * 4 + 10
    assert len(data["details"]["dfa-gpt"]["DF-D"]["worst"]) == 10
    again = Report.read(tmp_path, world[0]).save()
    assert again.page.read_text() == page
    assert (tmp_path / "scoreboard.md").read_text() == scoreboard(data) + "\n"


def test_the_scoreboard_is_a_table(world: tuple, tmp_path: Path) -> None:
    data = bench(world, tmp_path, oracle=Teller(oracle), chance=Chance())
    table = [line for line in scoreboard(data).splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2 + 1
    assert len({line.count("|") for line in table}) == 1
    assert "1.000 [0.735, 1.000]" in table[2]  # all of 12 people right: .025 ** (1 / 12)
    _, low, high = data["lead"]["chance"]["DF-D AUC"]
    assert data["resolution"]["DF-D AUC"] == pytest.approx((high - low) / 2, abs=1e-6)
    assert f"DF-D AUC {data['resolution']['DF-D AUC']:.3f}" in scoreboard(data)


def test_what_nobody_knows_is_neither_scored_nor_calibrated(world: tuple, tmp_path: Path) -> None:
    """Forgeries of unknown kind and place, annotated by a model, and 19 faces to calibrate on."""
    faces, records = world
    unknown = {"category": Category.FORGED, "altered_regions": None}
    known = {record.id: record.annotation for record in records}
    guess = Annotator(name="endpoint", prompt_version="1")
    made = tuple(
        face.model_copy(update=unknown if face.category.forged else {})
        for face in faces
        if face.id != "val_00_FS"
    )
    notes = {face.id: known[face.id].model_copy(update={"annotator": guess}) for face in made}
    told = build_conversations(made, notes, tmp_path / "told")
    data = bench((FaceSet(faces.root, made), list(told)), tmp_path, oracle=Teller(oracle))
    unscored = {"region F1", "COVER", "CHAIR", "Hal", "F0.5"}
    assert not unscored & data["analysts"]["oracle"]["AD"].keys()
    assert data["details"]["oracle"]["DF-D"]["temperature"] is None
    assert data["majority_share"] is None and "most frequent" not in scoreboard(data)
    assert "not calibrated" in (tmp_path / "report.html").read_text()


def test_a_difference_is_paired(world: tuple, tmp_path: Path) -> None:
    """Equal answers differ by nothing, however wide the interval of either is."""
    data = bench(world, tmp_path, one=Chance(), same=Chance(), oracle=Teller(oracle))
    assert data["lead"]["same"] == {name: [0, 0, 0] for name in data["lead"]["same"]}
    _, low, high = data["lead"]["oracle"]["DF-D AUC"]
    assert low <= high < 0  # the oracle beats dice, and the interval says so
    assert set(data["lead"]["same"]) == {"DF-D AUC", "DF-C accuracy", "AD region F1"}


def test_reports_of_two_exams_share_no_table(world: tuple, tmp_path: Path) -> None:
    faces, records = world
    first = bench(world, tmp_path / "first", one=Chance())
    same = bench(world, tmp_path / "same", two=Chance(seed=1))
    other = run_bench({"three": Chance()}, faces, records, tmp_path / "other", seed=1, resamples=9)
    assert [row in scoreboard(first, same) for row in ("| one |", "| two |")] == [True, True]
    with pytest.raises(DataError, match="cannot share a table"):
        scoreboard(first, other.data)


# --- the protocol


def test_a_protocol_holds_everything_and_is_read_back(world: tuple, tmp_path: Path) -> None:
    exam = set_exam(world[0], seed=3, limit=20)
    path = exam.save(tmp_path)
    content = json.loads(path.read_text())
    assert content["version"] == "dfa-bench-2" and content["hash"] == exam.hash
    assert content["test"] == {face.id: face.sha256 for face in exam.test}
    assert content["questions"]["DF-D"][0]["options"] == [
        "This face is bona fide.",
        "This face is forged.",
    ]
    assert set(content["perturbations"]) == set(perturb.LEVELS)
    again = Exam.read(path, world[0])
    assert (again.hash, again.test, again.questions) == (exam.hash, exam.test, exam.questions)


@pytest.mark.parametrize("field", ["seed", "test", "questions", "hash"])
def test_a_protocol_that_was_changed_is_refused(world: tuple, tmp_path: Path, field: str) -> None:
    path = set_exam(world[0]).save(tmp_path)
    content = json.loads(path.read_text())
    match field:
        case "seed":
            content["seed"] = 7
        case "test":
            content["test"].popitem()
        case "questions":
            content["questions"]["DF-D"][0]["text"] += " Think."
        case "hash":
            del content["hash"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="protocol"):
        Exam.read(path, world[0])


def test_a_picture_that_was_swapped_is_refused(tmp_path: Path) -> None:
    faces, _ = toy_world(tmp_path / "world")
    path = set_exam(faces).save(tmp_path)
    one, two = faces.split("test").faces[:2]
    (faces.root / one.image).write_bytes((faces.root / two.image).read_bytes())
    for again in (lambda: set_exam(faces), lambda: Exam.read(path, faces)):
        with pytest.raises(DataError, match=rf"the picture of {one.id} has changed"):
            again()


# --- videos, data sets and subgroups


def _frame(at: int, category: Category, **fields: object) -> Face:
    same = {"image": "x.png", "sha256": "", "dataset": "ff", "split": "test", "licence": "-"}
    return Face(id=str(at), category=category, **{**same, "identities": (str(at),), **fields})


def _details(faces: list[Face], scores: list[float]) -> dict:
    sample = BootstrapSample.of(faces, 50)
    same = [(text,) * len(faces) for text in ("forged", "", "")]
    predicted = TaskPredictions(Task.DF_D, same[0], np.array(scores, float), *same[1:])
    return detection_details(predicted, sample, 1.0)


def test_a_video_is_known_by_more_than_its_folder() -> None:
    real = {"category": Category.BONA_FIDE, "frame": "003/0001.png"}
    faces = [
        _frame(0, **real),
        _frame(1, **real | {"dataset": "dfd"}),
        _frame(2, Category.FR, method="lia", frame="003/0001.png"),
        _frame(3, Category.FR, method="tpsm", frame="003/0001.png"),
        _frame(4, Category.FR, method="tpsm", frame="004/0001.png"),
    ]
    assert len({video(face) for face in faces}) == 5
    for frame in (None, "take 3", "neutral_front/001_03.jpg", "7.png"):
        assert video(_frame(5, Category.FS, frame=frame)) is None


def test_a_video_is_judged_by_the_mean_of_its_frames() -> None:
    """Frames: bona fide .5 .4 .4, forged .9 .3; as videos .433 against .6, by single frames not."""
    logit = lambda p: float(np.log(p / (1 - p)))  # noqa: E731
    faces = [
        *(
            _frame(at, Category.BONA_FIDE, frame=f"a/{at}.png", identities=("p",))
            for at in range(3)
        ),
        *(_frame(at, Category.FS, frame=f"a/{at}.png", identities=("q",)) for at in range(3, 5)),
    ]
    details = _details(faces, [logit(p) for p in (0.5, 0.4, 0.4, 0.9, 0.3)])
    assert details["video"]["videos"] == 2
    assert details["video"]["AUC"][0] == details["video"]["ACC"][0] == 1
    assert _details(faces[:1], [0.0])["video"]["videos"] == 1
    assert _details([_frame(0, Category.FS)], [0.0])["video"] == {}


def test_a_gap_between_subgroups_and_data_sets_is_shown() -> None:
    """Half of the people are ranked rightly and half the wrong way round: the gap is 1."""
    faces, scores = [], []
    for person in range(8):
        young = person % 2 == 0
        for category in (Category.BONA_FIDE, Category.FE):
            fields = {"identities": (str(person),), "dataset": "a" if young else "b"}
            subgroup = {"age": "young" if young else "old", "said": "all the same"}
            faces.append(_frame(len(faces), category, subgroup=subgroup, **fields))
            scores.append(1.0 if category.forged == young else -1.0)
    details = _details(faces, scores)
    found = details["subgroups"]["age"]
    assert {name: row[0] for name, row in found["AUC"].items()} == {"old": 0, "young": 1}
    assert found["gap"] == (1, 1, 1) and found["people"] == {"old": 4, "young": 4}
    assert set(details["subgroups"]) == {"age"}  # one group has no gap
    assert {name: row[0] for name, row in details["per_dataset"].items()} == {"a": 1, "b": 0}


# --- spoilt pictures


def _portrait() -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :80]
    smooth = 120 + 60 * np.sin(x / 9)[..., None] + 40 * np.cos(y / 7)[..., None] * [1, 0.5, 0.2]
    return np.clip(smooth + rng.normal(0, 4, (96, 80, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", perturb.LEVELS)
def test_severity_grows(kind: str) -> None:
    image = _portrait()
    before = image.copy()
    spoilt = [perturb.perturb(image, kind, severity) for severity in perturb.SEVERITIES]
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in spoilt)
    far = [float(np.abs(one.astype(float) - image).mean()) for one in spoilt]
    assert 0 < far[0] and far == sorted(far) and far[-1] > 1.5 * far[0]
    assert (image == before).all()
    assert (perturb.perturb(image, kind, 3) == spoilt[2]).all()


def test_brightness_by_hand_and_noise_by_its_deviation() -> None:
    grey = np.full((64, 64, 3), 100, np.uint8)
    assert (perturb.perturb(grey, "brightness", 1) == 85).all()
    noise = perturb.perturb(grey, "noise", 3).astype(float) - 100
    assert noise.std() == pytest.approx(10, rel=0.05)
    other = perturb.perturb(grey + np.uint8(1), "noise", 3).astype(float) - 101
    assert (other != noise).any()  # another picture, another noise


def test_robustness_of_two_analysts(world: tuple, tmp_path: Path) -> None:
    """One looks at a pixel that any spoiling moves, one at the mean, which blur leaves."""

    class Mean(Teller):
        def answer(self, image: np.ndarray, question: Question) -> object:
            self.asked += 1
            return replace(super().answer(image, question), logprobs=(0.0, float(image.mean())))

    pixel, mean = Teller(oracle), Mean(oracle)
    pixel.tasks = mean.tasks = (Task.DF_D,)
    analysts = {"pixel": pixel, "mean": mean, "third": Chance()}
    report = run_bench(analysts, *world, tmp_path, resamples=20, robustness=30)
    tasks = report.data["details"]
    assert "robustness" not in tasks["third"]["DF-D"]
    found = tasks["pixel"]["DF-D"]["robustness"]
    assert found["faces"] == 30 and set(found["curves"]) == set(perturb.LEVELS)
    assert all(len(curve) == 6 and curve[0][0] == 1 for curve in found["curves"].values())
    assert found["curves"]["noise"][5][0] < 0.9
    steady = tasks["mean"]["DF-D"]["robustness"]["curves"]["blur"]
    assert steady[5][0] == pytest.approx(steady[0][0], abs=0.02)
    assert 'alt="The same faces, degraded step by step' in report.page.read_text()
    found["curves"]["blur"][0] = [None] * 3  # of faces of one kind there is no AUC
    alt = robustness_curves(report.data, np.zeros((64, 64, 3), np.uint8)).get_label()
    assert "pixel under blur unknown" in alt and "nan" not in alt
    asked = pixel.asked
    run_bench(analysts, *world, tmp_path, resamples=20, robustness=30)
    assert pixel.asked == asked


def test_an_analyst_in_words_is_asked_without_options(world: tuple, tmp_path: Path) -> None:
    talker = Teller(oracle)
    data = bench(world, tmp_path, in_words=InWords(talker))
    assert (
        values(data, "in_words", "DF-C")["accuracy"] == 1
        and data["analysts"]["in_words"]["AD"] == {}
    )
    given = next(read_jsonl(tmp_path / "predictions" / "in_words.jsonl", Prediction))
    assert given.text.count("\n") == 2  # three wordings, each with an answer of its own
