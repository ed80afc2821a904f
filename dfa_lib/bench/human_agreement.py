"""People as the reference: how far analysts agree with the reviews that lesson 04 keeps.

A review is a person's word on one face: its category, and what is wrong where. How each face was
made stands among the analysts as "how it was made", which says how good the people were.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
from dfa_lib.intervals import BootstrapSample, Triples
from dfa_lib.records import Prediction, read_jsonl
from dfa_lib.taxonomy import Artifact, Region, Task

MADE = "how it was made"
_CLOSED = (Task.DF_D, Task.DF_C)
_PAIRS = [*product(Region, Artifact)]


def agreement(out: Path, reviews: Iterable[Review], faces: FaceSet) -> dict[str, Triples]:
    """Agreement of each analyst of the report in ``out`` with ``reviews``, by analyst.

    "DF-D" and "DF-C" are shares of reviews with the same verdict; "finding precision" and
    "finding recall" compare (region, artifact) pairs, pooled, on the faces whose reviewer named
    some or called them bona fide. Intervals are over identities, and nan for fewer than two.
    What cannot be used is counted and printed: reviews of uploads, of faces the exam does not
    ask about, and of other pictures. Empty if none is left; a score that is undefined is absent.
    """
    report = Report.read(out, faces)
    exam = Exam.read(out / "protocol.json", faces)
    used = _usable(reviews, exam)
    if not used:
        return {}
    shown = [faces[one.face] for one in used]
    sample = BootstrapSample.of(shown, report.data["resamples"], exam.seed)
    made = {(face.id, task): truth(face, task) for face in sample.faces for task in _CLOSED}
    found = {MADE: _verdicts(made, used, sample)}
    for name in report.data["analysts"]:
        given = [*read_jsonl(out / "predictions" / f"{name}.jsonl", Prediction)]
        answers = {(one.face, one.task): one.answer for one in given}
        texts = {one.face: one.text or "" for one in given if one.task is Task.AD}
        found[name] = _verdicts(answers, used, sample) | _findings(texts, used, sample)
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


def _verdicts(
    answers: Mapping[tuple[str, Task], str | None],
    reviews: Sequence[Review],
    sample: BootstrapSample,
) -> Triples:
    """Shares of reviews with the same verdict, for each closed task that was answered."""
    found = {}
    for task in _CLOSED:
        if any(of is task for _, of in answers):
            same = [answers.get((one.face, task)) == _said(one, task) for one in reviews]
            found[task.value] = sample.estimate(metrics.mean, np.array(same, float))
    return found


def _said(review: Review, task: Task) -> str:
    return review.category.value if task is Task.DF_C else detection_label(review.category)


def _findings(
    texts: Mapping[str, str], reviews: Sequence[Review], sample: BootstrapSample
) -> Triples:
    """Precision and recall of the pairs a text names, against those the person named."""
    kept = np.array([bool(one.findings) or not one.category.forged for one in reviews])
    if not texts or not kept.any():
        return {}
    said = _table(findings.findings(texts.get(one.face, "")) for one in reviews)
    named = _table({(f.region, f.artifact) for f in one.findings} for one in reviews)
    found = {
        "finding precision": sample.estimate(metrics.precision, said, named, where=kept),
        "finding recall": sample.estimate(metrics.recall, said, named, where=kept),
    }
    return {name: row for name, row in found.items() if not np.isnan(row[0])}  # none named


def _table(pairs: Iterable[set[tuple[Region, Artifact]]]) -> np.ndarray:
    """Which (region, artifact) pairs (N, 132) bool are named."""
    return np.array([[pair in named for pair in _PAIRS] for named in pairs], bool)
