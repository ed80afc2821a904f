"""Views for pre-training, made by all cores while the tower already learns from the first.

The faces are modelled people and, where the London Set is given, photographs of its training
identities: no test or validation identity is ever seen.
"""

from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from dfa_lib.face.geometry import Portrait
from dfa_lib.taxonomy import Split
from facesim.people import portrait
from facesim.populations import London, Procedural
from tools.nano.views import ARTIFACTS, GRID, View, make_view

SIZE = 128
LONDON_SHARE = 0.35
PORTRAITS, VIEWS = 12, 8  # portraits in a chunk, and views of each
CHUNK = PORTRAITS * VIEWS


@dataclass(frozen=True)
class Recipe:
    """What a chunk of views is made of; ``london`` is the folder of the London Set."""

    london: Path | None
    seed: int

    def chunk(self, number: int) -> list[View]:
        """Return chunk ``number``: the same views whenever and wherever it is made."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, number))
        portraits = [
            self._portrait(f"nano-{self.seed}-{number}-{k}", rng) for k in range(PORTRAITS)
        ]
        return [make_view(portraits[k % PORTRAITS], rng) for k in range(CHUNK)]

    def _portrait(self, name: str, rng: np.random.Generator) -> Portrait:
        if self.london is None or rng.random() >= LONDON_SHARE:
            return portrait(name, int(rng.integers(6)), SIZE, part=Procedural.parts["train"])
        album = London(self.london, SIZE)
        people = album.people(Split.TRAIN, 102)
        return album.portrait(people[rng.integers(len(people))], int(rng.integers(200)))


class Pool:
    """Up to ``count`` views on ``device``, filled by ``workers`` processes.

    ``images`` (N, S, S, 3) uint8; ``altered`` (N, GRID, GRID, A) and ``regions``
    (N, GRID, GRID) uint8 as in View, shares times 255; ``told`` the views without pictures.
    """

    def __init__(self, recipe: Recipe, count: int, device: torch.device, workers: int) -> None:
        self.images = torch.empty((count, SIZE, SIZE, 3), dtype=torch.uint8, device=device)
        self.altered = torch.empty(
            (count, GRID, GRID, len(ARTIFACTS)), dtype=torch.uint8, device=device
        )
        self.regions = torch.empty((count, GRID, GRID), dtype=torch.uint8, device=device)
        self.told: list[View] = []
        self._maker = ProcessPoolExecutor(workers, get_context("spawn"))
        self._coming: list[Future] = [
            self._maker.submit(recipe.chunk, number) for number in range(count // CHUNK)
        ][::-1]

    def __len__(self) -> int:
        return len(self.told)

    def take(self, least: int = 0) -> None:
        """Take in the chunks that are finished, and wait until ``least`` views are there."""
        while self._coming and (len(self) < least or self._coming[-1].done()):
            views = self._coming.pop().result()
            at = slice(len(self), len(self) + len(views))
            self.images[at] = torch.from_numpy(np.stack([v.image for v in views]))
            shares = np.stack([v.altered for v in views]) * 255
            self.altered[at] = torch.from_numpy(shares.round().astype(np.uint8))
            self.regions[at] = torch.from_numpy(np.stack([v.regions for v in views]))
            self.told += [v.without_picture() for v in views]

    def close(self) -> None:
        """Stop the workers; what they have not begun is not made."""
        self._coming.clear()
        self._maker.shutdown(wait=False, cancel_futures=True)

    def pixels(self, indices: Tensor) -> Tensor:
        """Return views as (B, 3, S, S) float32 in -1..1, as the nano image processor does."""
        return self.images[indices].permute(0, 3, 1, 2).float() / 127.5 - 1
