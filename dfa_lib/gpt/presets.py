"""Presets: one frozen bundle per base model, from the embedded nano to the paper's 13B.

They stand in ``presets.toml``, each with what differs from the recipe of LLaVA-1.5.
"""

import tomllib
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

WEIGHTS = Path(__file__).parent / "weights"
TABLES = Path(__file__).parent / "presets.toml"
Tuning = Literal["lora", "full", "frozen"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Preset:
    """Everything tuning needs to know about one base; pydantic checks and converts the fields.

    Defaults are the recipe of LLaVA-1.5, in four bits so that it fits a GPU with 15 GiB.

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
    side: Annotated[int, Field(ge=64)]
    rank: PositiveInt
    alpha: NonNegativeInt = 0
    epochs: Annotated[float, Field(gt=0, le=1000)] = 1.0
    batch: PositiveInt = 32
    row: PositiveInt = 1024
    lr_lora: NonNegativeFloat = 2e-4
    lr_projector: NonNegativeFloat = 2e-5
    lr_vision: NonNegativeFloat = 2e-5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    warmup: NonNegativeFloat = 0.03
    clip: Annotated[float, Field(gt=0)] = 1.0
    balanced: bool = False
    weights: dict[str, float] = field(default_factory=dict)
    bona_fide: NonNegativeFloat = 1.0
    talk: NonNegativeInt = 0
    everyday: bool = False
    naming: NonNegativeFloat = 0.0
    four_bit: bool = True
    paged: bool = True
    checkpointing: bool = True
    save_every: PositiveInt = 200
    save_minutes: NonNegativeFloat = 10.0
    max_new_tokens: PositiveInt = 256
    turns: NonNegativeInt = 8
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


PRESETS = {
    name: Preset(name=name, **fields)
    for name, fields in tomllib.loads(TABLES.read_text(encoding="utf-8")).items()
}
NANO = PRESETS["nano"]
