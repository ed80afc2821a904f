"""Tuning on a machine that has other work as well: threads that spin against threads that sleep.

A class has browsers and calls open. Nano is tuned alone and beside one busy process per
processor, each with OpenMP threads that spin while they wait (its default) and with threads that
soon sleep (what the package sets), in turn.

    python -m benchmarks.busy_machine
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from dfa_lib.runtime import RESCUE

STEPS, ROUNDS, PATIENCE = 24, 2, 90
FACES = RESCUE / "01_instruct"
POLICIES = {"spin": {"GOMP_SPINCOUNT": "300000"}, "sleep": {}}
"""What differs from the environment that the package sets; 300,000 turns are GNU OpenMP's own."""


def tune(steps: int) -> float:
    """Tune nano on the rescue faces; seconds of the median step."""
    from dfa_lib import runtime

    runtime.prepare()
    from dfa_lib.gpt.base import add_lora, load_base
    from dfa_lib.gpt.presets import NANO
    from dfa_lib.gpt.train import train
    from dfa_lib.instruct.conversations import load_records
    from dfa_lib.instruct.faceset import FaceSet

    faces = FaceSet.read(FACES)
    records = [r for r in load_records(FACES / "instruct.jsonl") if r.face.split == "train"]
    preset = replace(NANO, epochs=steps * NANO.batch / len(records))
    model, processor = load_base(preset)
    with tempfile.TemporaryDirectory() as out:
        log = train(add_lora(model, preset), processor, faces, records, preset, Path(out))
    return statistics.median(step.seconds for step in log)


def measure(policy: dict[str, str]) -> float:
    """Seconds a step in a process of its own; ``PATIENCE`` over ``STEPS`` if it takes longer."""
    code = f"from benchmarks.busy_machine import tune; print(tune({STEPS}))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | policy, capture_output=True, text=True,
            timeout=PATIENCE, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return PATIENCE / STEPS
    return float(done.stdout)


@contextmanager
def neighbours(count: int):
    """Keep ``count`` processes busy meanwhile."""
    with ExitStack() as stack:
        for _ in range(count):
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(other.wait)
            stack.callback(other.kill)
        yield


def main() -> None:
    """Print seconds a step; last line: how many times slower spinning is, alone and busy."""
    ratios = {}
    for place, others in {"alone": 0, "busy": os.cpu_count() or 1}.items():
        with neighbours(others):
            taken = {name: [] for name in POLICIES}
            for _ in range(ROUNDS):
                for name, policy in POLICIES.items():
                    taken[name].append(measure(policy))
        best = {name: min(seconds) for name, seconds in taken.items()}
        ratios[place] = round(best["spin"] / best["sleep"], 2)
        shown = "   ".join(f"{name} {seconds:.3f} s" for name, seconds in best.items())
        print(f"{place:<6} {shown}   a step, best of {ROUNDS}")
    print(json.dumps({f"{place}_ratio": ratio for place, ratio in ratios.items()}))


if __name__ == "__main__":
    main()
