"""How much memory a preset needs, known before anything is paid for: a step without weights.

One forward and backward pass runs on PyTorch's fake tensors, which have a shape and no content,
and every storage is counted while it lives. So the answer follows the code that trains;
benchmarks/memory_model.py holds it against measured peaks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from weakref import WeakSet, finalize

import psutil
import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForImageTextToText, PreTrainedConfig

from dfa_lib import runtime
from dfa_lib.gpt.base import add_lora, read_config, read_processor
from dfa_lib.gpt.forward import answer_loss
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import NANO, Preset
from dfa_lib.gpt.trees import TREES, Branch, Packed, Tree, pack

GIB = 2**30
QA, TEXT, ANSWER = 7, 64, 32
"""A typical image: questions, tokens of each with its answer, tokens of the answer."""
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight: four bits, and their scales quantised twice."""
ADAM, ADAM8 = 8.0, 2.0 + 2 * 4 / 256
"""Bytes of optimiser state per trained weight: two moments in 32 bits, or in 8 with scales."""
ROOM = 0.95
"""The share of the free memory that a step may take."""


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


def need(
    preset: Preset,
    dtype: torch.dtype,
    config: PreTrainedConfig | None = None,
    packed: Packed | None = None,
) -> Need:
    """Predict what a step on ``packed``, by default a row of typical images, needs in ``dtype``.

    ``config`` is read from the preset's base unless given. Raises DataError if it cannot be had,
    or if an encoder is to be tuned that takes anything but square pictures.
    """
    config = config or read_config(preset)
    width = dtype.itemsize
    with init_empty_weights():
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype).requires_grad_(False)
        model.set_attn_implementation({"": "sdpa", "text_config": TREES})
        tuned = add_lora(model, preset).train()
    model.tie_weights()
    linears = [m.weight.numel() for m in model.get_decoder().modules() if hasattr(m, "lora_A")]
    quantised, largest = (sum(linears), max(linears)) if preset.four_bit else (0, 0)
    sizes = {True: 0, False: 0}
    for parameter in tuned.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
        parameter.data = parameter.data.to(dtype)  # autocast computes with a copy in this dtype
    count, copied = sizes[True], width if width < 4 else 0
    if packed is None:
        image = [0] * (image_tokens(config, preset.side) + 1)
        tree = Tree(image, [Branch([0] * TEXT, TEXT - ANSWER)] * QA)
        packed = pack([[tree] * max(1, preset.row // tree.tokens)])
    passed = _peak(model, packed, preset)
    return Need(
        weights=((sizes[False] - quantised) * width + quantised * NF4) / GIB,
        adapters=count * (8 + copied) / GIB,
        optimiser=count * (ADAM8 if preset.paged else ADAM) / GIB,
        # less the gradients that it counted; a 4-bit weight is restored for each product
        activations=(passed - count * width + largest * width) / GIB,
    )


def image_tokens(config: PreTrainedConfig, side: int) -> int:
    """Return how many tokens a square picture of ``side`` pixels takes."""
    vision = config.vision_config
    merged = getattr(vision, "spatial_merge_size", None) or getattr(config, "scale_factor", 1)
    return (side // vision.patch_size // merged) ** 2


def free_memory() -> float:
    """Return the free memory of the device in GiB: of the GPU if there is one, else of the host."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / GIB
    return psutil.virtual_memory().available / GIB


def preflight(preset: Preset) -> str:
    """Return one line: what the preset needs, what is free here, what to do if it does not fit."""
    here, free = runtime.device(), free_memory()
    if preset.four_bit and here.name == "cpu":
        return f"{preset.name} needs a CUDA GPU for its 4-bit weights; here use {NANO.name!r}"
    if (preset.four_bit or preset.paged) and not find_spec("bitsandbytes"):
        return f"{preset.name} needs bitsandbytes: run `pip install bitsandbytes`"
    Prompter(read_processor(preset))  # which refuses what cannot be trained on
    wanted = need(preset, here.dtype)
    parts = ", ".join(f"{name} {value:.2f}" for name, value in vars(wanted).items())
    line = f"{preset.name} needs {wanted.total:.2f} GiB ({parts}); {free:.2f} GiB are free"
    if wanted.total < ROOM * free:
        return f"{line}: go ahead"
    if wanted.weights > ROOM * free:
        return f"{line}: take a smaller preset"
    return f"{line}: try a lower `row`, a lower `rank` or a smaller preset"


def _peak(model: nn.Module, row: Packed, preset: Preset) -> int:
    """Return the bytes alive at the worst moment of a pass and its gradients, without weights."""
    decoder = model.model.get_decoder()
    if preset.checkpointing:
        decoder.gradient_checkpointing_enable({"use_reentrant": False})
    with FakeTensorMode(allow_non_fake_inputs=True), _Counted() as counted:
        model.to_empty(device="cpu")
        model.tie_weights()
        hidden = decoder(
            inputs_embeds=_words(model, row, preset),
            attention_mask=row.mask(model.dtype),
            position_ids=row.positions,
            use_cache=False,
            segments=row.segments,
        ).last_hidden_state
        answer_loss(model, hidden, row).backward()
    return counted.peak - sum(weight.nbytes for weight in {*model.parameters(), *model.buffers()})


def _words(model: nn.Module, row: Packed, preset: Preset) -> Tensor:
    """Return embeddings (1, L, D) that hang on the encoder and projector where those are tuned."""
    width = model.config.get_text_config().hidden_size
    words = torch.zeros(*row.ids.shape, width, dtype=model.dtype, requires_grad=True)
    if preset.vision == "frozen":  # what it holds is gone before the language model begins
        return words
    side = model.config.vision_config.image_size
    pictures = torch.zeros(len(row.segments), 3, side, side, dtype=model.dtype)
    return words + sum(seen.sum() for seen in model.get_image_features(pictures).pooler_output)


class _Counted(TorchDispatchMode):
    """Counts the bytes of every storage made inside, as long as it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.known: WeakSet[torch.UntypedStorage] = WeakSet()
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run ``func`` and count what is new in its result."""
        result = func(*args, **(kwargs or {}))
        for storage in (t.untyped_storage() for t in tree_leaves(result) if isinstance(t, Tensor)):
            if storage not in self.known:
                self.known.add(storage)
                self._add(storage.nbytes())
                finalize(storage, self._add, -storage.nbytes())
        return result

    def _add(self, count: int) -> None:
        self.now += count
        self.peak = max(self.peak, self.now)
