"""The shapes of the hub's bases, as their config files give them: known without a download."""

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from dfa_lib.gpt.base import read_config
from dfa_lib.gpt.presets import Preset


def config_of(preset: Preset) -> LlavaConfig:
    """The config of a preset's base: known here, or read from its folder or the hub.

    Raises DataError in one line if it cannot be had or is not a LLaVA's.
    """
    known = {
        "llava-hf/llava-interleave-qwen-0.5b-hf": _interleave_qwen,
        "llava-hf/llava-1.5-7b-hf": lambda: _llava_15(4096, 11008, 32),
        "llava-hf/llava-1.5-13b-hf": lambda: _llava_15(5120, 13824, 40),
    }
    make = known.get(preset.base)
    return make() if make else read_config(preset)


def image_tokens(config: LlavaConfig) -> int:
    """How many tokens an image takes."""
    return (config.vision_config.image_size // config.vision_config.patch_size) ** 2


def skeleton(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """The model with its true shapes and no weights at all."""
    with torch.device("meta"):
        return LlavaForConditionalGeneration(config)


def _llava_15(width: int, inner: int, layers: int) -> LlavaConfig:
    """LLaVA-1.5: CLIP-L/14 at 336 pixels and Vicuna v1.5; heads are 128 wide."""
    text = LlamaConfig(
        vocab_size=32064, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=width // 128, max_position_embeddings=4096, rms_norm_eps=1e-5,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=336, patch_size=14, projection_dim=768, vocab_size=32000,
    )  # fmt: skip
    return LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=32000,
        vision_feature_layer=-2, vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )  # fmt: skip


def _interleave_qwen() -> LlavaConfig:
    """LLaVA-interleave: SigLIP-so400m/14 at 384 pixels and Qwen1.5-0.5B-Chat."""
    text = Qwen2Config(
        vocab_size=152000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=24,
        num_attention_heads=16, num_key_value_heads=16, rope_theta=1e6, tie_word_embeddings=True,
    )  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=26, num_attention_heads=16,
        image_size=384, patch_size=14, vision_use_head=False,
    )  # fmt: skip
    return LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=151646,
        vision_feature_layer=-1, vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )  # fmt: skip
