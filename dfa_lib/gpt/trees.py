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

    ``ids``, ``positions``, ``until``: (B, L). The M scored tokens: ``rows`` and ``sources`` say
    where each is predicted from, ``targets`` what it is, ``weights`` what it counts and
    ``answers`` which answer (numbered through the batch) it belongs to; all (M,). ``segments``:
    (start, end of its first node, end) of parts that need not look at each other: the trees of a
    single row, else all rows at once.
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

    def mask(self, dtype: torch.dtype, past: int = 0) -> Tensor:
        """The additive attention mask (B, 1, L, past + L); all see the ``past`` cached tokens."""
        place = torch.arange(self.ids.shape[1], device=self.ids.device)
        seen = (place[:, None] >= place) & (place[:, None] < self.until[:, None, :])
        return nn.functional.pad(additive(seen, dtype), (past, 0))[:, None]

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "segments"}
        return replace(self, **{name: tensor.to(device) for name, tensor in moved.items()})


def additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask to be added to attention scores: 0 where ``seen``, else the lowest number."""
    return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)


def pack(trees: Sequence[Sequence[Node]], past: int = 0) -> Packed:
    """Lay out one tree of nodes per row, or several (``grove``); positions begin at ``past``.

    Nodes stand in depth-first order. Weights are 1; training sets its own.
    """
    width = max(sum(len(node.ids) for node in tree) for tree in trees)
    ids = np.zeros((len(trees), width), np.int64)
    positions = np.zeros_like(ids)
    until = np.tile(np.arange(1, width + 1), (len(trees), 1))  # padding sees and is seen by itself
    scored, segments, answers = [], [], 0
    for row, tree in enumerate(trees):
        stops = np.cumsum([len(node.ids) for node in tree]).tolist()
        depths: list[int] = []
        for index, (node, stop) in enumerate(zip(tree, stops, strict=True)):
            start, end = stop - len(node.ids), stops[_last(tree, index)]
            above = node.parent
            depths.append(past if above is None else depths[above] + len(tree[above].ids))
            ids[row, start:stop] = node.ids
            positions[row, start:stop] = np.arange(depths[index], depths[index] + stop - start)
            until[row, start:stop] = end
            if above is None:
                segments.append((start, stop, end))
            if node.answer is not None:
                sources = np.arange(start, stop)[node.answer :] - 1
                if node.answer == 0 and above is not None:  # its first token follows its parent
                    sources[0] = stops[above] - 1
                told = zip(sources.tolist(), node.ids[node.answer :], strict=True)
                scored += [(row, source, token, answers) for source, token in told]
                answers += 1
    columns = torch.tensor(scored, dtype=torch.long).reshape(-1, 4).unbind(1)
    grid = (torch.from_numpy(array) for array in (ids, positions, until))
    if len(trees) > 1:
        segments = [(0, min(len(tree[0].ids) for tree in trees), width)]
    return Packed(*grid, *columns, torch.ones(len(scored)), tuple(segments))


def grove(trees: Iterable[Sequence[Node]]) -> list[Node]:
    """Several trees side by side in one row; none sees another."""
    joined: list[Node] = []
    for tree in trees:
        first = len(joined)
        joined += [
            Node(n.ids, None if n.parent is None else n.parent + first, n.answer) for n in tree
        ]
    return joined


def _last(tree: Sequence[Node], index: int) -> int:
    """Return the index of the last node that continues node ``index``."""
    family = {index}
    for later in range(index + 1, len(tree)):
        if tree[later].parent not in family:
            break
        family.add(later)
    return max(family)
