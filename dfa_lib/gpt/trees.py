"""Token trees: an image or a question once, what follows it as branches, laid out in rows.

With the branches of a tree behind its prefix, the mask of any row needs one number per token:
token k is seen by the queries from k to the end of its branch, or of its tree if k is in the
prefix.

    query q sees key k   <=>   k <= q < until[k]

One dense mask over a row has every query look at every key of the row. So in training each tree
attends by itself, and its prefix, which is causal, without a mask: fused kernels skip the half
it cannot see. The result is the same, for 1.3 to 1.7 times less time than one masked call even
with a single tree (forward and backward on a CPU, 576 and 64 image tokens).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from dfa_lib.gpt.presets import Preset
from dfa_lib.records import DataError, Face
from dfa_lib.taxonomy import CLASSES, Task

TREES = "trees"
"""The name under which transformers knows this attention."""


class Branch(NamedTuple):
    """Tokens that follow a prefix; those from index ``answer`` on are supervised or scored."""

    ids: Sequence[int]
    answer: int
    task: Task | None = None

    @property
    def scored(self) -> int:
        """Supervised or scored tokens."""
        return len(self.ids) - self.answer


class Tree(NamedTuple):
    """A prefix that is read once, and branches that each see it and themselves.

    In training, an image of ``face`` with all its QA.
    """

    prefix: Sequence[int]
    branches: Sequence[Branch]
    face: Face | None = None

    @property
    def tokens(self) -> int:
        """Tokens of prefix and branches."""
        return len(self.prefix) + sum(len(branch.ids) for branch in self.branches)

    def with_talk(self, count: int, step: int) -> "Tree":
        """Return the tree with ``count`` turns of its free conversation, others at each step."""
        free = [at for at, branch in enumerate(self.branches) if branch.task is Task.FC]
        left_out = set(free) - {free[(step + turn) % len(free)] for turn in range(count) if free}
        kept = [branch for at, branch in enumerate(self.branches) if at not in left_out]
        return self._replace(branches=kept)

    def alone(self) -> list["Tree"]:
        """Return one tree for each branch, for bases that cannot share an image."""
        return [self._replace(branches=[branch]) for branch in self.branches]


class Packed(NamedTuple):
    """Rows of trees, padded on the right.

    ``ids``, ``positions``, ``until``: (B, L). The M scored tokens: ``rows`` and ``sources`` say
    where each is predicted from, ``targets`` what it is, ``weights`` what it counts and
    ``answers`` which branch (numbered through the batch) it belongs to; all (M,). ``segments``:
    (start, end of its prefix, end) of each tree where there is a single row. ``kinds`` and
    ``shares`` are set in training: where the category of each of I faces stands in CLASSES, -100
    for an unknown one, and its share of the answers of a batch; both (I,).
    """

    ids: Tensor
    positions: Tensor
    until: Tensor
    rows: Tensor
    sources: Tensor
    targets: Tensor
    answers: Tensor
    weights: Tensor
    segments: tuple[tuple[int, int, int], ...]
    kinds: Tensor | None = None
    shares: Tensor | None = None

    def mask(self, dtype: torch.dtype, past: int = 0) -> Tensor:
        """The additive attention mask (B, 1, L, past + L); all see the ``past`` cached tokens."""
        place = torch.arange(self.ids.shape[1], device=self.ids.device)
        seen = (place[:, None] >= place) & (place[:, None] < self.until[:, None, :])
        return nn.functional.pad(additive(seen, dtype), (past, 0))[:, None]

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return Packed(*(part.to(device) if torch.is_tensor(part) else part for part in self))


def additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask to be added to attention scores: 0 where ``seen``, else the lowest number."""
    return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)


def pack(rows: Sequence[Sequence[Tree]], past: int = 0) -> Packed:
    """Lay out the trees of each row side by side; none sees another. Positions begin at ``past``.

    Weights are 1; training sets its own.
    """
    lines, scored, segments = [], [], []
    answers = 0
    for number, row in enumerate(rows):
        line = []  # id, position and `until` of each token
        for tree in row:
            start = len(line)
            branching = start + len(tree.prefix)
            end = start + tree.tokens
            segments.append((start, branching, end))
            line += [(token, past + at, end) for at, token in enumerate(tree.prefix)]
            for branch in tree.branches:
                begin = len(line)
                stop = begin + len(branch.ids)
                depth = past + len(tree.prefix)
                line += [(token, depth + at, stop) for at, token in enumerate(branch.ids)]
                sources = [branching - 1, *range(begin, stop - 1)]  # its first follows the prefix
                told = zip(sources[branch.answer :], branch.ids[branch.answer :], strict=True)
                scored += [(number, source, token, answers) for source, token in told]
                answers += 1
        lines.append(torch.tensor(line))
    grid = pad_sequence(lines, batch_first=True)
    ids, positions, until = (part.contiguous() for part in grid.unbind(2))
    own = torch.arange(1, ids.shape[1] + 1)
    until = torch.where(until > 0, until, own)  # padding sees and is seen by itself
    columns = torch.tensor(scored, dtype=torch.long).reshape(-1, 4).unbind(1)
    alone = tuple(segments) if len(rows) == 1 else ()
    return Packed(ids, positions, until, *columns, torch.ones(len(scored)), alone)


def fitted(trees: Sequence[Tree], budget: int) -> list[list[Tree]]:
    """Return trees put together into rows of at most ``budget`` tokens, without a pad in them.

    First fit, longest first; a tree beyond the budget has a row of its own.
    """
    filled: list[list[Tree]] = []
    for tree in sorted(trees, key=lambda tree: -tree.tokens):
        room = budget - tree.tokens
        row = next((row for row in filled if sum(t.tokens for t in row) <= room), None)
        if row is None:
            filled.append(row := [])
        row.append(tree)
    return filled


def collate(row: Sequence[Tree], batch: Sequence[Tree], preset: Preset) -> Packed:
    """Pack trees into one row whose loss is its share of the mean over the ``batch``.

    ``preset.balanced``: the mean over answers of the mean over an answer's tokens, so that
    a short verdict counts as much as a long description; else the mean over all tokens. In
    either, an answer counts ``preset.weights`` of its task, or once; in DF-D, that of a bona fide
    face counts ``preset.bona_fide`` as much.
    """
    packed = pack([row])
    each = torch.tensor([token for tree in row for token, _ in _counts(tree, preset)])
    total = sum(answer for tree in batch for _, answer in _counts(tree, preset))
    kinds = [tree.face.category for tree in row]
    answers = torch.tensor([len(tree.branches) for tree in row], dtype=torch.float)
    return packed._replace(
        weights=each[packed.answers] / total,
        kinds=torch.tensor([CLASSES.index(kind) if kind in CLASSES else -100 for kind in kinds]),
        shares=answers / sum(len(tree.branches) for tree in batch),
    )


def _counts(tree: Tree, preset: Preset) -> list[tuple[float, float]]:
    """Return what each answer of a tree counts: one token of it, and all of them."""
    rare = {} if tree.face.category.forged else {Task.DF_D: preset.bona_fide}
    counts = []
    for branch in tree.branches:
        weight = preset.weights.get(branch.task, 1.0) * rare.get(branch.task, 1.0)
        token = weight / branch.scored if preset.balanced else weight
        counts.append((token, weight if preset.balanced else weight * branch.scored))
    return counts


def plan(count: int, preset: Preset, seed: int) -> np.ndarray:
    """Which images each step takes: (steps, batch), epoch after epoch in a new order.

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


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Sequence[tuple[int, int, int]] = (),
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention, part by part where ``segments`` (Packed) are given.

    query, key, value (B, heads, L, D), mask (B, 1, L, L); returns (B, L, heads, D).
    """
    if not segments:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    sizes = [end - start for start, _, end in segments]
    trees = zip(*(tensor.split(sizes, dim=2) for tensor in (query, key, value)), strict=True)
    parts = []
    for (start, first, end), (asking, keys, values) in zip(segments, trees, strict=True):
        prefix, rest = asking.split([first - start, end - first], dim=2)
        seen = keys[:, :, : first - start], values[:, :, : first - start]
        parts.append(
            sdpa_attention_forward(module, prefix, *seen, None, is_causal=True, **kwargs)[0]
        )
        # CUDA's fused kernel reads masks in aligned blocks: a slice as it lies would crash it
        mask = attention_mask[:, :, first:end, start:end].contiguous()
        parts.append(sdpa_attention_forward(module, rest, keys, values, mask, **kwargs)[0])
    return torch.cat(parts, dim=1), None


AttentionInterface.register(TREES, tree_attention)
AttentionMaskInterface.register(TREES, sdpa_mask)
