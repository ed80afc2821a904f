"""What is said of a picture: one record, written as text, JSON Lines or CSV, and kept."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from dfa_lib.face.detect import FaceCrop, Picture
from dfa_lib.records import DataError, Record, read_jsonl

if TYPE_CHECKING:
    from dfa_lib.chat.verdict import Verdict

COLUMNS = (
    "picture", "second", "status", "reason", "face", "faces", "x0", "y0", "x1", "y1",
    "verdict", "p_forged", "category", "calibrated_on", "question", "answer", "note",
)  # fmt: skip

UNMEASURED = (
    "Nobody has measured how often this model is right: lesson 03 does that for a model of lesson"
    " 02, on validation people. So there is no verdict and no number, only what it says itself."
)


class Answer(Record):
    """One question and its answer; ``note`` says where the answer contradicts the verdict."""

    question: str
    answer: str
    note: str = ""


class FaceSaid(Record):
    """What is said of one face, the ``number`` th largest (from 1) of its picture.

    ``box`` is (x0, y0, x1, y1) in pixels, None for a picture that is framed already. A face that
    cannot be judged has a ``reason`` and neither verdict nor numbers; ``answers`` only if the
    reason is that the model was never measured.
    """

    number: int
    box: tuple[float, float, float, float] | None
    reason: str = ""
    verdict: str | None = None
    p_forged: float | None = None
    category: str | None = None
    categories: dict[str, float] = Field(default_factory=dict)
    calibrated_on: int | None = None
    origin: str = ""
    answers: tuple[Answer, ...] = ()


class PictureSaid(Record):
    """What is said of one picture; ``second`` is the time of a frame in its video.

    ``status`` is "judged" if every face was, "not judged" if one was not or there is none, and
    "unreadable". ``run`` stands for model, questions and options.
    """

    picture: str
    second: float | None
    status: str
    reason: str
    faces: tuple[FaceSaid, ...]
    run: str

    @property
    def id(self) -> tuple[str, float | None]:
        """The picture, and the frame of a video."""
        return self.picture, self.second


def kept(path: Path, run: str) -> dict[tuple[str, float | None], PictureSaid]:
    """Return what an earlier run kept in ``path``; raise DataError if that was not this ``run``."""
    if not path.exists():
        return {}
    found = {said.id: said for said in read_jsonl(path, PictureSaid)}
    if any(said.run != run for said in found.values()):
        raise DataError(f"{path}: of another model, questions or options; choose another file")
    return found


def face_said(number: int, face: Picture, verdict: "Verdict", questions: Sequence[str]) -> FaceSaid:
    """Return what is said of a face: its ``verdict``, with the answers to ``questions``."""
    box = tuple(round(edge, 1) for edge in face.box) if isinstance(face, FaceCrop) else None
    answers = tuple(
        Answer(
            question=question,
            answer=answer.strip() or "(no answer)",
            note=verdict.disagreement(answer, question) if verdict.scoped else "",
        )
        for question, answer in zip(questions, verdict.answers, strict=not verdict.abstained)
    )
    if reason := verdict.abstained or ("" if verdict.scoped else UNMEASURED):
        return FaceSaid(number=number, box=box, reason=reason, answers=answers)
    return FaceSaid(
        number=number,
        box=box,
        verdict=verdict.label,
        p_forged=round(verdict.forged, 4),
        category=verdict.category.phrase,
        categories={kind.phrase: round(share, 4) for kind, share in verdict.categories.items()},
        calibrated_on=verdict.calibrated,
        origin=verdict.origin,
        answers=answers,
    )


def as_json(said: PictureSaid) -> str:
    """Return one line of JSON in ASCII, which every terminal and locale can hold."""
    return json.dumps(said.model_dump(mode="json", exclude={"run"}))


def as_csv(said: PictureSaid) -> str:
    """Return one row of ``COLUMNS``, inert in spreadsheets, for each question on each face."""
    file = io.StringIO()
    rows = ({name: _inert(cell) for name, cell in row.items()} for row in _rows(said))
    csv.DictWriter(file, COLUMNS, lineterminator="\n").writerows(rows)
    return file.getvalue().rstrip("\n")


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell


def as_text(said: PictureSaid) -> str:
    """Return what a person reads: verdict, shares and answers of each face."""
    name = said.picture if said.second is None else f"{said.picture} at {said.second:g} s"
    if not said.faces:
        return f"{name}: not judged. {said.reason}"
    return "\n".join(_face_text(name, face, len(said.faces)) for face in said.faces)


def _rows(said: PictureSaid) -> Iterator[dict[str, object]]:
    common = {"picture": said.picture, "second": said.second, "faces": len(said.faces)}
    if not said.faces:
        yield common | {"status": said.status, "reason": said.reason}
    for face in said.faces:
        about = common | {
            "face": face.number,
            "status": "not judged" if face.reason else "judged",
            **dict(zip(("x0", "y0", "x1", "y1"), face.box or (None,) * 4, strict=True)),
            **face.model_dump(include={*COLUMNS}),
        }
        for answer in face.answers or (None,):
            yield about | (answer.model_dump() if answer else {})


def _face_text(name: str, face: FaceSaid, faces: int) -> str:
    from dfa_lib.chat.verdict import percent

    if faces > 1:
        x0, y0, x1, y1 = face.box or (0, 0, 0, 0)
        name = f"{name}, face {face.number} of {faces} ({x0:.0f},{y0:.0f} to {x1:.0f},{y1:.0f})"
    if face.reason:
        lines = [f"{name}: not judged. {face.reason}"]
    else:
        lines = [f"{name}: {face.verdict}, P(forged) {percent(face.p_forged)}"]
        lines += [f"  {kind:<22}{percent(share):>4}" for kind, share in face.categories.items()]
        lines += [face.origin]
    for one in face.answers:
        lines += [f"Q: {one.question}", f"A: {one.answer}", *filter(None, [one.note])]
    return "\n".join(lines)
