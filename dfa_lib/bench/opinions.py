"""Second opinions on descriptions: what a judge or a metric gives each, kept on file and scored.

They look at predictions that lie on file already, so they are a step after the run and can be
left out. Each names itself in full, a judge with the version of its rubric, beside its score.
"""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from dfa_lib.bench import metrics
from dfa_lib.bench.exam import Exam, some
from dfa_lib.bench.intervals import Sheet, Triple
from dfa_lib.bench.report import Report
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Prediction, Record, read_jsonl, write_jsonl
from dfa_lib.taxonomy import Task


class Opinion(Record):
    """What ``by`` gives one description on ``scale``, or None and the reason in ``words``.

    ``text`` is the SHA-256 of the description: an opinion on another text counts for nothing.
    """

    by: str
    scale: tuple[float, float]
    analyst: str
    face: str
    text: str
    value: float | None
    words: str = ""

    @property
    def id(self) -> tuple[str, str]:
        """One opinion on each description."""
        return self.analyst, self.face


def described(out: Path, faces: FaceSet, limit: int | None) -> list[Prediction]:
    """The descriptions on file of at most ``limit`` test faces, by all analysts of a report.

    All are of the same faces. Raises DataError where there is no report.
    """
    report = Report.read(out, faces)
    exam = Exam.read(out / "protocol.json", faces)
    chosen = {face.id for face in some(exam.test, limit, exam.seed)}
    files = [out / "predictions" / f"{name}.jsonl" for name in report.data["analysts"]]
    given = (one for path in files for one in read_jsonl(path, Prediction))
    return [one for one in given if one.task is Task.AD and one.face in chosen]


def keep(out: Path, faces: FaceSet, opinions: Sequence[Opinion]) -> Report:
    """Write the opinions of one judge or metric, and the report in ``out`` with their scores."""
    (by,) = {one.by for one in opinions}
    name = re.sub(r"[^\w.@-]+", "-", by).strip("-")
    write_jsonl(out / "opinions" / f"{name}.jsonl", opinions)
    report = Report.read(out, faces)
    exam = Exam.read(out / "protocol.json", faces)
    scores = scored(out, described(out, faces, None), exam, report.data["resamples"])
    return Report(report.data | {"opinions": scores}, out, faces).save()


def digest(text: str | None) -> str:
    """The SHA-256 of a description."""
    return sha256((text or "").encode()).hexdigest()


def scored(out: Path, given: Iterable[Prediction], exam: Exam, resamples: int) -> dict[str, dict]:
    """Mean and interval over identities, by who gives it and by analyst.

    Opinions on texts that are not among the predictions ``given`` are left out. "kept back" is
    the share of descriptions on which there is none, such as refusals of a judge.
    """
    sheet = Sheet.of(exam.test, resamples, exam.seed)
    texts = {(one.analyst, one.face): digest(one.text) for one in given if one.task is Task.AD}
    found = {}
    for path in sorted((out / "opinions").glob("*.jsonl")):
        listed = [one for one in read_jsonl(path, Opinion) if texts.get(one.id) == one.text]
        rows: dict[str, list[Opinion]] = {}
        for one in listed:
            rows.setdefault(one.analyst, []).append(one)
        if listed:
            found[listed[0].by] = {
                "scale": list(listed[0].scale),
                "faces": len({one.face for one in listed}),
                "scores": {name: _mean(row, sheet) for name, row in rows.items()},
                "kept back": {name: _kept_back(row) for name, row in rows.items()},
            }
    return found


def _mean(opinions: Sequence[Opinion], sheet: Sheet) -> Triple:
    low, high = opinions[0].scale
    values = {one.face: one.value for one in opinions if one.value is not None}
    given = np.array([values.get(face.id, np.nan) for face in sheet.faces])
    part = sheet.part(~np.isnan(given))
    share = (given[~np.isnan(given)] - low) / (high - low)
    ends = part.estimate(partial(metrics.mean, share))
    return tuple(low + (high - low) * end for end in ends)


def _kept_back(opinions: Sequence[Opinion]) -> float:
    return sum(one.value is None for one in opinions) / len(opinions)
