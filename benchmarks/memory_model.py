"""Does the rehearsal foretell the memory of a training step? Measured beside predicted.

Each preset that this machine can hold takes two real optimiser steps at its true geometry, on
random weights where the hub's are not at hand: on a GPU as ``torch.cuda`` reports the peak, on a
CPU as PyTorch's allocator does (there in float32, and one image a row for the large ones). The
others stand in the table as predicted for a GPU, "not measured".

Last line: one JSON object over the presets measured.

    python -m benchmarks.memory_model
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoProcessor, PreTrainedConfig

from dfa_lib import runtime
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.memory import ANSWER, GIB, QA, TEXT, Need, free_memory, need
from dfa_lib.gpt.presets import NANO, PRESETS, Preset
from dfa_lib.gpt.samples import Sample, collate
from dfa_lib.gpt.shapes import config_of, image_tokens, skeleton
from dfa_lib.gpt.train import Trainer
from dfa_lib.gpt.trees import Node

HERE = runtime.device()
ON_GPU = HERE.name != "cpu"
PATIENCE = 1.2e9
"""Weights a CPU can take through two steps within the minutes of a benchmark."""


class Unread:
    """Stands in for a Prompter: a random model has no words."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self.side, image = config.vision_config.image_size, config.image_token_id
        self.prefix = [0, *[image] * image_tokens(config)]

    def question(self, text: str) -> list[int]:
        """Return a token for each letter."""
        return [1] * len(text)

    def pictures(self, images: list) -> dict[str, torch.Tensor]:
        """Return black pictures."""
        return {"pixel_values": torch.zeros(len(images), 3, self.side, self.side)}


def samples(preset: Preset) -> list[Sample]:
    """As many typical images as fit into one row."""
    image = image_tokens(config_of(preset)) + 1
    token = config_of(preset).image_token_id
    tree = (Node([0, *[token] * (image - 1)]), *([Node([0] * TEXT, 0, TEXT - ANSWER)] * QA))
    count = max(1, preset.row // (image + QA * TEXT))
    return [Sample(SimpleNamespace(id=str(number)), tree) for number in range(count)]


def as_run_here(preset: Preset) -> Preset:
    """The preset with one row for a batch; on a CPU without four bits, an image a row if large."""
    if not ON_GPU:
        row = preset.row if preset is NANO else 1
        preset = replace(preset, four_bit=False, paged=False, row=row)
    return replace(preset, batch=len(samples(preset)))


def random_base(preset: Preset, folder: Path) -> Path:
    """Random weights of the preset's true shapes, saved as the hub's are."""
    model = skeleton(config_of(preset)).to(torch.float16).to_empty(device="cpu")
    model.tie_weights()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(std=0.02)
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(NANO.source).save_pretrained(folder)  # its words are not used
    return folder


def measured(preset: Preset) -> tuple[float, float]:
    """Peak GiB and seconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        local = preset if preset.base == NANO.base else None
        local = local or replace(preset, base=str(random_base(preset, Path(folder))))
        model, _ = load_base(local)
    config = model.config
    trainer = Trainer(
        add_lora(model, preset),
        Unread(config),
        SimpleNamespace(image=lambda face: None),
        preset,
        seed=0,
    )
    batch = samples(preset)
    held = sum({p.data_ptr(): p.nbytes for p in (*model.parameters(), *model.buffers())}.values())
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
        steps = [trainer.step(batch, number, 2) for number in range(2)]
        return torch.cuda.max_memory_allocated() / GIB, steps[-1].seconds
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        steps = [trainer.step(batch, number, 2) for number in range(2)]
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return (held + max(np.cumsum(changes))) / GIB, steps[-1].seconds


def possible(preset: Preset, predicted: Need) -> bool:
    """Whether this machine can hold the step, and take it in time."""
    weights = sum(p.numel() for p in skeleton(config_of(preset)).parameters())
    return 1.3 * predicted.total < free_memory() and (ON_GPU or weights < PATIENCE)


def main() -> dict[str, object]:
    """A row for each preset; the JSON of the last line."""
    print(f"{HERE.reason}; {free_memory():.1f} GiB free\n")
    print("| preset | measured GiB | predicted | of it weights | adapters | optimiser | "
          "activations | seconds a step |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    found = {}
    known = [p for name, p in PRESETS.items() if name == "nano" or "llava" in name]
    for preset in known:
        here = as_run_here(preset)
        predicted = need(here, HERE.dtype, collate(samples(here), samples(here), here))
        told = "not measured"
        seconds = ""
        if possible(here, predicted):
            peak, step = measured(here)
            found[preset.name] = {"measured_gib": peak, "predicted_gib": predicted.total}
            told, seconds = f"{peak:.3f}", f"{step:.2f}"
        else:
            predicted = need(preset, HERE.dtype if ON_GPU else torch.float16)
        parts = " | ".join(f"{part:.3f}" for part in vars(predicted).values())
        print(
            f"| {preset.name} | {told} | {predicted.total:.3f} | {parts} | {seconds} |", flush=True
        )
    errors = [abs(1 - one["predicted_gib"] / one["measured_gib"]) for one in found.values()]
    return {"presets": found, "worst_error": max(errors)}


if __name__ == "__main__":
    print(json.dumps(main()))
