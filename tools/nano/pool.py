"""Bona fide portraits for pre-training: generated faces and, where given, London photographs.

Only identities of the London training split enter, so that no test identity is ever seen.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from dfa_lib.face.geometry import Portrait
from dfa_lib.instruct.london import London
from dfa_lib.taxonomy import Split
from facesim.people import portrait
from tools.nano.views import View, make_view

SIZE = 128
LONDON_SHARE = 0.3
CHUNK = 64


@dataclass(frozen=True)
class Sitter:
    """A portrait with what is known of it in words, e.g. {"hair colour": "brown"}."""

    portrait: Portrait
    caption: dict[str, str]


def generated(count: int, seed: int) -> list[Sitter]:
    """Draw ``count`` procedural portraits, each of another person."""
    jobs = Parallel(n_jobs=2, return_as="generator")(delayed(_draw)(i, seed) for i in range(count))
    return list(tqdm(jobs, total=count, desc="bona fide faces"))


def _draw(index: int, seed: int) -> Sitter:
    cv2.setNumThreads(1)
    return Sitter(portrait(f"nano-{seed}-{index}", index, SIZE), {})


def london(root: Path) -> list[Sitter]:
    """Both photographs of every London training identity."""
    population = London(root, SIZE)
    people = population.people(Split.TRAIN, 102)
    takes = ((person, take) for person in people for take in range(population.takes))
    return [Sitter(population.portrait(*take), {}) for take in takes]


def make_views(
    drawn: list[Sitter], photographed: list[Sitter], count: int, seed: int
) -> list[tuple[View, Sitter]]:
    """Alter and shoot ``count`` portraits, LONDON_SHARE of them photographs if there are any."""
    rng = np.random.default_rng(seed)
    share = LONDON_SHARE if photographed else 0.0
    pools = [photographed if rng.random() < share else drawn for _ in range(count)]
    sitters = [pool[rng.integers(len(pool))] for pool in pools]
    chunks = [sitters[at : at + CHUNK] for at in range(0, count, CHUNK)]
    jobs = Parallel(n_jobs=2, return_as="generator")(
        delayed(_view_chunk)([sitter.portrait for sitter in chunk], seed, number)
        for number, chunk in enumerate(chunks)
    )
    views = [view for made in tqdm(jobs, "views", total=len(chunks)) for view in made]
    return list(zip(views, sitters, strict=True))


def _view_chunk(portraits: list[Portrait], seed: int, number: int) -> list[View]:
    cv2.setNumThreads(1)
    rng = np.random.default_rng((seed, number))
    return [make_view(portrait, rng, rng.uniform(0.2, 0.8)) for portrait in portraits]


def pixels(views: list[View]) -> torch.Tensor:
    """Stack views to (B, 3, S, S) float32 in -1..1, as the nano image processor does."""
    stack = torch.from_numpy(np.stack([view.image for view in views]))
    return stack.permute(0, 3, 1, 2).float() / 127.5 - 1
