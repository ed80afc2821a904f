"""From predictions to numbers: every score with its 95 % interval, and what the page shows.

Everything is computed from the predictions files and the faces, so a report can be scored
anew without asking anybody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.metrics import roc_curve
from tqdm.auto import tqdm

from dfa_lib.bench import metrics
from dfa_lib.bench.describing import Descriptions, best_constant
from dfa_lib.bench.exam import VERSION, Exam, labels, truth
from dfa_lib.bench.intervals import Sheet, Triples
from dfa_lib.records import DataError, Face, InstructRecord, Prediction
from dfa_lib.taxonomy import Category, Task

WRONG = 1e6
"""Score of an answer that cannot be read: as sure as can be, and on the wrong side."""


@dataclass(frozen=True)
class Paper:
    """One analyst's answers to one task, in the order of the sheet."""

    task: Task
    answers: tuple[str | None, ...]
    scores: np.ndarray
    texts: tuple[str, ...]

    @classmethod
    def of(cls, task: Task, faces: Sequence[Face], given: Mapping[str, Prediction]) -> "Paper":
        """Collect the predictions of ``task``; ``given`` maps the id of each face to one."""
        mine = [given[face.id] for face in faces]
        scores = [_score(one, face) for one, face in zip(mine, faces, strict=True)]
        texts = tuple(one.text or "" for one in mine)
        return cls(task, tuple(one.answer for one in mine), np.array(scores), texts)


def score_all(
    predictions: Mapping[str, Sequence[Prediction]],
    exam: Exam,
    records: Mapping[str, InstructRecord],
    resamples: int,
) -> dict:
    """The content of report.json, but for who made it and from what."""
    sheet = Sheet.of(exam.test, resamples, exam.seed)
    constant = best_constant(exam.train)
    described = Descriptions.of(sheet, records, constant)
    analysts, details, papers = {}, {}, {}
    for name, given in tqdm(predictions.items(), "scores", unit="analyst"):
        papers[name] = _papers(name, given, exam)
        temperature = _temperature(given, exam)
        analysts[name], details[name] = _score_one(papers[name], sheet, described, temperature)
    return {
        "version": VERSION,
        "exam": exam.hash,
        "seed": exam.seed,
        "resamples": resamples,
        "n": len(sheet.faces),
        "identities": sheet.identities,
        "majority_share": _majority(sheet, Task.DF_C),
        "forged_share": float(sheet.forged.mean()),
        "categories": {c.value: sum(f.category is c for f in sheet.faces) for c in Category},
        "analysts": analysts,
        "constant": described.constant_scores(),
        "lead": _lead(papers, sheet),
        "details": details,
    }


def _papers(name: str, given: Sequence[Prediction], exam: Exam) -> dict[Task, Paper]:
    papers = {}
    for task in (Task.DF_D, Task.DF_C, Task.AD):
        mine = {one.face: one for one in given if one.task is task}
        missing = [face.id for face in exam.test if face.id not in mine]
        if mine and missing:
            raise DataError(
                f"predictions of {name}: {task}: {missing[0]} and {len(missing) - 1}"
                " more faces are not answered; run the benchmark again"
            )
        if mine:
            papers[task] = Paper.of(task, exam.test, mine)
    return papers


def _score(prediction: Prediction, face: Face) -> float:
    """How much more likely "forged" is than "bona fide" (log odds); unreadable is wrong."""
    if prediction.task is not Task.DF_D:
        return float("nan")
    if prediction.answer is None or prediction.options is None:
        return -WRONG if face.category.forged else WRONG
    return prediction.options["forged"] - prediction.options["bona fide"]


def _temperature(given: Sequence[Prediction], exam: Exam) -> float:
    """Temperature of DF-D scores, fitted on the validation answers that can be read."""
    mine = {one.face: one for one in given if one.task is Task.DF_D and one.answer is not None}
    faces = [face for face in exam.val if face.id in mine]
    forged = np.array([face.category.forged for face in faces])
    return metrics.fit_temperature(forged, np.array([_score(mine[f.id], f) for f in faces]))


def _score_one(
    papers: Mapping[Task, Paper], sheet: Sheet, described: Descriptions, temperature: float
) -> tuple[dict[str, Triples], dict[str, dict]]:
    """Scores and details of one analyst, by task; a task it does not answer is empty."""
    scores: dict[str, Triples] = {task.value: {} for task in (Task.DF_D, Task.DF_C, Task.AD)}
    details: dict[str, dict] = {task: {} for task in scores}
    if paper := papers.get(Task.DF_D):
        scores["DF-D"] = detection(paper, sheet, temperature)
        details["DF-D"] = _detection_details(paper, sheet, temperature)
    if paper := papers.get(Task.DF_C):
        scores["DF-C"] = classification(paper, sheet)
        details["DF-C"] = _classification_details(paper, sheet)
    if paper := papers.get(Task.AD):
        scores["AD"] = described.scores(paper.texts, paper.answers)
        details["AD"] = described.details(paper.texts)
    return scores, details


def detection(paper: Paper, sheet: Sheet, temperature: float = 1.0) -> Triples:
    """The DF-D scores. ECE and Brier are those after temperature scaling, "raw" before."""
    forged, score = sheet.forged, paper.scores
    right = _right(paper, sheet)
    raw, fitted = metrics.probability(score), metrics.probability(score, temperature)
    return {
        name: sheet.estimate(statistic)
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
            "unparsable": partial(metrics.mean, _unread(paper)),
        }.items()
    }


def classification(paper: Paper, sheet: Sheet) -> Triples:
    """The DF-C scores over five classes."""
    known, said = _numbers(paper, sheet)
    right = _right(paper, sheet)
    return {
        "accuracy": sheet.estimate(partial(metrics.mean, right)),
        "balanced accuracy": sheet.estimate(partial(metrics.balanced_accuracy, known, right)),
        "macro-F1": sheet.estimate(partial(metrics.macro_f1, known, said, len(Category))),
        "unparsable": sheet.estimate(partial(metrics.mean, _unread(paper))),
    }


def _detection_details(paper: Paper, sheet: Sheet, temperature: float) -> dict:
    fitted = metrics.probability(paper.scores, temperature)
    return {
        "temperature": temperature,
        "per_category": _auc_by(paper, sheet, [face.category.value for face in sheet.faces]),
        "per_method": _auc_by(paper, sheet, [_method(face) for face in sheet.faces]),
        "roc": _roc(paper, sheet),
        "reliability": metrics.reliability(sheet.forged, fitted),
        "worst": _worst(fitted, sheet),
    }


def _roc(paper: Paper, sheet: Sheet) -> list[list[float]]:
    """Corners of the ROC curve; none if the faces are of one class."""
    if len(np.unique(sheet.forged)) < 2:
        return []
    alarm, hit, _ = roc_curve(sheet.forged, paper.scores)
    return np.stack([alarm, hit], axis=1).tolist()


def _method(face: Face) -> str | None:
    return face.method and f"{face.category.value} {face.method.replace('_', ' ')}"


def _auc_by(paper: Paper, sheet: Sheet, groups: Sequence[str | None]) -> Triples:
    """AUC of each group of forgeries against all bona fide faces, groups by category."""
    order = {category.value: at for at, category in enumerate(Category)}
    of = {
        name: order[face.category]
        for name, face in zip(groups, sheet.faces, strict=True)
        if name and face.category.forged
    }
    triples = {}
    for name in sorted(of, key=lambda name: (of[name], name)):
        member = ~sheet.forged | np.array([one == name for one in groups])
        part = sheet.part(member)
        triples[name] = part.estimate(partial(metrics.auc, part.forged, paper.scores[member]))
    return triples


def _worst(probability: np.ndarray, sheet: Sheet, count: int = 10) -> list[dict]:
    """The mistakes made with most confidence."""
    wrong = np.abs(sheet.forged - probability)
    order = [at for at in np.argsort(-wrong, kind="stable")[:count] if wrong[at] > 0.5]
    return [
        {
            "face": sheet.faces[at].id,
            "image": sheet.faces[at].image,
            "category": sheet.faces[at].category.value,
            "method": sheet.faces[at].method,
            "probability": float(probability[at]),
        }
        for at in order
    ]


def _classification_details(paper: Paper, sheet: Sheet) -> dict:
    """Confusion: rows are true, columns said, the last column is what cannot be read."""
    known, said = _numbers(paper, sheet)
    size = len(Category)
    table = np.zeros((size, size + 1), int)
    np.add.at(table, (known, np.where(said < 0, size, said)), 1)
    return {"labels": list(labels(Task.DF_C)), "confusion": table.tolist()}


def _lead(papers: Mapping[str, Mapping[Task, Paper]], sheet: Sheet) -> dict[str, Triples]:
    """How far the first analyst is ahead of each other one: paired differences."""
    first, *others = papers
    leads: dict[str, Triples] = {}
    for other in others:
        pairs = {
            task: (papers[first][task], paper)
            for task, paper in papers[other].items()
            if task in papers[first] and task is not Task.AD
        }
        leads[other] = {
            f"{task} {_HEADLINE[task]}": sheet.estimate(partial(_difference, task, pair, sheet))
            for task, pair in pairs.items()
        }
    return leads


def _difference(
    task: Task, pair: tuple[Paper, Paper], sheet: Sheet, weights: np.ndarray
) -> np.ndarray:
    if task is Task.DF_D:
        mine, other = (metrics.auc(sheet.forged, one.scores, weights) for one in pair)
    else:
        mine, other = (metrics.mean(_right(one, sheet), weights) for one in pair)
    return mine - other


def _right(paper: Paper, sheet: Sheet) -> np.ndarray:
    """1.0 where the answer is right, 0.0 where it is wrong or cannot be read, (N,)."""
    pairs = zip(paper.answers, sheet.faces, strict=True)
    return np.array([answer == truth(face, paper.task) for answer, face in pairs], float)


def _unread(paper: Paper) -> np.ndarray:
    return np.array([answer is None for answer in paper.answers], float)


def _numbers(paper: Paper, sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    """True and given labels of DF-C as numbers; -1 for an answer that cannot be read."""
    names = {label: number for number, label in enumerate(labels(Task.DF_C))}
    known = np.array([names[truth(face, Task.DF_C)] for face in sheet.faces])
    return known, np.array([names.get(answer, -1) for answer in paper.answers])


def _majority(sheet: Sheet, task: Task) -> float:
    named = [truth(face, task) for face in sheet.faces]
    return max(named.count(label) for label in labels(task)) / len(named)


_HEADLINE = {Task.DF_D: "AUC", Task.DF_C: "accuracy"}
