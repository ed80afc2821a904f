"""Random tiny LLaVA models of the families the presets use, built in a second.

``llama``: Llama and LLaVA-1.5's template; ``qwen2``: Qwen2 and ChatML (llava-interleave-qwen).
``clip``: a class token, strategy "default"; ``siglip``: none, strategy "full". Same classes,
small widths; the presets pair llama with clip and qwen2 with siglip.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

LLAVA_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' }}{% else %}{{ 'ASSISTANT: ' }}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\n' + part['text'] }}{% endfor %}{{ '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CORPUS = [
    "USER: Is this face bona fide or forged? ASSISTANT: This face is forged.",
    "This face is bona fide. What is wrong with the mouth? Nothing is wrong with it.",
    "The nose is blurred, the eyes show a blending boundary and a colour mismatch.",
]


VISION = {"llama": "clip", "qwen2": "siglip"}


def tiny_llava(
    family: str = "llama",
    seed: int = 0,
    width: int = 32,
    layers: int = 2,
    vision: str | None = None,
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A random model in float32 and its processor; 32 x 32 px, 16 image tokens."""
    tokenizer, vision = _tokenizer(family), vision or VISION[family]
    torch.manual_seed(seed)
    config = _config(family, vision, tokenizer, width, layers)
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # the stock initialisation (.02) leaves tiny models nearly deaf, and unsure for ever
            scale = 0.5 if "lm_head" in name or "embed_tokens" in name else 0.1
            parameter.add_(torch.randn_like(parameter) * scale)
    return model.eval(), _processor(family, vision, tokenizer)


def save_tiny(folder: Path, family: str = "llama", seed: int = 0) -> Path:
    """A tiny model saved as a base on disk."""
    model, processor = tiny_llava(family, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def chatml_tokenizer(*more: str) -> PreTrainedTokenizerFast:
    """Return a ChatML tokenizer with more special tokens."""
    tokenizer = _tokenizer("qwen2")
    tokenizer.add_special_tokens({"additional_special_tokens": list(more)})
    return tokenizer


def _tokenizer(family: str) -> PreTrainedTokenizerFast:
    chatml = ("<pad>", "<|im_start|>", "<|im_end|>")
    names = ("<pad>", "<s>", "</s>") if family == "llama" else chatml
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[*names, "<image>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    pad, bos, eos = names
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        extra_special_tokens={"image_token": "<image>"},
        clean_up_tokenization_spaces=False,
    )


def _config(
    family: str, vision: str, tokenizer: PreTrainedTokenizerFast, width: int, layers: int
) -> LlavaConfig:
    shared = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": family == "qwen2",
    }
    tower = {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    clip = vision == "clip"
    return LlavaConfig(
        text_config=(LlamaConfig if family == "llama" else Qwen2Config)(**shared),
        vision_config=(
            CLIPVisionConfig(**tower)
            if clip
            else SiglipVisionConfig(**tower, vision_use_head=False)
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2 if clip else -1,
        vision_feature_select_strategy="default" if clip else "full",
        tie_word_embeddings=family == "qwen2",
        pad_token_id=tokenizer.pad_token_id,
    )


def _processor(family: str, vision: str, tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    clip = vision == "clip"
    size = {"height": 32, "width": 32}
    images = (
        CLIPImageProcessorPil(size=size, crop_size=size)
        if clip
        else SiglipImageProcessorPil(size=size)
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default" if clip else "full",
        num_additional_image_tokens=1 if clip else 0,
        chat_template=LLAVA_TEMPLATE if family == "llama" else CHATML_TEMPLATE,
    )
