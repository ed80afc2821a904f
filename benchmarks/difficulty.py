"""Are the forgeries trivial? DF-D AUC of two simple detectors, by category and method.

Run from the repository root: ``python -m benchmarks.difficulty`` (about 2 minutes on 2 cores),
or with ``--source london --root FOLDER`` for photographs. Makes faces of the default
difficulty and fits two logistic regressions to the training people: on the frequencies of the
picture (``dct``) and on its 16x16 pixels (``pixels16``). Their AUC on held-out people (validation
and test) should not exceed .85 and .70. Last line: one JSON object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from dfa_lib.bench.baselines import Probe, batches, dct_features, pixel_features
from dfa_lib.instruct.card import markdown_table
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.taxonomy import Category, Split, Task

FEATURES = {"dct": dct_features, "pixels16": pixel_features}
LIMITS = {"dct": 0.85, "pixels16": 0.70}


def aucs(train: FaceSet, held_out: FaceSet, name: str) -> dict[str, float]:
    """DF-D AUC of one detector, of all forgeries and of those of each category and method."""
    probe = Probe(name, FEATURES[name], train)
    score = probe.models[Task.DF_D].decision_function(batches(FEATURES[name], held_out))
    score *= 1 if probe.models[Task.DF_D].classes_[1] == "forged" else -1
    forged = np.array([face.category.forged for face in held_out])
    groups = {"all": forged}
    for face in held_out:
        for group in (face.category.value, face.method) if face.category.forged else ():
            groups[group] = np.array([group in (f.category.value, f.method) for f in held_out])
    order = [name for name in ("all", *Category, *sorted(groups)) if name in groups]
    return {
        group: round(float(roc_auc_score(groups[group][part], score[part])), 3)
        for group in dict.fromkeys(order)
        if (part := groups[group] | ~forged).any()
    }


def main() -> None:
    """Make faces, fit, measure, print."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--source", default="procedural")
    ask.add_argument("--root", type=Path)
    ask.add_argument("--n", type=int, default=2_400)
    ask.add_argument("--difficulty", type=float, default=0.3)
    ask.add_argument("--seed", type=int, default=0)
    given = vars(ask.parse_args())
    source = given.pop("source")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        faces = load_faces(source, Path(folder), **given)
        rate = len(faces) / (time.perf_counter() - start)
        train = FaceSet(faces.root, tuple(f for f in faces if f.split is Split.TRAIN))
        held_out = FaceSet(faces.root, tuple(f for f in faces if f.split is not Split.TRAIN))
        found = {name: aucs(train, held_out, name) for name in FEATURES}
    rows = [["forgeries", *FEATURES]]
    rows += [[group, *(f"{found[name][group]:.3f}" for name in FEATURES)] for group in found["dct"]]
    print(markdown_table(rows))
    weak = all(found[name]["all"] <= LIMITS[name] for name in FEATURES)
    print(json.dumps({"faces_per_s": round(rate, 1), "weak": weak, **found}))


if __name__ == "__main__":
    main()
