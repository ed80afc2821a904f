"""Rebuild the nano base: ``python -m tools.nano --london FOLDER``.

Takes one to two hours on two cores: 100,000 steps of the tower took 67 minutes of one core.
"""

import argparse
from pathlib import Path

import torch

from dfa_lib.gpt.presets import WEIGHTS
from tools.nano import pool
from tools.nano.card import write_card
from tools.nano.language import make_model, make_processor, train_language
from tools.nano.tower import train_tower

SEED = 7_000_000  # far from the seeds of lessons, so that nobody there was seen here


def build(
    out: Path, photographs: Path | None, faces: int, views: int, epochs: int, steps: int
) -> None:
    """Make pictures, train tower and language, save everything under ``out``."""
    drawn = pool.generated(faces, SEED)
    photographed = pool.london(photographs) if photographs else []
    seen = pool.make_views(drawn, photographed, views, SEED)
    tower = train_tower(seen, epochs, SEED)
    processor = make_processor()
    torch.manual_seed(SEED)
    model = make_model(processor, tower)
    train_language(model, processor, seen, steps, SEED)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    write_card(
        out,
        model,
        drawn=len(drawn),
        photographed=len(photographed),
        views=views,
        epochs=epochs,
        steps=steps,
    )


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m tools.nano", description=__doc__)
    parser.add_argument(
        "--london", type=Path, help="folder of the London Set (else drawn faces only)"
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS / "nano")
    parser.add_argument("--faces", type=int, default=5_000)
    parser.add_argument("--views", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=8, help="passes of the tower over the views")
    parser.add_argument("--steps", type=int, default=1_600, help="steps of the language stage")
    arguments = vars(parser.parse_args())
    build(arguments.pop("out"), arguments.pop("london"), **arguments)


if __name__ == "__main__":
    main()
