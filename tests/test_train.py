"""Tuning: what is trained, what is refused, and that interruption changes nothing."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from colours import ANSWERS, RECORDS, Colours, preset_on, record, run, trainable
from tiny_llava import save_tiny

from dfa_lib import runtime
from dfa_lib.analysts import Question
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.prefix import Prompter, encode
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.train import CHECKPOINT, Step, Trainer, schedule, train
from dfa_lib.gpt.trees import Tree, collate, plan
from dfa_lib.records import DataError, read_jsonl, write_jsonl
from dfa_lib.taxonomy import Category, Task

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing")


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Preset:
    return preset_on(save_tiny(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def prompter(preset) -> Prompter:
    return Prompter(load_base(preset)[1])


@pytest.fixture(scope="module")
def tuned(preset, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    model, log = run(preset, out)
    return out, model, log


def test_tuning_learns_and_changes_nothing_frozen(preset, tmp_path):
    longer = replace(preset, epochs=40, rank=16, lr_lora=1e-2, lr_projector=1e-2)
    model, processor = load_base(longer)
    frozen = {n: p.clone() for n, p in model.named_parameters()}
    model = add_lora(model, longer)
    log = train(model, processor, Colours(), RECORDS, longer, tmp_path)
    assert log[-1].loss < 0.3 * log[0].loss
    tower = {n for n in frozen if "projector" not in n}
    base = dict(model.unload().named_parameters())
    assert all(torch.equal(base[name], frozen[name]) for name in tower)
    question = Question("Is it forged?", Task.DF_D, tuple(ANSWERS.values()))
    analyst = LocalAnalyst(tmp_path)
    replies = analyst.reply([Colours().image(r.face) for r in RECORDS], [[question]] * 12)
    assert [r[0].text for r in replies] == [ANSWERS[r.face.category] for r in RECORDS]
    written = analyst.reply([Colours().image(RECORDS[1].face)], [[Question("Is it forged?")]])
    assert written[0][0].text == "This face is forged."  # and there it stops


@pytest.fixture
def other_precision() -> Iterator[None]:
    """Lets accelerate choose its precision anew, here and afterwards."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("other_precision")
def test_a_base_in_half_precision_is_tuned_asked_and_loaded(preset, tmp_path, monkeypatch):
    """As on a GPU: what is tuned is in float32, beside a frozen base that is not."""
    monkeypatch.setattr(runtime, "device", lambda: runtime.Device("cpu", torch.bfloat16, "a GPU"))
    preset = replace(preset, vision="full", epochs=4)
    model, processor = load_base(preset, "cpu", torch.bfloat16)
    model = add_lora(model, preset)
    log = train(model, processor, Colours(), RECORDS, preset, tmp_path, validation=RECORDS[:2])
    assert log[-1].loss < log[0].loss
    assert {weight.dtype for weight in trainable(model).values()} == {torch.float32}
    question = Question("Why?", options=("a", "b"))
    asked = [Colours().image(r.face) for r in RECORDS], [[question]] * len(RECORDS)
    here, there = LocalAnalyst((model, processor), preset), LocalAnalyst(tmp_path)
    assert here.features(asked[0]) == pytest.approx(there.features(asked[0]), abs=0.1)
    scores = [[one[0].logprobs for one in analyst.reply(*asked)] for analyst in (here, there)]
    assert np.array(scores[0]) == pytest.approx(np.array(scores[1]), abs=0.5)
    assert next(here.stream(asked[0][0], [], "Why?"))


def test_log_is_written_as_it_goes_and_read_with_what_overflowed_in_fp16(tuned, tmp_path):
    out, _, log = tuned
    assert list(read_jsonl(out / "log.jsonl", Step)) == log
    assert [step.step for step in log] == list(range(1, 7))
    overflowed = log[0].model_copy(update={"norm": float("inf")})
    write_jsonl(tmp_path / "log.jsonl", [overflowed])
    assert list(read_jsonl(tmp_path / "log.jsonl", Step)) == [overflowed]


def test_what_is_held_out_is_scored_at_every_checkpoint(preset, tuned, tmp_path):
    seen = []
    held_out = [record(number) for number in range(100, 105)]
    _, log = run(preset, tmp_path, validation=held_out, watch=lambda log: seen.append(len(log)))
    assert [s.step for s in log if s.val_loss is not None] == [2, 4, 6]
    assert [s.loss for s in log] == [s.loss for s in tuned[2]]  # it changes nothing
    assert seen == [1, 2, 3, 4, 5, 6]
    run(preset, tmp_path, validation=held_out, watch=lambda log: seen.append(len(log)))
    assert seen[6:] == [6]  # finished: shown once, not run again
    analyst = LocalAnalyst(tmp_path)
    right = [
        analyst.reply([Colours().image(r.face)], [[Question(qa.question)]])[0][0].text == qa.answer
        for r in held_out
        for qa in r.qa
    ]
    assert log[-1].val_right == pytest.approx(np.mean(right))


def test_projector_and_lora_have_learning_rates_of_their_own(preset, tuned):
    for step in tuned[2]:
        factor = schedule(step.step - 1, 6, preset.warmup)
        assert step.lr_lora == pytest.approx(factor * preset.lr_lora)
        assert step.lr_projector == pytest.approx(factor * preset.lr_projector)
    shape = [schedule(number, 100, 0.1) for number in range(100)]
    assert shape[:3] == pytest.approx([0.1, 0.2, 0.3]) and shape[10] == 1
    assert shape[10:] == sorted(shape[10:], reverse=True) and 0 < shape[-1] < 0.001


def test_gradients_are_clipped(preset, tmp_path, monkeypatch):
    norms = []
    step = torch.optim.AdamW.step

    def spied(self, *args, **kwargs):
        weights = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        norms.append(torch.cat(weights).norm().item())
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spied)
    _, log = run(replace(preset, clip=0.01), tmp_path)
    assert norms == pytest.approx([0.01] * len(log), rel=1e-3)
    assert min(s.norm for s in log) > 0.1


def test_the_fp16_scaler_comes_back(preset, prompter, tmp_path):
    trainers = []
    for scale in (512.0, 1.0):
        model = add_lora(load_base(preset)[0], preset)
        trainer = Trainer(model, prompter, Colours(), preset, seed=0)
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        trainers.append(trainer)
    trainers[0].save(tmp_path / "checkpoint.pt", "run", 3)
    assert trainers[1].load(tmp_path / "checkpoint.pt", "another run") == 0
    assert trainers[1].load(tmp_path / "checkpoint.pt", "run") == 3
    assert trainers[1].accelerator.scaler.state_dict()["scale"] == 512.0


def interrupt(preset: Preset, out: Path) -> None:
    """Break a run off at its fourth step."""
    step = Trainer.step

    def interrupted(self, batch, number, steps):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, batch, number, steps)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", interrupted)
        run(preset, out)


def test_an_interrupted_run_ends_with_the_same_weights(preset, tuned, tmp_path):
    interrupt(preset, tmp_path)
    assert not (tmp_path / "adapter").exists()
    model, log = run(preset, tmp_path)
    for name, weight in trainable(tuned[1]).items():
        assert torch.equal(weight, trainable(model)[name]), name
    assert [s.loss for s in log] == [s.loss for s in tuned[2]]


def test_a_tuned_encoder_that_names_categories_is_taken_up_as_well(preset, tmp_path):
    """The layer that names them, chance in the pictures and turns of talk are of the run, too."""
    whole = replace(preset, vision="full", naming=0.5, everyday=True, talk=1)
    straight, log = run(whole, tmp_path / "straight")
    interrupt(whole, tmp_path / "again")
    model, again = run(whole, tmp_path / "again")
    assert [s.loss for s in log] == [s.loss for s in again]
    for name, weight in trainable(straight).items():
        assert torch.equal(weight, trainable(model)[name]), name


def test_naming_reaches_the_encoder_and_not_the_log(preset, tmp_path):
    """The auxiliary loss moves the encoder; an unknown category adds nothing."""
    whole = replace(preset, vision="full", epochs=1, batch=len(RECORDS))
    named = replace(whole, naming=5.0)
    _, log = run(whole, tmp_path / "plain")
    _, told = run(named, tmp_path / "named")
    assert told[0].loss == pytest.approx(log[0].loss, rel=1e-6)
    assert told[0].norm != pytest.approx(log[0].norm, rel=1e-3)
    forged = [r.model_copy(update={"face": r.face.model_copy(update={"category": Category.FORGED})})
              for r in RECORDS if r.face.category.forged]  # fmt: skip
    _, log = run(whole, tmp_path / "unknown", forged)
    _, told = run(named, tmp_path / "unknown named", forged)
    assert [s.norm for s in told] == pytest.approx([s.norm for s in log], rel=1e-6)


def test_another_run_does_not_take_up_a_foreign_checkpoint(preset, tuned, tmp_path):
    shutil.copytree(tuned[0], tmp_path / "again")
    _, log = run(preset, tmp_path / "again", seed=1)
    assert [s.loss for s in log] != [s.loss for s in tuned[2]]


def test_what_another_run_left_is_set_aside_and_said(preset, tuned, tmp_path, capsys):
    """Whether it was finished, or holds an adapter alone; nothing of it is lost."""
    shutil.copytree(tuned[0] / "adapter", tmp_path / "adapter")
    for rank in (2, 4):
        run(replace(preset, rank=rank), tmp_path)
        assert f"data or seed; {tmp_path}/earlier-" in capsys.readouterr().out
    run(preset, tmp_path)  # the same once more
    assert not capsys.readouterr().out
    first, second = tmp_path / "earlier-1", tmp_path / "earlier-2"
    weights = "adapter/adapter_model.safetensors"
    assert (first / weights).read_bytes() == (tuned[0] / weights).read_bytes()
    assert {file.name for file in second.iterdir()} == {"adapter", CHECKPOINT, "log.jsonl"}
    assert not (tmp_path / "earlier-3").exists()


@pytest.mark.parametrize("text", ["xx", "xx\n", "", None])
def test_a_damaged_log_is_refused_in_one_line(preset, tuned, tmp_path, text):
    shutil.copytree(tuned[0], tmp_path, dirs_exist_ok=True)
    log = tmp_path / "log.jsonl"
    log.unlink() if text is None else log.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"log\.jsonl.*remove it") as refusal:
        run(preset, tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("other", [{"rank": 2}, {"language": "frozen"}], ids=str)
def test_a_run_with_other_targets_is_not_taken_up(preset, tuned, tmp_path, other):
    shutil.copy(tuned[0] / CHECKPOINT, tmp_path)
    model, processor = load_base(preset)
    model = add_lora(model, replace(preset, **other))
    with pytest.raises(DataError, match=r"checkpoint.pt: of a run with other LoRA targets"):
        train(model, processor, Colours(), RECORDS, preset, tmp_path)


def test_a_checkpoint_that_is_cut_off_is_refused(preset, tuned, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes((tuned[0] / CHECKPOINT).read_bytes()[:1000])
    with pytest.raises(DataError, match=r"checkpoint.pt: is damaged; remove it"):
        run(preset, tmp_path)


def test_a_loss_that_is_not_finite_names_the_faces(preset, tmp_path):
    model, processor = load_base(preset)
    model = add_lora(model, preset)
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("inf"))
    with pytest.raises(DataError, match=r"the loss is nan on faces \d+, \d+;"):
        train(model, processor, Colours(), RECORDS, preset, tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_a_record_without_answers_is_refused(prompter):
    with pytest.raises(DataError, match="face 1: qa"):
        encode(prompter, record(1).model_copy(update={"qa": ()}))
    silent = record(1).qa[0].model_copy(update={"answer": " "})
    with pytest.raises(DataError, match=r"face 1: .*empty answer"):
        encode(prompter, record(1).model_copy(update={"qa": (silent,)}))


def lengths(tree: Tree) -> list[int]:
    return [branch.scored for branch in tree.branches]


def counts(row: list[Tree], batch: list[Tree], preset: Preset) -> list[float]:
    """What each answer of a row counts in the loss of its batch."""
    packed = collate(row, batch, preset)
    count = sum(len(tree.branches) for tree in row)
    return torch.zeros(count).index_add(0, packed.answers, packed.weights).tolist()


@pytest.mark.parametrize("balanced", [True, False])
def test_answers_or_tokens_of_a_batch_count_alike(preset, prompter, balanced):
    batch = [encode(prompter, r) for r in RECORDS[:5]]
    even = replace(preset, balanced=balanced, weights={}, bona_fide=1.0)
    tokens = [1 if balanced else length for tree in batch for length in lengths(tree)]
    expected = [number / sum(tokens) for number in tokens]
    assert [*counts(batch[:2], batch, even), *counts(batch[2:], batch, even)] == pytest.approx(
        expected
    )


@pytest.mark.parametrize("balanced", [True, False])
def test_an_answer_counts_what_the_preset_gives_its_task(preset, prompter, balanced):
    sample = encode(prompter, RECORDS[1])
    weighed = replace(preset, balanced=balanced, weights={"DF-D": 3.0}, bona_fide=5.0)
    verdict, talk = (1, 1) if balanced else lengths(sample)
    expected = 3 * verdict / (3 * verdict + talk)
    assert counts([sample], [sample], weighed) == pytest.approx([expected, 1 - expected])


def test_a_verdict_on_a_bona_fide_face_counts_what_the_preset_says(preset, prompter):
    pair = [encode(prompter, RECORDS[number]) for number in (0, 1)]  # bona fide, forged
    weighed = replace(preset, balanced=True, weights={}, bona_fide=3.0)
    bona_fide, forged = (counts([sample], pair, weighed)[0] for sample in pair)
    assert bona_fide == pytest.approx(3 * forged)


def test_talk_changes_with_the_step_and_closed_questions_stay(prompter):
    asked = RECORDS[1].qa
    sample = encode(prompter, RECORDS[1].model_copy(update={"qa": (asked[0], *3 * asked[1:])}))
    less = [sample.with_talk(2, step) for step in range(3)]
    tasks = [[branch.task for branch in one.branches] for one in less]
    assert tasks == [[Task.DF_D, Task.FC, Task.FC]] * 3
    kept = [{id(branch) for branch in one.branches} for one in less]
    assert set.union(*kept) == {id(branch) for branch in sample.branches}
    assert kept[0] != kept[1] and sample.with_talk(9, 0) == sample


def test_an_empty_set_of_records_is_refused(preset, tmp_path):
    with pytest.raises(DataError, match="none to train on"):
        run(preset, tmp_path, records=[])


def test_each_epoch_takes_each_sample_once(preset):
    order = plan(12, replace(preset, epochs=2), seed=0)
    assert sorted(order[:3].ravel()) == sorted(order[3:].ravel()) == list(range(12))
    assert (order[:3] != order[3:]).any()
    assert (order == plan(12, replace(preset, epochs=2), seed=0)).all()
