"""How fast the shell answers: from its start to the first answer, and over a folder.

    python -m benchmarks.ask_speed [--pictures 500] [--model FOLDER]

The folder is asked in one command; the usual way asks one picture at a time, in a process of its
own each (timed on ``_ALONE`` pictures) or in one process without batches. Detector and model are
also timed alone. Pictures are generated faces on a larger sheet. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from PIL import Image

from dfa_lib.ask.judging import Session
from dfa_lib.ask.shots import Shot, look
from dfa_lib.runtime import prepare
from facesim.people import portrait

QUESTION = "Has this face been forged?"
_ALONE = 5  # pictures asked in a process each
_ONE_BY_ONE = 60  # pictures asked one at a time in one process
_PEOPLE = 50  # different faces; the folder repeats them under new light


def main() -> None:
    """Print each figure as it is measured, then all as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="default: as dfa_lib.ask")
    args = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory() as name:
        paths = write_pictures(Path(name), args.pictures)
        found = {"cores": len(os.sched_getaffinity(0)), "pictures": len(paths)}
        for measure in (alone, one_by_one, in_a_folder):
            found |= measure(paths, args.model)
            print(json.dumps(found), flush=True)


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write faces on sheets of 290x300 pixels as JPEG; return their paths."""
    rng, sheets = np.random.default_rng(0), []
    for seed in range(min(count, _PEOPLE)):
        face = portrait(f"asked-{seed}", 0, size=160).image
        sheets.append(np.pad(face, ((60, 80), (90, 40), (0, 0)), "edge"))
    paths = [folder / f"{number:04}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        light = cv2.convertScaleAbs(sheets[number % _PEOPLE], alpha=rng.uniform(0.8, 1.1))
        Image.fromarray(light).save(path, quality=92)
    return paths


def alone(paths: Sequence[Path], model: Path | None) -> dict[str, float]:
    """Time a process for each picture: what a person waits for, its start included."""
    times = [_seconds(lambda path=path: _shell(path, model)) for path in paths[:_ALONE]]
    first = float(np.median(times))
    return {"first_answer_s": round(first, 2), "process_each_per_s": round(1 / first, 3)}


def one_by_one(paths: Sequence[Path], model: Path | None) -> dict[str, float]:
    """Time one picture at a time in one process, and how that is shared out."""
    session, few = Session(model, None, False, (QUESTION,)), paths[:_ONE_BY_ONE]
    list(session.answers(few[:1], 1.0))  # loads the model
    detector = _seconds(lambda: [look(Shot(path.name, path), False) for path in few])
    whole = _seconds(lambda: [list(session.answers([path], 1.0)) for path in few])
    return {
        "detector_ms": round(1000 * detector / len(few), 1),
        "model_ms": round(1000 * (whole - detector) / len(few), 1),
        "one_by_one_per_s": round(len(few) / whole, 1),
    }


def in_a_folder(paths: Sequence[Path], model: Path | None) -> dict[str, float]:
    """Time one command for the folder; its start, as of one picture, is not the folder's."""
    whole = _seconds(lambda: _shell(paths[0].parent, model))
    start = _seconds(lambda: _shell(paths[0], model))
    return {
        "folder_s": round(whole, 1),
        "folder_per_s": round(len(paths) / (whole - start), 1),
        "folder_per_s_with_start": round(len(paths) / whole, 1),
    }


def _shell(path: Path, model: Path | None) -> None:
    chosen = ["--model", str(model)] if model else []
    command = [sys.executable, "-m", "dfa_lib.ask", str(path), "--json", *chosen]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 2:
        raise SystemExit(done.stderr)


def _seconds(work: Callable[[], object]) -> float:
    begin = perf_counter()
    work()
    return perf_counter() - begin


if __name__ == "__main__":
    main()
