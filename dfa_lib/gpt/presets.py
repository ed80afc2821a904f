"""Presets: one frozen bundle per base model, from the embedded nano to the paper's 13B."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from dfa_lib.records import DataError

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
    ``language``, ``projector`` and ``vision`` say how each part is tuned: "lora", "full" or
    "frozen"; the encoder learns at ``lr_encoder``. ``processor``: what the base's processor is
    loaded with, such as the size of its pictures. A checkpoint is written every ``save_every``
    steps, and after ``save_minutes`` at the latest.
    """

    name: str
    base: str
    licence: str
    epochs: float
    batch: int
    row: int
    rank: int
    lr_lora: float
    lr_projector: float
    lr_vision: float
    alpha: int = 0
    dropout: float = 0.0
    warmup: float = 0.03
    clip: float = 1.0
    balanced: bool = False
    four_bit: bool = False
    paged: bool = False
    checkpointing: bool = False
    save_every: int = 200
    save_minutes: float = 10.0
    max_new_tokens: int = 256
    turns: int = 8
    language: str = "lora"
    projector: str = "full"
    vision: str = "frozen"
    lr_encoder: float = 2e-5
    processor: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse ways of tuning that do not exist."""
        for part in ("language", "projector", "vision"):
            if (how := getattr(self, part)) not in ("lora", "full", "frozen"):
                raise DataError(f"preset {self.name}: {part} {how!r}: takes lora, full or frozen")

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
    epochs=3,
    batch=16,
    row=1024,
    rank=16,
    lr_lora=3e-3,
    lr_projector=1e-3,
    lr_vision=1e-3,
    balanced=True,
    save_every=100,
    max_new_tokens=160,
    turns=0,
    vision="full",
    lr_encoder=1e-3,
)

LLAVA_05B = Preset(
    name="llava-0.5b",
    base="llava-hf/llava-interleave-qwen-0.5b-hf",
    licence="tongyi-qianwen-research (non-commercial)",
    epochs=1,
    batch=32,
    row=4096,
    rank=64,
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
    lr_lora=2e-4,
    lr_projector=2e-5,
    lr_vision=2e-5,
    dropout=0.05,
    four_bit=True,
    paged=True,
    checkpointing=True,
)


def _face(side: int, tiles: bool = False) -> dict:
    """What makes a Qwen processor see faces of ``side`` pixels, or a SmolVLM one, untiled."""
    if tiles:
        return {"do_image_splitting": False, "size": {"longest_edge": side}}
    return {"min_pixels": side**2, "max_pixels": side**2}


SMOLVLM_256M = replace(
    LLAVA_05B,
    name="smolvlm-256m",
    base="HuggingFaceTB/SmolVLM-256M-Instruct",
    licence="apache-2.0",
    row=2048,
    processor=_face(512, tiles=True),
)

SMOLVLM_500M = replace(
    SMOLVLM_256M, name="smolvlm-500m", base="HuggingFaceTB/SmolVLM-500M-Instruct"
)

QWEN3_2B = replace(
    LLAVA_7B,
    name="qwen3-vl-2b",
    base="Qwen/Qwen3-VL-2B-Instruct",
    licence="apache-2.0",
    rank=64,
    processor=_face(448),
)

QWEN3_4B = replace(QWEN3_2B, name="qwen3-vl-4b", base="Qwen/Qwen3-VL-4B-Instruct")
QWEN3_8B = replace(QWEN3_2B, name="qwen3-vl-8b", base="Qwen/Qwen3-VL-8B-Instruct")
QWEN25_3B = replace(
    QWEN3_2B,
    name="qwen2.5-vl-3b",
    base="Qwen/Qwen2.5-VL-3B-Instruct",
    licence="qwen-research (non-commercial)",
)
QWEN25_7B = replace(QWEN3_2B, name="qwen2.5-vl-7b", base="Qwen/Qwen2.5-VL-7B-Instruct")

LLAVA_13B = replace(LLAVA_7B, name="llava-1.5-13b", base="llava-hf/llava-1.5-13b-hf")

PRESETS = {
    preset.name: preset
    for preset in (
        NANO,
        SMOLVLM_256M,
        SMOLVLM_500M,
        LLAVA_05B,
        QWEN3_2B,
        QWEN25_3B,
        QWEN3_4B,
        LLAVA_7B,
        QWEN25_7B,
        QWEN3_8B,
        LLAVA_13B,
    )
}
