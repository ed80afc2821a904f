"""One optimiser step on accelerate: images, each with all its QA on a shared prefix.

What a step does depends on the seed and the step's number alone (order, dropout, learning
rate), so that a run taken up again after an interruption ends with the same weights.
"""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from peft import PeftModel
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from tqdm import tqdm

from dfa_lib import runtime
from dfa_lib.conditions import Everyday, Images
from dfa_lib.files import atomic
from dfa_lib.gpt.forward import PrefixLoss, core, on_device, part_of, shares
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.samples import Sample, categories, collate, rows
from dfa_lib.gpt.trees import Branch, Packed, Tree
from dfa_lib.records import DataError, Record


class Step(Record):
    """One line of the training log; ``norm`` is the gradient's before clipping.

    ``norm`` is infinite where fp16 overflowed and the step was left out. ``val_loss`` and
    ``val_right`` (share of answers whose every token is the likeliest) stand at each checkpoint.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings")

    step: int
    loss: float
    norm: float
    lr_lora: float
    lr_projector: float
    seconds: float
    val_loss: float | None = None
    val_right: float | None = None


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rates: linear warm-up, then half a cosine down to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def make_optimizer(loss: PrefixLoss, preset: Preset) -> Optimizer:
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
    return AdamW(used, lr=preset.lr_lora, weight_decay=0.0)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what tuning changes, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


class Trainer:
    """A model with its optimiser, and what one step does to them.

    Where several processes share the work, each has the whole model and some of the images.
    """

    def __init__(
        self, model: PeftModel, prompter: Prompter, images: Images, preset: Preset, seed: int
    ) -> None:
        # features may be taken below an encoder's last layer, which then gets no gradient
        idle = DistributedDataParallelKwargs(find_unused_parameters=preset.vision != "frozen")
        self.accelerator = Accelerator(mixed_precision=_mixed(), kwargs_handlers=[idle])
        self.main = self.accelerator.is_main_process
        self.preset, self.seed = preset, seed
        if preset.batch < self.accelerator.num_processes:
            raise DataError(
                f"preset {preset.name}: a batch of {preset.batch} images leaves some of the "
                f"{self.accelerator.num_processes} processes without one; raise `batch`"
            )
        if preset.checkpointing:
            core(model).gradient_checkpointing_enable({"use_reentrant": False})
        self.prompter, self.images = prompter, Everyday(images) if preset.everyday else images
        self.shares = self._can_share(model)
        naming = 0.0 if preset.vision == "frozen" else preset.naming
        self.loss = PrefixLoss(model, self.shares, naming)
        optimizer = make_optimizer(self.loss, preset)
        self.joint_loss, self.optimizer = self.accelerator.prepare(self.loss, optimizer)

    def steps(
        self, samples: Sequence[Sample], held_out: Sequence[Sample], order: np.ndarray, begin: int
    ) -> Iterator[tuple[Step, bool]]:
        """Do the steps of ``order`` (steps, batch) after the first ``begin``.

        Yields each step, and whether a checkpoint is due; there ``held_out`` samples are scored.
        """
        saved, talk = time.monotonic(), self.preset.talk
        bar = tqdm(order[begin:], "tuning", len(order), initial=begin, disable=not self.main)
        for done, row in enumerate(bar, start=begin + 1):
            batch = [samples[i].with_talk(talk, done) if talk else samples[i] for i in row]
            step = self.step(batch, done - 1, len(order))
            due = done % self.preset.save_every == 0 or done == len(order) or self._late(saved)
            if due and held_out:
                step = step.model_copy(update=self.validate(held_out))
            bar.set_postfix(loss=f"{step.loss:.3f}")
            yield step, due
            if due:
                saved = time.monotonic()

    def step(self, batch: Sequence[Sample], number: int, steps: int) -> Step:
        """Optimiser step ``number`` of ``steps`` on ``batch``, each process on its share."""
        begin = time.perf_counter()
        seed = np.random.SeedSequence((self.seed, number, self.accelerator.process_index))
        torch.manual_seed(int(seed.generate_state(1)[0]))
        factor = schedule(number, steps, self.preset.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self._mode(training=True)
        *first, last = self._rows(batch)
        with self.accelerator.no_sync(self.joint_loss):
            losses = [self._backward(row, batch) for row in first]
        losses.append(self._backward(last, batch))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = self.accelerator.clip_grad_norm_(parameters, self.preset.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return Step(
            step=number + 1,
            loss=self._summed(losses).item(),
            norm=float(norm),
            lr_lora=self.preset.lr_lora * factor,
            lr_projector=self.preset.lr_projector * factor,
            seconds=round(time.perf_counter() - begin, 3),
        )

    @torch.no_grad()
    def validate(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Mean loss on ``samples`` and share of answers given word by word: fields of Step."""
        self._mode(training=False)
        scores = [self.loss(*self._inputs(row, samples), check=True) for row in self._rows(samples)]
        loss, wrong = self._summed(scores or [torch.zeros(2, device=self.accelerator.device)])
        answers = sum(len(sample.answers) for sample in samples)
        return {"val_loss": loss.item(), "val_right": 1 - wrong.item() / answers}

    def save(self, file: Path, run: str, step: int) -> None:
        """Write the state after ``step`` steps of ``run``; the file is complete or the old one."""
        scaler = self.accelerator.scaler
        state = {
            "run": run,
            "step": step,
            "weights": trainable(self.loss),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
        }
        with atomic(file, "wb") as whole:
            torch.save(state, whole)

    def load(self, file: Path, run: str) -> int:
        """Take up the state of ``run`` if ``file`` holds it; return how many steps it has done.

        Raises DataError if it is damaged, or its weights are not those that are tuned here.
        """
        if not file.is_file():
            return 0
        try:
            state = torch.load(file, "cpu", weights_only=True)
        except Exception:  # a file that is cut off fails in many ways
            raise DataError(f"{file}: is damaged; remove it to start from the beginning") from None
        if state["run"] != run:
            return 0
        shapes = {name: weight.shape for name, weight in trainable(self.loss).items()}
        if {name: weight.shape for name, weight in state["weights"].items()} != shapes:
            raise DataError(
                f"{file}: of a run with other LoRA targets or another rank; remove it, or use those"
            )
        self.loss.load_state_dict(state["weights"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        return state["step"]

    def _late(self, saved: float) -> bool:
        """Return whether some process has not saved since the preset's minutes."""
        waited = float(time.monotonic() - saved > 60 * self.preset.save_minutes)
        return bool(self._summed([torch.tensor(waited, device=self.accelerator.device)]))

    def _mode(self, training: bool) -> None:
        self.joint_loss.train(training)
        core(self.loss.model).model.get_encoder("image").eval()  # statistics as they were learned

    def _rows(self, batch: Sequence[Sample]) -> list[list[Sample]]:
        """Return this process's samples of a batch, as they go through the model together."""
        share = batch[self.accelerator.process_index :: self.accelerator.num_processes]
        if self.shares:
            return rows(share, self.preset.row)
        return [[single] for sample in share for single in sample.alone()]

    def _can_share(self, model: nn.Module) -> bool:
        """Return whether this base's questions can share an image; say so if they cannot."""
        branches = [Branch(self.prompter.question(text), 0) for text in ("?", "Is it forged?")]
        tree, blank = Tree(self.prompter.prefix, branches), on_device(model, self.prompter.blank)
        able = shares(model, tree, blank)
        if not able and self.main:
            print(f"{self.preset.name}: this family cannot share an image: one sequence per QA")
        return able

    def _inputs(
        self, row: Sequence[Sample], batch: Sequence[Sample]
    ) -> tuple[dict[str, Tensor], Packed, tuple[Tensor, ...]]:
        """Return what the loss takes."""
        device = self.accelerator.device
        pictures = self.prompter.pictures([self.images.image(sample.face) for sample in row])
        named = tuple(part.to(device) for part in categories(row, batch))
        return pictures, collate(row, batch, self.preset).to(device), named

    def _backward(self, row: Sequence[Sample], batch: Sequence[Sample]) -> Tensor:
        """Add the gradients of a row's share of the batch's loss; return that share."""
        loss = self.joint_loss(*self._inputs(row, batch))
        if not loss.isfinite():
            raise DataError(
                f"the loss is {loss.item()} on faces {', '.join(s.face.id for s in row)}; "
                "look at these records, or lower the learning rates of the preset"
            )
        # DDP takes the mean over processes where the loss of the batch is their sum
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    def _summed(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the sum over the rows of all processes."""
        return self.accelerator.reduce(torch.stack(list(parts)).sum(0), reduction="sum")


def _mixed() -> str:
    # bfloat16 on a CPU compiles its kernels anew for every new batch shape: a hundred times slower
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(runtime.device().dtype, "no")
