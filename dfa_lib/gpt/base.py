"""The untuned base of a preset, and the LoRA that makes it tunable."""

import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoProcessor,
    BitsAndBytesConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

import dfa_lib.gpt.nano.conv  # noqa: F401  registers the nano vision tower
from dfa_lib import runtime
from dfa_lib.gpt.attention import TREES
from dfa_lib.gpt.presets import WEIGHTS, Preset
from dfa_lib.records import DataError

# peft asks transformers by a name that is on its way out; nothing a reader can do about it
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)

# The full path, because the last names alone also match the vision tower's projections.
LORA_LAYERS = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj"
PROJECTOR = "multi_modal_projector"


def load_base(
    preset: Preset, device: str | None = None
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """The base model, every weight frozen, and its processor.

    Raises DataError in one line if the base cannot be had or is not a LLaVA.
    """
    here = runtime.device()
    device = device or here.name
    if preset.four_bit and not device.startswith("cuda"):
        raise DataError(f"preset {preset.name}: needs a CUDA GPU (4-bit weights); use 'nano' here")
    small = preset.source.startswith(str(WEIGHTS)) or device == "cpu"
    dtype = torch.float32 if small else here.dtype
    try:
        model, info = LlavaForConditionalGeneration.from_pretrained(
            preset.source,
            dtype=dtype,
            use_safetensors=True,
            device_map={"": device},
            attn_implementation={"": "sdpa", "text_config": TREES},
            quantization_config=_nf4(dtype) if preset.four_bit else None,
            output_loading_info=True,
        )
        processor = AutoProcessor.from_pretrained(preset.source)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise DataError(_why_not(preset, error)) from None
    if info["missing_keys"]:
        raise DataError(
            f"preset {preset.name}: {preset.source} lacks {len(info['missing_keys'])} weights of a "
            "LLaVA; point `base` at a whole LlavaForConditionalGeneration checkpoint"
        )
    _complete(processor, model.config)
    return model.requires_grad_(False).eval(), processor


def add_lora(model: LlavaForConditionalGeneration, preset: Preset, seed: int = 0) -> PeftModel:
    """Put LoRA on every linear layer of the language model and free the projector.

    Trainable weights are kept in float32 whatever the base computes in.
    """
    config = LoraConfig(
        r=preset.rank,
        lora_alpha=preset.alpha,
        lora_dropout=preset.dropout,
        target_modules=LORA_LAYERS,
        modules_to_save=[PROJECTOR],
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tunable = get_peft_model(model, config)
    for parameter in tunable.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return tunable


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=["vision_tower", PROJECTOR, "lm_head"],
    )


def _why_not(preset: Preset, error: Exception) -> str:
    if isinstance(error, ImportError) and "bitsandbytes" in str(error):
        return f"preset {preset.name}: 4-bit weights need it: run `pip install bitsandbytes`"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"preset {preset.name}: base {preset.source} cannot be loaded ({reason:.160}); check the "
        "connection and the access rights, or point `base` at a local folder"
    )


def _complete(processor: LlavaProcessor, config: LlavaConfig) -> None:
    """Give a processor what older hub copies lack, from the model's own config."""
    strategy = config.vision_feature_select_strategy
    processor.patch_size = processor.patch_size or config.vision_config.patch_size
    processor.vision_feature_select_strategy = processor.vision_feature_select_strategy or strategy
    if strategy == "default":  # which drops the class token, so there is one
        processor.num_additional_image_tokens = max(1, processor.num_additional_image_tokens)
