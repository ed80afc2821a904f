"""Records as token trees: one sample per image, with all its QA."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.trees import Node, Packed, grove, pack
from dfa_lib.records import DataError, Face, InstructRecord


class Images(Protocol):
    """Where face pictures come from, for instance a FaceSet."""

    def image(self, face: Face) -> np.ndarray:
        """Return the picture of a face: RGB uint8 (H, W, 3)."""
        ...


@dataclass(frozen=True)
class Sample:
    """One image with all its QA as a tree: the prefix, then a branch for each."""

    face: Face
    tree: tuple[Node, ...]

    @property
    def answers(self) -> list[int]:
        """Supervised tokens of each answer."""
        return [len(n.ids) - n.answer for n in self.tree if n.answer is not None]

    @property
    def tokens(self) -> int:
        """Tokens of the whole row."""
        return sum(len(node.ids) for node in self.tree)


def encode(prompter: Prompter, record: InstructRecord) -> Sample:
    """A record as tokens; raises DataError naming the face if nothing in it is supervised."""
    if not record.qa:
        raise DataError(f"face {record.id}: qa: no question; give it at least one or remove it")
    try:
        written = [prompter.answer(qa.question, qa.answer) for qa in record.qa]
    except DataError as error:
        raise DataError(f"face {record.id}: {error}") from None
    branches = (Node(np.array(ids, np.int32), 0, cut) for ids, cut in written)
    return Sample(record.face, (Node(prompter.prefix), *branches))


def rows(samples: Sequence[Sample], budget: int) -> list[list[Sample]]:
    """Samples put together into rows of at most ``budget`` tokens, without a pad in them.

    First fit, longest first; a sample beyond the budget has a row of its own.
    """
    filled: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda sample: -sample.tokens):
        rooms = (row for row in filled if sum(s.tokens for s in row) + sample.tokens <= budget)
        row = next(rooms, None)
        if row is None:
            filled.append([sample])
        else:
            row.append(sample)
    return filled


def alone(sample: Sample) -> list[Sample]:
    """Return one sample for each QA, for bases that cannot share an image."""
    root, *branches = sample.tree
    return [Sample(sample.face, (root, branch)) for branch in branches]


def collate(row: Sequence[Sample], whole: Sequence[Sample], preset: Preset) -> Packed:
    """Pack samples into one row whose loss is its share of the mean over the ``whole`` batch.

    ``preset.balanced``: the mean over answers of the mean over an answer's tokens, so that
    a short verdict counts as much as a long description; else the mean over all tokens.
    """
    packed = pack([grove(sample.tree for sample in row)])
    lengths = torch.tensor([n for sample in row for n in sample.answers], dtype=torch.float)
    total = [n for sample in whole for n in sample.answers]
    if preset.balanced:
        return replace(packed, weights=1 / (lengths[packed.answers] * len(total)))
    return replace(packed, weights=torch.full_like(packed.weights, 1 / sum(total)))


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
