"""Bases that cannot be had: a real server plays the hub, and every refusal is one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from colours import RECORDS, Colours, preset_on, run
from safetensors.torch import load_file, save_file
from tiny_llava import save_tiny, tiny_llava
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.quantizers.quantizers_utils import should_convert_module

from dfa_lib.gpt.adapter import merge
from dfa_lib.gpt.base import _nf4, add_lora, load_base
from dfa_lib.gpt.memory import preflight
from dfa_lib.gpt.presets import NANO, PRESETS, Preset
from dfa_lib.gpt.train import train
from dfa_lib.records import DataError

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing")

ROOT = Path(__file__).resolve().parent.parent
ASK = """
import sys, time
time.sleep = lambda _: None  # between its attempts the hub's client waits half a minute
from dataclasses import replace
from dfa_lib.gpt.base import load_base
from dfa_lib.gpt.presets import NANO
for base in sys.argv[1:]:
    try:
        load_base(replace(NANO, base=base), "cpu")
    except ValueError as error:
        print(error)
"""


class Hub(BaseHTTPRequestHandler):
    """Answers as huggingface.co does for a gated model, and for one that is not there."""

    def do_HEAD(self) -> None:
        gated = "/gated/" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def refusals(hub: str, home: Path, *bases: str) -> list[str]:
    """What a fresh process says to bases, one line each; the hub's address is read at start."""
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", ASK, *bases]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_gated_and_a_missing_model_are_told_apart(hub, tmp_path):
    gated, missing, typo = refusals(hub, tmp_path, "gated/llava", "nobody/llava", "no/such/folder")
    assert "; accept its terms on https://huggingface.co/gated/llava, then `hf auth login`" in gated
    assert "nobody/llava is not a local folder and is not a valid model identifier" in missing
    assert "base no/such/folder cannot be loaded: no such folder; point `base` at" in typo


@pytest.mark.full
@pytest.mark.slow
def test_a_hub_that_cannot_be_reached(tmp_path):
    (away,) = refusals("http://127.0.0.1:9", tmp_path, "some/llava")
    assert "We couldn't connect to 'http://127.0.0.1:9' to load the files" in away


ELSEWHERE = [preset for preset in PRESETS.values() if not Path(preset.source).is_dir()]


@pytest.mark.parametrize("preset", ELSEWHERE, ids=lambda preset: preset.name)
def test_the_large_presets_are_refused_in_one_line_offline(preset: Preset, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=f"preset {preset.name}: ") as refusal:
        load_base(preset, "cpu")
    assert "\n" not in str(refusal.value)


def an_empty_folder(folder: Path) -> None:
    folder.mkdir()


def a_text_model(folder: Path) -> None:
    size = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = LlamaConfig(**size, num_hidden_layers=1, vocab_size=50)
    LlamaForCausalLM(config).save_pretrained(folder)


def a_llava_without_a_processor(folder: Path) -> None:
    tiny_llava()[0].save_pretrained(folder)


def pickled_weights(folder: Path) -> None:
    save_tiny(folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def no_weights(folder: Path) -> None:
    save_tiny(folder)
    (folder / "model.safetensors").unlink()


def torn_weights(folder: Path) -> None:
    file = save_tiny(folder) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def some_weights(folder: Path) -> None:
    file = save_tiny(folder) / "model.safetensors"
    whole = load_file(file)
    save_file({name: whole[name] for name in [*whole][:-1]}, file, metadata={"format": "pt"})


def no_template(folder: Path) -> None:
    (save_tiny(folder) / "chat_template.jinja").unlink()


def a_torn_template(folder: Path) -> None:
    (save_tiny(folder) / "chat_template.jinja").write_text("{{ nope( }}", encoding="utf-8")


def a_torn_tokenizer(folder: Path) -> None:
    (save_tiny(folder) / "tokenizer.json").write_text('{"a', encoding="utf-8")


WRONG = (
    an_empty_folder, a_text_model, a_llava_without_a_processor, pickled_weights, no_weights,
    torn_weights, some_weights, no_template, a_torn_template, a_torn_tokenizer,
)  # fmt: skip


@pytest.mark.parametrize("make", WRONG)
def test_a_wrong_folder_is_refused_in_one_line(make, tmp_path):
    """As it is trained on, and before that as its need is foretold."""
    make(tmp_path / "base")
    with pytest.raises(DataError, match="preset nano: ") as refusal:
        load_base(replace(NANO, base=str(tmp_path / "base")), "cpu")
    said = str(refusal.value)
    assert "\n" not in said and str(tmp_path) in said and "; point `base` at" in said
    with pytest.raises(DataError) as foretold:
        preflight(replace(NANO, base=str(tmp_path / "base")))
    assert str(foretold.value) == said


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_four_bits_are_for_the_layers_with_lora_alone(family):
    """Where a pattern misses, the projector is quantised too, and nothing can train it."""
    model, _ = tiny_llava(family)
    linears = [n for n, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    spared = _nf4(model.config, torch.float32).llm_int8_skip_modules
    quantised = {name for name in linears if should_convert_module(name, spared)}
    tuned = add_lora(model, replace(NANO, vision="frozen", rank=2)).get_base_model()
    assert quantised == {name for name, layer in tuned.named_modules() if is_lora(layer)}
    assert len(quantised) == 14


def test_a_base_in_four_bits_is_tuned_saved_and_merged(tmp_path):
    """On the CPU, whose kernels bitsandbytes has as well; on a GPU it is the same call."""
    pytest.importorskip("bitsandbytes", reason="in the extra `gpu`")
    preset = replace(preset_on(save_tiny(tmp_path / "base")), four_bit=True, epochs=20)
    model, processor = load_base(preset, "cpu")
    tuned = add_lora(model, preset)
    kinds = {type(layer.base_layer).__name__ for layer in tuned.modules() if is_lora(layer)}
    assert kinds == {"Linear4bit"}
    log = train(tuned, processor, Colours(), RECORDS, preset, tmp_path)
    assert log[-1].loss < 0.5 * log[0].loss
    merged = merge(tmp_path, tmp_path / "merged")
    load_base(replace(preset, base=str(merged), four_bit=False))  # whole, and in no four bits


def is_lora(layer: nn.Module) -> bool:
    return hasattr(layer, "lora_A")


def test_the_hubs_layout_is_read_and_written(tmp_path):
    """Vision weights one level deeper, as the hub has them: what vLLM looks for in a merge."""
    base = save_tiny(tmp_path / "base")
    file = base / "model.safetensors"
    weights = {
        name.replace("vision_tower.", "vision_tower.vision_model."): weight
        for name, weight in load_file(file).items()
    }
    assert {"language_model.lm_head.weight"} < weights.keys()
    save_file(weights, file, metadata={"format": "pt"})
    run(preset_on(base), tmp_path / "tuned")
    merged = load_file(merge(tmp_path / "tuned", tmp_path / "merged") / "model.safetensors")
    assert merged.keys() == weights.keys()


def test_a_local_folder_takes_the_place_of_the_hub(tmp_path):
    model, _ = load_base(replace(NANO, base=str(save_tiny(tmp_path))))
    assert not any(p.requires_grad for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
