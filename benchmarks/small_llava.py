"""LLaVA-1.5 in small, for the benchmarks: 576 image tokens, an eighth of the width, few layers.

Widths shrink alike in tower, projector, language model and vocabulary, so that each keeps its
share of the work; only attention weighs more than in the 7B, whose layers are wider.
"""

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

IMAGE, VOCABULARY = 3, 4008
"""The id of the image token, and how many ids there are."""
LENGTHS = (40, 50, 110, 62, 62, 62, 62)
"""Tokens of the seven QA of an image: 64 each in the mean, so that 640 make one sample."""


def small_llava(seed: int = 0) -> LlavaForConditionalGeneration:
    """Random weights in float32, all frozen."""
    text = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=512, intermediate_size=1376, num_hidden_layers=8,
        num_attention_heads=4, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=128, intermediate_size=512, num_hidden_layers=6, num_attention_heads=2,
        image_size=336, patch_size=14, vocab_size=100,
    )  # fmt: skip
    config = LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=IMAGE, pad_token_id=0,
        vision_feature_layer=-2, vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    return LlavaForConditionalGeneration(config).requires_grad_(False).eval()
