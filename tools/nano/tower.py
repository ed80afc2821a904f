"""Stage one: the vision tower learns what was altered where, from generic views."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from tqdm.auto import tqdm

from dfa_lib.gpt.faceconv import FaceConvConfig, FaceConvModel
from tools.nano.pool import Sitter, pixels
from tools.nano.views import ARTIFACTS, REGIONS, View


class Pretext(nn.Module):
    """Linear heads on the tower: per cell the artifacts, whether any, and the facial region."""

    def __init__(self, tower: FaceConvModel) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(tower.config.hidden_size, len(ARTIFACTS) + 1 + len(REGIONS))

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, S, S) to logits of artifacts (B, 64, A + 1) and regions (B, 64, R)."""
        logits = self.head(self.tower(pixel_values).last_hidden_state)
        return logits.split([len(ARTIFACTS) + 1, len(REGIONS)], -1)

    def loss(self, views: list[View]) -> torch.Tensor:
        """What was altered (binary, per artifact and for any) and where on the face we are."""
        with torch.autocast("cpu", torch.bfloat16):  # twice the steps in the same minutes
            found, region = (logits.float() for logits in self(pixels(views)))
        altered = torch.stack([torch.from_numpy(view.altered).flatten(0, 1) for view in views])
        altered = torch.cat([altered, altered.amax(-1, keepdim=True)], -1)
        regions = torch.stack([torch.from_numpy(view.regions).flatten() for view in views])
        place = cross_entropy(region.flatten(0, 1), regions.flatten())
        return binary_cross_entropy_with_logits(found, altered) + 0.02 * place


def train_tower(
    seen: list[tuple[View, Sitter]], epochs: int, seed: int, batch: int = 8, peak: float = 1e-3
) -> FaceConvModel:
    """Train a tower on views, half of them mirrored, for ``epochs`` passes.

    The batch is small on purpose: a view holds 64 cells, and steps are what is scarce.
    """
    torch.manual_seed(seed)
    model = Pretext(FaceConvModel(FaceConvConfig())).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.01)
    steps = epochs * (len(seen) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, steps, pct_start=0.05)
    bar = tqdm(mini_batches(len(seen), batch, steps, seed), "tower", total=steps, mininterval=5)
    for indices, mirror in bar:
        views = [seen[i][0] for i in indices]
        loss = model.loss([view.mirrored() for view in views] if mirror else views)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.tower.eval()


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
