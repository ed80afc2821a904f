"""Tuning on accelerate: from records to an adapter; a run can be interrupted and taken up again.

A step takes images, each with all its QA on a shared prefix. What it does depends on the seed and
the step's number alone (order, dropout, learning rate), so that a run taken up again after an
interruption ends with the same weights.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from peft import PeftModel
from pydantic import ConfigDict
from torch import Tensor, nn
from tqdm import tqdm
from transformers import ProcessorMixin

from dfa_lib import runtime
from dfa_lib.conditions import Everyday, Images
from dfa_lib.files import atomic, digest
from dfa_lib.gpt.adapter import probe, save_tuned
from dfa_lib.gpt.base import make_optimizer
from dfa_lib.gpt.forward import Pictures, PrefixLoss, check_image_tokens, core, shares
from dfa_lib.gpt.prefix import Prompter, encode
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.trees import Branch, Packed, Tree, collate, fitted, plan
from dfa_lib.records import DataError, InstructRecord, JsonlLog, Record, read_jsonl, write_jsonl

CHECKPOINT = "checkpoint.pt"
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
    """Tune ``model`` in place and write ``out``/adapter, log.jsonl and checkpoint.pt.

    An interrupted run with the same data, preset and seed is taken up where it was; a
    finished one is not repeated. What another run left there is set aside, and where is
    printed. ``validation`` records are scored at every checkpoint;
    ``watch`` gets the log after every step, and at first what a run taken up has. Returns the log.
    """
    prompter = Prompter(processor)
    check_image_tokens(model, prompter)
    trees = [encode(prompter, record) for record in records]
    held_out = [encode(prompter, record) for record in validation]
    order = plan(len(trees), preset, seed)
    told = [(tree.face.sha256, *(branch.ids for branch in tree.branches)) for tree in trees]
    run = digest(repr((preset, seed, probe(model).tolist(), prompter.prefix, told)))
    trainer = Trainer(model, prompter, faces, preset, seed)
    main = trainer.accelerator.is_main_process
    begin = trainer.load(out / CHECKPOINT, run)
    if main and not begin:
        _set_aside(out)
    trainer.accelerator.wait_for_everyone()
    log = _logged(out / LOG, begin)
    if main:
        write_jsonl(out / LOG, log)
    if main and watch and log:
        watch(log)
    with JsonlLog(out / LOG, Step) if main else nullcontext() as journal:
        for step, due in trainer.steps(trees, held_out, order, begin):
            log.append(step)
            if journal:  # before the checkpoint, so that no step of a resumed run lacks its line
                journal.append(step)
                if watch:
                    watch(log)
                if due:
                    trainer.save(out / CHECKPOINT, run, step.step)
    if main:
        facts = {"seed": seed, "processes": trainer.accelerator.num_processes}
        save_tuned(model, processor, preset, out / "adapter", _facts(trees, log) | facts)
    trainer.accelerator.wait_for_everyone()
    model.eval()
    return log


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rates: linear warm-up, then half a cosine down to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class Trainer:
    """A model with its optimiser, and what one step does to them.

    Where several processes share the work, each has the whole model and some of the images.
    """

    def __init__(
        self, model: PeftModel, prompter: Prompter, images: Images, preset: Preset, seed: int
    ) -> None:
        # features may be taken below an encoder's last layer, which then gets no gradient
        idle = DistributedDataParallelKwargs(find_unused_parameters=preset.vision != "frozen")
        # bfloat16 on a CPU compiles its kernels anew for every batch shape: a hundred times slower
        mixed = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(runtime.device().dtype, "no")
        self.accelerator = Accelerator(mixed_precision=mixed, kwargs_handlers=[idle])
        self.preset, self.seed = preset, seed
        if preset.batch < self.accelerator.num_processes:
            raise DataError(
                f"preset {preset.name}: a batch of {preset.batch} images leaves some of the "
                f"{self.accelerator.num_processes} processes without one; raise `batch`"
            )
        self.prompter, self.images = prompter, Everyday(images) if preset.everyday else images
        branches = [Branch(prompter.question(text), 0) for text in ("?", "Is it forged?")]
        self.shares = shares(model, Tree(prompter.prefix, branches), prompter.blank)
        if not self.shares:
            self.accelerator.print(
                f"{preset.name}: this family cannot share an image: one sequence per QA"
            )
        naming = 0.0 if preset.vision == "frozen" else preset.naming
        self.loss = PrefixLoss(model, self.shares, naming)
        optimizer = make_optimizer(self.loss, preset)
        self.joint_loss, self.optimizer = self.accelerator.prepare(self.loss, optimizer)

    def steps(
        self, trees: Sequence[Tree], held_out: Sequence[Tree], order: np.ndarray, begin: int
    ) -> Iterator[tuple[Step, bool]]:
        """Do the steps of ``order`` (steps, batch) after the first ``begin``.

        Yields each step, and whether a checkpoint is due; there ``held_out`` images are scored.
        """
        hidden = not self.accelerator.is_main_process
        bar = tqdm(order[begin:], "tuning", len(order), initial=begin, disable=hidden)
        saved = time.monotonic()
        for done, chosen in enumerate(bar, start=begin + 1):
            step = self.step([trees[i] for i in chosen], done - 1, len(order))
            if time.monotonic() - saved > 60 * self.preset.save_minutes:
                self.accelerator.set_trigger()  # one process that is late is enough
            due = done % self.preset.save_every == 0 or done == len(order)
            due |= self.accelerator.check_trigger()
            if due and held_out:
                step = step.model_copy(update=self.validate(held_out))
            bar.set_postfix(loss=f"{step.loss:.3f}")
            yield step, due
            if due:
                saved = time.monotonic()

    def step(self, batch: Sequence[Tree], number: int, steps: int) -> Step:
        """Optimiser step ``number`` of ``steps`` on ``batch``, each process on its share."""
        begin = time.perf_counter()
        seed = np.random.SeedSequence((self.seed, number, self.accelerator.process_index))
        torch.manual_seed(int(seed.generate_state(1)[0]))
        if self.preset.talk:
            batch = [tree.with_talk(self.preset.talk, number + 1) for tree in batch]
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
    def validate(self, held_out: Sequence[Tree]) -> dict[str, float]:
        """Mean loss on ``held_out`` and share of answers given word by word: fields of Step."""
        self._mode(training=False)
        rows = self._rows(held_out)
        scores = [self.loss(*self._inputs(row, held_out), check=True) for row in rows]
        loss, wrong = self._summed(scores or [torch.zeros(2, device=self.accelerator.device)])
        answers = sum(len(tree.branches) for tree in held_out)
        return {"val_loss": loss.item(), "val_right": 1 - wrong.item() / answers}

    def save(self, file: Path, run: str, step: int) -> None:
        """Write the state after ``step`` steps of ``run``; the file is complete or the old one."""
        scaler = self.accelerator.scaler
        state = {
            "run": run,
            "step": step,
            "weights": self._tuned(),
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
        shapes = {name: weight.shape for name, weight in self._tuned().items()}
        if {name: weight.shape for name, weight in state["weights"].items()} != shapes:
            raise DataError(
                f"{file}: of a run with other LoRA targets or another rank; remove it, or use those"
            )
        self.loss.load_state_dict(state["weights"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        return state["step"]

    def _tuned(self) -> dict[str, nn.Parameter]:
        """Return what tuning changes, by name."""
        return {name: p for name, p in self.loss.named_parameters() if p.requires_grad}

    def _mode(self, training: bool) -> None:
        self.joint_loss.train(training)
        core(self.loss.model).model.get_encoder("image").eval()  # statistics as they were learned

    def _rows(self, batch: Sequence[Tree]) -> list[list[Tree]]:
        """Return this process's trees of a batch, as they go through the model together."""
        share = batch[self.accelerator.process_index :: self.accelerator.num_processes]
        if self.shares:
            return fitted(share, self.preset.row)
        return [[single] for tree in share for single in tree.alone()]

    def _inputs(self, row: Sequence[Tree], batch: Sequence[Tree]) -> tuple[Pictures, Packed]:
        """Return what the loss takes."""
        pictures = self.prompter.pictures([self.images.image(tree.face) for tree in row])
        return pictures, collate(row, batch, self.preset).to(self.accelerator.device)

    def _backward(self, row: Sequence[Tree], batch: Sequence[Tree]) -> Tensor:
        """Add the gradients of a row's share of the batch's loss; return that share."""
        loss = self.joint_loss(*self._inputs(row, batch))
        if not loss.isfinite():
            raise DataError(
                f"the loss is {loss.item()} on faces {', '.join(tree.face.id for tree in row)}; "
                "look at these records, or lower the learning rates of the preset"
            )
        # DDP takes the mean over processes where the loss of the batch is their sum
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    def _summed(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the sum over the rows of all processes."""
        return self.accelerator.reduce(torch.stack(list(parts)).sum(0), reduction="sum")


def _set_aside(out: Path) -> None:
    """Move what an earlier run with other settings or data made into a folder of its own."""
    if not (out / CHECKPOINT).exists() and not (out / "adapter").exists():
        return
    aside = next(place for n in count(1) if not (place := out / f"earlier-{n}").exists())
    aside.mkdir()
    for name in ("adapter", CHECKPOINT, LOG):
        if (out / name).exists():
            (out / name).rename(aside / name)
    print(f"{out}: held a run with other settings, data or seed; {aside} holds it now")


def _logged(file: Path, done: int) -> list[Step]:
    """Return the log of the steps that are done; raise DataError if one has no line."""
    log = [step for step in read_jsonl(file, Step) if step.step <= done] if file.exists() else []
    if [step.step for step in log] != [*range(1, done + 1)]:
        raise DataError(
            f"{file}: is damaged; remove it and {CHECKPOINT} to start from the beginning"
        )
    return log


def _facts(trees: Sequence[Tree], log: Sequence[Step]) -> dict[str, object]:
    answers = sum(len(tree.branches) for tree in trees)
    return {
        "data": f"{len(trees):,} images with {answers:,} questions",
        "steps": len(log),
        "loss": f"{log[0].loss:.3f} at first, {log[-1].loss:.3f} at last",
        "seconds": f"{sum(step.seconds for step in log):.0f}",
    }
