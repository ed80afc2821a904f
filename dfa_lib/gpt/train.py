"""Tuning: a run from records to an adapter, which can be interrupted and taken up again."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from peft import PeftModel
from torch import nn
from transformers import ProcessorMixin

from dfa_lib.conditions import Images
from dfa_lib.gpt.adapter import probe, save_tuned
from dfa_lib.gpt.forward import check_image_tokens
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.samples import Sample, encode, plan
from dfa_lib.gpt.trainer import Step, Trainer
from dfa_lib.records import InstructRecord, JsonlLog, read_jsonl, write_jsonl

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


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
    begin = trainer.load(out / CHECKPOINT, run)
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
                    trainer.save(out / CHECKPOINT, run, step.step)
    if trainer.main:
        facts = _facts(samples, log)
        facts |= {"seed": seed, "processes": trainer.accelerator.num_processes}
        save_tuned(model, processor, preset, out / "adapter", facts)
    trainer.accelerator.wait_for_everyone()
    model.eval()
    return log


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
