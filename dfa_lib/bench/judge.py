"""A language model as judge: it marks every description from 1 to 5, by a published rubric.

The judge sees the picture, the truth about it and one description; it is not told whose it is.
Rubrics are data files with a version. What was paid for lies in the endpoint's cache, so a run
that is resumed pays nothing twice, and equal descriptions of one face are paid for once.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from dfa_lib.bench.describing import reference
from dfa_lib.bench.opinions import Opinion, described, digest, keep
from dfa_lib.bench.report import Report
from dfa_lib.endpoint import Answer, Endpoint, Estimate, Request, encode
from dfa_lib.instruct.answers import signature
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.prompting import Requests, author, prompt
from dfa_lib.instruct.wording import meaning
from dfa_lib.records import DataError, InstructRecord, Prediction

RUBRICS = "bench/rubrics"
LONGEST = 2_000
"""Characters of a description that are sent; a judge of more would be paid for rambling."""


class Mark(BaseModel):
    """The answer of a judge: first the reason, so that the score follows from it."""

    model_config = ConfigDict(extra="forbid")
    reason: str
    score: Literal[1, 2, 3, 4, 5]


class Judge:
    """A model behind an endpoint that marks what analysts wrote about the faces of a report.

    ``limit`` bounds the faces; every analyst is marked on the same ones.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        faces: FaceSet,
        records: Iterable[InstructRecord],
        limit: int | None = 100,
        rubric: str = "grounded",
    ) -> None:
        self.endpoint, self.faces, self.limit = endpoint, faces, limit
        self.records = {record.id: record for record in records}
        self.rubric = prompt(rubric, RUBRICS)
        self.by = signature(author(endpoint, self.rubric))

    def estimate(self, out: Path) -> Estimate:
        """What marking the report in ``out`` would cost at most; nothing is sent."""
        return self.endpoint.estimate(self._requests(described(out, self.faces, self.limit)), Mark)

    def mark(self, out: Path) -> Report:
        """Mark the descriptions on file in ``out`` and write them into its report.

        A refusal of the judge is kept as one, and counts for and against nobody. Raises
        DataError if a request failed for good; what was answered is in the cache.
        """
        given = described(out, self.faces, self.limit)
        if not given:
            raise DataError(f"{out}: nobody described a face; there is nothing to mark")
        answers = self.endpoint.ask_all(self._requests(given), Mark, self.by)
        return keep(out, self.faces, [self._opinion(one, answers[_name(one)]) for one in given])

    def _requests(self, given: list[Prediction]) -> Requests[Prediction]:
        return Requests(self._request, given)

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
            images=(encode(self.faces.image(face)),),
            max_tokens=self.rubric.max_tokens,
        )

    def _opinion(self, one: Prediction, answer: Answer) -> Opinion:
        mark = Mark.model_validate(answer.parsed) if answer.parsed else None
        return Opinion(
            by=self.by,
            scale=(1, 5),
            analyst=one.analyst,
            face=one.face,
            text=digest(one.text),
            value=mark.score if mark else None,
            words=mark.reason if mark else answer.refusal or answer.error or "",
        )


def _name(one: Prediction) -> str:
    return f"{one.analyst}/{one.face}"
