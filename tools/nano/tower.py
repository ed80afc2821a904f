"""Stage one: the vision tower learns what was altered where, from generic views."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from dfa_lib.gpt.faceconv import FaceTowerModel
from tools.nano.plan import Note, Plan, annealed
from tools.nano.pool import Pool
from tools.nano.views import ARTIFACTS, REGIONS


class Pretext(nn.Module):
    """Linear heads on the tower: per cell the artifacts, whether any, and the facial region."""

    def __init__(self, tower: FaceTowerModel) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(tower.config.hidden_size, len(ARTIFACTS) + 1 + len(REGIONS))

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) to logits of artifacts (B, N, A + 1) and regions (B, N, R)."""
        logits = self.head(self.tower(pixel_values).last_hidden_state).float()
        return logits.split([len(ARTIFACTS) + 1, len(REGIONS)], -1)

    def loss(self, pool: Pool, indices: Tensor, mirror: bool) -> Tensor:
        """What was altered (binary, per artifact and for any) and where on the face we are."""
        pictures, truth = _exposed(pool.pixels(indices)), pool.altered[indices].float() / 255
        regions = pool.regions[indices].long()
        if mirror:
            pictures, truth, regions = pictures.flip(3), truth.flip(2), regions.flip(2)
        with torch.autocast(pictures.device.type, torch.bfloat16):  # twice the steps
            found, region = self(pictures.contiguous(memory_format=torch.channels_last))
        truth = torch.cat([truth, truth.amax(-1, keepdim=True)], -1).flatten(1, 2)
        place = cross_entropy(region.flatten(0, 1), regions.flatten())
        return binary_cross_entropy_with_logits(found, truth) + 0.02 * place


def _exposed(pictures: Tensor) -> Tensor:
    """Vary exposure and contrast a little, so that a view is never twice the same."""
    one = (len(pictures), 1, 1, 1)
    gain = 1 + 0.1 * torch.randn(one, device=pictures.device)
    return (gain * pictures + 0.06 * torch.randn(one, device=pictures.device)).clamp(-1, 1)


def train_tower(
    tower: FaceTowerModel, pool: Pool, plan: Plan, seed: int, note: Note, peak: float = 2e-3
) -> int:
    """Train a tower in place on a pool, which may still be filling; return the steps taken."""
    device, dice = pool.images.device, torch.Generator().manual_seed(seed)
    model = Pretext(tower.train()).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=0.02, fused=True)
    minutes = plan.tower_minutes
    step = 0
    for step in annealed(optimiser, peak, plan.tower_steps, minutes, "tower"):
        pool.take(least=8 * plan.tower_batch)
        indices = torch.randint(len(pool), (plan.tower_batch,), generator=dice).to(device)
        loss = model.loss(pool, indices, mirror=bool(step % 2))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 1000 == 0:
            note(step=step, loss=round(loss.item(), 4), views=len(pool))
    tower.eval()
    return step + 1
