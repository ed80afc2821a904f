"""Scores of detection (DF-D): is the face forged, and how sure is the analyst?

A score is how much likelier "forged" is than "bona fide" (natural log odds). Probabilities
come from it by one temperature, fitted on validation; "raw" is before that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from sklearn.metrics import roc_curve

from dfa_lib.bench import metrics
from dfa_lib.bench.exam import Exam, truth
from dfa_lib.intervals import BootstrapSample, Triples
from dfa_lib.records import Face, Prediction
from dfa_lib.taxonomy import Category, Task

WRONG = 1e6
"""Score of an answer that cannot be read: as sure as can be, and on the wrong side."""


@dataclass(frozen=True)
class TaskPredictions:
    """One analyst's answers to one task, in the order of the sample."""

    task: Task
    answers: tuple[str | None, ...]
    scores: np.ndarray
    texts: tuple[str, ...]
    prompts: tuple[str, ...]

    @classmethod
    def of(
        cls, task: Task, faces: Sequence[Face], given: Mapping[str, Prediction]
    ) -> "TaskPredictions":
        """Collect the predictions of ``task``; ``given`` maps the id of each face to one."""
        mine = [given[face.id] for face in faces]
        scores = [_score(one, face) for one, face in zip(mine, faces, strict=True)]
        texts = tuple(one.text or "" for one in mine)
        prompts = tuple(one.prompt for one in mine)
        return cls(task, tuple(one.answer for one in mine), np.array(scores), texts, prompts)

    def right(self, sample: BootstrapSample) -> np.ndarray:
        """1.0 where the answer is right, 0.0 where it is wrong or cannot be read, (N,).

        nan for the kind (DF-C) of a forgery whose kind is unknown.
        """
        known = [truth(face, self.task) for face in sample.faces]
        pairs = zip(self.answers, known, strict=True)
        return np.array([np.nan if true is None else said == true for said, true in pairs], float)

    @property
    def unread(self) -> np.ndarray:
        """1.0 where the answer cannot be read, (N,)."""
        return np.array([answer is None for answer in self.answers], float)


def fitted_temperature(given: Sequence[Prediction], exam: Exam) -> float:
    """Temperature of DF-D scores, fitted on the validation answers that can be read."""
    mine = {one.face: one for one in given if one.task is Task.DF_D and one.answer is not None}
    faces = [face for face in exam.val if face.id in mine]
    forged = np.array([face.category.forged for face in faces])
    return metrics.fit_temperature(forged, np.array([_score(mine[f.id], f) for f in faces]))


def detection(
    predicted: TaskPredictions, sample: BootstrapSample, temperature: float = 1.0
) -> Triples:
    """The DF-D scores; ``temperature`` is the temperature of the probabilities."""
    forged, score, right = sample.forged, predicted.scores, predicted.right(sample)
    raw, fitted = metrics.probability(score), metrics.probability(score, temperature)
    return {
        name: sample.estimate(statistic)
        for name, statistic in {
            "AUC": partial(metrics.auc, forged, score),
            "AP": partial(metrics.average_precision, forged, score),
            "EER": partial(metrics.equal_error_rate, forged, score),
            "ACC": partial(metrics.mean, right),
            "balanced ACC": partial(metrics.balanced_accuracy, forged, right),
            "TPR@1%FPR": partial(metrics.hit_rate_at, 0.01, forged, score),
            "TPR@5%FPR": partial(metrics.hit_rate_at, 0.05, forged, score),
            "ECE": partial(metrics.calibration_error, forged, fitted),
            "ECE raw": partial(metrics.calibration_error, forged, raw),
            "Brier": partial(metrics.mean, (fitted - forged) ** 2),
            "Brier raw": partial(metrics.mean, (raw - forged) ** 2),
            "unparsable": partial(metrics.mean, predicted.unread),
        }.items()
    }


def detection_details(
    predicted: TaskPredictions, sample: BootstrapSample, temperature: float
) -> dict:
    """DF-D by category, method, data set, subgroup and video; the curves; the worst mistakes."""
    fitted = metrics.probability(predicted.scores, temperature)
    kinds, methods = zip(*((f.category.value, _method(f)) for f in sample.faces), strict=True)
    return {
        "temperature": temperature,
        "per_category": _against_bona_fide(predicted, sample, kinds),
        "per_method": _against_bona_fide(predicted, sample, methods),
        "per_dataset": _within(predicted, sample, [face.dataset for face in sample.faces]),
        "subgroups": _subgroups(predicted, sample),
        "video": _videos(fitted, sample),
        "roc": _roc(predicted, sample),
        "reliability": metrics.reliability(sample.forged, fitted),
        "worst": _worst(fitted, sample),
    }


def video(face: Face) -> tuple[str, ...] | None:
    """The video a face is a frame of: a picture whose name is a bare number in a folder.

    The folder's name alone does not do: data sets call bona fide and forged videos alike.
    """
    frame = PurePosixPath(face.frame or "")
    if not frame.stem.isdigit() or len(frame.parts) < 2:
        return None
    return face.dataset, face.category.value, face.method or "", frame.parent.as_posix()


def _score(prediction: Prediction, face: Face) -> float:
    """Log odds of "forged"; an answer that cannot be read is wrong, and sure of it."""
    if prediction.task is not Task.DF_D:
        return float("nan")
    if prediction.answer is None or prediction.options is None:
        return -WRONG if face.category.forged else WRONG
    return prediction.options["forged"] - prediction.options["bona fide"]


def _method(face: Face) -> str | None:
    return face.method and f"{face.category.value} {face.method.replace('_', ' ')}"


def _against_bona_fide(
    predicted: TaskPredictions, sample: BootstrapSample, groups: Sequence[str | None]
) -> Triples:
    """AUC of each group of forgeries against all bona fide faces, groups by category."""
    order = {category.value: at for at, category in enumerate(Category)}
    of = {
        name: order[face.category]
        for name, face in zip(groups, sample.faces, strict=True)
        if name and face.category.forged
    }
    named = np.array(groups, object)
    return {
        name: _auc(predicted, sample, ~sample.forged | (named == name))
        for name in sorted(of, key=lambda name: (of[name], name))
    }


def _within(
    predicted: TaskPredictions, sample: BootstrapSample, groups: Sequence[str | None]
) -> Triples:
    """AUC inside each group; none if there is only one.

    Scores may be shifted from group to group: these hide it, and the pooled AUC shows it.
    """
    named = np.array(groups, object)
    names = sorted(set(groups) - {None})
    return {name: _auc(predicted, sample, named == name) for name in names if len(names) > 1}


def _auc(
    predicted: TaskPredictions, sample: BootstrapSample, member: np.ndarray
) -> tuple[float, float, float]:
    """AUC of some faces; as sure as the people of the rarer class allow."""
    part = sample.part(member)
    people = [part.part(part.forged == kind).identities for kind in (False, True)]
    part = replace(part, identities=min(people))
    return part.estimate(partial(metrics.auc, part.forged, predicted.scores[member]))


def _subgroups(predicted: TaskPredictions, sample: BootstrapSample) -> dict[str, dict]:
    """AUC by what people consented to have told of them, and the gap from best to worst.

    The two ends of the gap were picked after looking, so its interval is a little too far
    from zero.
    """
    kinds = sorted({kind for face in sample.faces for kind in face.subgroup})
    found = {}
    for kind in kinds:
        named = [face.subgroup.get(kind) for face in sample.faces]
        rows = {
            name: row for name, row in _within(predicted, sample, named).items() if row[1] == row[1]
        }
        if len(rows) > 1:
            ends = [f(rows, key=lambda name: rows[name][0]) for f in (max, min)]
            members = {name: np.array(named, object) == name for name in rows}
            best, worst = (partial(_auc_at, predicted, sample, members[name]) for name in ends)
            found[kind] = {
                "AUC": rows,
                "people": {
                    name: sample.part(member).identities for name, member in members.items()
                },
                "gap": sample.paired(best, worst),
            }
    return found


def _auc_at(
    predicted: TaskPredictions, sample: BootstrapSample, member: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """AUC on some of the faces under weights (B, N) of all."""
    return metrics.auc(sample.forged[member], predicted.scores[member], weights[:, member])


def _videos(probability: np.ndarray, sample: BootstrapSample) -> dict:
    """AUC and accuracy of videos by the mean probability of their frames; {} without videos."""
    frames: dict[tuple[str, ...], list[int]] = {}
    for at, face in enumerate(sample.faces):
        if key := video(face):
            frames.setdefault(key, []).append(at)
    if not frames:
        return {}
    first = np.zeros(len(sample.faces), bool)
    first[[at[0] for at in frames.values()]] = True
    part = sample.part(first)
    mean = {at[0]: probability[at].mean() for at in frames.values()}
    score = np.array([mean[at] for at in np.flatnonzero(first)])
    right = ((score > 0.5) == part.forged).astype(float)
    return {
        "videos": len(frames),
        "AUC": part.estimate(partial(metrics.auc, part.forged, score)),
        "ACC": part.estimate(partial(metrics.mean, right)),
    }


def _roc(predicted: TaskPredictions, sample: BootstrapSample) -> list[list[float]]:
    """Corners of the ROC curve; none if the faces are of one class."""
    if len(np.unique(sample.forged)) < 2:
        return []
    alarm, hit, _ = roc_curve(sample.forged, predicted.scores)
    return np.stack([alarm, hit], axis=1).tolist()


def _worst(probability: np.ndarray, sample: BootstrapSample) -> list[dict]:
    """The ten mistakes made with most confidence."""
    wrong = np.abs(sample.forged - probability)
    order = [at for at in np.argsort(-wrong, kind="stable")[:10] if wrong[at] > 0.5]
    return [
        {
            "face": sample.faces[at].id,
            "image": sample.faces[at].image,
            "category": sample.faces[at].category.value,
            "method": sample.faces[at].method,
            "probability": float(probability[at]),
        }
        for at in order
    ]
