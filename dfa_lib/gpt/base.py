"""The untuned base of a preset, and what tunes it: LoRA and the optimiser."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from textwrap import shorten

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn
from torch.optim import AdamW, Optimizer
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
from dfa_lib.gpt.forward import core
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import WEIGHTS, Preset
from dfa_lib.gpt.trees import TREES
from dfa_lib.records import DataError

SHRINK = "close what else uses the GPU, or take a smaller preset"


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
    with _one_line(preset):
        model, info = AutoModelForImageTextToText.from_pretrained(
            preset.source,
            dtype=dtype,
            use_safetensors=True,
            device_map={"": device},
            attn_implementation={"": "sdpa", "text_config": TREES},
            quantization_config=_nf4(config, dtype) if preset.four_bit else None,
            output_loading_info=True,
        )
    if info["missing_keys"]:
        raise DataError(
            f"preset {preset.name}: {preset.source} lacks {len(info['missing_keys'])} weights of a "
            f"{type(model).__name__}; point `base` at a whole checkpoint"
        )
    return model.requires_grad_(False).eval(), processor


def read_config(preset: Preset) -> PreTrainedConfig:
    """Return the base's config alone; refused as ``load_base`` refuses it."""
    with _one_line(preset):
        config = AutoConfig.from_pretrained(preset.source)
        if not hasattr(config, "vision_config"):
            raise ValueError(f"its model type is {config.model_type!r}, which reads no images")
    return config


def read_processor(preset: Preset) -> ProcessorMixin:
    """Return the base's processor alone, which can be prompted; refused as by ``load_base``."""
    with _one_line(preset):
        processor = AutoProcessor.from_pretrained(preset.source, **preset.processor)
        if not isinstance(processor, ProcessorMixin):
            raise ValueError("it has no processor for pictures and text")
        Prompter(processor)
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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tunable = get_peft_model(model, config)
    for parameter in tunable.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if preset.checkpointing:  # of the whole model, frozen encoders would get gradients as well
        decoder = model.model.get_decoder()
        decoder.gradient_checkpointing_enable({"use_reentrant": False})
    return tunable


def make_optimizer(loss: nn.Module, preset: Preset) -> Optimizer:
    """Return AdamW with a learning rate of its own for each part of the model.

    The layer by which ``loss`` has the encoder name categories learns as fast as the encoder.
    """
    groups = {
        "language": {"params": [], "peak": preset.lr_lora},
        "projector": {"params": [], "peak": preset.lr_projector},
        "vision": {"params": [], "peak": preset.lr_vision},
    }
    owner = part_of(loss.model)
    for module in loss.modules():
        tuned = [p for p in module.parameters(recurse=False) if p.requires_grad]
        groups[owner.get(module, "vision")]["params"] += tuned
    used = [group for group in groups.values() if group["params"]]
    if preset.paged and next(loss.parameters()).is_cuda:
        from bitsandbytes.optim import PagedAdamW8bit  # for CUDA alone

        return PagedAdamW8bit(used, lr=preset.lr_lora, weight_decay=0.0)
    return AdamW(used, lr=preset.lr_lora, weight_decay=0.0, fused=True)


def parts(model: nn.Module) -> dict[str, list[str]]:
    """Return the names of the modules that make up "language", "vision" and "projector".

    The projector stands beside these two, except where the encoder ends in a merger of its own.
    """
    inner, names = core(model).model, {m: n for n, m in core(model).named_modules()}
    halves = {"language": inner.get_decoder(), "vision": inner.get_encoder("image")}
    beside = [
        f"model.{name}"
        for name, child in inner.named_children()
        if child not in halves.values() and any(True for _ in child.parameters())
    ]
    mergers = [name for name in names.values() if name.endswith("visual.merger")]
    return {part: [names[m]] for part, m in halves.items()} | {"projector": beside + mergers}


def part_of(model: nn.Module) -> dict[nn.Module, str]:
    """Return the part that each module belongs to; a merger inside an encoder is a projector."""
    return {
        module: part
        for part, names in parts(model).items()
        for name in names
        for module in core(model).get_submodule(name).modules()
    }


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


@contextmanager
def _one_line(preset: Preset) -> Iterator[None]:
    """Turn what transformers finds wrong with a base into a DataError that has the mend."""
    try:
        yield
    except Exception as error:  # each file that is torn or missing fails in its own way
        said = shorten(str(error), 200).rstrip(".")
        if said.startswith("Repo id must be"):  # it has slashes and dots as only paths have
            said = "no such folder"
        mend = "point `base` at a model of the hub, or at a folder with a whole model and processor"
        if "gated" in said:
            mend = f"accept its terms on https://huggingface.co/{preset.base}, then `hf auth login`"
        elif isinstance(error, torch.OutOfMemoryError):
            mend = SHRINK
        elif isinstance(error, AttributeError) and not find_spec("torchvision"):  # for videos
            mend = "run `pip install torchvision num2words`"
        raise DataError(
            f"preset {preset.name}: base {preset.source} cannot be loaded: {said}; {mend}"
        ) from None
