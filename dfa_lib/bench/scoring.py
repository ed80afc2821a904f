"""From predictions to numbers: every score with its 95 % interval, and what the page shows.

Everything is computed from the predictions files and the faces, so a report can be scored
anew without asking anybody.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from tqdm.auto import tqdm

from dfa_lib.analysts import TASKS
from dfa_lib.bench import metrics
from dfa_lib.bench.describing import Descriptions, best_constant
from dfa_lib.bench.detecting import Paper, detection, detection_details, temperature
from dfa_lib.bench.exam import VERSION, Exam, labels, truth
from dfa_lib.bench.intervals import Sheet, Statistic, Triple, Triples
from dfa_lib.bench.perturb import LEVELS, SEVERITIES, version_name
from dfa_lib.records import DataError, InstructRecord, Prediction
from dfa_lib.taxonomy import CLASSES, Category, Task

Given = Sequence[Prediction]
Robust = Mapping[str, Mapping[str, Given]]
"""Predictions on perturbed faces, by analyst and by the name of the perturbed version."""


def score_all(
    predictions: Mapping[str, Given],
    exam: Exam,
    records: Mapping[str, InstructRecord],
    resamples: int = 1000,
    robust: Robust | None = None,
) -> dict:
    """Return the content of report.json: every score with its interval, and what figures show.

    ``predictions`` by analyst, the one the report is about first; ``records`` by face hold the
    annotations that descriptions are compared with. Raises DataError for unanswered faces.
    """
    sheet = Sheet.of(exam.test, resamples, exam.seed)
    described = Descriptions.of(sheet, records, best_constant(exam.train, records))
    analysts, details, papers = {}, {}, {}
    for name, given in tqdm(predictions.items(), "scores", unit="analyst"):
        papers[name] = _papers(name, given, exam)
        warmth = temperature(given, exam)
        analysts[name], details[name] = _score_one(papers[name], sheet, described, warmth)
    for name, versions in (robust or {}).items():
        details[name]["DF-D"]["robustness"] = _robustness(papers[name][Task.DF_D], versions, sheet)
    leads = _leads(papers, sheet, described)
    return {
        "version": VERSION,
        "exam": exam.hash,
        "source": exam.faces.source,
        "seed": exam.seed,
        "resamples": resamples,
        "n": len(sheet.faces),
        "identities": sheet.identities,
        "majority_share": _majority(sheet, Task.DF_C),
        "forged_share": float(sheet.forged.mean()),
        "categories": Counter(face.category.value for face in sheet.faces),
        "analysts": analysts,
        "constant": described.constant_scores(),
        "lead": leads,
        "resolution": _resolution(leads),
        "details": details,
    }


def _papers(name: str, given: Given, exam: Exam) -> dict[Task, Paper]:
    papers = {}
    for task in TASKS:
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


def _score_one(
    papers: Mapping[Task, Paper], sheet: Sheet, described: Descriptions, warmth: float
) -> tuple[dict[str, Triples], dict[str, dict]]:
    """Scores and details of one analyst, by task; a task it does not answer is empty."""
    scores: dict[str, Triples] = {task.value: {} for task in TASKS}
    details: dict[str, dict] = {task: {} for task in scores}
    if paper := papers.get(Task.DF_D):
        scores["DF-D"] = detection(paper, sheet, warmth)
        details["DF-D"] = detection_details(paper, sheet, warmth)
    if paper := papers.get(Task.DF_C):
        scores["DF-C"] = classification(paper, sheet)
        details["DF-C"] = _classification_details(paper, sheet) if scores["DF-C"] else {}
    if paper := papers.get(Task.AD):
        scores["AD"] = described.scores(paper.texts, paper.answers)
        details["AD"] = described.details(paper.texts)
    return scores, details


def classification(paper: Paper, sheet: Sheet) -> Triples:
    """Return the DF-C scores over the faces of known kind; {} if no forgery is."""
    if not _kinds_known(sheet):
        return {}
    known, said = _numbers(paper, sheet)
    right = paper.right(sheet)[known >= 0]
    sheet, known, said = sheet.part(known >= 0), known[known >= 0], said[known >= 0]
    return {
        "accuracy": sheet.estimate(partial(metrics.mean, right)),
        "balanced accuracy": sheet.estimate(partial(metrics.balanced_accuracy, known, right)),
        "macro-F1": sheet.estimate(partial(metrics.macro_f1, known, said, len(CLASSES))),
        "unparsable": sheet.estimate(partial(metrics.mean, (said < 0).astype(float))),
    }


def _classification_details(paper: Paper, sheet: Sheet) -> dict:
    """Confusion: rows are true, columns said, the last column is what cannot be read."""
    known, said = _numbers(paper, sheet)
    known, said, size = known[known >= 0], said[known >= 0], len(CLASSES)
    table = np.zeros((size, size + 1), int)
    np.add.at(table, (known, np.where(said < 0, size, said)), 1)
    return {"labels": list(labels(Task.DF_C)), "confusion": table.tolist()}


def _robustness(clean: Paper, versions: Mapping[str, Given], sheet: Sheet) -> dict:
    """AUC by kind of perturbation and severity from 0, on the faces all versions show."""
    asked = {one.face for one in next(iter(versions.values()))}
    member = np.array([face.id in asked for face in sheet.faces])
    part = sheet.part(member)

    def area(scores: np.ndarray) -> Triple:
        return part.estimate(partial(metrics.auc, part.forged, scores))

    def perturbed(kind: str, severity: int) -> Triple:
        given = {one.face: one for one in versions[version_name(kind, severity)]}
        return area(Paper.of(Task.DF_D, part.faces, given).scores)

    start = area(clean.scores[member])
    curves = {kind: [start, *(perturbed(kind, at) for at in SEVERITIES)] for kind in LEVELS}
    return {"faces": len(part.faces), "curves": curves}


def _leads(
    papers: Mapping[str, Mapping[Task, Paper]], sheet: Sheet, described: Descriptions
) -> dict[str, Triples]:
    """How far the first analyst is ahead of each other one: paired differences."""
    first, *others = papers
    mine = _headlines(papers[first], sheet, described)
    leads = {}
    for other in others:
        theirs = _headlines(papers[other], sheet, described)
        pairs = {name: (mine[name], theirs[name]) for name in mine if name in theirs}
        leads[other] = {name: sheet.paired(*pair) for name, pair in pairs.items()}
    return leads


def _headlines(
    papers: Mapping[Task, Paper], sheet: Sheet, described: Descriptions
) -> dict[str, Statistic]:
    """The one score of each task that analysts are compared by."""
    found: dict[str, Statistic] = {}
    if paper := papers.get(Task.DF_D):
        found["DF-D AUC"] = partial(metrics.auc, sheet.forged, paper.scores)
    if (paper := papers.get(Task.DF_C)) and _kinds_known(sheet):
        found["DF-C accuracy"] = partial(metrics.mean, paper.right(sheet))
    if paper := papers.get(Task.AD):
        found["AD region F1"] = described.region_f1(paper.texts)
    return found


def _resolution(leads: Mapping[str, Triples]) -> dict[str, float]:
    """The smallest difference this test set can tell from none, by score.

    Half the width of the paired interval between the first analyst and its closest rival:
    a smaller lead, either way, would leave 0 inside.
    """
    found = {}
    for name in dict.fromkeys(name for gaps in leads.values() for name in gaps):
        _, low, high = min((g[name] for g in leads.values() if name in g), key=lambda t: abs(t[0]))
        found[name] = (high - low) / 2
    return found


def _numbers(paper: Paper, sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    """True and given labels of DF-C as numbers; -1 for unknown and for what cannot be read."""
    names = {label: number for number, label in enumerate(labels(Task.DF_C))}
    known = np.array([names.get(truth(face, Task.DF_C), -1) for face in sheet.faces])
    return known, np.array([names.get(answer, -1) for answer in paper.answers])


def _kinds_known(sheet: Sheet) -> bool:
    """Whether DF-C has an answer: not where every forgery is of unknown kind."""
    forged = [face.category for face in sheet.faces if face.category.forged]
    return not forged or set(forged) != {Category.FORGED}


def _majority(sheet: Sheet, task: Task) -> float:
    named = [label for face in sheet.faces if (label := truth(face, task))]
    return max(named.count(label) for label in labels(task)) / max(len(named), 1)
