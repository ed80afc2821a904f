"""The untuned base of a preset, and the LoRA that makes it tunable."""

import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoProcessor,
    BitsAndBytesConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

import dfa_lib.gpt.faceconv  # noqa: F401  registers the nano vision tower
from dfa_lib import runtime
from dfa_lib.gpt.attention import TREES
from dfa_lib.gpt.presets import WEIGHTS, Preset
from dfa_lib.records import DataError

# names on their way out, whose successors the transformers of Colab does not have yet
warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)

# The full path, because the last names alone also match the vision tower's projections.
LORA_LAYERS = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj"
PROJECTOR = "multi_modal_projector"


def load_base(
    preset: Preset, device: str | None = None, dtype: torch.dtype | None = None
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """The base model, every weight frozen, and its processor.

    ``dtype`` is chosen by what the device can do if it is not given. Raises DataError in one
    line if the base cannot be had or is not a LLaVA. Four bits on a CPU are slow: they must be
    asked for by naming the ``device``.
    """
    here = runtime.device()
    if preset.four_bit and device is None and here.name == "cpu":
        raise DataError(f"preset {preset.name}: needs a CUDA GPU (4-bit weights); use 'nano' here")
    device = device or here.name
    small = preset.source.startswith(str(WEIGHTS)) or device.startswith("cpu")
    dtype = dtype or (torch.float32 if small else here.dtype)
    try:
        _config(preset.source)
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


def read_config(preset: Preset) -> LlavaConfig:
    """The base's config alone; refused as ``load_base`` refuses it."""
    try:
        return _config(preset.source)
    except (OSError, ValueError) as error:
        raise DataError(_why_not(preset, error)) from None


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


def _config(source: str) -> LlavaConfig:
    if not isinstance(config := AutoConfig.from_pretrained(source), LlavaConfig):
        raise ValueError(f"its model type is {config.model_type!r}")
    return config


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        # by the full path, as for LoRA: a bare "vision_tower" matches nothing, and silently
        llm_int8_skip_modules=["model.vision_tower", f"model.{PROJECTOR}", "lm_head"],
    )


def _why_not(preset: Preset, error: Exception) -> str:
    """What is wrong with the base, and the mend, in one line."""
    source, page = preset.source, f"https://huggingface.co/{preset.base}"
    causes = set()
    cause: BaseException | None = error
    while cause:
        causes.add(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "bitsandbytes" in reason:
        reason, mend = "4-bit weights need bitsandbytes", "run `pip install bitsandbytes`"
    elif Path(source).is_dir():
        reason = f"the folder holds no whole LLaVA: {reason:.120}"
        mend = "point `base` at the folder of a LlavaForConditionalGeneration"
    elif "GatedRepoError" in causes:
        reason, mend = "its owner asks for consent", f"accept on {page}, then `hf auth login`"
    elif "RepositoryNotFoundError" in causes or "HFValidationError" in causes:
        reason, mend = "no such folder here and no such model on the hub", "mend its name"
    elif causes & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError"}:
        reason = "the hub cannot be reached and no copy lies here"
        mend = "connect, or point `base` at a local folder"
    else:
        reason, mend = f"{reason:.160}", "mend this, or point `base` at a local folder"
    return f"preset {preset.name}: base {source} cannot be loaded: {reason}; {mend}"


def _complete(processor: LlavaProcessor, config: LlavaConfig) -> None:
    """Give a processor what older hub copies lack, from the model's own config."""
    strategy = config.vision_feature_select_strategy
    processor.patch_size = processor.patch_size or config.vision_config.patch_size
    processor.vision_feature_select_strategy = processor.vision_feature_select_strategy or strategy
    if strategy == "default":  # which drops the class token, so there is one
        processor.num_additional_image_tokens = max(1, processor.num_additional_image_tokens)
