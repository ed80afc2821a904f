"""Rebuild the nano base: ``python -m tools.nano --london FOLDER``.

On a CUDA GPU with 16 cores it takes about 8 minutes; ``--small`` is the same in two minutes on
two cores, to see that everything works. What stands in the output folder can always be
loaded: it is written again every few hundred steps.
"""

import argparse
import json
import os
import tempfile
import time
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration

from dfa_lib.gpt.presets import WEIGHTS
from tools.nano.card import write_card
from tools.nano.language import make_model, make_processor, train_language
from tools.nano.plan import SMALL, Plan
from tools.nano.pool import Pool, Recipe
from tools.nano.probe import Probe
from tools.nano.tower import train_tower

SEED = 7_000_000  # far from the seeds of lessons, so that nobody there was seen here
SAVE_EVERY = 90  # seconds, so that a run that is cut off leaves something


class Keeper:
    """Writes the base and, beside its folder, the log of its making."""

    def __init__(
        self, out: Path, model: LlavaForConditionalGeneration, facts: dict[str, object]
    ) -> None:
        self.out, self.model, self.facts = out, model, facts
        self.begin = self.saved = time.perf_counter()
        self.log: list[dict[str, object]] = []

    def note(self, **what: object) -> None:
        """Print a line of the log and keep it; after SAVE_EVERY seconds save the weights, too."""
        now = time.perf_counter()
        self.log.append({"seconds": round(now - self.begin, 1), **what})
        print(json.dumps(self.log[-1]), flush=True)
        if now - self.saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write weights in half precision, card and log."""
        small = deepcopy(self.model).to("cpu", torch.float16, memory_format=torch.contiguous_format)
        small.save_pretrained(self.out)
        write_card(self.out, self.model, **self.facts)
        self.out.with_suffix(".log.json").write_text(json.dumps(self.log, indent=1))
        self.saved = time.perf_counter()


def build(out: Path, london: Path | None, plan: Plan, workers: int, device: str) -> None:
    """Make views, train tower and language on them, and write the base into ``out``."""
    torch.manual_seed(SEED)
    processor = make_processor()
    processor.save_pretrained(out)
    model = make_model(processor).to(device)
    tower = model.model.vision_tower
    keeper = Keeper(out, model, {**vars(plan), "photographs": bool(london)})
    with tempfile.TemporaryDirectory() as folder:
        probe = Probe(Path(folder), london, plan.probe_faces, workers)
        pool = Pool(Recipe(london, SEED), plan.views, torch.device(device), workers)
        keeper.note(stage="begin", device=device, workers=workers, probe=probe(tower))
        told = partial(keeper.note, stage="tower")
        keeper.facts["tower_steps"] = train_tower(tower, pool, plan, SEED, told)
        pool.close()
        keeper.facts["views"] = len(pool)
        keeper.note(stage="tower is done", views=len(pool), probe=probe(tower))
    keeper.save()
    told = partial(keeper.note, stage="language")
    keeper.facts["language_steps"] = train_language(model, processor, pool, plan, SEED, told)
    keeper.note(stage="done")
    keeper.save()


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m tools.nano", description=__doc__)
    parser.add_argument("--london", type=Path, help="folder of the London Set (else none of it)")
    parser.add_argument("--out", type=Path, default=WEIGHTS / "nano")
    parser.add_argument("--small", action="store_true", help="everything, but very little of it")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name in ("tower_minutes", "language_minutes"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    plan = SMALL if given.pop("small") else Plan()
    minutes = {name: given.pop(name) for name in list(given) if name.endswith("_minutes")}
    build(plan=replace(plan, **minutes), **given)


if __name__ == "__main__":
    main()
