"""Presets: one frozen bundle per base model, from the embedded nano to the paper's 13B."""

from dataclasses import field, replace
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

WEIGHTS = Path(__file__).parent / "weights"
Tuning = Literal["lora", "full", "frozen"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Preset:
    """Everything tuning needs to know about one base; pydantic checks and converts the fields.

    Args:
        base: A hub id, a folder, or the name of weights in this package.
        side: Pixels of the pictures the base sees; faces are made of this size.
        epochs: Passes over the data. Never minutes, so that a busy machine gives the same weights.
        batch: Images per optimiser step, each with all its QA.
        row: Tokens of a forward pass, which takes as many whole images as fit and at least one.
        language, projector, vision: How each part is tuned: "lora", "full" or "frozen".
        rank, alpha: Of LoRA; ``alpha`` is twice the rank unless set.
        lr_lora, lr_projector, lr_vision: Peak learning rates. ``lr_vision`` is that of the vision
            encoder, here and when lessons 03 and 05 tune it alone. Those of nano were measured,
            the others are LLaVA-1.5's.
        balanced: Weigh answers alike, not tokens.
        weights: What an answer counts, by task; 1 where nothing is said.
        bona_fide: What a DF-D answer about a bona fide face counts, a forged one's being 1. With
            two forged faces for each bona fide one, 2 makes "forged" no likelier in doubt.
        talk: Turns of free conversation in a pass, other ones in each; 0 takes them all.
        everyday: Show training pictures mirrored and under everyday conditions, at random.
        naming: Weight of an auxiliary loss by which the vision encoder alone names the category.
        four_bit: Load the language model in nf4.
        paged: 8-bit optimiser states that may leave the GPU.
        checkpointing: Compute activations anew instead of keeping them.
        save_every, save_minutes: A checkpoint is written and validated after so many steps, and
            after so many minutes at the latest.
        turns: Earlier turns of a chat that the base can follow.
        processor: What the base's processor is loaded with, such as the size of its pictures.
    """

    name: str
    base: str
    licence: str
    side: int
    epochs: float
    batch: PositiveInt
    row: PositiveInt
    rank: PositiveInt
    lr_lora: float
    lr_projector: float
    lr_vision: float
    alpha: int = 0
    dropout: float = 0.0
    warmup: float = 0.03
    clip: float = 1.0
    balanced: bool = False
    weights: dict[str, float] = field(default_factory=dict)
    bona_fide: float = 1.0
    talk: int = 0
    everyday: bool = False
    naming: float = 0.0
    four_bit: bool = False
    paged: bool = False
    checkpointing: bool = False
    save_every: int = 200
    save_minutes: float = 10.0
    max_new_tokens: int = 256
    turns: int = 8
    language: Tuning = "lora"
    projector: Tuning = "full"
    vision: Tuning = "frozen"
    processor: dict = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """What the product of LoRA's two matrices is multiplied by: 2, unless ``alpha`` is set."""
        return (self.alpha or 2 * self.rank) / self.rank

    @property
    def source(self) -> str:
        """Where the base is loaded from: a folder of this package, or ``base`` as it stands."""
        embedded = WEIGHTS / self.base
        return str(embedded) if embedded.is_dir() else self.base


NANO = Preset(
    name="nano",
    base="nano",
    licence="the licence of this repository",
    side=128,
    epochs=4,
    batch=16,
    row=1024,
    rank=16,
    lr_lora=3e-3,
    lr_projector=1e-3,
    lr_vision=1e-3,
    balanced=True,
    weights={"DF-C": 2.0, "AD": 2.0},
    bona_fide=2.0,
    talk=1,
    everyday=True,
    naming=0.3,
    save_every=100,
    max_new_tokens=160,
    turns=0,
    vision="full",
)

LLAVA_7B = Preset(
    name="llava-1.5-7b",
    base="llava-hf/llava-1.5-7b-hf",
    licence="llama2",
    side=336,
    epochs=1,
    batch=32,
    row=1024,
    rank=128,
    lr_lora=2e-4,
    lr_projector=2e-5,
    lr_vision=2e-5,
    dropout=0.05,
    four_bit=True,
    paged=True,
    checkpointing=True,
)

SMOLVLM = replace(
    LLAVA_7B,
    licence="apache-2.0",
    side=512,
    row=2048,
    rank=64,
    four_bit=False,
    paged=False,
    processor={"do_image_splitting": False, "size": {"longest_edge": 512}},
)
QWEN = replace(
    LLAVA_7B,
    licence="apache-2.0",
    side=448,
    rank=64,
    processor={"min_pixels": 448**2, "max_pixels": 448**2},
)

PRESETS = {
    preset.name: preset
    for preset in (
        NANO,
        replace(SMOLVLM, name="smolvlm-256m", base="HuggingFaceTB/SmolVLM-256M-Instruct"),
        replace(SMOLVLM, name="smolvlm-500m", base="HuggingFaceTB/SmolVLM-500M-Instruct"),
        replace(QWEN, name="qwen3-vl-2b", base="Qwen/Qwen3-VL-2B-Instruct"),
        replace(
            QWEN,
            name="qwen2.5-vl-3b",
            base="Qwen/Qwen2.5-VL-3B-Instruct",
            licence="qwen-research (non-commercial)",
        ),
        replace(QWEN, name="qwen3-vl-4b", base="Qwen/Qwen3-VL-4B-Instruct"),
        LLAVA_7B,
        replace(QWEN, name="qwen2.5-vl-7b", base="Qwen/Qwen2.5-VL-7B-Instruct"),
        replace(QWEN, name="qwen3-vl-8b", base="Qwen/Qwen3-VL-8B-Instruct"),
        replace(LLAVA_7B, name="llava-1.5-13b", base="llava-hf/llava-1.5-13b-hf"),
    )
}
