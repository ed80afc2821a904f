"""Token trees: an image prefix, questions and answers as branches, laid out in rows.

With branches laid out depth first, the mask of any tree needs one number per token: token k
is seen by the queries from k to the end of the branches that continue it.

    query q sees key k   <=>   k <= q < until[k]
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Node:
    """A run of tokens that continues the run of its ``parent`` (None: it opens the row).

    Tokens from index ``answer`` on are supervised in training and scored in inference.
    """

    ids: Sequence[int]
    parent: int | None = None
    answer: int | None = None


@dataclass(frozen=True)
class Packed:
    """Trees of several images, one or more per row, padded on the right.

    ``ids``, ``positions``, ``until``: (B, L). ``roots``: (I, 2), row and place where each tree
    begins. The M scored tokens: ``rows`` and ``sources`` say where each is predicted from,
    ``targets`` what it is, ``weights`` what it counts and ``answers`` which answer (numbered
    through the batch) it belongs to; all (M,). ``segments``: (start, end of its first node, end)
    of parts that need not look at each other: the trees of a single row, else all rows at once.
    """

    ids: Tensor
    positions: Tensor
    until: Tensor
    roots: Tensor
    rows: Tensor
    sources: Tensor
    targets: Tensor
    answers: Tensor
    weights: Tensor
    segments: tuple[tuple[int, int, int], ...]

    def mask(self, dtype: torch.dtype, past: int = 0) -> Tensor:
        """The additive attention mask (B, 1, L, past + L); all see the ``past`` cached tokens."""
        place = torch.arange(self.ids.shape[1], device=self.ids.device)
        seen = (place[:, None] >= place) & (place[:, None] < self.until[:, None, :])
        mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=seen.device)
        mask.masked_fill_(seen, 0)
        return nn.functional.pad(mask, (past, 0))[:, None]

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "segments"}
        return replace(self, **{name: tensor.to(device) for name, tensor in moved.items()})


def pack(trees: Sequence[Sequence[Node]], past: int = 0) -> Packed:
    """Lay out one tree of nodes per row, or several (``grove``); positions begin at ``past``.

    Nodes stand in depth-first order. Weights are 1; training sets its own.
    """
    width = max(sum(len(node.ids) for node in tree) for tree in trees)
    ids = np.zeros((len(trees), width), np.int64)
    positions = np.zeros_like(ids)
    until = np.tile(np.arange(1, width + 1), (len(trees), 1))  # padding sees and is seen by itself
    scored: list[tuple[int, int, int, int]] = []
    roots: list[tuple[int, int, int, int]] = []
    answers = 0
    for row, tree in enumerate(trees):
        starts, ends, depths = _layout(tree, past)
        for node, start, end, depth in zip(tree, starts, ends, depths, strict=True):
            stop = start + len(node.ids)
            ids[row, start:stop] = node.ids
            positions[row, start:stop] = np.arange(depth, depth + len(node.ids))
            until[row, start:stop] = end
            if node.parent is None:
                roots.append((row, start, stop, end))
            if node.answer is not None:
                source = _sources(node, start, tree, starts)
                scored += [
                    (row, place, token, answers)
                    for place, token in zip(source, node.ids[node.answer :], strict=True)
                ]
                answers += 1
    columns = torch.tensor(scored, dtype=torch.long).reshape(-1, 4).unbind(1)
    grid = (torch.from_numpy(array) for array in (ids, positions, until))
    segments = tuple(root[1:] for root in roots)
    if len(trees) > 1:
        segments = ((0, min(len(tree[0].ids) for tree in trees), width),)
    places = torch.tensor([root[:2] for root in roots])
    return Packed(*grid, places, *columns, torch.ones(len(scored)), segments)


def grove(trees: Iterable[Sequence[Node]]) -> list[Node]:
    """Several trees side by side in one row; none sees another."""
    joined: list[Node] = []
    for tree in trees:
        first = len(joined)
        joined += [
            Node(n.ids, None if n.parent is None else n.parent + first, n.answer) for n in tree
        ]
    return joined


def _layout(tree: Sequence[Node], past: int) -> tuple[list[int], list[int], list[int]]:
    """Per node: first place in the row, end of all that continues it, first position."""
    starts, depths, place = [], [], 0
    for node in tree:
        parent = node.parent
        depths.append(past if parent is None else depths[parent] + len(tree[parent].ids))
        starts.append(place)
        place += len(node.ids)
    ends = [start + len(node.ids) for start, node in zip(starts, tree, strict=True)]
    for index in range(len(tree) - 1, -1, -1):
        parent = tree[index].parent
        if parent is not None:
            ends[parent] = max(ends[parent], ends[index])
    return starts, ends, depths


def _sources(node: Node, start: int, tree: Sequence[Node], starts: Sequence[int]) -> list[int]:
    """The places that predict the answer tokens of ``node``: each one's predecessor."""
    places = [start + offset - 1 for offset in range(node.answer or 0, len(node.ids))]
    if node.answer == 0 and node.parent is not None:
        places[0] = starts[node.parent] + len(tree[node.parent].ids) - 1
    return places
