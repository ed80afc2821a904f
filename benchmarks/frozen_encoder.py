"""Is the encoder worth tuning? The lessons' model against the paper's recipe, its encoder frozen.

Run from the repository root after lessons 01 and 02: ``python -m benchmarks.frozen_encoder``
(as long as lesson 02). The frozen one is tuned into work/02_frozen, on the same data
and with the same seed, or taken from there; then both sit the exam of lesson 03. Last line: one
JSON object with the scores of both and the paired difference, tuned less frozen, each with its
95 % interval over people. One seed: how far another one moves them is not in the interval.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from dfa_lib.bench.exam import set_exam
from dfa_lib.bench.run import ask_all
from dfa_lib.bench.scoring import score_all
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.presets import NANO
from dfa_lib.gpt.train import train
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.runtime import work_path
from dfa_lib.taxonomy import Split


def main(work: Path) -> dict[str, dict]:
    """Tune, ask and score; return the JSON of the last line."""
    faces, out = FaceSet.read(work / "01_instruct"), work / "02_frozen"
    records = {one.id: one for one in load_records(work / "01_instruct" / "instruct.jsonl")}
    lessons = [records[face.id] for face in faces.split(Split.TRAIN)]
    preset = replace(NANO, vision="frozen")
    model, processor = load_base(preset)
    train(add_lora(model, preset), processor, faces, lessons, preset, out)
    analysts = {"tuned": LocalAnalyst(work / "02_gpt"), "frozen": LocalAnalyst(out)}
    exam = set_exam(faces)
    scores = score_all(ask_all(analysts, exam, out / "bench"), exam, records)
    found = {name: scores["analysts"][name] for name in analysts}
    keys = (("DF-D", "AUC"), ("DF-C", "accuracy"), ("AD", "region F1"))
    levels = {name: {f"{t} {s}": of[t][s] for t, s in keys} for name, of in found.items()}
    return levels | {"tuned less frozen": scores["lead"]["frozen"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser("benchmarks.frozen_encoder")
    parser.add_argument("--work", type=Path, default=work_path())
    print(json.dumps(main(parser.parse_args().work)))
