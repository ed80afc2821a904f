"""How much of everything, and learning rates that end at 0 in steps or in minutes."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch.optim import Optimizer
from tqdm.auto import tqdm

Note = Callable[..., None]
"""Called now and then with what there is to tell: ``note(step=500, loss=0.1)``."""


@dataclass(frozen=True)
class Plan:
    """How much of everything; a stage ends after its steps or its minutes."""

    views: int = 600_000
    tower_steps: int = 60_000
    tower_minutes: float = 4.5
    tower_batch: int = 192
    language_steps: int = 6_000
    language_minutes: float = 2.0
    language_batch: int = 48
    probe_faces: int = 1_500


SMALL = Plan(1_920, 60, 0.6, 16, 12, 0.6, 4, 120)


def annealed(
    optimiser: Optimizer, peak: float, steps: int, minutes: float, name: str
) -> Iterator[int]:
    """Yield step numbers, the learning rate set for each: a short rise, then half a cosine.

    Ends after ``steps`` or ``minutes``, whichever comes first, and always at a rate of 0.
    """
    begin = time.perf_counter()
    for step in tqdm(range(steps), name, mininterval=10):
        done = max(step / steps, (time.perf_counter() - begin) / (60 * minutes))
        if done >= 1:
            return
        rate = peak * min(1, (done + 1e-4) / 0.03) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate
        yield step
