"""Presets: one frozen bundle per base model, from the embedded nano to LLaVA-1.5-13B."""

from dataclasses import dataclass, replace
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Preset:
    """Everything tuning needs to know about one base.

    ``base`` is a hub id, a folder, or the name of weights in this package. ``batch`` counts
    images per optimiser step (each with all its QA), ``row`` bounds the tokens of a forward
    pass, which takes as many whole images as fit and at least one.
    ``paged``: 8-bit optimiser states that may leave the GPU; a GPU without bf16 gets fp16.
    ``epochs`` bounds the run, never minutes, so that a busy machine gives the same weights.
    ``turns`` is how many earlier turns of a chat the base can follow. The learning rates are
    those of LLaVA-1.5's LoRA recipe, except nano's, which were measured. ``lr_vision`` is that
    of the encoder when lessons 03 and 05 tune it alone: a rival tuned badly would flatter us.
    """

    name: str
    base: str
    licence: str
    epochs: float
    batch: int
    row: int
    rank: int
    alpha: int
    lr_lora: float
    lr_projector: float
    lr_vision: float
    dropout: float = 0.0
    warmup: float = 0.03
    clip: float = 1.0
    balanced: bool = False
    four_bit: bool = False
    paged: bool = False
    checkpointing: bool = False
    save_every: int = 200
    max_new_tokens: int = 256
    turns: int = 8

    @property
    def source(self) -> str:
        """Where the base is loaded from: a folder of this package, or ``base`` as it stands."""
        embedded = WEIGHTS / self.base
        return str(embedded) if embedded.is_dir() else self.base


NANO = Preset(
    name="nano",
    base="nano",
    licence="the licence of this repository",
    epochs=3,
    batch=16,
    row=1024,
    rank=16,
    alpha=32,
    lr_lora=3e-3,
    lr_projector=1e-3,
    lr_vision=3e-3,
    balanced=True,
    save_every=100,
    max_new_tokens=160,
    turns=0,
)

LLAVA_05B = Preset(
    name="llava-0.5b",
    base="llava-hf/llava-interleave-qwen-0.5b-hf",
    licence="tongyi-qianwen-research (non-commercial)",
    epochs=1,
    batch=32,
    row=4096,
    rank=64,
    alpha=128,
    lr_lora=2e-4,
    lr_projector=2e-5,
    lr_vision=2e-5,
    dropout=0.05,
    checkpointing=True,
)

LLAVA_7B = Preset(
    name="llava-1.5-7b",
    base="llava-hf/llava-1.5-7b-hf",
    licence="llama2",
    epochs=1,
    batch=32,
    row=1024,
    rank=128,
    alpha=256,
    lr_lora=2e-4,
    lr_projector=2e-5,
    lr_vision=2e-5,
    dropout=0.05,
    four_bit=True,
    paged=True,
    checkpointing=True,
)

LLAVA_13B = replace(LLAVA_7B, name="llava-1.5-13b", base="llava-hf/llava-1.5-13b-hf")

PRESETS = {preset.name: preset for preset in (NANO, LLAVA_05B, LLAVA_7B, LLAVA_13B)}
