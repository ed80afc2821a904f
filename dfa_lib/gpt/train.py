"""Tuning: a plain loop on accelerate over images, each with all its QA on a shared prefix.

What a step does depends on the seed and the step's number alone (order, dropout, learning
rate), so that a run taken up again after an interruption ends with the same weights.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from tqdm import tqdm
from transformers import LlavaProcessor

from dfa_lib import runtime
from dfa_lib.gpt import checkpoint
from dfa_lib.gpt.adapter import probe, save_tuned
from dfa_lib.gpt.base import PROJECTOR
from dfa_lib.gpt.prefix import (
    PrefixLoss,
    Prompter,
    check_image_tokens,
    core,
    pixels,
    vision_features,
)
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.samples import Sample, collate, encode, plan
from dfa_lib.records import (
    DataError,
    Face,
    InstructRecord,
    JsonlLog,
    Record,
    read_jsonl,
    write_jsonl,
)

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
FEATURE_BYTES = 2 * 2**30


class Images(Protocol):
    """Where face pictures come from, for instance a FaceSet."""

    def image(self, face: Face) -> np.ndarray:
        """The picture of a face: RGB uint8 (H, W, 3)."""
        ...


class Step(Record):
    """One line of the training log; ``norm`` is the gradient's before clipping."""

    step: int
    loss: float
    norm: float
    lr_lora: float
    lr_projector: float
    seconds: float


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rates: linear warm-up, then half a cosine down to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def make_optimizer(model: nn.Module, preset: Preset) -> AdamW:
    """AdamW with a learning rate of its own for the projector."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    lora = [p for name, p in named if PROJECTOR not in name]
    projector = [p for name, p in named if PROJECTOR in name]
    groups = [{"params": lora, "peak": preset.lr_lora}]
    groups.append({"params": projector, "peak": preset.lr_projector})
    return AdamW(groups, lr=preset.lr_lora, weight_decay=0.0)


class FrozenFeatures:
    """Vision-tower features of faces.

    The tower is frozen, so each face is looked at once, as long as all features fit into
    ``FEATURE_BYTES``; else again for each batch.
    """

    def __init__(self, model: nn.Module, prompter: Prompter, images: Images) -> None:
        self.model, self.prompter, self.images = model, prompter, images
        self.kept: dict[str, Tensor] = {}

    def __call__(self, faces: Sequence[Face]) -> Tensor:
        """Features (B, N, C) of a batch of faces."""
        if all(face.id in self.kept for face in faces):
            return torch.stack([self.kept[face.id] for face in faces])
        return self._look(faces)

    def fill(self, faces: Sequence[Face], quiet: bool, batch: int = 64) -> None:
        """Look at all faces now if their features fit."""
        size = self._look(faces[:1]).nbytes
        if size * len(faces) > FEATURE_BYTES:
            return
        for start in tqdm(range(0, len(faces), batch), desc="vision tower", disable=quiet):
            part = faces[start : start + batch]
            for face, features in zip(part, self._look(part), strict=True):
                self.kept[face.id] = features

    def _look(self, faces: Sequence[Face]) -> Tensor:
        pictures = [self.images.image(face) for face in faces]
        features = vision_features(self.model, pixels(self.prompter.processor, pictures))
        check_image_tokens(self.prompter, features)
        return features


class Trainer:
    """The pieces of a run, and one step of it."""

    def __init__(
        self, model: PeftModel, prompter: Prompter, images: Images, preset: Preset, seed: int
    ) -> None:
        self.accelerator = Accelerator(mixed_precision=_mixed())
        self.main = self.accelerator.is_main_process
        self.preset, self.seed = preset, seed
        self.features = FrozenFeatures(model, prompter, images)
        self.tuner = PrefixLoss(model, prompter.start)
        self.optimizer: Optimizer = make_optimizer(model, preset)
        if preset.checkpointing:
            core(model).model.language_model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )

    @property
    def plain(self) -> PrefixLoss:
        """The loss module without what accelerate wrapped around it."""
        return self.accelerator.unwrap_model(self.tuner)

    def prepare(self, samples: Sequence[Sample]) -> None:
        """Hand model and optimiser to accelerate; look at the faces of this process's samples."""
        self.tuner, self.optimizer = self.accelerator.prepare(self.tuner, self.optimizer)
        self.tuner.train()
        core(self.plain.model).model.vision_tower.eval()
        faces = {sample.face.id: sample.face for sample in samples}
        self.features.fill(list(faces.values()), quiet=not self.main)

    def mine(self, batch: Sequence) -> Sequence:
        """The share of a batch that this process computes."""
        return batch[self.accelerator.process_index :: self.accelerator.num_processes]

    def step(self, batch: Sequence[Sample], number: int, steps: int) -> Step:
        """Optimiser step ``number`` of ``steps`` on ``batch``, each process on its share."""
        begin, micro = time.perf_counter(), self.preset.micro
        rank = self.accelerator.process_index
        torch.manual_seed(
            int(np.random.SeedSequence((self.seed, number, rank)).generate_state(1)[0])
        )
        factor = schedule(number, steps, self.preset.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        mine = sorted(self.mine(batch), key=lambda sample: sample.tokens)
        losses = []
        for start in range(0, len(mine), micro):
            last = start + micro >= len(mine)
            with nullcontext() if last else self.accelerator.no_sync(self.tuner):
                losses.append(self._backward(mine[start : start + micro], batch))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = self.accelerator.clip_grad_norm_(parameters, self.preset.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss = self.accelerator.reduce(torch.stack(losses).sum(), reduction="sum")
        lr_lora, lr_projector = (group["lr"] for group in self.optimizer.param_groups)
        return Step(
            step=number + 1,
            loss=loss.item(),
            norm=float(norm),
            lr_lora=lr_lora,
            lr_projector=lr_projector,
            seconds=round(time.perf_counter() - begin, 3),
        )

    def _backward(self, samples: Sequence[Sample], batch: Sequence[Sample]) -> Tensor:
        """Gradients of the samples' share of the batch's loss, and that share."""
        packed = collate(samples, batch, self.preset).to(self.accelerator.device)
        features = self.features([sample.face for sample in samples]).to(self.accelerator.device)
        loss = self.tuner(features, packed)
        if not loss.isfinite():
            raise DataError(
                f"the loss is {loss.item()} on faces {', '.join(s.face.id for s in samples)}; "
                "look at these records, or lower the learning rates of the preset"
            )
        # DDP takes the mean over processes where the loss of the batch is their sum
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()


def train(
    model: PeftModel,
    processor: LlavaProcessor,
    faces: Images,
    records: Iterable[InstructRecord],
    preset: Preset,
    out: Path,
    *,
    seed: int = 0,
) -> list[Step]:
    """Tune ``model`` in place and write ``out``/adapter, log.jsonl and checkpoint.safetensors.

    An interrupted run with the same data, preset and seed is taken up where it was; a
    finished one is not repeated. Returns the log.
    """
    prompter = Prompter(processor)
    samples = [encode(prompter, record) for record in records]
    order = plan(len(samples), preset, seed)
    run = _fingerprint(model, samples, preset, seed)
    trainer = Trainer(model, prompter, faces, preset, seed)
    begin = checkpoint.load(out / CHECKPOINT, trainer.tuner, trainer.optimizer, run)
    log = [step for step in read_jsonl(out / LOG, Step) if step.step <= begin] if begin else []
    if begin < len(order):
        trainer.prepare([samples[i] for row in order for i in trainer.mine(row)])
    bar = tqdm(
        range(begin, len(order)), "tuning", len(order), initial=begin, disable=not trainer.main
    )
    with _journal(out / LOG, log, trainer.main) as write:
        for number in bar:
            batch = [samples[i] for i in order[number]]
            log.append(trainer.step(batch, number, len(order)))
            bar.set_postfix(loss=f"{log[-1].loss:.3f}")
            write(log[-1])
            done = number + 1
            if trainer.main and (done % preset.save_every == 0 or done == len(order)):
                checkpoint.save(out / CHECKPOINT, trainer.plain, trainer.optimizer, done, run)
    if trainer.main:
        save_tuned(model, processor, preset, out / "adapter", _facts(samples, log, seed))
    trainer.accelerator.wait_for_everyone()
    model.eval()
    return log


@contextmanager
def _journal(path: Path, log: Sequence[Step], main: bool) -> Iterator[Callable[[Step], None]]:
    """Append steps to the log file behind what is kept of it; on the main process only."""
    if not main:
        yield lambda step: None
        return
    write_jsonl(path, log)
    with JsonlLog(path) as file:
        yield file.append


def _mixed() -> str:
    # bfloat16 on a CPU compiles its kernels anew for every new batch shape: a hundred times slower
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(runtime.device().dtype, "no")


def _fingerprint(model: nn.Module, samples: Sequence[Sample], preset: Preset, seed: int) -> str:
    """What makes a run the same run: base, data, preset and seed."""
    digest = hashlib.sha256(repr((preset, seed, probe(model).tolist())).encode())
    for sample in samples:
        digest.update(sample.face.sha256.encode())
        for node in sample.tree:
            digest.update(np.asarray(node.ids, np.int32).tobytes())
    return digest.hexdigest()


def _facts(samples: Sequence[Sample], log: Sequence[Step], seed: int) -> dict[str, object]:
    answers = sum(len(sample.answers) for sample in samples)
    return {
        "data": f"{len(samples):,} images with {answers:,} questions",
        "steps": len(log),
        "loss": f"{log[0].loss:.3f} at first, {log[-1].loss:.3f} at last",
        "seconds": f"{sum(step.seconds for step in log):.0f}",
        "seed": seed,
    }
