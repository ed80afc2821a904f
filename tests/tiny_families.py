"""Tiny random bases of other families, with real processors: tokenizer, pictures and template."""

from collections.abc import Callable
from pathlib import Path

import torch
from tiny_llava import CHATML_TEMPLATE, chatml_tokenizer, save_tiny
from transformers import (
    AutoModelForImageTextToText,
    Idefics3Config,
    Idefics3Processor,
    Mistral3Config,
    PixtralProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

VISION = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2}


def save_family(name: str, folder: Path, **options: int) -> Path:
    """Save a random base of a family, with its processor, as the hub's are."""
    if name == "llava":
        return save_tiny(folder)
    config, processor = FAMILIES[name](**options)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            # the stock initialisation (.02) leaves tiny models nearly deaf
            scale = 0.5 if "lm_head" in key or "embed_tokens" in key else 0.1
            parameter.add_(torch.randn_like(parameter) * scale)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def idefics3(pixels: int = 32) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """The family of SmolVLM: a picture becomes four tokens between frames of their own."""
    tokenizer, side = chatml_tokenizer(), {"longest_edge": pixels}
    images = Idefics3ImageProcessorPil(do_image_splitting=False, size=side, max_image_size=side)
    processor = Idefics3Processor(
        images, tokenizer, image_seq_len=4, chat_template=CHATML_TEMPLATE
    )  # which adds tokens
    sides = {"image_size": pixels, "patch_size": pixels // 4}
    vision = {**VISION, "num_attention_heads": 2, **sides}
    config = Idefics3Config(
        vision_config=vision, text_config={"model_type": "llama", **text(tokenizer)},
        scale_factor=2, image_token_id=processor.image_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return config, processor


def mistral3() -> tuple[PreTrainedConfig, ProcessorMixin]:
    """The family of Mistral Small 3.1: two rows of two tokens, with a break after each."""
    tokenizer = chatml_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    side = {"longest_edge": 32}
    processor = PixtralProcessor(
        PixtralImageProcessorPil(size=side, patch_size={"height": 16, "width": 16}), tokenizer,
        patch_size=8, spatial_merge_size=2, image_token="[IMG]",
        chat_template=CHATML_TEMPLATE.replace("<image>", "[IMG]"),
    )  # fmt: skip
    vision = {"model_type": "pixtral", **VISION, "num_attention_heads": 2, "head_dim": 12,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    config = Mistral3Config(
        vision_config=vision, text_config={"model_type": "mistral", **text(tokenizer)},
        spatial_merge_size=2, image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        vision_feature_layer=-1, tie_word_embeddings=False,
    )  # fmt: skip
    return config, processor


def qwen25() -> tuple[PreTrainedConfig, ProcessorMixin]:
    """Qwen2.5-VL: 56 x 56 pixels become four tokens with positions in three dimensions."""
    from transformers import Qwen2VLVideoProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    names = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = chatml_tokenizer(*names)
    start, end, image, _ = ids = tokenizer.convert_tokens_to_ids(names)
    template = CHATML_TEMPLATE.replace("<image>", "".join(names[:1] + names[2:3] + names[1:2]))
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessorPil(min_pixels=56**2, max_pixels=56**2), tokenizer,
        Qwen2VLVideoProcessor(), chat_template=template,
    )  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 24, "intermediate_size": 48, "num_heads": 2, "patch_size": 14,
        "spatial_merge_size": 2, "window_size": 56, "fullatt_block_indexes": [1],
        "out_hidden_size": 32,
    }  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    config = Qwen2_5_VLConfig(
        text_config={**text(tokenizer), "rope_parameters": rope}, vision_config=vision,
        vision_start_token_id=start, vision_end_token_id=end, image_token_id=image,
        video_token_id=ids[3], tie_word_embeddings=False,
    )  # fmt: skip
    return config, processor


def text(tokenizer: PreTrainedTokenizerFast) -> dict[str, object]:
    """Return the sizes of a language model for ``tokenizer``."""
    return {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "tie_word_embeddings": False,
    }  # fmt: skip


FAMILIES: dict[str, Callable[[], tuple[PreTrainedConfig, ProcessorMixin]]] = {
    "idefics3": idefics3,
    "mistral3": mistral3,
    "qwen2.5-vl": qwen25,
}
