"""Is the memory of a training step foretold? Predicted beside measured, within ten per cent.

``python -m benchmarks.gpu`` measured every base in its true geometry on one H200 (raw figures in
benchmarks/measured); each of these steps is predicted here, without a card. On this machine the
presets it can hold take two real steps: on a GPU as ``torch.cuda`` reports the peak, on a CPU as
PyTorch's allocator does (in float32, one image a row where the base is large).

Last line: one JSON object.

    python -m benchmarks.memory_model
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.geometry import BASES, build, image_tokens, picture
from benchmarks.gpu import LENGTHS
from dfa_lib import runtime
from dfa_lib.gpt.base import add_lora
from dfa_lib.gpt.memory import ANSWER, GIB, QA, TEXT, Need, free_memory, need
from dfa_lib.gpt.presets import PRESETS, Preset
from dfa_lib.gpt.train import Trainer
from dfa_lib.gpt.trees import TREES, Branch, Tree, collate, pack
from dfa_lib.taxonomy import Category, Task

HERE = runtime.device()
MEASURED = Path(__file__).parent / "measured" / "gpu_h200_run2.json"
PATIENCE = 0.4e9
"""Weights a CPU can take through two steps within the minutes of a benchmark."""


class Unread:
    """Stands in for a Prompter: a random model has no words."""

    def __init__(self, name: str) -> None:
        self.config, self.side = BASES[name].config(False), BASES[name].side
        count = image_tokens(self.config, self.side)
        self.prefix = [1, *[self.config.image_token_id] * count]
        self.blank = self.pictures([None])

    def question(self, text: str) -> list[int]:
        """Return a token for each letter."""
        return [1] * len(text)

    def pictures(self, images: list) -> dict[str, torch.Tensor]:
        """Return noise pictures."""
        return picture(self.config, self.side, len(images), HERE.name)

    def samples(self, preset: Preset) -> list[Tree]:
        """Return as many typical images as fit into one row."""
        face = SimpleNamespace(id="random", category=Category.FORGED, split=None)
        tree = Tree(self.prefix, [Branch([1] * TEXT, TEXT - ANSWER, Task.AD)] * QA, face)
        return [tree] * max(1, preset.row // tree.tokens)


def as_measured(name: str) -> Need:
    """Predict the step that benchmarks/gpu.py takes with base ``name``."""
    base = BASES[name]
    preset = replace(PRESETS[name], rank=128, paged=True, checkpointing=True, vision="frozen",
                     four_bit=base.four_bit)  # fmt: skip
    config = base.config(False)
    answers = [Branch([0] * length, length // 2) for length in LENGTHS]
    row = pack([[Tree([0] * (1 + image_tokens(config, base.side)), answers)]])
    return need(preset, torch.bfloat16, config, row)


def measured_there() -> Iterator[tuple[str, float, Need]]:
    """Yield what a card measured, GiB with the paged states it does not count, and the prediction.

    Nano is left out: there CUDA's own buffers are most of the peak.
    """
    known = json.loads(MEASURED.read_text(encoding="utf-8"))
    for name in BASES:
        if name != "nano":
            one = known[f"memory {name}"]
            yield name, one["peak_gib"] + one["paged_gib"], as_measured(name)


def measured_here() -> Iterator[tuple[str, float, Need]]:
    """Yield the same for the presets that this machine holds, in two real steps."""
    for name in BASES:
        preset = replace(PRESETS[name], four_bit=False, paged=False)
        preset = replace(preset, row=1 if HERE.name == "cpu" and name != "nano" else preset.row)
        prompter = Unread(name)
        samples = prompter.samples(preset)
        preset = replace(preset, batch=len(samples))
        with torch.device("meta"):
            weights = sum(
                p.numel() for p in build(prompter.config, "meta", HERE.dtype).parameters()
            )
        if HERE.name == "cpu" and weights > PATIENCE:
            continue
        wanted = need(preset, HERE.dtype, prompter.config, collate(samples, samples, preset))
        if 1.3 * wanted.total < free_memory():
            yield name, steps_here(preset, prompter, samples), wanted


def steps_here(preset: Preset, prompter: Unread, samples: list[Tree]) -> float:
    """Return the peak GiB of two optimiser steps with random weights."""
    model = build(prompter.config, HERE.name, HERE.dtype)
    model.set_attn_implementation({"": "sdpa", "text_config": TREES})
    images = SimpleNamespace(image=lambda face: None)
    trainer = Trainer(add_lora(model, preset), prompter, images, preset, seed=0)
    held = sum({p.data_ptr(): p.nbytes for p in (*model.parameters(), *model.buffers())}.values())
    if HERE.name != "cpu":
        torch.cuda.reset_peak_memory_stats()
        for number in range(2):
            trainer.step(samples, number, 2)
        return torch.cuda.max_memory_allocated() / GIB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        for number in range(2):
            trainer.step(samples, number, 2)
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return (held + max(np.cumsum(changes))) / GIB


def main() -> dict[str, object]:
    """Print a table; return the JSON of the last line."""
    print("| preset | where | measured GiB | predicted | of it weights | adapters | optimiser | "
          "activations |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    found = {}
    for where, rows in (("H200", measured_there()), (HERE.name, measured_here())):
        for name, peak, wanted in rows:
            found[f"{name}, {where}"] = {"measured_gib": peak, "predicted_gib": wanted.total}
            parts = " | ".join(f"{part:.3f}" for part in wanted)
            print(f"| {name} | {where} | {peak:.3f} | {wanted.total:.3f} | {parts} |", flush=True)
    errors = [abs(1 - one["predicted_gib"] / one["measured_gib"]) for one in found.values()]
    return {"presets": found, "worst_error": max(errors)}


if __name__ == "__main__":
    print(json.dumps(main()))
