"""How good is a nano base? Tune it as lesson 02 does, then ask about people it never saw.

Run from the repository root: ``python -m benchmarks.nano_base`` for the embedded base, with
``--base FOLDER`` for another, and with ``--london FOLDER`` also without any tuning on
photographs ("zero-shot"): test people of the Face Research Lab London Set, forged by the same
methods. Last line: one JSON object {"seconds": {step: s}, "sample world" and "london":
{analyst: {"DF-D AUC": [value, low, high], "DF-C accuracy": ..., "AD region F1": ...}}}.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dfa_lib.analysts import Analyst
from dfa_lib.bench.baselines import Probe
from dfa_lib.bench.encoder_baseline import FineTuned
from dfa_lib.bench.exam import set_exam
from dfa_lib.bench.run import ask_all
from dfa_lib.bench.scoring import score_all
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.presets import PRESETS, Preset
from dfa_lib.gpt.train import train
from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.conversations import build_conversations
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.records import InstructRecord

SHOWN = (("DF-D", "AUC"), ("DF-C", "accuracy"), ("AD", "region F1"))


class Clock:
    """Seconds of wall time by step, printed as they are taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Name the time since the last lap."""
        now = time.perf_counter()
        self.seconds[step], self.last = round(now - self.last, 1), now
        print(f"{step}: {self.seconds[step]} s", flush=True)


def make(
    source: str, out: Path, n: int, root: Path | None, workers: int
) -> tuple[FaceSet, list[InstructRecord]]:
    """Return ``n`` faces of a source and their records, as lesson 01 makes them."""
    faces = load_faces(source, out, n=n, root=root, workers=workers)
    return faces, list(build_conversations(faces, annotate(faces, workers=workers), out))


def tune(preset: Preset, faces: FaceSet, records: list[InstructRecord], out: Path) -> LocalAnalyst:
    """Return the analyst that lesson 02 makes of ``preset``'s base."""
    model, processor = load_base(preset)
    lessons = [record for record in records if record.face.split == "train"]
    train(add_lora(model, preset), processor, faces, lessons, preset, out)
    return LocalAnalyst(out)


def controls(analyst: LocalAnalyst, faces: FaceSet) -> dict[str, Analyst]:
    """Return the two rivals that share the base's encoder."""
    known = faces.split("train")
    return {
        "fine_tuned": FineTuned(analyst, known, epochs=round(analyst.preset.epochs)),
        "linear_probe": Probe("linear_probe", analyst.features, known),
    }


def scores(
    analysts: dict[str, Analyst], faces: FaceSet, records: Iterable[InstructRecord], out: Path
) -> dict[str, dict[str, list[float]]]:
    """Run the benchmark of lesson 03; return and print the headline scores with intervals."""
    exam, known = set_exam(faces), {record.id: record for record in records}
    report = score_all(ask_all(analysts, exam, out), exam, known)
    table = {
        name: {
            f"{task} {metric}": [round(value, 3) for value in scored[task][metric]]
            for task, metric in SHOWN
            if metric in scored.get(task, {})
        }
        for name, scored in report["analysts"].items()
    }
    for name, row in table.items():
        print(f"{name:<14}", *(f"{what} {value}" for what, value in row.items()), sep="  ")
    return table


def main() -> None:
    """Read the command line, tune, ask and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nano_base", description=__doc__)
    parser.add_argument("--base", type=Path, help="folder of a base (else the embedded one)")
    parser.add_argument("--london", type=Path, help="folder of the London Set")
    parser.add_argument("--faces", type=int, default=2600, help="of which 70 %% are tuned on")
    parser.add_argument("--photographs", type=int, default=1500, help="of which 27 %% are asked")
    parser.add_argument("--workers", type=int, default=2, help="processes that make faces")
    given = parser.parse_args()
    preset = PRESETS["nano"]
    if given.base:
        preset = replace(preset, base=str(given.base.resolve()))
    with tempfile.TemporaryDirectory() as folder:
        work, clock = Path(folder), Clock()
        faces, records = make("procedural", work / "faces", given.faces, None, given.workers)
        clock.lap(f"{len(faces)} faces")
        analyst = tune(preset, faces, records, work / "tuned")
        clock.lap("tuning")
        analysts = {"dfa-gpt": analyst, **controls(analyst, faces)}
        result = {"sample world": scores(analysts, faces, records, work / "bench")}
        clock.lap("exam, sample world")
        if given.london:
            asked = make("london", work / "l", given.photographs, given.london, given.workers)
            result["london"] = scores(analysts, *asked, work / "bench_london")
            clock.lap("exam, london")
    print(json.dumps({"seconds": clock.seconds, **result}))


if __name__ == "__main__":
    main()
