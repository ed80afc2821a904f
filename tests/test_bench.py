"""The benchmark as a whole: analysts of known skill get the scores that theory says."""

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_llava import tiny_llava

from dfa_lib.bench.baselines import (
    Blind,
    Chance,
    Control,
    Majority,
    Probe,
    choose,
    controls,
    pixel_features,
)
from dfa_lib.bench.exam import set_exam
from dfa_lib.bench.report import Report, scoreboard
from dfa_lib.bench.run import ask, run_bench
from dfa_lib.bench.scoring import score_all
from dfa_lib.gpt.analyst import LocalAnalyst, Question, Reply
from dfa_lib.gpt.presets import NANO
from dfa_lib.instruct.conversations import OPTIONS, build_conversations, detection_label
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.wording import describe
from dfa_lib.records import (
    Annotation,
    Annotator,
    DataError,
    Face,
    Finding,
    InstructRecord,
    Prediction,
    read_jsonl,
)
from dfa_lib.taxonomy import Artifact, Category, Region, Split, Task

ALTERED = {
    Category.BONA_FIDE: (),
    Category.FS: (Region.EYES, Region.NOSE, Region.MOUTH),
    Category.FR: (Region.MOUTH, Region.CHIN),
    Category.FE: (Region.HAIRLINE,),
    Category.EFS: (Region.EYES, Region.NOSE, Region.CHEEKS),
}
PEOPLE = {Split.TRAIN: 6, Split.VAL: 4, Split.TEST: 12}


def _face(split: Split, person: int, category: Category, root: Path) -> Face:
    """A picture whose first pixel holds its person and category: easy for an oracle."""
    name = f"{split}_{person:02}_{category.value.replace(' ', '_')}"
    image = np.random.default_rng([person, len(name)]).integers(0, 255, (64, 64, 3), np.uint8)
    image[16:48, :32] = 50 * list(Category).index(category)
    image[0, 0] = (person, list(Category).index(category), list(Split).index(split))
    path = root / "images" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
    altered = ALTERED[category] if person % 2 else ALTERED[category][:2]
    return Face(
        id=name,
        image=f"images/{name}.png",
        sha256=sha256(path.read_bytes()).hexdigest(),
        category=category,
        method=f"m{person % 2}" if category.forged else None,
        dataset="toy",
        identities=(f"{split}{person}",),
        split=split,
        licence="-",
        altered_regions=altered,
    )


def _note(face: Face) -> Annotation:
    blur = [
        Finding(region=region, artifact=Artifact.BLUR, evidence="")
        for region in face.altered_regions or ()
    ]
    return Annotation(
        face=face.id, findings=tuple(blur), text=describe(blur), annotator=Annotator(name="toy")
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceSet, list[InstructRecord]]:
    root = tmp_path_factory.mktemp("toy")
    (root / "images").mkdir()
    faces = [
        _face(split, person, category, root)
        for split, people in PEOPLE.items()
        for person in range(people)
        for category in Category
    ]
    notes = {face.id: _note(face) for face in faces}
    return FaceSet(root, tuple(faces)), build_conversations(faces, notes, root)


class Teller(Control):
    """An analyst that knows each face and says of it what ``rule`` makes of that."""

    def __init__(self, rule: Callable[[Category, Question], str], closed: bool = True) -> None:
        self.name, self.rule, self.closed, self.asked = "teller", rule, closed, 0

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        self.asked += 1
        said = self.rule(image, question)
        if not self.closed or not question.options:
            return Reply(said, None, 0, 0.0)
        return choose(question, [-1.0 if option == said else -9.0 for option in question.options])


def _category(image: np.ndarray) -> Category:
    return list(Category)[image[0, 0, 1] % len(Category)]


def oracle(image: np.ndarray, question: Question) -> str:
    category = _category(image)
    if question.task is Task.AD:
        regions = ALTERED[category] if image[0, 0, 0] % 2 else ALTERED[category][:2]
        return describe([Finding(region=r, artifact=Artifact.BLUR, evidence="") for r in regions])
    label = detection_label(category) if question.task is Task.DF_D else category.value
    return OPTIONS[question.task][label]


def anti_oracle(image: np.ndarray, question: Question) -> str:
    right = oracle(image, question)
    if question.task is Task.AD:
        category = _category(image)
        wrong = [] if category.forged else ["The ears show a grid pattern."]
        return " ".join(wrong) or "The ears show a grid pattern."
    return next(one for one in OPTIONS[question.task].values() if one != right)


def always_forged(image: np.ndarray, question: Question) -> str:
    return {
        Task.DF_D: "This face is forged.",
        Task.DF_C: "This face was made by face swapping.",
        Task.AD: "No artifact stands out.",
    }[question.task]


def parrot(image: np.ndarray, question: Question) -> str:
    listed = ", ".join(artifact.value for artifact in Artifact)
    return " ".join(f"The {region.value} shows {listed}." for region in Region)


def silent(image: np.ndarray, question: Question) -> str:
    return ""


def _bench(world: tuple, out: Path, **analysts: Control) -> dict:
    faces, records = world
    return run_bench(analysts, faces, records, out, resamples=100, preset="toy").data


@pytest.fixture(scope="module")
def data(world: tuple, tmp_path_factory: pytest.TempPathFactory) -> dict:
    faces, records = world
    return _bench(
        world,
        tmp_path_factory.mktemp("bench"),
        oracle=Teller(oracle),
        anti=Teller(anti_oracle),
        forged=Teller(always_forged),
        parrot=Teller(parrot, closed=False),
        silent=Teller(silent, closed=False),
        talker=Teller(oracle, closed=False),
        blind=Blind(Teller(oracle)),
        majority=Majority(faces.split("train").faces),
        chance=Chance([record.annotation.text for record in records]),
    )


def _values(data: dict, analyst: str, task: str) -> dict[str, float]:
    return {name: score[0] for name, score in data["analysts"][analyst][task].items()}


@pytest.mark.parametrize("analyst", ["oracle", "talker"])
def test_an_oracle_is_perfect(data: dict, analyst: str) -> None:
    found = _values(data, analyst, "DF-D")
    ones = ("AUC", "AP", "ACC", "balanced ACC", "TPR@1%FPR", "TPR@5%FPR")
    assert [found[name] for name in ones] == [1.0] * len(ones)
    assert found["EER"] == found["unparsable"] == 0
    assert found["ECE"] < 0.01 and found["Brier"] < 0.01
    assert _values(data, analyst, "DF-C")["macro-F1"] == 1
    told = _values(data, analyst, "AD")
    assert told["region F1"] == told["COVER"] == told["F0.5"] == told["ROUGE-L"] == 1
    assert told["CHAIR"] == told["Hal"] == told["bona fide hallucination"] == 0


def test_an_anti_oracle_is_always_wrong(data: dict) -> None:
    found = _values(data, "anti", "DF-D")
    assert found["AUC"] == found["ACC"] == found["balanced ACC"] == found["TPR@5%FPR"] == 0
    assert found["EER"] == 1
    assert _values(data, "anti", "DF-C")["accuracy"] == 0
    told = _values(data, "anti", "AD")
    assert told["region F1"] == told["COVER"] == told["F0.5"] == 0
    assert told["CHAIR"] == told["Hal"] == told["bona fide hallucination"] == 1


def test_a_constant_answer_gets_what_theory_says(data: dict) -> None:
    for analyst in ("forged", "blind", "majority"):
        assert _values(data, analyst, "DF-D")["AUC"] == 0.5
    found = _values(data, "forged", "DF-D")
    assert (found["ACC"], found["balanced ACC"], found["AP"]) == (0.8, 0.5, 0.8)
    classified = _values(data, "forged", "DF-C")
    assert classified["accuracy"] == data["majority_share"] == 0.2
    assert classified["macro-F1"] == pytest.approx(2 * 0.2 / 1.2 / 5, abs=1e-6)
    assert _values(data, "forged", "AD")["CHAIR"] == 1  # a forgery called natural


def test_silence_is_wrong_and_shown(data: dict) -> None:
    for task in ("DF-D", "DF-C", "AD"):
        assert _values(data, "silent", task)["unparsable"] == 1
    found = _values(data, "silent", "DF-D")
    assert found["AUC"] == found["ACC"] == 0 and found["Brier"] == 1
    assert _values(data, "silent", "DF-C")["accuracy"] == 0
    table = data["details"]["silent"]["DF-C"]["confusion"]
    assert [row[-1] for row in table] == [PEOPLE[Split.TEST]] * 5


def test_a_parrot_is_punished(data: dict) -> None:
    told = _values(data, "parrot", "AD")
    assert told["COVER"] == 1
    assert told["CHAIR"] > 0.95 and told["Hal"] == 1 and told["F0.5"] < 0.06
    assert told["bona fide hallucination"] == 1
    assert told["F1 above constant"] < 0


def test_majority_scores_as_the_best_constant(data: dict) -> None:
    """The constant goes through text and lexicon in one, straight into the formula in the other."""
    assert _values(data, "majority", "AD")["region F1"] == data["constant"]["region F1"][0]
    assert _values(data, "majority", "AD")["F1 above constant"] == 0


def test_chance_lies_within_its_interval(data: dict) -> None:
    _, low, high = data["analysts"]["chance"]["DF-D"]["AUC"]
    assert low < 0.5 < high
    _, low, high = data["analysts"]["chance"]["DF-C"]["accuracy"]
    assert low <= 0.2 <= high


def test_every_score_lies_within_its_interval(data: dict) -> None:
    for tasks in data["analysts"].values():
        for value, low, high in (score for task in tasks.values() for score in task.values()):
            assert low <= value <= high


def test_probes_answer_closed_questions_only(world: tuple, tmp_path: Path) -> None:
    faces, _ = world
    probe = Probe("pixels16", pixel_features, faces.split("train"))
    data = _bench(world, tmp_path, pixels16=probe)
    assert data["analysts"]["pixels16"]["AD"] == {}
    assert 0 <= _values(data, "pixels16", "DF-D")["AUC"] <= 1
    seen = [faces.image(face) for face in faces.split("train")]
    question = Question("?", Task.DF_C, tuple(OPTIONS[Task.DF_C].values()))
    answers = [reply[0] for reply in probe.reply(seen, [[question]] * len(seen))]
    answered = [
        answer.text == OPTIONS[Task.DF_C][face.category.value]
        for answer, face in zip(answers, faces.split("train"), strict=True)
    ]
    assert np.mean(answered) > 0.9  # a stripe of the picture gives the category away
    assert np.allclose([np.exp(answer.logprobs).sum() for answer in answers], 1)


class Tired(Teller):
    """Fails after some pictures, as a machine that is switched off."""

    left = 40

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().answer(image, question)


def test_a_run_that_was_killed_goes_on_to_the_same_report(
    world: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfa_lib.bench.run.BATCH", 4)
    whole = Teller(oracle)
    _bench(world, tmp_path / "whole", one=whole)
    tired = Tired(oracle)
    with pytest.raises(KeyboardInterrupt):
        _bench(world, tmp_path / "killed", one=tired)
    file = tmp_path / "killed" / "predictions" / "one.jsonl"
    answered = len(file.read_text().splitlines())
    with file.open("a") as torn:
        torn.write('{"analyst": "one", "fa')
    rested = Teller(oracle)
    _bench(world, tmp_path / "killed", one=rested)
    assert 0 < answered and rested.asked < whole.asked
    names = ("report.json", "report.html", "predictions/one.jsonl")
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    again = Teller(oracle)
    _bench(world, tmp_path / "killed", one=again)
    assert again.asked == 0


def test_answers_of_another_exam_or_model_are_not_used(world: tuple, tmp_path: Path) -> None:
    faces, records = world
    _bench(world, tmp_path, one=Teller(always_forged))
    tuned = Teller(oracle)
    tuned.fingerprint = "tuned since"
    assert _values(_bench(world, tmp_path, one=tuned), "one", "DF-D")["AUC"] == 1
    assert (tmp_path / "predictions" / "one.jsonl.old").exists()
    other = Teller(oracle)
    other.fingerprint = "tuned since"
    run_bench({"one": other}, faces, records, tmp_path, seed=1, resamples=10)
    assert other.asked > 0


def test_questions_are_held_out_and_the_exam_has_a_hash(world: tuple) -> None:
    faces, records = world
    trained = {
        qa.question for record in records if record.face.split is Split.TRAIN for qa in record.qa
    }
    exam = set_exam(faces)
    asked = {question.text for questions in exam.questions.values() for question in questions}
    assert len(asked) == 7 and not asked & trained
    assert exam.hash == set_exam(faces).hash
    others = [set_exam(faces, seed=1), set_exam(faces, paraphrases=2), set_exam(faces, limit=9)]
    assert len({exam.hash, *(other.hash for other in others)}) == 4


def test_a_leak_between_splits_is_refused(world: tuple) -> None:
    faces, _ = world
    donor = faces.split("train").faces[0].identities[0]
    leaky = [
        face.model_copy(update={"identities": (*face.identities, donor)})
        if face.split is Split.TEST
        else face
        for face in faces
    ]
    with pytest.raises(DataError, match=donor):
        set_exam(FaceSet(faces.root, leaky))
    with pytest.raises(DataError, match="no test face"):
        set_exam(faces.split("train"))


def test_bad_names_and_missing_answers_are_refused(world: tuple, tmp_path: Path) -> None:
    exam = set_exam(world[0])
    with pytest.raises(DataError, match="name its file"):
        ask("../x", Teller(oracle), exam, tmp_path)
    kept = ask("one", Teller(oracle), exam, tmp_path)
    with pytest.raises(DataError, match=r"predictions of one: DF-D: .* are not answered"):
        score_all({"one": kept[3:]}, exam, {}, 10)


def test_the_report_is_whole_and_escaped(world: tuple, tmp_path: Path) -> None:
    def rude(image: np.ndarray, question: Question) -> str:
        if question.task is Task.AD:
            return "<script>alert(1)</script> The nose shows blur."
        return anti_oracle(image, question)

    data = _bench(world, tmp_path, **{"dfa-gpt": Teller(rude), "chance": Chance()})
    assert data == json.loads((tmp_path / "report.json").read_text())
    assert data.keys() >= {"analysts", "n", "preset", "source", "majority_share", "constant"}
    assert (data["n"], data["identities"], data["preset"], data["source"]) == (60, 12, "toy", "toy")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "http://" not in page and "https://" not in page
    assert page.count("data:image/jpeg;base64,") == 2 * 4 + 10
    assert len(data["details"]["dfa-gpt"]["DF-D"]["worst"]) == 10
    again = Report.read(tmp_path, world[0]).save()
    assert again.page.read_text() == page


def test_the_scoreboard_is_a_table(data: dict) -> None:
    table = [line for line in scoreboard(data).splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(data["analysts"]) + 1
    assert len({line.count("|") for line in table}) == 1
    assert "1.000 [1.000, 1.000]" in table[2]


def test_one_class_alone_gives_no_auc_and_no_crash(world: tuple, tmp_path: Path) -> None:
    faces, records = world
    kept = [face for face in faces if face.split is Split.TRAIN or face.category is Category.FS]
    data = run_bench(
        {"one": Teller(oracle)}, FaceSet(faces.root, kept), records, tmp_path, resamples=20
    ).data
    assert "AUC" not in data["analysts"]["one"]["DF-D"]
    assert _values(data, "one", "DF-C")["accuracy"] == 1


def test_predictions_are_kept_as_records(world: tuple, tmp_path: Path) -> None:
    faces, _ = world
    exam = set_exam(faces, limit=5, val_limit=4)
    kept = ask("one", Teller(oracle), exam, tmp_path)
    assert kept == list(read_jsonl(tmp_path / "one.jsonl", Prediction))
    assert len(kept) == 5 * 3 + 4
    one = next(p for p in kept if p.task is Task.DF_C)
    assert list(one.options) == list(OPTIONS[Task.DF_C]) and one.prompt.count("\n") == 2


def test_a_real_model_sits_the_exam_with_all_its_controls(world: tuple, tmp_path: Path) -> None:
    faces, records = world
    analyst = LocalAnalyst(tiny_llava(), replace(NANO, max_new_tokens=8))
    analysts = {"dfa-gpt": analyst, **controls(analyst, faces, records)}
    data = _bench(world, tmp_path, **analysts)
    names = ["dfa-gpt", "linear_probe", "dct", "pixels16", "blind", "majority", "chance"]
    assert list(data["analysts"]) == names
    assert _values(data, "blind", "DF-D")["AUC"] == 0.5
    assert 0 < _values(data, "dfa-gpt", "DF-D")["AUC"] < 1
    assert _values(data, "pixels16", "DF-D")["AUC"] > 0.9  # the stripe again
    assert set(data["lead"]["linear_probe"]) == {"DF-D AUC", "DF-C accuracy"}
