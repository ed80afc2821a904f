"""People as the reference: how far analysts agree with the reviews that lesson 04 keeps.

A review is a person's word on one face: its category, and what is wrong where. How each face was
made stands among the analysts as "how it was made", which says how good the people were.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

import numpy as np

from dfa_lib import findings
from dfa_lib.bench import metrics
from dfa_lib.bench.exam import Exam, truth
from dfa_lib.bench.report import Report
from dfa_lib.instruct.conversations import detection_label
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.reviews import Review, fingerprint
from dfa_lib.intervals import BootstrapSample, Triple, Triples
from dfa_lib.records import Prediction
from dfa_lib.taxonomy import Artifact, Region, Task

MADE = "how it was made"
_CLOSED = (Task.DF_D, Task.DF_C)


def agreement(out: Path, reviews: Iterable[Review], faces: FaceSet) -> dict[str, Triples]:
    """Agreement of each analyst of the report in ``out`` with ``reviews``, by analyst.

    "DF-D" and "DF-C" are shares of reviews with the same verdict; "finding precision" and
    "finding recall" compare (region, artifact) pairs, pooled, on the faces whose reviewer named
    some or called them bona fide. Intervals are over identities, and nan for fewer than two.
    What cannot be used is counted and printed: reviews of uploads, of faces the exam does not
    ask about, and of other pictures. Empty if none is left; a score that is undefined is absent.
    """
    report = Report.read(out, faces)
    exam = report.exam
    used = _usable(reviews, exam)
    if not used:
        return {}
    shown = [faces[one.face] for one in used]
    sample = BootstrapSample.of(shown, report.data["resamples"], exam.seed)
    told = np.array([bool(one.findings) or not one.category.forged for one in used])
    named = _pairs({(f.region, f.artifact) for f in one.findings} for one in used)

    def same(task: Task, answers: Mapping[str, str | None]) -> Triple:
        label = (lambda kind: kind.value) if task is Task.DF_C else detection_label
        hits = [answers.get(one.face) == label(one.category) for one in used]
        return sample.estimate(metrics.mean, np.array(hits, float))

    found = {MADE: {t.value: same(t, {f.id: truth(f, t) for f in shown}) for t in _CLOSED}}
    for name in report.data["analysts"]:
        given: dict[Task, dict[str, Prediction]] = {}
        for one in report.answers(name):
            given.setdefault(one.task, {})[one.face] = one
        rows = {
            task.value: same(task, {face: one.answer for face, one in given[task].items()})
            for task in _CLOSED
            if task in given
        }
        if told.any() and (texts := given.get(Task.AD)):
            said = _pairs(findings.findings(texts[one.face].text or "") for one in used)
            for key, metric in (("precision", metrics.precision), ("recall", metrics.recall)):
                rows[f"finding {key}"] = sample.estimate(metric, said, named, where=told)
        found[name] = {key: row for key, row in rows.items() if not np.isnan(row[0])}
    return found


def _usable(reviews: Iterable[Review], exam: Exam) -> list[Review]:
    asked = {face.id: face for face in exam.test}
    used, unused = [], Counter[str]()
    for one in reviews:
        face = asked.get(one.face)
        if one.face is None:
            unused["of an uploaded picture"] += 1
        elif face is None or fingerprint(exam.faces.image(face)) != one.sha256:
            unused["of a picture that the exam does not ask about"] += 1
        else:
            used.append(one)
    for problem, count in unused.items():
        print(f"{count} review(s) left out: {problem}")
    return used


def _pairs(of_each: Iterable[set[tuple[Region, Artifact]]]) -> np.ndarray:
    """Which (region, artifact) pairs (N, 132) bool are named."""
    every = [*product(Region, Artifact)]
    return np.array([[pair in named for pair in every] for named in of_each], bool)
