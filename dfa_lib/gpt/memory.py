"""How much memory a preset needs, known before anything is paid for: a rehearsal without weights.

One forward and backward pass runs on PyTorch's ``meta`` device, where tensors have a shape and
no content, and every storage is counted while it lives. So the answer follows the code that
trains, whatever becomes of it; benchmarks/memory_model.py holds it against measured peaks.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from unittest.mock import patch

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlavaConfig

from dfa_lib import runtime
from dfa_lib.gpt.attention import TREES
from dfa_lib.gpt.base import add_lora
from dfa_lib.gpt.forward import answer_loss, core
from dfa_lib.gpt.presets import NANO, PRESETS, Preset
from dfa_lib.gpt.shapes import config_of, image_tokens, skeleton
from dfa_lib.gpt.trees import Node, Packed, grove, pack

GIB = 2**30
QA, TEXT, ANSWER = 7, 64, 32
"""A typical image: questions, tokens of each with its answer, tokens of the answer."""
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight: four bits, and their scales quantised twice."""
ROOM = 0.95
"""The share of the free memory that a step may take."""
ADAM, ADAM8 = 8.0, 2.0 + 2 * 4 / 256
"""Bytes of optimiser state per trained weight: two moments in 32 bits, or in 8 with scales."""


@dataclass(frozen=True)
class Need:
    """What a step of training holds in memory at its peak, in GiB."""

    weights: float
    adapters: float
    optimiser: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.adapters + self.optimiser + self.activations


def need(preset: Preset, dtype: torch.dtype, packed: Packed | None = None) -> Need:
    """Rehearse a pass over ``packed``, by default a row of typical images, in ``dtype``."""
    config = config_of(preset)
    model = skeleton(config).to(dtype).requires_grad_(False)
    model.set_attn_implementation({"text_config": TREES})
    tuned = core(add_lora(model, preset)).train()
    trained = [p for p in tuned.parameters() if p.requires_grad]
    count, width = sum(p.numel() for p in trained), dtype.itemsize
    if width < 4:  # autocast keeps a copy of each trained weight in the dtype of the base
        for parameter in trained:
            parameter.data = parameter.data.to(dtype)
    quantised = _quantise(tuned) if preset.four_bit else 0
    if preset.checkpointing:
        model.model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
    frozen = sum(p.numel() for p in tuned.parameters() if not p.requires_grad) - quantised
    row = (packed or _typical(config, preset)).to(torch.device("meta"))
    passed = _peak(model, row)
    return Need(
        weights=(frozen * width + quantised * NF4) / GIB,
        adapters=count * (8 if width == 4 else 8 + width) / GIB,
        optimiser=count * (ADAM8 if preset.paged else ADAM) / GIB,
        activations=(passed - count * width) / GIB,  # without the gradients that it counted
    )


def free_memory() -> float:
    """The free memory of the device in GiB: of the GPU if there is one, else of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / GIB
    return psutil.virtual_memory().available / GIB


def preflight(preset: Preset) -> str:
    """One line: what the preset needs, what is free here, and what to do if it does not fit."""
    here, free = runtime.device(), free_memory()
    if preset.four_bit and here.name == "cpu":
        return f"{preset.name} needs a CUDA GPU for its 4-bit weights; here use {NANO.name!r}"
    if preset.four_bit and not find_spec("bitsandbytes"):
        return f"{preset.name} needs bitsandbytes: run `pip install bitsandbytes`"
    if not isinstance(config_of(preset), LlavaConfig):
        return f"{preset.name}: no prediction for this family; {free:.2f} GiB are free"
    wanted = need(preset, here.dtype)
    fits = wanted.total < ROOM * free
    parts = ", ".join(f"{name} {value:.2f}" for name, value in vars(wanted).items())
    line = f"{preset.name} needs {wanted.total:.2f} GiB ({parts}); {free:.2f} GiB are free"
    return f"{line}: {'go ahead' if fits else _instead(preset, wanted, here, free)}"


def _instead(preset: Preset, wanted: Need, here: runtime.Device, free: float) -> str:
    """What to do where a preset does not fit: make it smaller, or take the next that does."""
    can_shrink = wanted.weights < ROOM * free
    ways = ["a lower `row`", "a lower `rank`"] if can_shrink else []
    if here.name != "cpu" and not preset.four_bit:
        ways.append("`four_bit=True`")
    before = list(PRESETS.values())[: list(PRESETS).index(preset.name)]
    known = (p for p in before[::-1] if p.name == NANO.name or "llava" in p.name)
    possible = (p for p in known if here.name != "cpu" or not p.four_bit)
    ways += [repr(p.name) for p in possible if need(p, here.dtype).total < ROOM * free][:1]
    return f"try {' or '.join(ways)}" if ways else "free some of it"


def _typical(config: LlavaConfig, preset: Preset) -> Packed:
    image, token = image_tokens(config), config.image_token_id
    tree = [Node([0, *[token] * image]), *([Node([0] * TEXT, 0, TEXT - ANSWER)] * QA)]
    images = max(1, preset.row // (image + 1 + QA * TEXT))
    return pack([grove([tree] * images)])


def _peak(model: nn.Module, row: Packed) -> int:
    """Bytes alive at the worst moment of a forward and a backward pass, weights left out."""
    counted = _Counted()
    fused = patch.object(nn.functional, "scaled_dot_product_attention", _fused)
    with torch.device("meta"), fused, counted:
        answer_loss(model, _hidden(core(model), row), row).backward()
    return counted.peak


def _hidden(model: nn.Module, row: Packed) -> Tensor:
    """The forward pass in its parts: the whole one compares token counts, which meta has not."""
    side, words = model.config.vision_config.image_size, model.get_input_embeddings()(row.ids)
    pictures = torch.zeros(len(row.roots), 3, side, side, dtype=words.dtype)
    seen = model.get_image_features(pixel_values=pictures, return_dict=True).pooler_output
    image = torch.stack(list(seen)).to(words.dtype)
    places = row.roots[:, 1:] + 1 + torch.arange(image.shape[1])
    words = words.index_put((row.roots[:, :1], places), image)
    decoder = model.model.get_decoder()
    return decoder(
        inputs_embeds=words,
        attention_mask=row.mask(words.dtype),
        position_ids=row.positions,
        use_cache=False,
        segments=row.segments,
    ).last_hidden_state


class _Counted(TorchDispatchMode):
    """Counts the bytes of every storage made inside, as long as it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        before = {_key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _key(tensor) not in before | self.alive.keys():
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self.alive[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _fused(*args: Tensor, enable_gqa: bool = False, **kwargs: object) -> Tensor:
    """Attention as fused kernels do it; on ``meta`` PyTorch would write out all probabilities."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args, **kwargs)[0]


class _Nf4(torch.autograd.Function):
    """A linear layer that makes its weight anew from four bits whenever it needs it."""

    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, shape: tuple[int, int]) -> Tensor:
        ctx.shape = shape
        return linear(inputs, inputs.new_empty(shape))

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ gradient.new_empty(ctx.shape), None


class _Linear4(nn.Module):
    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = layer.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return _Nf4.apply(inputs, tuple(self.weight.shape))


def _quantise(model: nn.Module) -> int:
    """Put stand-ins for 4-bit layers below the adapters; how many weights they hold."""
    layers = [m for m in model.modules() if hasattr(m, "lora_A")]
    for layer in layers:
        layer.base_layer = _Linear4(layer.base_layer)
    return sum(layer.base_layer.weight.numel() for layer in layers)
