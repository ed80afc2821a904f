"""What a preset needs is known before it is paid for."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_families import save_family
from tiny_llava import save_tiny
from torch.profiler import ProfilerActivity, profile

from benchmarks.geometry import BASES
from benchmarks.memory_model import as_measured
from dfa_lib.gpt import memory
from dfa_lib.gpt.__main__ import main
from dfa_lib.gpt.base import add_lora, load_base, make_optimizer
from dfa_lib.gpt.forward import PrefixLoss
from dfa_lib.gpt.memory import need, preflight
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import NANO, PRESETS
from dfa_lib.gpt.trees import Branch, Packed, Tree, pack

MEASURED = Path(__file__).parents[1] / "benchmarks" / "measured"
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing")


def peak_of_a_step(loss: PrefixLoss, preset, pictures, packed: Packed) -> int:
    """Bytes at the worst moment of a second step, as PyTorch's allocator reports them."""
    optimizer = make_optimizer(loss, preset)
    held = {p.data_ptr(): p.nbytes for p in (*loss.parameters(), *loss.buffers())}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        for _ in range(2):
            loss(pictures, packed).backward()
            optimizer.step()
            optimizer.zero_grad()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return sum(held.values()) + max(np.cumsum(changes))


@pytest.mark.parametrize(
    ("vision", "checkpointing", "images"),  # each pair of values once
    [("frozen", False, 1), ("frozen", True, 3), ("full", False, 3), ("full", True, 1)],
)
def test_the_rehearsal_predicts_the_peak(vision, checkpointing, images, tmp_path):
    base = str(save_tiny(tmp_path))
    preset = replace(NANO, vision=vision, base=base, rank=4, checkpointing=checkpointing)
    model, processor = load_base(preset)
    model = add_lora(model, preset).train()
    prompter = Prompter(processor)
    packed = pack([[Tree(prompter.prefix, [Branch([5] * 90, 30)] * 4)] * images])
    pictures = {"pixel_values": torch.zeros(images, 3, 32, 32)}
    measured = peak_of_a_step(PrefixLoss(model), preset, pictures, packed)
    assert need(preset, torch.float32, packed=packed).total * 2**30 == pytest.approx(
        measured, rel=0.1
    )


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("name", ["smolvlm-256m", "qwen2.5-vl-3b"])
def test_the_peak_of_a_data_centre_card_is_predicted(name):
    """Both without the states of the paged optimiser, which PyTorch does not count."""
    measured = json.loads((MEASURED / "gpu_h200_run2.json").read_text())[f"memory {name}"]
    wanted = as_measured(name)
    assert wanted.total - wanted.optimiser == pytest.approx(measured["peak_gib"], rel=0.1)


def test_what_saves_memory_saves_it(tmp_path):
    preset = replace(NANO, vision="frozen", base=str(save_tiny(tmp_path)), row=4096)
    wanted = need(preset, torch.float16)
    assert need(replace(preset, paged=True), torch.float16).optimiser < wanted.optimiser / 3
    assert need(replace(preset, four_bit=True), torch.float16).weights < 0.9 * wanted.weights
    assert need(replace(preset, rank=4), torch.float16).adapters < wanted.adapters / 2
    assert need(replace(preset, row=1), torch.float16).activations < wanted.activations / 2


def test_a_tuned_encoder_is_foretold_where_it_takes_pictures(tmp_path, monkeypatch):
    frozen = replace(NANO, vision="frozen", base=str(save_family("idefics3", tmp_path)))
    tuned = replace(frozen, vision="lora")
    assert need(tuned, torch.float32).activations > need(frozen, torch.float32).activations
    patches = BASES["qwen2.5-vl-7b"].config(True)
    monkeypatch.setattr(memory, "read_config", lambda _: patches)
    assert "what tuning its encoder needs is not known; " in preflight(tuned)


def test_a_frozen_encoder_gets_no_gradients(tmp_path):
    """Checkpointing the whole model would ask for them: slower, and the memory of its passes."""
    preset = replace(NANO, vision="frozen", base=str(save_tiny(tmp_path)), checkpointing=True)
    model = add_lora(load_base(preset)[0], preset).train()
    seen = model.get_image_features(pixel_values=torch.zeros(1, 3, 32, 32), return_dict=True)
    assert not seen.last_hidden_state.requires_grad
    assert model.get_base_model().model.get_decoder().layers[0].gradient_checkpointing


def test_preflight_says_what_to_do(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 8.0)
    assert preflight(NANO).endswith("8.00 GiB are free: go ahead")
    assert "4-bit weights; here use 'nano'" in preflight(PRESETS["llava-1.5-7b"])
    monkeypatch.setattr(memory, "free_memory", lambda: 0.02)
    said = preflight(NANO)
    assert said.endswith("free: try a lower `row`, a lower `rank` or a smaller preset")
    monkeypatch.setattr(memory, "free_memory", lambda: 0.001)
    assert preflight(NANO).endswith("free: take a smaller preset")


@pytest.mark.parametrize(
    "change",
    [
        "rank=x",
        "rank=-3",
        "rank",
        "vision=ful",
        "four_bit=maybe",
        "foo=1",
        "weights=3",
        "lr_lora=nan",
        "clip=-1",
        "epochs=1e9",
        "side=7",
    ],
)
def test_a_field_of_a_preset_that_cannot_be_is_refused_in_one_line(change, capsys):
    assert main(["check", "--set", change]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"dfa_lib.gpt: --set {change.partition('=')[0]}=")
    assert printed.err.count("\n") == 1 and "; takes FIELD=VALUE" in printed.err


def test_of_an_unknown_field_its_likeness_is_named(capsys):
    assert main(["check", "--set", "lr_vison=1"]) == 2
    assert "takes FIELD=VALUE with a field such as lr_vision" in capsys.readouterr().err


@pytest.mark.parametrize(("free", "status"), [(8.0, 0), (0.001, 1)])
def test_another_base_has_its_name_and_what_does_not_fit_a_status(
    free, status, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    base = save_tiny(tmp_path / "mine")
    assert main(["check", "--set", f"base={base}", "vision=frozen"]) == status
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].startswith("mine needs ")
    assert "Loading" not in printed.err


@pytest.mark.parametrize("base", ["/no/such/folder", "."])
def test_a_base_that_cannot_be_had_is_refused_before_it_is_rehearsed(base, capsys):
    assert main(["check", "--set", f"base={base}"]) == 2
    printed = capsys.readouterr()
    name = Path(base).resolve().name
    assert printed.err.startswith(f"dfa_lib.gpt: preset {name}: base ") and not printed.out
    assert printed.err.count("\n") == 1


def test_the_shell_names_device_precision_and_need(capsys):
    assert main(["check"]) == 0
    device, needed = capsys.readouterr().out.splitlines()
    assert device.startswith("computing on ") and ": " in device
    assert re.match(r"nano needs [\d.]+ GiB \(weights .*\); [\d.]+ GiB are free: ", needed)
