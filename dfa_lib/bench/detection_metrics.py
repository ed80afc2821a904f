"""Scores of detection (DF-D): is the face forged, and how sure is the analyst?

A score is how much likelier "forged" is than "bona fide" (natural log odds). Probabilities
come from it by one temperature, fitted on validation; "raw" is before that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from scipy.special import expit
from sklearn.metrics import roc_curve

from dfa_lib.bench import metrics
from dfa_lib.bench.exam import Exam, told, too_few, truth
from dfa_lib.intervals import BootstrapSample, Triple, Triples, over
from dfa_lib.records import DataError, Face, Prediction
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
        cls, task: Task, faces: Sequence[Face], given: Iterable[Prediction]
    ) -> "TaskPredictions":
        """Take the predictions of ``task`` on ``faces`` from those ``given``.

        Raises DataError if a face is not answered.
        """
        known = {one.face: one for one in given if one.task is task}
        if missing := [face.id for face in faces if face.id not in known]:
            names = ", ".join({one.analyst for one in known.values()})
            raise DataError(
                f"predictions of {names or 'nobody'}: {task}: {missing[0]} and {len(missing) - 1}"
                " more faces are not answered; run the benchmark again"
            )
        mine = [known[face.id] for face in faces]
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


def fitted_temperature(given: Sequence[Prediction], exam: Exam) -> float | None:
    """Temperature of DF-D scores, fitted on the validation answers that can be read.

    None where these are ``too_few``.
    """
    read = {one.face for one in given if one.task is Task.DF_D and one.answer is not None}
    faces = [face for face in exam.val if face.id in read]
    if too_few(faces):
        return None
    forged = np.array([face.category.forged for face in faces])
    return metrics.fit_temperature(forged, TaskPredictions.of(Task.DF_D, faces, given).scores)


def detection(
    predicted: TaskPredictions, sample: BootstrapSample, temperature: float | None
) -> Triples:
    """The DF-D scores; ``temperature`` is that of the probabilities, if one was fitted."""
    forged, score, right = sample.forged, predicted.scores, predicted.right(sample)
    raw, fitted = expit(score), expit(score / (temperature or 1.0))
    return {
        "AUC": sample.estimate(metrics.auc, forged, score),
        "AP": sample.estimate(metrics.average_precision, forged, score),
        "EER": sample.estimate(metrics.equal_error_rate, forged, score),
        "ACC": sample.estimate(metrics.mean, right),
        "balanced ACC": sample.estimate(metrics.balanced_accuracy, forged, right),
        "TPR@1%FPR": sample.estimate(partial(metrics.hit_rate_at, 0.01), forged, score),
        "TPR@5%FPR": sample.estimate(partial(metrics.hit_rate_at, 0.05), forged, score),
        "ECE": sample.estimate(metrics.calibration_error, forged, fitted),
        "ECE raw": sample.estimate(metrics.calibration_error, forged, raw),
        "Brier": sample.estimate(metrics.mean, (fitted - forged) ** 2),
        "Brier raw": sample.estimate(metrics.mean, (raw - forged) ** 2),
        "unparsable": sample.estimate(metrics.mean, predicted.unread),
    }


def detection_details(
    predicted: TaskPredictions, sample: BootstrapSample, temperature: float | None
) -> dict:
    """DF-D by category, method, data set, subgroup and video; the curves; the worst mistakes."""
    fitted = expit(predicted.scores / (temperature or 1.0))
    auc = _Area(predicted, sample)
    return {
        "temperature": temperature,
        "per_category": auc.by_kind([face.category.value for face in sample.faces]),
        "per_method": auc.by_kind([_method(face) for face in sample.faces]),
        "per_dataset": auc.within([face.dataset for face in sample.faces]),
        "subgroups": auc.subgroups(),
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


@dataclass(frozen=True)
class _Area:
    """DF-D AUC of parts of the test faces."""

    predicted: TaskPredictions
    sample: BootstrapSample

    def of(self, member: np.ndarray) -> Triple:
        """AUC of the faces ``member`` (N,); as sure as the people of the rarer class allow."""
        forged, sample = self.sample.forged, self.sample
        people = min(sample.people(member & forged), sample.people(member & ~forged))
        scores = self.predicted.scores
        return sample.estimate(metrics.auc, forged, scores, where=member, people=people)

    def by_kind(self, names: Sequence[str | None]) -> Triples:
        """AUC of each group of forgeries against all bona fide faces, groups by category."""
        order = [*Category]
        kinds = {
            (order.index(face.category), name)
            for face, name in zip(self.sample.faces, names, strict=True)
            if name and face.category.forged
        }
        named = np.array(names, object)
        return {name: self.of(~self.sample.forged | (named == name)) for _, name in sorted(kinds)}

    def within(self, names: Sequence[str | None]) -> Triples:
        """AUC inside each group; none if there is only one.

        Scores may be shifted from group to group: these hide it, and the pooled AUC shows it.
        """
        named, groups = np.array(names, object), sorted(set(names) - {None})
        return {name: self.of(named == name) for name in groups if len(groups) > 1}

    def subgroups(self) -> dict[str, dict]:
        """AUC by what people consented to have told of them, and the gap from best to worst.

        The two ends of the gap were picked after looking, so its interval is a little too far
        from zero.
        """
        forged, scores, found = self.sample.forged, self.predicted.scores, {}
        for kind in sorted({kind for face in self.sample.faces for kind in face.subgroup}):
            named = np.array([face.subgroup.get(kind) for face in self.sample.faces], object)
            areas = self.within(named.tolist())
            rows = {name: row for name, row in areas.items() if not np.isnan(row[1])}
            if len(rows) > 1:
                ranked = sorted(rows, key=lambda name: rows[name][0])
                ends = [over(named == ranked[at], metrics.auc, forged, scores) for at in (-1, 0)]
                people = {name: self.sample.people(named == name) for name in rows}
                found[kind] = {"AUC": rows, "people": people, "gap": self.sample.paired(*ends)}
        return found


def _videos(probability: np.ndarray, sample: BootstrapSample) -> dict:
    """AUC and accuracy of videos by the mean probability of their frames; {} without videos."""
    frames: dict[tuple[str, ...], list[int]] = {}
    for at, face in enumerate(sample.faces):
        if key := video(face):
            frames.setdefault(key, []).append(at)
    if not frames:
        return {}
    mean = np.full(len(sample.faces), np.nan)  # of a video, at its first frame
    for at in frames.values():
        mean[at[0]] = probability[at].mean()
    first = ~np.isnan(mean)
    right = ((mean > 0.5) == sample.forged).astype(float)
    return {
        "videos": len(frames),
        "AUC": sample.estimate(metrics.auc, sample.forged, mean, where=first),
        "ACC": sample.estimate(metrics.mean, right, where=first),
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
    return [told(sample.faces[at]) | {"probability": float(probability[at])} for at in order]
