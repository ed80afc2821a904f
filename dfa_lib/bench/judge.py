"""A language model as judge: it marks every description from 1 to 5, by a published rubric.

A step after the report, on predictions on file. The judge sees the picture, the truth about it
and one description; it is not told whose it is. Rubrics are data files with a version, which
stands beside the marks. What was paid for lies in the endpoint's cache, so a run that is resumed
pays nothing twice, and equal descriptions of one face are paid for once.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from dfa_lib.bench import metrics
from dfa_lib.bench.description_metrics import reference
from dfa_lib.bench.exam import some
from dfa_lib.bench.report import Report
from dfa_lib.endpoint import Answer, Endpoint, Estimate, Request
from dfa_lib.files import png
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.prompting import Requests, author, prompt
from dfa_lib.instruct.wording import meaning
from dfa_lib.intervals import BootstrapSample
from dfa_lib.records import DataError, InstructRecord, Prediction, Record, write_jsonl
from dfa_lib.taxonomy import Task

RUBRICS = "bench/rubrics"
SCALE = (1, 5)
LONGEST = 2_000
"""Characters of a description that are sent; a judge of more would be paid for rambling."""


class Mark(BaseModel):
    """The answer of a judge: first the reason, so that the score follows from it."""

    model_config = ConfigDict(extra="forbid")
    reason: str
    score: Literal[1, 2, 3, 4, 5]


class StoredMark(Record):
    """The mark of one description and its reason; ``value`` is None if the judge gave none."""

    analyst: str
    face: str
    value: float | None
    words: str


class Judge:
    """A model behind an endpoint that marks what analysts wrote about the faces of a report.

    ``limit`` bounds the faces; every analyst is marked on the same ones.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        faces: FaceSet,
        records: Mapping[str, InstructRecord],
        limit: int | None = 100,
        rubric: str = "grounded",
    ) -> None:
        self.endpoint, self.faces, self.records, self.limit = endpoint, faces, records, limit
        self.rubric = prompt(rubric, RUBRICS)
        self.by = str(author(endpoint, self.rubric))

    def estimate(self, out: Path) -> Estimate:
        """Return what marking the report in ``out`` would cost at most; nothing is sent."""
        given = described(out, self.faces, self.limit)
        return self.endpoint.estimate(Requests(self._request, given), Mark)

    def mark(self, out: Path) -> Report:
        """Mark the descriptions on file in ``out`` and write them into its report.

        A refusal of the judge is kept as one, and counts for and against nobody. Raises
        DataError if a request failed for good; what was answered is in the cache.
        """
        given = described(out, self.faces, self.limit)
        if not given:
            raise DataError(f"{out}: no analyst described a face, so there is nothing to rate")
        answers = self.endpoint.ask_all(Requests(self._request, given), Mark, self.by)
        name = re.sub(r"[^\w.@-]+", "-", self.by).strip("-")
        marks = [_mark(one, answers[_name(one)]) for one in given]
        write_jsonl(out / "opinions" / f"{name}.jsonl", marks)
        report = Report.read(out, self.faces)
        exam = report.exam
        sample = BootstrapSample.of(exam.test, report.data["resamples"], exam.seed)
        report.data.setdefault("opinions", {})[self.by] = _summed_up(marks, sample)
        return report.save()

    def _request(self, one: Prediction) -> Request:
        face = self.faces[one.face]
        altered = ", ".join(face.altered_regions or ()) or "not known"
        text = self.rubric.texts["forged" if face.category.forged else "bona fide"]
        return Request(
            id=_name(one),
            system=self.rubric.system.strip(),
            text=text.format(
                category=face.category.phrase,
                meaning=meaning(face.category),
                altered=altered,
                reference=reference(self.records.get(face.id))[1] or "none",
                description=(one.text or "")[:LONGEST] or "(nothing was said)",
            ).strip(),
            images=(png(self.faces.image(face)),),
            max_tokens=self.rubric.max_tokens,
        )


def described(out: Path, faces: FaceSet, limit: int | None = None) -> list[Prediction]:
    """Return the descriptions of at most ``limit`` test faces by all analysts of a report.

    All are of the same faces. Raises DataError where there is no report.
    """
    report = Report.read(out, faces)
    exam = report.exam
    chosen = {face.id for face in some(exam.test, limit, exam.seed)}
    given = chain(*map(report.answers, report.data["analysts"]))
    return [one for one in given if one.task is Task.AD and one.face in chosen]


def _mark(one: Prediction, answer: Answer) -> StoredMark:
    said = answer.parsed or {}
    words = said.get("reason") or answer.refusal or answer.error or ""
    return StoredMark(analyst=one.analyst, face=one.face, value=said.get("score"), words=words)


def _summed_up(marks: Sequence[StoredMark], sample: BootstrapSample) -> dict:
    """Mean marks and their intervals over identities, by analyst.

    "kept back" is the share of descriptions without a mark, such as refusals of the judge.
    """
    low, high = SCALE
    told: dict[str, dict[str, Any]] = {"scores": {}, "kept back": {}}
    for name in dict.fromkeys(one.analyst for one in marks):
        mine = {one.face: one.value for one in marks if one.analyst == name}
        given = np.array([mine.get(face.id) for face in sample.faces], float)  # None becomes nan
        share = (given - low) / (high - low)
        ends = sample.estimate(metrics.mean, share, where=~np.isnan(given))
        told["scores"][name] = tuple(low + (high - low) * end for end in ends)
        told["kept back"][name] = sum(value is None for value in mine.values()) / len(mine)
    return {"scale": list(SCALE), "faces": len({one.face for one in marks}), **told}


def _name(one: Prediction) -> str:
    return f"{one.analyst}/{one.face}"
