"""Tuning: what is trained, what is refused, and that interruption changes nothing."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_llava import save_tiny

from dfa_lib.gpt import train as training
from dfa_lib.gpt.adapter import load_tuned
from dfa_lib.gpt.analyst import LocalAnalyst, Question
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import NANO, PRESETS, Preset
from dfa_lib.gpt.samples import collate, encode, plan
from dfa_lib.gpt.train import Step, train
from dfa_lib.records import QA, Annotation, Annotator, DataError, Face, InstructRecord, read_jsonl
from dfa_lib.taxonomy import Category, Split, Task

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")

ANSWERS = {
    Category.BONA_FIDE: "This face is bona fide.",
    Category.FS: "This face is forged.",
}


class Colours:
    """Bona fide faces are reddish, forged ones bluish noise."""

    def image(self, face: Face) -> np.ndarray:
        rng = np.random.default_rng(int(face.id))
        image = rng.integers(0, 120, (32, 32, 3))
        image[:, :, 2 if face.category.forged else 0] += 130
        return image.astype(np.uint8)


def record(number: int) -> InstructRecord:
    category = (Category.BONA_FIDE, Category.FS)[number % 2]
    face = Face(
        id=str(number),
        image=f"images/{number}.png",
        sha256=f"{number:064x}",
        category=category,
        dataset="colours",
        identities=(str(number),),
        split=Split.TRAIN,
        licence="CC0-1.0",
    )
    qa = (
        QA(task=Task.DF_D, question="Is it forged?", answer=ANSWERS[category], template="d1"),
        QA(task=Task.FC, question="Why?", answer="The nose is blurred.", template="f1"),
    )
    note = Annotation(face=face.id, findings=(), text="-", annotator=Annotator(name="test"))
    return InstructRecord(face=face, annotation=note, qa=qa[: 1 + number % 3 % 2])


RECORDS = [record(number) for number in range(12)]


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Preset:
    base = save_tiny(tmp_path_factory.mktemp("base"))
    return replace(NANO, base=str(base), epochs=2, batch=4, row=120, rank=4, alpha=8, save_every=2)


def run(preset: Preset, out, records=RECORDS, seed=0):
    model, processor = load_base(preset)
    model = add_lora(model, preset)
    return model, train(model, processor, Colours(), records, preset, out, seed=seed)


@pytest.fixture(scope="module")
def tuned(preset, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    model, log = run(preset, out)
    return out, model, log


def trainable(model) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_only_lora_on_the_language_model_and_the_projector_are_trained(family, tmp_path):
    preset = replace(NANO, base=str(save_tiny(tmp_path, family)), rank=4)
    names = set(trainable(add_lora(load_base(preset)[0], preset)))
    head = "base_model.model.model."
    attention = [f"self_attn.{p}_proj" for p in "qkvo"]
    linears = attention + [f"mlp.{p}_proj" for p in ("gate", "up", "down")]
    expected = {
        f"{head}language_model.layers.{layer}.{linear}.lora_{side}.default.weight"
        for layer in range(2)
        for linear in linears
        for side in "AB"
    }
    for layer in ("linear_1", "linear_2"):
        for kind in ("weight", "bias"):
            expected.add(f"{head}multi_modal_projector.modules_to_save.default.{layer}.{kind}")
    assert names == expected


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


def test_log_is_written_as_it_goes(tuned):
    out, _, log = tuned
    assert list(read_jsonl(out / "log.jsonl", Step)) == log
    assert [step.step for step in log] == list(range(1, 7))


def test_an_interrupted_run_ends_with_the_same_weights(preset, tuned, tmp_path, monkeypatch):
    step = training.Trainer.step

    def interrupted(self, batch, number, steps):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, batch, number, steps)

    monkeypatch.setattr(training.Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(preset, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "adapter").exists()
    model, log = run(preset, tmp_path)
    for name, weight in trainable(tuned[1]).items():
        assert torch.equal(weight, trainable(model)[name]), name
    assert [s.loss for s in log] == [s.loss for s in tuned[2]]


def test_another_run_does_not_take_up_a_foreign_checkpoint(preset, tuned, tmp_path):
    shutil.copytree(tuned[0], tmp_path / "again")
    _, log = run(preset, tmp_path / "again", seed=1)
    assert [s.loss for s in log] != [s.loss for s in tuned[2]]


def test_round_trip_is_equal_on_logits(preset, tuned):
    out, model, _ = tuned
    loaded, processor, stored = load_tuned(out)
    assert stored == preset
    inputs = processor(
        images=[Colours().image(RECORDS[0].face)],
        text=["USER: <image>\nWhy? ASSISTANT:"],
        return_tensors="pt",
    )
    with torch.inference_mode():
        expected = model(**inputs).logits
        torch.testing.assert_close(loaded(**inputs).logits, expected, atol=0, rtol=0)
        plain = PeftModel.from_pretrained(load_base(preset)[0], out / "adapter").eval()
        torch.testing.assert_close(plain(**inputs).logits, expected, atol=0, rtol=0)
        merged = loaded.merge_and_unload()
        torch.testing.assert_close(merged(**inputs).logits, expected, atol=1e-4, rtol=1e-4)


def test_adapter_folder_is_complete_and_readable(tuned):
    adapter = tuned[0] / "adapter"
    names = {path.name for path in adapter.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "MODEL_CARD.md"} <= names
    assert not any(path.suffix in {".bin", ".pt"} for path in adapter.iterdir())
    card = (adapter / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "12 images with 16 questions" in card


def spoil_pickle(folder):
    (folder / "optimizer.pt").write_bytes(b"\x80")


def spoil_projector(folder):
    file = folder / "adapter_model.safetensors"
    save_file({n: w for n, w in load_file(file).items() if "projector" not in n}, file)


def spoil_weights(folder):
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, file)


def spoil_torn(folder):
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def spoil_base(folder):
    save_tiny(folder.parent / "other", seed=1)
    file = folder / "preset.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    about["preset"]["base"] = str(folder.parent / "other")
    file.write_text(json.dumps(about), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_pickle, "pickle optimizer.pt"),
        (spoil_projector, "lacks the projector"),
        (spoil_weights, "NaN or infinite"),
        (spoil_torn, "torn or not a safetensors"),
        (spoil_base, "another base"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "no such file"),
        (lambda folder: (folder / "preset.json").unlink(), r"preset\.json: missing"),
    ],
)
def test_broken_adapters_are_refused_in_one_line(tuned, tmp_path, spoil, message):
    shutil.copytree(tuned[0] / "adapter", tmp_path / "adapter")
    spoil(tmp_path / "adapter")
    with pytest.raises(DataError, match=message) as refusal:
        load_tuned(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_loss_that_is_not_finite_names_the_faces(preset, tmp_path):
    model, processor = load_base(preset)
    model = add_lora(model, preset)
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("inf"))
    with pytest.raises(DataError, match=r"the loss is nan on faces \d+, \d+;"):
        train(model, processor, Colours(), RECORDS, preset, tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_a_record_without_answers_is_refused(preset):
    prompter = Prompter(load_base(preset)[1])
    with pytest.raises(DataError, match="face 1: qa"):
        encode(prompter, record(1).model_copy(update={"qa": ()}))
    silent = record(1).qa[0].model_copy(update={"answer": " "})
    with pytest.raises(DataError, match=r"face 1: .*empty answer"):
        encode(prompter, record(1).model_copy(update={"qa": (silent,)}))


@pytest.mark.parametrize("balanced", [True, False])
def test_weights_of_shares_sum_to_one_over_the_batch(preset, balanced):
    prompter = Prompter(load_base(preset)[1])
    samples = [encode(prompter, r) for r in RECORDS[:5]]
    shares = [
        collate(part, samples, replace(preset, balanced=balanced))
        for part in (samples[:2], samples[2:])
    ]
    assert sum(s.weights.sum().item() for s in shares) == pytest.approx(1)
    if balanced:
        answers = torch.zeros(8).index_add(0, shares[1].answers, shares[1].weights)
        torch.testing.assert_close(answers[answers > 0], torch.full((4,), 1 / 7))


def test_an_empty_set_of_records_is_refused(preset, tmp_path):
    with pytest.raises(DataError, match="none to train on"):
        run(preset, tmp_path, records=[])


def test_each_epoch_takes_each_sample_once(preset):
    order = plan(12, replace(preset, epochs=2), seed=0)
    assert sorted(order[:3].ravel()) == sorted(order[3:].ravel()) == list(range(12))
    assert (order[:3] != order[3:]).any()
    assert (order == plan(12, replace(preset, epochs=2), seed=0)).all()


def test_features_kept_or_not_give_the_same_run(preset, tuned, tmp_path, monkeypatch):
    monkeypatch.setattr("dfa_lib.gpt.features.FEATURE_BYTES", 0)
    _, log = run(preset, tmp_path)
    assert [s.loss for s in log] == pytest.approx([s.loss for s in tuned[2]], abs=1e-5)


def test_bases_that_cannot_be_had_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for preset in (*list(PRESETS.values())[1:], replace(NANO, base=str(tmp_path))):
        with pytest.raises(DataError, match=f"preset {preset.name}") as refusal:
            load_base(preset, "cpu")
        assert "\n" not in str(refusal.value)
