"""The adapter contract: what is trained, what is saved, who can load it, what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from colours import RECORDS, Colours, preset_on, run, trainable
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_llava import save_tiny
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    LlavaForConditionalGeneration,
)

from dfa_lib.analysts import Question
from dfa_lib.gpt.adapter import load_tuned, merge
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.presets import NANO, Preset
from dfa_lib.records import DataError

SAFE = {".safetensors", ".json", ".jinja", ".md"}
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing")


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Preset:
    return preset_on(save_tiny(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def tuned(preset, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    model, log = run(preset, out)
    return out, model, log


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_only_lora_on_the_language_model_and_the_projector_are_trained(family, tmp_path):
    preset = replace(NANO, vision="frozen", base=str(save_tiny(tmp_path, family)), rank=4)
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
        stock = LlavaForConditionalGeneration.from_pretrained(preset.base)
        plain = PeftModel.from_pretrained(stock, out / "adapter").eval()
        torch.testing.assert_close(plain(**inputs).logits, expected, atol=1e-5, rtol=1e-5)


def test_merged_it_is_a_llava_like_any_other(preset, tuned, tmp_path):
    merge(tuned[0], tmp_path / "merged")
    assert {path.suffix for path in (tmp_path / "merged").iterdir()} <= SAFE
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "merged")
    processor = AutoProcessor.from_pretrained(tmp_path / "merged")
    image = Colours().image(RECORDS[0].face)
    inputs = processor(images=[image], text=["USER: <image>\nWhy? ASSISTANT:"], return_tensors="pt")
    with torch.inference_mode():
        expected = tuned[1](**inputs).logits
        torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    assert model.generation_config.max_new_tokens == preset.max_new_tokens
    answer = LocalAnalyst((model, processor), preset).reply([image], [[Question("Why?")]])
    assert (
        answer[0][0].text == LocalAnalyst(tuned[0]).reply([image], [[Question("Why?")]])[0][0].text
    )


@pytest.mark.parametrize("out", ["base", "tuned", "other", "file"])
def test_a_merge_takes_no_place_of_anything(preset, tuned, out, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    place = {"base": Path(preset.base), "tuned": tuned[0], "other": other}
    place["file"] = other / "thesis.txt"
    before = sorted(place[out].rglob("*"))
    with pytest.raises(DataError, match=f"{place[out]}: it is there already; name a new folder"):
        merge(tuned[0], place[out])
    assert sorted(place[out].rglob("*")) == before


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_merged_it_holds_what_vllm_reads(family, tmp_path):
    """Tried with vLLM 0.32 by hand (docs/training.md); here, that nothing of it goes missing."""
    preset = preset_on(save_tiny(tmp_path / "base", family))
    run(preset, tmp_path / "tuned")
    folder = merge(tmp_path / "tuned", tmp_path / "merged")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    kinds = config["text_config"]["model_type"], config["vision_config"]["model_type"]
    assert kinds == {"llama": ("llama", "clip_vision_model")}.get(
        family, ("qwen2", "siglip_vision_model")
    )
    assert "quantization_config" not in config
    processor = json.loads((folder / "processor_config.json").read_text("utf-8"))
    assert processor["processor_class"] == "LlavaProcessor"
    assert {"patch_size", "vision_feature_select_strategy"} <= processor.keys()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template and tokenizer.eos_token
    assert config["image_token_index"] == tokenizer.convert_tokens_to_ids("<image>")
    names = load_file(folder / "model.safetensors").keys()
    assert not [name for name in names if "lora" in name or "base_layer" in name]


def test_adapter_folder_is_complete_and_readable(tuned):
    adapter = tuned[0] / "adapter"
    names = {path.name for path in adapter.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "MODEL_CARD.md"} <= names
    assert {path.suffix for path in adapter.iterdir()} <= SAFE
    card = (adapter / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "12 images with 16 questions" in card


def without(part):
    def spoil(folder):
        file = folder / "adapter_model.safetensors"
        save_file({n: w for n, w in load_file(file).items() if part not in n}, file)

    return spoil


def not_a_number(folder):
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, file)


def torn(folder):
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def edited(name, old, new, recorded=True):
    """Replace ``old`` in a file; without ``recorded``, in an adapter that has no digests."""

    def spoil(folder):
        file, about = folder / name, folder / "preset.json"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        if not recorded:
            said = json.loads(about.read_text(encoding="utf-8"))
            about.write_text(json.dumps(said | {"files": {}}), encoding="utf-8")

    return spoil


def replaced(name, text, recorded=True):
    def spoil(folder):
        (folder / name).write_text("all of it", encoding="utf-8")
        edited(name, "all of it", text, recorded)(folder)

    return spoil


SMALL = [
    "adapter_config.json",
    "chat_template.jinja",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


def another_base(folder):
    save_tiny(folder.parent / "other", seed=1)
    file = folder / "preset.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    about["preset"]["base"] = str(folder.parent / "other")
    file.write_text(json.dumps(about), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "optimizer.pt").touch(), "pickle optimizer.pt"),
        (without("projector"), "cannot be loaded: .*multi_modal_projector"),
        (without("q_proj"), "cannot be loaded: .*missing adapter keys.*q_proj"),
        (not_a_number, "NaN or infinite"),
        (torn, "incomplete, or not a safetensors"),
        (another_base, "another base"),
        (edited("preset.json", '"rank"', '"ranks"'), "another version .*rank"),
        (edited("preset.json", '"side": 128', '"side": 7'), r"preset\.json: .*preset\.side"),
        (edited("preset.json", '"probe": [', '"probe": null, "x": ['), r"preset\.json: .*probe"),
        (edited("preset.json", '"probe": [', '"probe": [1, '), r"preset\.json: .*probe"),
        (replaced("preset.json", "[]"), r"preset\.json: .*another version"),
        (replaced("preset.json", '{"preset":'), r"preset\.json: .*torn"),
        (edited("adapter_config.json", '"lora_alpha": 8', '"lora_alpha": 9999'), "changed after"),
        *((replaced(name, "[]"), f"{name}: missing, or changed after training") for name in SMALL),
        *((replaced(name, '{"a', recorded=False), "adapter: cannot be loaded") for name in SMALL),
        (edited("adapter_config.json", '"r": 4', '"r": 2', recorded=False), "size mismatch"),
        (replaced("chat_template.jinja", "{{ nope( }}", recorded=False), "TemplateSyntaxError"),
        *(
            (lambda folder, name=name: (folder / name).unlink(), f"{name}: missing")
            for name in SMALL
        ),
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


@pytest.mark.parametrize("loads", [AutoModelForImageTextToText, PeftModel])
def test_a_gpu_that_is_full_is_told_from_a_broken_folder(tuned, monkeypatch, loads):
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has")

    monkeypatch.setattr(loads, "from_pretrained", full)
    with pytest.raises(DataError, match=r"CUDA out of memory\..*; close what else uses the GPU"):
        load_tuned(tuned[0])
