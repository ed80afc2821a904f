"""Teach a new projector to name what the vision tower sees, in words of the language model.

LLaVA trains its projector on captions first, through the whole language model. That takes
hours on a CPU. Here every image token gets its caption at once: the facial region it lies in
and the artifact it shows, or "natural". The projector learns to give the mean of the word
embeddings of both, by least squares. The faces are modelled people with generic alterations;
neither a forgery nor a forgery label is used.
"""

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import trange
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from facesim.populations import Procedural
from tools.nano.views import ARTIFACTS, GRID, REGIONS, View, make_view

SEED = 7_100_000  # far from the seeds of lessons, so that nobody there was seen here
SIZE = 128
VIEWS_EACH = 8
PEAK = 1e-3  # the highest learning rate
SHOWN = 0.25  # share of a cell from which on it shows an artifact


def align(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    portraits: int = 150,
    steps: int = 400,
    batch: int = 1024,
) -> list[float]:
    """Train the projector in place; return the error of each step, as a share of the variance."""
    rng = np.random.default_rng(SEED)
    views, words = _views(portraits, rng), _embeddings(model, processor)
    seen = _seen(model, processor, views)
    shown = torch.from_numpy(_captions(views, round(seen.shape[1] ** 0.5)))
    seen, shown = seen.flatten(0, 1), shown.flatten(0, 1)
    projector = model.model.multi_modal_projector.requires_grad_(True)
    optimizer = torch.optim.AdamW(projector.parameters(), lr=PEAK)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, steps)
    errors = []
    for _ in trange(steps, desc="projector"):
        few = torch.from_numpy(rng.integers(len(seen), size=batch))
        meant = words[shown[few]].mean(1)
        error = (projector(seen[few]) - meant).square().sum() / (
            meant - meant.mean(0)
        ).square().sum()
        error.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        errors.append(error.item())
    projector.requires_grad_(False)
    return errors


def _embeddings(model: LlavaForConditionalGeneration, processor: LlavaProcessor) -> Tensor:
    """Return the word embeddings of all regions, all artifacts and "natural": (W, D)."""
    table = model.get_input_embeddings().weight.detach()
    names = (*REGIONS, *ARTIFACTS, "natural")
    return torch.stack(
        [table[processor.tokenizer(f" {name}")["input_ids"]].mean(0) for name in names]
    )


@torch.no_grad()
def _seen(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, views: list[View]
) -> Tensor:
    """Return what the projector is given of each view: (B, N, C)."""
    projector, model.model.multi_modal_projector = model.model.multi_modal_projector, nn.Identity()
    parts = []
    for at in range(0, len(views), 16):
        pictures = [view.image for view in views[at : at + 16]]
        pixels = processor.image_processor(pictures, return_tensors="pt")
        parts += model.get_image_features(**pixels).pooler_output
    model.model.multi_modal_projector = projector
    return torch.stack(parts)


def _captions(views: list[View], side: int) -> np.ndarray:
    """Return the two words of each of ``side`` x ``side`` image tokens: (B, side^2, 2)."""
    at = np.arange(side) * GRID // side
    altered = np.stack([view.altered[at][:, at] for view in views])
    regions = np.stack([view.regions[at][:, at] for view in views])
    artifacts = np.where(altered.max(-1) > SHOWN, altered.argmax(-1), len(ARTIFACTS))
    return np.stack([regions, len(REGIONS) + artifacts], -1).reshape(len(views), side**2, 2)


def _views(portraits: int, rng: np.random.Generator) -> list[View]:
    cv2.setNumThreads(1)
    people = Procedural(SEED, SIZE)
    taken = (people.portrait(f"smol-train-{n}", n % people.takes) for n in range(portraits))
    return [make_view(portrait, rng) for portrait in taken for _ in range(VIEWS_EACH)]
