"""Today's bases in their true geometry, built in code: random weights, no download.

Shapes are those of the config files on the hub. ``toy`` keeps a family's build and shrinks it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Idefics3Config,
    LlamaConfig,
    LlavaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
)

import dfa_lib.gpt.faceconv  # noqa: F401  registers the nano vision tower
from dfa_lib.gpt.presets import WEIGHTS

QWEN_IDS = {
    "image_token_id": 151655,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
}
TOY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}


@dataclass(frozen=True)
class Base:
    """One base: its config, the side of its pictures in pixels, and whether a T4 takes 4 bits."""

    config: Callable[[bool], PreTrainedConfig]
    side: int
    four_bit: bool


def llava(width: int, inner: int, layers: int) -> Callable[[bool], LlavaConfig]:
    """LLaVA-1.5: CLIP-L/14 at 336 pixels and Vicuna v1.5."""

    def make(toy: bool) -> LlavaConfig:
        text = LlamaConfig(
            vocab_size=32064, max_position_embeddings=4096, rms_norm_eps=1e-5,
            num_attention_heads=4 if toy else width // 128, pad_token_id=0,
            **(TOY if toy else _sizes(width, inner, layers)),
        )  # fmt: skip
        vision = CLIPVisionConfig(
            image_size=336, patch_size=14, num_attention_heads=4 if toy else 16,
            **(TOY if toy else _sizes(1024, 4096, 24)),
        )  # fmt: skip
        return LlavaConfig(
            text_config=text, vision_config=vision, image_token_index=32000,
            vision_feature_layer=-2, vision_feature_select_strategy="default",
            tie_word_embeddings=False,
        )  # fmt: skip

    return make


def qwen25(
    width: int, inner: int, layers: int, heads: int, kv: int, vocab: int
) -> Callable[[bool], Qwen2_5_VLConfig]:
    """Qwen2.5-VL: window attention over patches of 14 pixels, merged two by two."""

    def make(toy: bool) -> Qwen2_5_VLConfig:
        own = TOY if toy else _sizes(width, inner, layers)
        text = {
            "vocab_size": vocab, "num_attention_heads": 4 if toy else heads,
            "num_key_value_heads": 2 if toy else kv, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 128000, "tie_word_embeddings": width < 3000,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6,
                "mrope_section": [2, 3, 3] if toy else [16, 24, 24],
            },
            **own,
        }  # fmt: skip
        vision = {
            "depth": 2 if toy else 32, "hidden_size": 64 if toy else 1280,
            "intermediate_size": 128 if toy else 3420, "num_heads": 4 if toy else 16,
            "patch_size": 14, "spatial_merge_size": 2, "window_size": 112,
            "fullatt_block_indexes": [1] if toy else [7, 15, 23, 31],
            "out_hidden_size": own["hidden_size"],
        }  # fmt: skip
        return Qwen2_5_VLConfig(
            text_config=text, vision_config=vision, tie_word_embeddings=width < 3000, **QWEN_IDS,
        )  # fmt: skip

    return make


def qwen3(
    width: int, inner: int, layers: int, heads: int, vision: tuple[int, int, int]
) -> Callable[[bool], Qwen3VLConfig]:
    """Qwen3-VL: patches of 16 pixels, merged two by two; ``vision``: depth, width, inner."""

    def make(toy: bool) -> Qwen3VLConfig:
        own = TOY if toy else _sizes(width, inner, layers)
        depth, hidden, within = (3, 64, 128) if toy else vision
        text = {
            "vocab_size": 151936, "num_attention_heads": 4 if toy else heads,
            "num_key_value_heads": 2 if toy else 8, "head_dim": 16 if toy else 128,
            "rms_norm_eps": 1e-6, "max_position_embeddings": 262144,
            "tie_word_embeddings": width < 3000,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True,
                "mrope_section": [2, 3, 3] if toy else [24, 20, 20],
            },
            **own,
        }  # fmt: skip
        look = {
            "depth": depth, "hidden_size": hidden, "intermediate_size": within,
            "num_heads": 4 if toy else 16, "patch_size": 16, "spatial_merge_size": 2,
            "num_position_embeddings": 2304, "out_hidden_size": own["hidden_size"],
            "deepstack_visual_indexes": [0, 1, 2] if toy else [5, 11, 17] if depth == 24
            else [8, 16, 24],
        }  # fmt: skip
        return Qwen3VLConfig(
            text_config=text, vision_config=look, tie_word_embeddings=width < 3000, **QWEN_IDS,
        )  # fmt: skip

    return make


def smolvlm(
    width: int, inner: int, layers: int, heads: int, kv: int
) -> Callable[[bool], Idefics3Config]:
    """SmolVLM: SigLIP-B/16 at 512 pixels, four by four patches to a token, and SmolLM2."""

    def make(toy: bool) -> Idefics3Config:
        text = {
            "model_type": "llama", "vocab_size": 49280, "tie_word_embeddings": False,
            "num_attention_heads": 4 if toy else heads,
            "num_key_value_heads": 2 if toy else kv, "max_position_embeddings": 8192,
            **(TOY if toy else _sizes(width, inner, layers)),
        }  # fmt: skip
        vision = {
            "image_size": 512, "patch_size": 16, "num_attention_heads": 4 if toy else 12,
            **(TOY if toy else _sizes(768, 3072, 12)),
        }  # fmt: skip
        return Idefics3Config(
            text_config=text, vision_config=vision, image_token_id=49190, scale_factor=4
        )

    return make


BASES: Mapping[str, Base] = {
    "llava-1.5-7b": Base(llava(4096, 11008, 32), 336, True),
    "qwen2.5-vl-7b": Base(qwen25(3584, 18944, 28, 28, 4, 152064), 448, True),
    "qwen3-vl-4b": Base(qwen3(2560, 9728, 36, 32, (24, 1024, 4096)), 448, True),
    "smolvlm-500m": Base(smolvlm(960, 2560, 32, 15, 5), 512, False),
    "qwen2.5-vl-3b": Base(qwen25(2048, 11008, 36, 16, 2, 151936), 448, True),
    "smolvlm-256m": Base(smolvlm(576, 1536, 30, 9, 3), 512, False),
    "qwen3-vl-8b": Base(qwen3(4096, 12288, 36, 32, (27, 1152, 4304)), 448, True),
    "nano": Base(lambda _: AutoConfig.from_pretrained(WEIGHTS / "nano"), 128, False),
    "llava-1.5-13b": Base(llava(5120, 13824, 40), 336, True),
}


def build(config: PreTrainedConfig, device: str, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model with random weights made on ``device``, all frozen."""
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    return model.requires_grad_(False).eval()


def image_tokens(config: PreTrainedConfig, side: int) -> int:
    """Return how many tokens a square picture of ``side`` pixels takes."""
    vision = config.vision_config
    merged = getattr(vision, "spatial_merge_size", None) or getattr(config, "scale_factor", 1)
    return (side // vision.patch_size // merged) ** 2


def picture(config: PreTrainedConfig, side: int, images: int, device: str) -> dict[str, Tensor]:
    """Return what the family's processor makes of square noise pictures."""
    kind, vision = config.model_type, config.vision_config
    if kind.startswith("qwen"):
        grid = side // vision.patch_size
        width = 3 * vision.temporal_patch_size * vision.patch_size**2
        return {
            "pixel_values": torch.randn(images * grid**2, width, device=device),
            "image_grid_thw": torch.tensor([[1, grid, grid]] * images, device=device),
        }
    shape = (images, 1, 3, side, side) if kind == "idefics3" else (images, 3, side, side)
    return {"pixel_values": torch.randn(shape, device=device)}


def _sizes(width: int, inner: int, layers: int) -> dict[str, int]:
    return {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers}
