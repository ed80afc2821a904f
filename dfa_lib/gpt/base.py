"""The untuned base of a preset, and the LoRA that makes it tunable."""

from importlib.util import find_spec
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)

import dfa_lib.gpt.faceconv  # noqa: F401  registers the nano tower
from dfa_lib import runtime
from dfa_lib.gpt.forward import core, part_of, parts
from dfa_lib.gpt.presets import WEIGHTS, Preset
from dfa_lib.gpt.trees import TREES
from dfa_lib.records import DataError

NO_PACKAGE = {"ImportError", "ModuleNotFoundError", "AttributeError"}
"""What transformers raises where a processor of videos has no torchvision."""


def load_base(
    preset: Preset, device: str | None = None, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Return the base model, every weight frozen, and its processor.

    ``dtype`` is chosen by what the device can do if it is not given. Raises DataError in one
    line if the base cannot be had or reads no images. Four bits on a CPU are slow: they must be
    asked for by naming the ``device``.
    """
    here = runtime.device()
    if preset.four_bit and device is None and here.name == "cpu":
        raise DataError(f"preset {preset.name}: needs a CUDA GPU (4-bit weights); use 'nano' here")
    device = device or here.name
    small = preset.source.startswith(str(WEIGHTS)) or device.startswith("cpu")
    dtype = dtype or (torch.float32 if small else here.dtype)
    config, processor = read_config(preset), read_processor(preset)
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            preset.source,
            dtype=dtype,
            use_safetensors=True,
            device_map={"": device},
            attn_implementation={"": "sdpa", "text_config": TREES},
            quantization_config=_nf4(config, dtype) if preset.four_bit else None,
            output_loading_info=True,
        )
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise DataError(_why_not(preset, error)) from None
    if info["missing_keys"]:
        raise DataError(
            f"preset {preset.name}: {preset.source} lacks {len(info['missing_keys'])} weights of a "
            f"{type(model).__name__}; point `base` at a whole checkpoint"
        )
    return model.requires_grad_(False).eval(), processor


def read_config(preset: Preset) -> PreTrainedConfig:
    """Return the base's config alone; refused as ``load_base`` refuses it."""
    try:
        config = AutoConfig.from_pretrained(preset.source)
        if not hasattr(config, "vision_config"):
            raise ValueError(f"its model type is {config.model_type!r}, which reads no images")
    except (OSError, ValueError) as error:
        raise DataError(_why_not(preset, error)) from None
    return config


def read_processor(preset: Preset) -> ProcessorMixin:
    """Return the base's processor alone; refused as ``load_base`` refuses it."""
    try:
        processor = AutoProcessor.from_pretrained(preset.source, **preset.processor)
        if not isinstance(processor, ProcessorMixin):
            raise ValueError("it has no processor for pictures and text")
    except (OSError, ValueError, ImportError, AttributeError) as error:
        raise DataError(_why_not(preset, error)) from None
    return processor


def add_lora(model: PreTrainedModel, preset: Preset, seed: int = 0) -> PeftModel:
    """Make the parts that the preset names tunable: by LoRA, or whole.

    Trainable weights are kept in float32 whatever the base computes in. Raises DataError if
    the preset's parts hold no linear layer.
    """
    layers, wholes = _targets(model, preset)
    if not layers and not wholes:
        raise DataError(f"preset {preset.name}: tunes nothing; set language, projector or vision")
    config = LoraConfig(
        r=preset.rank,
        lora_alpha=preset.alpha or 2 * preset.rank,
        lora_dropout=preset.dropout,
        target_modules=layers or DUMMY_TARGET_MODULES,
        modules_to_save=wholes,
        task_type="CAUSAL_LM",
    )
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tunable = get_peft_model(model, config)
    except ValueError as error:
        raise DataError(f"preset {preset.name}: {' '.join(str(error).split()):.160}") from None
    for parameter in tunable.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return tunable


def _targets(model: PreTrainedModel, preset: Preset) -> tuple[list[str], list[str]]:
    """Return the names of the layers that get LoRA, and of what is tuned whole."""
    owner = part_of(model)
    # the full path, because the last names alone match other parts as well
    layers = [
        name
        for name, layer in core(model).named_modules()
        if isinstance(layer, nn.Linear) and layer in owner
        if getattr(preset, owner[layer]) == "lora"
    ]
    full = [names for part, names in parts(model).items() if getattr(preset, part) == "full"]
    wholes = [name for names in full for name in names]
    nested = {w for w in wholes for other in wholes if w.startswith(f"{other}.")}
    return layers, [name for name in wholes if name not in nested]


def _nf4(config: PreTrainedConfig, dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the recipe for four bits in the language model alone."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    spared = parts(model)["vision"] + parts(model)["projector"]
    head = next(n for n, m in model.named_modules() if m is model.get_output_embeddings())
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        # by the full path: a bare "vision_tower" matches nothing, and silently
        llm_int8_skip_modules=[*spared, head],
    )


def _why_not(preset: Preset, error: Exception) -> str:
    """Return what is wrong with the base, and the mend, in one line."""
    causes, cause = set(), error
    while cause:
        causes.add(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". ")[0]
    page = f"https://huggingface.co/{preset.base}"
    if "bitsandbytes" in reason:
        reason, mend = "4-bit weights need bitsandbytes", "run `pip install bitsandbytes`"
    elif not (find_spec("torchvision") and find_spec("num2words")) and causes & NO_PACKAGE:
        reason = "a package that its processor needs is missing"
        mend = "run `pip install torchvision num2words`"
    elif Path(preset.source).is_dir():
        reason = f"the folder holds no whole image-text model: {reason:.120}"
        mend = "point `base` at the folder of one, with its processor"
    elif "GatedRepoError" in causes:
        reason, mend = "its owner asks for consent", f"accept on {page}, then `hf auth login`"
    elif "RepositoryNotFoundError" in causes or "HFValidationError" in causes:
        reason, mend = "no such folder here and no such model on the hub", "mend its name"
    elif causes & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError"}:
        reason = "the hub cannot be reached and no copy lies here"
        mend = "connect, or point `base` at a local folder"
    else:
        reason, mend = f"{reason:.160}", "mend this, or point `base` at a local folder"
    return f"preset {preset.name}: base {preset.source} cannot be loaded: {reason}; {mend}"
