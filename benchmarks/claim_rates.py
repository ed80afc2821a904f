"""At which learning rates do both sides of lesson 05's claim A do best?

Run from the repository root: ``python -m benchmarks.claim_rates`` (about 12 minutes on 2 cores).
As in the lesson, FACES training faces in the epochs and batches of the nano preset: its encoder
tuned alone at each of VISION rates, and its language model, on both verdicts, at TIMES the rates
of the preset. Both are scored on validation people, never on those of an exam. Last line: one
JSON object {side: {rate: {"DF-D AUC", "DF-C accuracy"}}}, means over SEEDS.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from dfa_lib.analysts import Analyst, Question
from dfa_lib.bench.claims import VERDICTS, Study
from dfa_lib.bench.encoder_baseline import FineTuned
from dfa_lib.gpt.presets import NANO, Preset
from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.conversations import OPTIONS, build_conversations, load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.instruct.wording import wordings
from dfa_lib.taxonomy import Split, Task

VISION, TIMES, SEEDS, MADE, FACES = (3e-4, 1e-3, 3e-3, 1e-2), (0.5, 1, 2), 2, 2_000, 400


def encoder(study: Study, seed: int) -> Analyst:
    """Vision only."""
    return FineTuned(study.untuned, study.pupils(seed), round(study.preset.epochs), seed)


def language(study: Study, seed: int) -> Analyst:
    """The language model, its encoder tuned as the preset says."""
    return study.tune("verdicts", seed)


def score(analyst: Analyst, faces: FaceSet) -> tuple[float, float]:
    """DF-D AUC and DF-C accuracy on ``faces``, asked in one training wording each."""
    asked = [
        Question(wordings(task, Split.TRAIN)[0], task, tuple(OPTIONS[task].values()))
        for task in VERDICTS
    ]
    replies = analyst.reply([faces.image(face) for face in faces], [asked] * len(faces))
    leaning = [detect.logprobs[1] - detect.logprobs[0] for detect, _ in replies]
    known = [OPTIONS[Task.DF_C][face.category] for face in faces]
    right = [kind.text == name for (_, kind), name in zip(replies, known, strict=True)]
    return roc_auc_score([face.category.forged for face in faces], leaning), np.mean(right)


def mean(
    make: Callable[[Study, int], Analyst], faces: FaceSet, preset: Preset, records: dict
) -> dict[str, float]:
    """Both scores, mean over seeds, of what ``make`` tunes by a preset."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(faces, records, preset, Path(folder), FACES)
        rows = [score(make(study, seed), faces.split(Split.VAL)) for seed in range(SEEDS)]
    auc, accuracy = np.mean(rows, axis=0)
    return {"DF-D AUC": round(float(auc), 3), "DF-C accuracy": round(float(accuracy), 3)}


def main() -> None:
    """Tune both sides at every rate and print how each does."""
    with tempfile.TemporaryDirectory() as folder:
        faces = load_faces("procedural", out=Path(folder), n=MADE)
        build_conversations(faces, annotate(faces), out=Path(folder))
        records = {one.id: one for one in load_records(Path(folder) / "instruct.jsonl")}
        presets = {
            encoder: {rate: replace(NANO, lr_vision=rate) for rate in VISION},
            language: {
                k: replace(NANO, lr_lora=k * NANO.lr_lora, lr_projector=k * NANO.lr_projector)
                for k in TIMES
            },
        }
        found: dict[str, dict] = {}
        for make, rates in presets.items():
            for rate, preset in rates.items():
                row = mean(make, faces, preset, records)
                print(make.__name__, f"{rate:g}", row, flush=True)
                found.setdefault(make.__name__, {})[f"{rate:g}"] = row
    print(json.dumps(found))


if __name__ == "__main__":
    main()
