"""A world small enough to tune on in a second: red faces are bona fide, blue ones forged."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from torch import nn

from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.presets import NANO, Preset
from dfa_lib.gpt.train import Step, train
from dfa_lib.records import QA, Annotation, Annotator, Face, InstructRecord
from dfa_lib.taxonomy import Category, Split, Task

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


def preset_on(base: Path) -> Preset:
    return replace(
        NANO,
        vision="frozen",
        everyday=False,  # which would mirror and tint what is told by its colour
        base=str(base),
        epochs=2,
        batch=4,
        row=120,
        rank=4,
        alpha=8,
        save_every=2,
    )


def run(
    preset: Preset, out: Path, records: Sequence[InstructRecord] = RECORDS, **options: object
) -> tuple[PeftModel, list[Step]]:
    model, processor = load_base(preset)
    model = add_lora(model, preset)
    return model, train(model, processor, Colours(), records, preset, out, **options)


def trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
