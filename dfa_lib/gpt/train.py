"""Tuning: a plain loop on accelerate over images, each with all its QA on a shared prefix.

What a step does depends on the seed and the step's number alone (order, dropout, learning
rate), so that a run taken up again after an interruption ends with the same weights.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from peft import PeftModel
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from tqdm import tqdm
from transformers import ProcessorMixin

from dfa_lib import runtime
from dfa_lib.conditions import Everyday, Images
from dfa_lib.gpt import checkpoint
from dfa_lib.gpt.adapter import probe, save_tuned
from dfa_lib.gpt.checkpoint import trainable, whole
from dfa_lib.gpt.forward import PrefixLoss, check_image_tokens, core, on_device, part_of, shares
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.samples import Sample, categories, collate, encode, plan, rows
from dfa_lib.gpt.trees import Branch, Packed, Tree
from dfa_lib.records import (
    DataError,
    InstructRecord,
    JsonlLog,
    Record,
    read_jsonl,
    write_jsonl,
)

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"


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


def make_optimizer(model: nn.Module, preset: Preset) -> Optimizer:
    """Return AdamW with a learning rate of its own for each part."""
    owner = part_of(model)
    groups = {
        "language": {"params": [], "peak": preset.lr_lora},
        "projector": {"params": [], "peak": preset.lr_projector},
        "vision": {"params": [], "peak": preset.lr_vision},
    }
    for module in model.modules():
        tuned = [p for p in module.parameters(recurse=False) if p.requires_grad]
        groups[owner.get(module, "language")]["params"] += tuned
    groups = [group for group in groups.values() if group["params"]]
    if preset.paged and next(model.parameters()).is_cuda:
        from bitsandbytes.optim import PagedAdamW8bit  # for CUDA alone

        return PagedAdamW8bit(groups, lr=preset.lr_lora, weight_decay=0.0)
    return AdamW(groups, lr=preset.lr_lora, weight_decay=0.0)


class Trainer:
    """The pieces of a run, and one step of it."""

    def __init__(
        self, model: PeftModel, prompter: Prompter, images: Images, preset: Preset, seed: int
    ) -> None:
        # features may be taken below an encoder's last layer, which then gets no gradient
        idle = DistributedDataParallelKwargs(find_unused_parameters=preset.vision != "frozen")
        self.accelerator = Accelerator(mixed_precision=_mixed(), kwargs_handlers=[idle])
        self.main = self.accelerator.is_main_process
        self.preset, self.seed = preset, seed
        if preset.batch % self.accelerator.num_processes:
            raise DataError(
                f"preset {preset.name}: batch {preset.batch} does not divide among "
                f"{self.accelerator.num_processes} processes; change one of them"
            )
        inner = core(model).model
        if preset.checkpointing:
            parts = [inner.get_decoder()]
            parts += [inner.get_encoder("image")] if preset.vision != "frozen" else []
            for part in parts:
                part.gradient_checkpointing_enable({"use_reentrant": False})
        self.prompter, self.images = prompter, Everyday(images) if preset.everyday else images
        self.shares = self._can_share(model)
        naming = 0.0 if preset.vision == "frozen" else preset.naming
        tuner, optimizer = PrefixLoss(model, self.shares, naming), make_optimizer(model, preset)
        if naming:
            head = {"params": [*tuner.layer.parameters()], "peak": preset.lr_vision}
            optimizer.add_param_group(head)
        self.plain = tuner  # which accelerate wraps, or changes in place
        self.tuner, self.optimizer = self.accelerator.prepare(tuner, optimizer)

    def passes(self, batch: Sequence[Sample]) -> list[tuple[list[Sample], float]]:
        """The rows of this process and what each counts.

        All processes make as many passes as the busiest, because FSDP gathers weights in each:
        the spare ones count nothing.
        """
        count = self.accelerator.num_processes
        shares = [self._rows(batch[rank::count]) for rank in range(count)]
        mine = shares[self.accelerator.process_index]
        spare = max(map(len, shares)) - len(mine)
        return [(row, 1.0) for row in mine] + [(shares[0][0], 0.0)] * spare

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
        passes, losses = self.passes(batch), []
        for place, (row, counts) in enumerate(passes, start=1):
            last = place == len(passes)
            self.accelerator.sync_gradients = last  # DeepSpeed steps when it is told so
            with nullcontext() if last else self.accelerator.no_sync(self.tuner):
                losses.append(self._backward(row, batch, counts))
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
        scores = []
        for row, counts in self.passes(samples):
            scores.append(self.tuner(*self._inputs(row, samples), check=True) * counts)
        loss, wrong = self._summed(scores).tolist()
        answers = sum(len(sample.answers) for sample in samples)
        return {"val_loss": loss, "val_right": 1 - wrong / answers}

    def _late(self, saved: float) -> bool:
        """Return whether some process has not saved since the preset's minutes."""
        waited = float(time.monotonic() - saved > 60 * self.preset.save_minutes)
        return bool(self._summed([torch.tensor(waited, device=self.accelerator.device)]))

    def _mode(self, training: bool) -> None:
        self.tuner.train(training)
        core(self.plain.model).model.get_encoder("image").eval()  # statistics as they were learned

    def _rows(self, share: Sequence[Sample]) -> list[list[Sample]]:
        """Return what goes through the model at once."""
        if self.shares:
            return rows(share, self.preset.row)
        return [[single] for sample in share for single in sample.alone()]

    def _can_share(self, model: nn.Module) -> bool:
        """Return whether this base's questions can share an image; say so if they cannot."""
        blank = self.prompter.pictures([np.zeros((224, 224, 3), np.uint8)])
        branches = [Branch(self.prompter.question(text), 0) for text in ("?", "Is it forged?")]
        able = shares(model, Tree(self.prompter.prefix, branches), on_device(model, blank))
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

    def _backward(self, row: Sequence[Sample], batch: Sequence[Sample], counts: float) -> Tensor:
        """Gradients of a row's share of the batch's loss, and that share."""
        loss = self.tuner(*self._inputs(row, batch)) * counts
        if not loss.isfinite():
            raise DataError(
                f"the loss is {loss.item()} on faces {', '.join(s.face.id for s in row)}; "
                "look at these records, or lower the learning rates of the preset"
            )
        # DDP takes the mean over processes where the loss of the batch is their sum
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    def _summed(self, parts: Sequence[Tensor]) -> Tensor:
        """The sum over the passes of all processes."""
        return self.accelerator.reduce(torch.stack(list(parts)).sum(0), reduction="sum")


def train(
    model: PeftModel,
    processor: ProcessorMixin,
    faces: Images,
    records: Iterable[InstructRecord],
    preset: Preset,
    out: Path,
    *,
    validation: Iterable[InstructRecord] = (),
    watch: Callable[[Sequence[Step]], None] | None = None,
    seed: int = 0,
) -> list[Step]:
    """Tune ``model`` in place and write ``out``/adapter, log.jsonl and checkpoint.safetensors.

    An interrupted run with the same data, preset and seed is taken up where it was; a
    finished one is not repeated. ``validation`` records are scored at every checkpoint;
    ``watch`` gets the log after every step, and at first what a run taken up has. Returns the log.
    """
    prompter = Prompter(processor)
    check_image_tokens(model, prompter)
    samples = [encode(prompter, record) for record in records]
    held_out = [encode(prompter, record) for record in validation]
    order = plan(len(samples), preset, seed)
    run = _fingerprint(model, samples, preset, seed)
    trainer = Trainer(model, prompter, faces, preset, seed)
    state = trainer.accelerator, trainer.plain, trainer.optimizer
    begin = checkpoint.load(out / CHECKPOINT, *state, run)
    log = [step for step in read_jsonl(out / LOG, Step) if step.step <= begin] if begin else []
    if trainer.main:
        write_jsonl(out / LOG, log)
    with JsonlLog(out / LOG) if trainer.main else nullcontext() as journal:
        if log and watch and journal:
            watch(log)
        for step, due in trainer.steps(samples, held_out, order, begin):
            log.append(step)
            if journal:  # before the checkpoint, so that no step of a resumed run lacks its line
                journal.append(step)
                if watch:
                    watch(log)
            if due:
                checkpoint.save(out / CHECKPOINT, *state, step.step, run)
    weights = {name: whole(p) for name, p in trainable(model).items()}
    if trainer.main:
        facts = _facts(samples, log)
        facts |= {"seed": seed, "processes": trainer.accelerator.num_processes}
        save_tuned(model, processor, preset, out / "adapter", facts, weights)
    trainer.accelerator.wait_for_everyone()
    model.eval()
    return log


def _mixed() -> str:
    # bfloat16 on a CPU compiles its kernels anew for every new batch shape: a hundred times slower
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(runtime.device().dtype, "no")


def _fingerprint(model: nn.Module, samples: Sequence[Sample], preset: Preset, seed: int) -> str:
    """What makes a run the same run: base, data, preset and seed."""
    digest = hashlib.sha256(repr((preset, seed, probe(model).tolist())).encode())
    for sample in samples:
        digest.update(sample.face.sha256.encode())
        for ids in (sample.tree.prefix, *(branch.ids for branch in sample.tree.branches)):
            digest.update(np.asarray(ids, np.int32).tobytes())
    return digest.hexdigest()


def _facts(samples: Sequence[Sample], log: Sequence[Step]) -> dict[str, object]:
    answers = sum(len(sample.answers) for sample in samples)
    return {
        "data": f"{len(samples):,} images with {answers:,} questions",
        "steps": len(log),
        "loss": f"{log[0].loss:.3f} at first, {log[-1].loss:.3f} at last",
        "seconds": f"{sum(step.seconds for step in log):.0f}",
    }
