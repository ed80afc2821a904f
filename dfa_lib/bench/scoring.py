"""From predictions to numbers: every score with its 95 % interval, and what the page shows.

Everything is computed from the predictions files and the faces, so a report can be scored
anew without asking anybody.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from sklearn.metrics import confusion_matrix
from tqdm.auto import tqdm

from dfa_lib.analysts import TASKS
from dfa_lib.bench import metrics
from dfa_lib.bench.description_metrics import Descriptions, best_constant, claimed_regions
from dfa_lib.bench.detection_metrics import (
    TaskPredictions,
    detection,
    detection_details,
    fitted_temperature,
)
from dfa_lib.bench.exam import VERSION, Exam, truth
from dfa_lib.bench.perturb import LEVELS, SEVERITIES, version_name
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.intervals import BootstrapSample, Statistic, Triple, Triples
from dfa_lib.records import InstructRecord, Prediction
from dfa_lib.taxonomy import Category, Task

Given = Sequence[Prediction]


def score_all(
    predictions: Mapping[str, Given],
    exam: Exam,
    records: Mapping[str, InstructRecord],
    resamples: int = 1000,
    robust: Mapping[str, Mapping[str, Given]] | None = None,
) -> dict:
    """Return the content of report.json: every score with its interval, and what figures show.

    ``predictions`` by analyst, the one the report is about first; ``records`` by face hold the
    annotations that descriptions are compared with; ``robust`` are predictions on perturbed faces,
    by analyst and name of the version. Raises DataError for unanswered faces.
    """
    sample = BootstrapSample.of(exam.test, resamples, exam.seed)
    described = Descriptions.of(sample, records, best_constant(exam.train, records))
    analysts, details, collected = {}, {}, {}
    for name, given in tqdm(predictions.items(), "scores", unit="analyst"):
        collected[name] = collect(given, exam)
        temperature = fitted_temperature(given, exam)
        analysts[name], details[name] = _score_one(collected[name], sample, described, temperature)
    for name, versions in (robust or {}).items():
        clean = collected[name][Task.DF_D]
        details[name]["DF-D"]["robustness"] = _robustness(clean, versions, sample)
    leads = _leads(collected, sample, described)
    kinds = Counter(label for face in sample.faces if (label := truth(face, Task.DF_C)))
    return {
        "version": VERSION,
        "exam": exam.hash,
        "source": exam.faces.source,
        "seed": exam.seed,
        "resamples": resamples,
        "n": len(sample.faces),
        "identities": sample.identities,
        "majority_share": max(kinds.values()) / kinds.total() if _kinds_known(sample) else None,
        "analysts": analysts,
        "constant": described.constant_scores(),
        "lead": leads,
        "resolution": _resolution(leads),
        "details": details,
    }


def collect(given: Given, exam: Exam) -> dict[Task, TaskPredictions]:
    """Return the predictions of one analyst by task; raise DataError for unanswered faces."""
    asked = {one.task for one in given}
    return {task: TaskPredictions.of(task, exam.test, given) for task in TASKS if task in asked}


def _score_one(
    collected: Mapping[Task, TaskPredictions],
    sample: BootstrapSample,
    described: Descriptions,
    temperature: float | None,
) -> tuple[dict[str, Triples], dict[str, dict]]:
    """Scores and details of one analyst, by task; a task it does not answer is empty."""
    scores: dict[str, Triples] = {task.value: {} for task in TASKS}
    details: dict[str, dict] = {task: {} for task in scores}
    if predicted := collected.get(Task.DF_D):
        scores["DF-D"] = detection(predicted, sample, temperature)
        details["DF-D"] = detection_details(predicted, sample, temperature)
    if (predicted := collected.get(Task.DF_C)) and _kinds_known(sample):
        scores["DF-C"], details["DF-C"] = classification(predicted, sample)
    if predicted := collected.get(Task.AD):
        scores["AD"] = described.scores(predicted.texts, predicted.answers)
        details["AD"] = described.details(predicted.texts, predicted.prompts)
    return scores, details


def classification(predicted: TaskPredictions, sample: BootstrapSample) -> tuple[Triples, dict]:
    """Return the DF-C scores over the faces of known kind, and the confusion table.

    Its rows are true, its columns said; the last column is what cannot be read.
    """
    names = {label: number for number, label in enumerate(OPTIONS[Task.DF_C])}
    true = np.array([names.get(truth(face, Task.DF_C), -1) for face in sample.faces])
    said = np.array([names.get(answer, -1) for answer in predicted.answers])
    right, known = predicted.right(sample), true >= 0
    table = confusion_matrix(true[known], said[known], labels=[*names.values(), -1])[:-1]
    estimate = partial(sample.estimate, where=known)
    scores = {
        "accuracy": estimate(metrics.mean, right),
        "balanced accuracy": estimate(metrics.balanced_accuracy, true, right),
        "macro-F1": estimate(partial(metrics.macro_f1, len(names)), true, said),
        "unparsable": estimate(metrics.mean, predicted.unread),
    }
    return scores, {"labels": list(names), "confusion": table.tolist()}


def _robustness(
    clean: TaskPredictions, versions: Mapping[str, Given], sample: BootstrapSample
) -> dict:
    """AUC by kind of perturbation and severity from 0, on the faces all versions show."""
    asked = {one.face for one in next(iter(versions.values()))}
    member = np.array([face.id in asked for face in sample.faces])
    few = [face for face in sample.faces if face.id in asked]

    def perturbed(kind: str, severity: int) -> Triple:
        given = versions[version_name(kind, severity)]
        scores = np.zeros(len(member))
        scores[member] = TaskPredictions.of(Task.DF_D, few, given).scores
        return sample.estimate(metrics.auc, sample.forged, scores, where=member)

    start = sample.estimate(metrics.auc, sample.forged, clean.scores, where=member)
    curves = {kind: [start, *(perturbed(kind, at) for at in SEVERITIES)] for kind in LEVELS}
    return {"faces": len(few), "curves": curves}


def _leads(
    collected: Mapping[str, Mapping[Task, TaskPredictions]],
    sample: BootstrapSample,
    described: Descriptions,
) -> dict[str, Triples]:
    """How far the first analyst is ahead of each other one: paired differences."""
    scores = {name: headlines(mine, sample, described) for name, mine in collected.items()}
    mine = scores.pop(next(iter(collected)))
    return {
        name: {one: sample.paired(mine[one], theirs[one]) for one in mine if one in theirs}
        for name, theirs in scores.items()
    }


def headlines(
    collected: Mapping[Task, TaskPredictions],
    sample: BootstrapSample,
    described: Descriptions | None = None,
) -> dict[str, Statistic]:
    """Return the one score of each task that analysts are compared by."""
    found: dict[str, Statistic] = {}
    if predicted := collected.get(Task.DF_D):
        found["DF-D AUC"] = partial(metrics.auc, sample.forged, predicted.scores)
    if (predicted := collected.get(Task.DF_C)) and _kinds_known(sample):
        found["DF-C accuracy"] = partial(metrics.mean, predicted.right(sample))
    if described and (predicted := collected.get(Task.AD)):
        found["AD region F1"] = described.regions(claimed_regions(predicted.texts))
    return found


def _resolution(leads: Mapping[str, Triples]) -> dict[str, float]:
    """The smallest difference this test set can tell from none, by score.

    Half the width of the paired interval between the first analyst and its closest rival:
    a smaller lead, either way, would leave 0 inside.
    """
    found = {}
    for name in dict.fromkeys(name for gaps in leads.values() for name in gaps):
        # a rival that answers exactly alike shows nothing of how far answers scatter
        if rivals := [gaps[name] for gaps in leads.values() if name in gaps and any(gaps[name])]:
            _, low, high = min(rivals, key=lambda gap: abs(gap[0]))
            found[name] = (high - low) / 2
    return found


def _kinds_known(sample: BootstrapSample) -> bool:
    """Whether DF-C has an answer: not where every forgery is of unknown kind."""
    return {face.category for face in sample.faces if face.category.forged} != {Category.FORGED}
