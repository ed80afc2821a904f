"""The benchmark as a whole: analysts of known skill get the scores that theory says."""

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_llava import tiny_llava
from toy_bench import (
    PEOPLE,
    Teller,
    always_forged,
    anti_oracle,
    bench,
    category_of,
    oracle,
    parrot,
    run_bench,
    silent,
    toy_world,
    values,
)

from dfa_lib.analysts import Question, Reply
from dfa_lib.bench.baselines import Blind, Chance, Control, Majority, Probe, pixel_features
from dfa_lib.bench.controls import controls
from dfa_lib.bench.encoder_baseline import Encoder, FineTuned
from dfa_lib.bench.exam import InMemory, set_exam
from dfa_lib.bench.run import ask
from dfa_lib.bench.scoring import score_all
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.presets import NANO
from dfa_lib.instruct.conversations import OPTIONS, detection_label
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, InstructRecord, Prediction, read_jsonl
from dfa_lib.taxonomy import CLASSES, Category, Split, Task


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceSet, list[InstructRecord]]:
    return toy_world(tmp_path_factory.mktemp("toy") / "world")


@pytest.fixture(scope="module")
def data(world: tuple, tmp_path_factory: pytest.TempPathFactory) -> dict:
    faces, records = world
    return bench(
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


@pytest.mark.parametrize("analyst", ["oracle", "talker"])
def test_an_oracle_is_perfect(data: dict, analyst: str) -> None:
    found = values(data, analyst, "DF-D")
    ones = ("AUC", "AP", "ACC", "balanced ACC", "TPR@1%FPR", "TPR@5%FPR")
    assert [found[name] for name in ones] == [1.0] * len(ones)
    assert found["EER"] == found["unparsable"] == 0
    assert found["ECE"] < 0.01 and found["Brier"] < 0.01
    assert values(data, analyst, "DF-C")["macro-F1"] == 1
    told = values(data, analyst, "AD")
    assert told["region F1"] == told["COVER"] == told["F0.5"] == told["ROUGE-L"] == 1
    assert told["CHAIR"] == told["Hal"] == told["bona fide hallucination"] == 0


def test_an_anti_oracle_is_always_wrong(data: dict) -> None:
    found = values(data, "anti", "DF-D")
    assert found["AUC"] == found["ACC"] == found["balanced ACC"] == found["TPR@5%FPR"] == 0
    assert found["EER"] == 1
    assert values(data, "anti", "DF-C")["accuracy"] == 0
    told = values(data, "anti", "AD")
    assert told["region F1"] == told["COVER"] == told["F0.5"] == 0
    assert told["CHAIR"] == told["Hal"] == told["bona fide hallucination"] == 1


def test_a_constant_answer_gets_what_theory_says(data: dict) -> None:
    for analyst in ("forged", "blind", "majority"):
        assert values(data, analyst, "DF-D")["AUC"] == 0.5
    found = values(data, "forged", "DF-D")
    assert (found["ACC"], found["balanced ACC"], found["AP"]) == (0.8, 0.5, 0.8)
    classified = values(data, "forged", "DF-C")
    assert classified["accuracy"] == data["majority_share"] == 0.2
    assert classified["macro-F1"] == pytest.approx(2 * 0.2 / 1.2 / 5, abs=1e-6)
    assert values(data, "forged", "AD")["CHAIR"] == 1  # a forgery called natural


def test_silence_is_wrong_and_shown(data: dict) -> None:
    for task in ("DF-D", "DF-C", "AD"):
        assert values(data, "silent", task)["unparsable"] == 1
    found = values(data, "silent", "DF-D")
    assert found["AUC"] == found["ACC"] == 0 and found["Brier"] == 1
    assert values(data, "silent", "DF-C")["accuracy"] == 0
    table = data["details"]["silent"]["DF-C"]["confusion"]
    assert [row[-1] for row in table] == [PEOPLE[Split.TEST]] * 5


def test_a_parrot_is_punished(data: dict) -> None:
    told = values(data, "parrot", "AD")
    assert told["COVER"] == 1
    assert told["CHAIR"] > 0.95 and told["Hal"] == 1 and told["F0.5"] < 0.06
    assert told["bona fide hallucination"] == 1
    assert told["F1 above constant"] < 0


def test_majority_scores_as_the_best_constant(data: dict) -> None:
    """The constant goes through text and lexicon in one, straight into the formula in the other."""
    assert values(data, "majority", "AD")["region F1"] == data["constant"]["region F1"][0]
    assert values(data, "majority", "AD")["F1 above constant"] == 0


def test_chance_lies_within_its_interval(data: dict) -> None:
    _, low, high = data["analysts"]["chance"]["DF-D"]["AUC"]
    assert low < 0.5 < high
    _, low, high = data["analysts"]["chance"]["DF-C"]["accuracy"]
    assert low <= 0.2 <= high


def test_dice_score_what_theory_says(world: tuple, tmp_path: Path) -> None:
    """Over many dice: AUC a half, accuracy one in two and one in five, AP the forged share."""
    exam = replace(set_exam(world[0], val_limit=0), val=())
    found = []
    for seed in range(12):
        given = ask(f"dice{seed}", Chance(seed=seed), exam, tmp_path)
        found.append(score_all({"dice": given}, exam, {}, 2)["analysts"]["dice"])
    mean = {
        (task, name): np.mean([one[task][name][0] for one in found])
        for task, name in (("DF-D", "AUC"), ("DF-D", "ACC"), ("DF-D", "AP"), ("DF-C", "accuracy"))
    }
    assert mean["DF-D", "AUC"] == pytest.approx(0.5, abs=0.08)
    assert mean["DF-D", "ACC"] == pytest.approx(0.5, abs=0.04)
    assert mean["DF-D", "AP"] == pytest.approx(0.8, abs=0.04)
    assert mean["DF-C", "accuracy"] == pytest.approx(0.2, abs=0.04)


# what is said of every face -> share of right DF-D answers (48 of 60 faces are forged)
FLATTERED = {
    "This picture is not real.": 0.8,
    "It looks unrealistic.": 0,
    "": 0,
    "real or fake": 0,
    "Das Gesicht ist nicht real.": 0,
    "真实": 0,
    "As an AI, I cannot tell.": 0,
    "It is fake. " * 10_000: 0.8,
    "Well, " * 10_000 + "it is fake.": 0,
}


def test_no_way_of_not_answering_is_flattered(world: tuple, tmp_path: Path) -> None:
    """FIELD: substring matches, dropped rows and coin tosses have all been scored as answers."""
    tellers = [Teller(lambda *_, said=text: said, closed=False) for text in FLATTERED]
    for teller in tellers:
        teller.tasks = (Task.DF_D, Task.DF_C)
    data = bench(world, tmp_path, **{f"a{at}": teller for at, teller in enumerate(tellers)})
    for at, (text, right) in enumerate(FLATTERED.items()):
        found = values(data, f"a{at}", "DF-D")
        assert found["ACC"] == right, text[:40]
        assert found["unparsable"] == (right == 0), text[:40]
        assert data["details"][f"a{at}"]["DF-C"]["confusion"][1][-1] == 12  # nobody is dropped


def test_an_answer_that_fails_on_forgeries_alone_still_counts_them(
    world: tuple, tmp_path: Path
) -> None:
    def half(image: np.ndarray, question: Question) -> str:
        return "" if category_of(image).forged else oracle(image, question)

    data = bench(world, tmp_path, one=Teller(half, closed=False))
    found = values(data, "one", "DF-D")
    assert (found["ACC"], found["balanced ACC"]) == (0.2, 0.5)
    assert (found["AUC"], found["unparsable"], data["n"]) == (0, 0.8, 60)


def test_accuracy_knows_no_threshold_but_the_analysts_own(world: tuple, tmp_path: Path) -> None:
    """A perfect order of faces is no perfect answer: the best threshold is not looked for."""

    class Sure(Teller):
        def answer(self, image: np.ndarray, question: Question) -> Reply:
            lean = 3.0 if category_of(image).forged else 1.0
            hot = [lean * (label == "forged") for label in OPTIONS[Task.DF_D]]
            return Reply("", tuple(hot), 0, 0.0)

    sure = Sure(oracle)
    sure.tasks = (Task.DF_D,)
    found = values(bench(world, tmp_path, one=sure), "one", "DF-D")
    assert (found["AUC"], found["ACC"], found["balanced ACC"]) == (1, 0.8, 0.5)


def test_log_probabilities_that_are_no_numbers_are_no_answer(world: tuple, tmp_path: Path) -> None:
    class Odd(Teller):
        def answer(self, image: np.ndarray, question: Question) -> Reply:
            if category_of(image).forged:
                return Reply("", (float("nan"), *[0.0] * (len(question.options) - 1)), 0, 0.0)
            return Reply("", (0.0, *[float("-inf")] * (len(question.options) - 1)), 0, 0.0)

    odd = Odd(oracle)
    odd.tasks = (Task.DF_D, Task.DF_C)
    found = values(bench(world, tmp_path, one=odd), "one", "DF-C")
    assert found["unparsable"] == 0.8 and found["accuracy"] == pytest.approx(0.2)


def test_options_that_begin_alike_are_told_apart() -> None:
    """Each option is scored whole, its end included, as if it were the only one."""
    analyst = LocalAnalyst(tiny_llava())
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    options = ("This face", "This face is", "This face is forged.", "This face is bona fide.")
    together = Question("Is it forged?", Task.DF_D, options)
    alone = [Question("Is it forged?", Task.DF_D, (option,)) for option in options]
    (row,) = analyst.reply([image], [[together, *alone]])
    assert row[0].logprobs == pytest.approx([one.logprobs[0] for one in row[1:]], abs=1e-4)
    assert len(set(row[0].logprobs)) == 4


def test_every_score_lies_within_its_interval(data: dict) -> None:
    for tasks in data["analysts"].values():
        for value, low, high in (score for task in tasks.values() for score in task.values()):
            assert low <= value <= high


def test_probes_answer_closed_questions_only(world: tuple, tmp_path: Path) -> None:
    faces, _ = world
    probe = Probe("pixels16", pixel_features, faces.split("train"))
    data = bench(world, tmp_path, pixels16=probe)
    assert data["analysts"]["pixels16"]["AD"] == {}
    assert 0 <= values(data, "pixels16", "DF-D")["AUC"] <= 1
    seen = [faces.image(face) for face in faces.split("train")]
    question = Question("?", Task.DF_C, tuple(OPTIONS[Task.DF_C].values()))
    answers = [reply[0] for reply in probe.reply(seen, [[question]] * len(seen))]
    answered = [
        answer.text == OPTIONS[Task.DF_C][face.category.value]
        for answer, face in zip(answers, faces.split("train"), strict=True)
    ]
    assert np.mean(answered) > 0.9  # a stripe of the picture gives the category away
    assert np.allclose([np.exp(answer.logprobs).sum() for answer in answers], 1)


def _line(analyst: str, image: np.ndarray, question: str) -> str:
    return f"{analyst} {image.tobytes().hex()[:400]} {question}"


class Slow(Teller):
    """Writes down what it is asked, and takes its time."""

    log: Path

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        with self.log.open("a") as file:
            file.write(f"{_line(self.name, image, question.text)}\n")
        time.sleep(0.001)
        return super().answer(image, question)


def _sit(world: tuple, out: Path) -> multiprocessing.Process:
    """Start a process that runs the benchmark with two slow analysts."""

    def run() -> None:
        one, two = Slow(oracle), Slow(anti_oracle, closed=False)
        one.batch = two.batch = 3
        one.name, two.name = "one", "two"
        one.log = two.log = out / "asked.txt"
        run_bench({"one": one, "two": two}, *world, out, resamples=20, robustness=4)

    out.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def _kept(out: Path, faces: FaceSet) -> set[str]:
    """The lines of the log that answers on file stand for."""
    given = (
        one for path in out.glob("predictions/*.jsonl") for one in read_jsonl(path, Prediction)
    )
    return {
        _line(one.analyst, faces.image(faces[one.face]), question)
        for one in given
        for question in one.prompt.split("\n")
    }


def test_killed_at_random_moments_it_ends_with_the_same_report(
    world: tuple, tmp_path: Path
) -> None:
    """SIGKILL, four times: no kept answer is asked for again, and the report is the same."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begin = time.monotonic()
    _sit(world, whole).join()
    delays = np.random.default_rng().uniform(0, (time.monotonic() - begin) / 2, 4)
    second: list[str] = []
    for delay in (*delays, None):  # None: to the end
        kept = _kept(killed, world[0])
        child = _sit(world, killed)
        child.join(delay)
        child.kill()
        child.join()
        log = killed / "asked.txt"
        lines = log.read_text().splitlines() if log.exists() else []
        assert not kept.intersection(lines[len(second) :]), f"asked although on file, {delays}"
        second = lines
    first = (whole / "asked.txt").read_text().splitlines()
    assert set(first) == set(second)
    lost = len(second) - len(first)
    assert lost <= 4 * 3 * 7, f"{lost} asked twice; more than a chunk of 3 faces per kill"
    for name in ("protocol.json", "report.json", "report.html", "scoreboard.md"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), f"{name}, {delays}"


def test_answers_of_another_exam_or_model_are_not_used(world: tuple, tmp_path: Path) -> None:
    faces, records = world
    bench(world, tmp_path, one=Teller(always_forged))
    tuned = Teller(oracle)
    tuned.fingerprint = "tuned since"
    assert values(bench(world, tmp_path, one=tuned), "one", "DF-D")["AUC"] == 1
    assert (tmp_path / "predictions" / "one.jsonl.old").exists()
    other = Teller(oracle)
    other.fingerprint = "tuned since"
    run_bench({"one": other}, faces, records, tmp_path, seed=1, resamples=10)
    assert other.asked > 0


class Threshold(Control):
    """An analyst of one's own, without a fingerprint."""

    name = "mine"

    def __init__(self, sign: int) -> None:
        self.sign = sign

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        forged = self.sign * (1 if category_of(image) in CLASSES[1:] else -1)
        return Reply(
            "", (-float(forged), float(forged), 0.0, 0.0, 0.0)[: len(question.options)], 0, 0
        )


def test_each_instance_of_ones_own_analyst_is_asked(world: tuple, tmp_path: Path) -> None:
    """A sweep over a threshold must not read the answers of the one before."""
    faces, records = world
    got = []
    for sign in (1, -1):
        mine = Threshold(sign)
        mine.tasks = (Task.DF_D,)
        data = run_bench({"mine": mine}, faces, records, tmp_path, resamples=10).data
        got.append(values(data, "mine", "DF-D")["AUC"])
    assert got == [1, 0]


REPLIES = {
    "None": None,
    "a Reply too few": [[]],
    "3 logprobs": [[Reply("", (0.0, -1.0, -2.0), 0, 0.0)] * 3],
    "no text": [[Reply(None, None, 0, 0.0)] * 3],
    "a string": [["forged"] * 3],
}


@pytest.mark.parametrize("said", REPLIES)
def test_a_reply_that_fits_no_question_is_named(world: tuple, tmp_path: Path, said: str) -> None:
    mine = Threshold(1)
    mine.tasks, mine.batch, mine.reply = (Task.DF_D,), 1, lambda images, asked: REPLIES[said]
    with pytest.raises(DataError, match=r"^analyst 'mine': replied .* to '.*'; return "):
        ask("mine", mine, set_exam(world[0], limit=2), tmp_path)


def test_questions_are_held_out_and_the_exam_has_a_hash(world: tuple) -> None:
    faces, records = world
    trained = {
        qa.question for record in records if record.face.split is Split.TRAIN for qa in record.qa
    }
    exam = set_exam(faces)
    asked = {question.text for questions in exam.questions.values() for question in questions}
    assert len(asked) == 3 + 3 + 8 and not asked & trained
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
    first, face = faces.split("train").faces[0], faces.split("test").faces[0]
    for field, value in {"source": first.id, "sha256": first.sha256}.items():
        changed = face.model_copy(update={field: value})
        with pytest.raises(DataError, match=f"{face.id}: {field}: .* outside the test split, with"):
            set_exam(FaceSet(faces.root, (*faces.split("train"), changed)))


def test_bad_names_and_missing_answers_are_refused(world: tuple, tmp_path: Path) -> None:
    exam = set_exam(world[0])
    with pytest.raises(DataError, match="name its file"):
        ask("../x", Teller(oracle), exam, tmp_path)
    kept = ask("one", Teller(oracle), exam, tmp_path)
    with pytest.raises(DataError, match=r"predictions of one: DF-D: .* are not answered"):
        score_all({"one": kept[3:]}, exam, {}, 10)


def test_one_class_alone_gives_no_auc_and_no_crash(world: tuple, tmp_path: Path) -> None:
    faces, records = world
    kept = [face for face in faces if face.split is Split.TRAIN or face.category is Category.FS]
    data = run_bench(
        {"one": Teller(oracle)}, FaceSet(faces.root, kept), records, tmp_path, resamples=20
    ).data
    assert "AUC" not in data["analysts"]["one"]["DF-D"]
    assert values(data, "one", "DF-C")["accuracy"] == 1


def test_pictures_in_memory_are_decoded_once_and_shared_by_splits(
    world: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = InMemory(world[0].root, world[0].faces)
    first, second = faces.split("test").faces[:2]
    image = faces.image(first)
    assert (image == world[0].image(first)).all()
    assert faces.split("test").image(first) is faces.image(first) is image
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 0
    monkeypatch.setattr("dfa_lib.bench.exam._ROOM", image.nbytes)  # for this one alone
    assert faces.image(second) is not faces.image(second)
    assert (faces.image(second) == world[0].image(second)).all()


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
    preset = replace(NANO, vision="frozen", max_new_tokens=8)
    analyst = LocalAnalyst(tiny_llava(), preset)
    analysts = {"dfa-gpt": analyst, **controls(analyst, faces, records)}
    data = bench(world, tmp_path, **analysts)
    beside = ["fine_tuned", "linear_probe", "dct", "pixels16", "blind", "majority", "chance"]
    assert list(data["analysts"]) == ["dfa-gpt", *beside]
    assert values(data, "blind", "DF-D")["AUC"] == 0.5
    assert 0 < values(data, "dfa-gpt", "DF-D")["AUC"] < 1
    assert values(data, "pixels16", "DF-D")["AUC"] > 0.9  # the stripe again
    assert set(data["lead"]["linear_probe"]) == {"DF-D AUC", "DF-C accuracy"}


def test_a_tuned_encoder_learns_and_leaves_the_analyst_alone(world: tuple, tmp_path: Path) -> None:
    train = world[0].split("train")
    preset = replace(NANO, lr_vision=5e-3)
    analyst = LocalAnalyst(tiny_llava(), preset)
    before = [parameter.clone() for parameter in analyst.model.parameters()]
    tuned = FineTuned(analyst, train, epochs=25)
    assert "_encoder" not in vars(tuned)  # nothing is tuned before it is asked
    pictures = [train.image(face) for face in train]
    closed = [Question("?", task, tuple(OPTIONS[task].values())) for task in tuned.tasks]
    replies = tuned.reply(pictures, [closed] * len(pictures))
    right = [
        (one.text == OPTIONS[Task.DF_D][detection_label(face.category)],
         other.text == OPTIONS[Task.DF_C][face.category.value])
        for face, (one, other) in zip(train, replies, strict=True)
    ]  # fmt: skip
    assert np.mean(right, axis=0).min() > 0.9
    for row in replies:
        forged, kinds = (np.exp(reply.logprobs) for reply in row)
        assert forged.sum() == pytest.approx(1) and forged[1] == pytest.approx(kinds[1:].sum())
    assert all((a == b).all() for a, b in zip(before, analyst.model.parameters(), strict=True))
    again = FineTuned(analyst, train, epochs=25)
    assert again.fingerprint == tuned.fingerprint
    assert again.reply(pictures, [closed] * len(pictures)) == replies
    assert FineTuned(analyst, train, epochs=25, seed=1).fingerprint != tuned.fingerprint


def test_an_encoder_too_large_for_memory_learns_the_same() -> None:
    """Presets that recompute activations get the same gradients, and not silently none."""
    pictures = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        preset = replace(NANO, checkpointing=checkpointing)
        encoder = Encoder(LocalAnalyst(tiny_llava(), preset)).train()
        encoder({"pixel_values": pictures}).square().sum().backward()
        known = {name: one.grad for name, one in encoder.named_parameters()}
        gradients.append({name: grad for name, grad in known.items() if grad is not None})
    plain, again = gradients
    assert plain.keys() == again.keys() and any("layers.0" in name for name in plain)
    assert all(torch.equal(plain[name], again[name]) for name in plain)
