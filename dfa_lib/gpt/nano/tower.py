"""Stage one: the vision tower learns what was altered where, from generic views.

The tower is a stock FocalNet (Yang et al., NeurIPS 2022): convolutional from the first layer,
which at this size reads fine texture far better than a ViT (benchmarks/tower_choice.py), and
its tokens are compared with the global context, which is what "unlike the rest of the face"
needs.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from tqdm.auto import tqdm
from transformers import FocalNetConfig, FocalNetModel

from dfa_lib.gpt.nano.pool import SIZE, Sitter, pixels
from dfa_lib.gpt.nano.views import ARTIFACTS, REGIONS, View


def tower_config() -> FocalNetConfig:
    """1.3 M parameters, 64 tokens of 192 for a picture of 128 x 128."""
    sizes = [48, 96, 192]
    return FocalNetConfig(
        image_size=SIZE,
        patch_size=4,
        embed_dim=sizes[0],
        use_conv_embed=True,
        hidden_sizes=sizes,
        hidden_size=sizes[-1],
        depths=[1, 2, 3],
        focal_levels=[1, 2, 2],
        focal_windows=[3, 3, 3],
        mlp_ratio=2.0,
        drop_path_rate=0.0,
    )


class Pretext(nn.Module):
    """Heads on the tower: per cell the artifacts, whether any, and the facial region."""

    def __init__(self, tower: nn.Module, width: int, captions: dict[str, list[str]]) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(width)
        self.cells = nn.Linear(width, len(ARTIFACTS) + 1 + len(REGIONS))
        self.whole = nn.Linear(2 * width, 1 + sum(map(len, captions.values())))
        self.captions = captions

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, S, S) to cell logits (B, 64, A + 1 + R) and picture logits (B, 1 + C)."""
        tokens = self.norm(tokens_of(self.tower, pixel_values))
        pooled = torch.cat([tokens.mean(1), tokens.amax(1)], -1)
        return self.cells(tokens), self.whole(pooled)

    def loss(self, batch: list[tuple[View, Sitter]]) -> torch.Tensor:
        """Sum of the pretext losses over a batch of views."""
        views = [view for view, _ in batch]
        with torch.autocast("cpu", torch.bfloat16):  # twice as fast on a processor that has it
            cells, whole = self(pixels(views))
        cells, whole = cells.float(), whole.float()
        altered = torch.stack([torch.from_numpy(view.altered).flatten(0, 1) for view in views])
        regions = torch.stack([torch.from_numpy(view.regions).flatten() for view in views])
        some = altered.amax(-1, keepdim=True)
        split = cells.split([altered.shape[-1] + 1, len(REGIONS)], -1)
        found = binary_cross_entropy_with_logits(
            split[0], torch.cat([altered, some], -1), reduction="none"
        )
        return (
            20 * found[..., :-1].mean()
            + 3 * found[..., -1].mean()
            + 0.2 * cross_entropy(split[1].flatten(0, 1), regions.flatten())
            + 0.5 * binary_cross_entropy_with_logits(whole[:, 0], (some.amax((1, 2)) > 0.5).float())
            + 0.1 * self._caption_loss(whole[:, 1:], [sitter for _, sitter in batch])
        )

    def _caption_loss(self, logits: torch.Tensor, sitters: list[Sitter]) -> torch.Tensor:
        loss = logits.new_zeros(())
        parts = logits.split([len(values) for values in self.captions.values()], -1)
        for part, (name, values) in zip(parts, self.captions.items(), strict=True):
            known = [i for i, sitter in enumerate(sitters) if name in sitter.caption]
            target = torch.tensor([values.index(sitters[i].caption[name]) for i in known])
            loss = loss + (cross_entropy(part[known], target) if known else 0)
        return loss


def tokens_of(tower: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
    """The features LLaVA reads: last hidden states (B, 64, D), without a class token."""
    return tower(pixel_values, output_hidden_states=True).hidden_states[-1]


def train_tower(
    seen: list[tuple[View, Sitter]], epochs: int, seed: int, batch: int = 48, peak: float = 2e-3
) -> FocalNetModel:
    """Train a tower on views, half of them mirrored, for ``epochs`` passes."""
    torch.manual_seed(seed)
    words = vocabulary([sitter for _, sitter in seen])
    tower = FocalNetModel(tower_config(), add_pooling_layer=False)
    model = Pretext(tower, tower.config.hidden_size, words)
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.05)
    steps = epochs * (len(seen) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, steps, pct_start=0.05)
    bar = tqdm(mini_batches(len(seen), batch, steps, seed), "tower", total=steps)
    for indices, mirror in bar:
        views = [
            (view.mirrored() if mirror else view, sitter)
            for view, sitter in map(seen.__getitem__, indices)
        ]
        loss = model.loss(views)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.tower


def mini_batches(
    count: int, batch: int, steps: int, seed: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """Indices of each batch, epoch after epoch in a new order, and whether to mirror it."""
    rng = np.random.default_rng(seed)
    order = np.empty(0, int)
    for _ in range(steps):
        if len(order) < batch:
            order = rng.permutation(count)
        indices, order = order[:batch], order[batch:]
        yield indices, bool(rng.integers(2))


def vocabulary(sitters: list[Sitter]) -> dict[str, list[str]]:
    """Every caption attribute with the values it takes."""
    names = sorted({name for sitter in sitters for name in sitter.caption})
    return {n: sorted({s.caption[n] for s in sitters if n in s.caption}) for n in names}
