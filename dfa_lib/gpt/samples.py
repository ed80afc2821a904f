"""Records as token trees: one sample per image, with all its QA."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.trees import Branch, Packed, Tree, pack
from dfa_lib.records import DataError, Face, InstructRecord
from dfa_lib.taxonomy import CLASSES, Task


@dataclass(frozen=True)
class Sample:
    """One image with all its QA as a tree: the prefix, then a branch for each, with its task."""

    face: Face
    tree: Tree
    tasks: tuple[Task, ...]

    @property
    def answers(self) -> list[int]:
        """Supervised tokens of each answer."""
        return [len(branch.ids) - branch.answer for branch in self.tree.branches]

    def with_talk(self, count: int, step: int) -> "Sample":
        """Return the sample with ``count`` turns of its free conversation, others at each step."""
        free = [at for at, task in enumerate(self.tasks) if task is Task.FC]
        chosen = {free[(step + turn) % len(free)] for turn in range(min(count, len(free)))}
        return self._only([at for at in range(len(self.tasks)) if at in chosen or at not in free])

    def alone(self) -> list["Sample"]:
        """Return one sample for each QA, for bases that cannot share an image."""
        return [self._only([at]) for at in range(len(self.tasks))]

    def _only(self, kept: Sequence[int]) -> "Sample":
        """Return the sample with the branches of these numbers."""
        tree = self.tree._replace(branches=[self.tree.branches[at] for at in kept])
        return replace(self, tree=tree, tasks=tuple(self.tasks[at] for at in kept))


def encode(prompter: Prompter, record: InstructRecord) -> Sample:
    """A record as tokens; raises DataError naming the face if nothing in it is supervised."""
    if not record.qa:
        raise DataError(f"face {record.id}: qa: no question; add one or remove the record")
    try:
        written = [prompter.answer(qa.question, qa.answer) for qa in record.qa]
    except DataError as error:
        raise DataError(f"face {record.id}: {error}") from None
    branches = [Branch(np.array(ids, np.int32), cut) for ids, cut in written]
    tasks = tuple(qa.task for qa in record.qa)
    return Sample(record.face, Tree(prompter.prefix, branches), tasks)


def rows(samples: Sequence[Sample], budget: int) -> list[list[Sample]]:
    """Samples put together into rows of at most ``budget`` tokens, without a pad in them.

    First fit, longest first; a sample beyond the budget has a row of its own.
    """
    filled: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda sample: -sample.tree.tokens):
        room = budget - sample.tree.tokens
        row = next((row for row in filled if sum(s.tree.tokens for s in row) <= room), None)
        if row is None:
            filled.append(row := [])
        row.append(sample)
    return filled


def collate(row: Sequence[Sample], whole: Sequence[Sample], preset: Preset) -> Packed:
    """Pack samples into one row whose loss is its share of the mean over the ``whole`` batch.

    ``preset.balanced``: the mean over answers of the mean over an answer's tokens, so that
    a short verdict counts as much as a long description; else the mean over all tokens. In
    either, an answer counts ``preset.weights`` of its task, or once; in DF-D, that of a bona fide
    face counts ``preset.bona_fide`` as much.
    """
    packed = pack([[sample.tree for sample in row]])
    each = torch.tensor([token for sample in row for token, _ in _counts(sample, preset)])
    total = sum(answer for sample in whole for _, answer in _counts(sample, preset))
    return replace(packed, weights=each[packed.answers] / total)


def _counts(sample: Sample, preset: Preset) -> list[tuple[float, float]]:
    """Return what each answer of a sample counts: one token of it, and all of them."""
    rare = {} if sample.face.category.forged else {Task.DF_D: preset.bona_fide}
    weights = [preset.weights.get(task, 1.0) * rare.get(task, 1.0) for task in sample.tasks]
    if preset.balanced:
        return [(w / n, w) for w, n in zip(weights, sample.answers, strict=True)]
    return [(w, w * n) for w, n in zip(weights, sample.answers, strict=True)]


def categories(row: Sequence[Sample], whole: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Return where each image's category stands in CLASSES, and its share of the answers, (I,).

    An unknown category is -100; shares are of the ``whole`` batch.
    """
    kinds = [sample.face.category for sample in row]
    shares = torch.tensor([len(sample.tasks) for sample in row], dtype=torch.float)
    places = torch.tensor([CLASSES.index(kind) if kind in CLASSES else -100 for kind in kinds])
    return places, shares / sum(len(sample.tasks) for sample in whole)


def plan(count: int, preset: Preset, seed: int) -> np.ndarray:
    """Which samples each step takes: (steps, batch), epoch after epoch in a new order.

    Raises DataError if there are none.
    """
    if not count:
        raise DataError("records: none to train on; pass those of the split 'train'")
    steps = max(1, round(preset.epochs * count / preset.batch))
    wanted = steps * preset.batch
    epochs = [
        np.random.default_rng((seed, epoch)).permutation(count)
        for epoch in range(math.ceil(wanted / count))
    ]
    return np.concatenate(epochs)[:wanted].reshape(steps, preset.batch)
