"""How much memory a preset needs, known before anything is paid for: a step without weights.

One forward and backward pass runs on PyTorch's fake tensors, which have a shape and no content,
and every storage is counted while it lives. So the answer follows the code that trains;
benchmarks/memory_model.py holds it against measured peaks.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet, finalize

import psutil
import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForImageTextToText, PreTrainedConfig
from transformers.utils import logging

from dfa_lib import runtime
from dfa_lib.gpt.base import add_lora, load_base, read_config, read_processor
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
GO = "go ahead"  # the last words of what is known to fit


class Need(NamedTuple):
    """What a step of training holds in memory at its peak, in GiB."""

    weights: float
    adapters: float
    optimiser: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


def need(
    preset: Preset,
    dtype: torch.dtype,
    config: PreTrainedConfig | None = None,
    packed: Packed | None = None,
) -> Need:
    """Predict what a step on ``packed``, by default a row of typical images, needs in ``dtype``.

    ``config`` is read from the preset's base unless given. Raises DataError if base or processor
    cannot be had, NotImplementedError if an encoder is to be tuned that takes no square pictures.
    """
    config, width = config or read_config(preset), dtype.itemsize
    if packed is None:
        image = Prompter(read_processor(preset)).prefix
        tree = Tree(image, [Branch([0] * TEXT, TEXT - ANSWER)] * QA)
        packed = pack([[tree] * max(1, preset.row // tree.tokens)])
    with init_empty_weights():
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype).requires_grad_(False)
        model.set_attn_implementation({"": "sdpa", "text_config": TREES})
        tuned = add_lora(model, preset).train()
    model.tie_weights()
    linears = [m.weight.numel() for m in model.get_decoder().modules() if hasattr(m, "lora_A")]
    quantised, largest = (sum(linears), max(linears)) if preset.four_bit else (0, 0)
    count, whole = tuned.get_nb_trainable_parameters()
    tuned.to(dtype)  # autocast computes with a copy of what is tuned in this dtype
    passed = _peak(model, packed, preset)
    return Need(
        weights=((whole - count - quantised) * width + quantised * NF4) / GIB,
        adapters=count * (8 + (width if width < 4 else 0)) / GIB,
        optimiser=count * (ADAM8 if preset.paged else ADAM) / GIB,
        # less the gradients that it counted; a 4-bit weight is restored for each product
        activations=(passed - count * width + largest * width) / GIB,
    )


def free_memory() -> float:
    """Return the free memory of the device in GiB: of the GPU if there is one, else of the host."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / GIB
    return psutil.virtual_memory().available / GIB


def preflight(preset: Preset) -> str:
    """Return one line: what the preset needs, what is free here, what to do if it does not fit.

    Raises DataError for a base that training would refuse. Of one that would have to be fetched
    from the hub, the weights are left out.
    """
    here, free = runtime.device(), free_memory()
    if preset.four_bit and here.name == "cpu":
        return f"{preset.name} needs a CUDA GPU for its 4-bit weights; here use {NANO.name!r}"
    if (preset.four_bit or preset.paged) and not find_spec("bitsandbytes"):
        return f"{preset.name} needs bitsandbytes: run `pip install bitsandbytes`"
    if Path(preset.source).is_dir():  # weights of the hub would be fetched
        _check_weights(preset)
    try:
        wanted = need(preset, here.dtype)
    except NotImplementedError:
        return f"{preset.name}: what tuning its encoder needs is not known; {free:.2f} GiB are free"
    parts = ", ".join(f"{name} {value:.2f}" for name, value in wanted._asdict().items())
    line = f"{preset.name} needs {wanted.total:.2f} GiB ({parts}); {free:.2f} GiB are free"
    if wanted.total < ROOM * free:
        return f"{line}: {GO}"
    if wanted.weights > ROOM * free:
        return f"{line}: take a smaller preset"
    return f"{line}: try a lower `row`, a lower `rank` or a smaller preset"


def _check_weights(preset: Preset) -> None:
    """Refuse what training would refuse of a base in a folder; only the weights' heads are read."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        load_base(replace(preset, four_bit=False), "meta")
    finally:
        if shown:
            logging.enable_progress_bar()


def _peak(model: nn.Module, row: Packed, preset: Preset) -> int:
    """Return the bytes alive at the worst moment of a pass and its gradients, without weights."""
    shape = *row.ids.shape, model.config.get_text_config().hidden_size
    with FakeTensorMode(allow_non_fake_inputs=True), _Counted() as counted:
        model.to_empty(device="cpu")
        model.tie_weights()
        words = torch.zeros(shape, dtype=model.dtype, requires_grad=True)
        if preset.vision != "frozen":  # what a frozen one holds is gone before the words are read
            words = words + _seen(model, len(row.segments)).sum()
        hidden = model.model.get_decoder()(
            inputs_embeds=words,
            attention_mask=row.mask(model.dtype),
            position_ids=row.positions,
            use_cache=False,
            segments=row.segments,
        ).last_hidden_state
        answer_loss(model, hidden, row).backward()
    return counted.peak - sum(weight.nbytes for weight in {*model.parameters(), *model.buffers()})


def _seen(model: nn.Module, images: int) -> Tensor:
    """Return what the encoder makes of square pictures, with all that its gradients need."""
    if not (size := getattr(model.config.vision_config, "image_size", 0)):
        raise NotImplementedError
    sides = size if isinstance(size, Sequence) else (size, size)
    pictures = torch.zeros(images, 3, *sides, dtype=model.dtype)
    return model.model.get_encoder("image")(pictures).last_hidden_state


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
