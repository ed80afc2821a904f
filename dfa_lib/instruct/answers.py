"""What annotators answer, and what they do not, on disk: as it comes, at the end in order."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from dfa_lib.records import (
    QA,
    Annotation,
    Annotator,
    DataError,
    JsonlLog,
    Record,
    read_jsonl,
    write_jsonl,
)


class Talk(Record):
    """Free conversation on one face, written by a model from the label and a text ``about`` it."""

    face: str
    about: str
    turns: tuple[QA, ...]
    annotator: Annotator

    @property
    def id(self) -> str:
        """One talk per face."""
        return self.face


class Unanswered(Record):
    """A face that an annotator has nothing on, and the reason in its own or the server's words.

    "invalid" is an answer, but not to what was asked.
    """

    face: str
    annotator: Annotator
    kind: Literal["refusal", "invalid", "error"]
    reason: str


Written = TypeVar("Written", Annotation, Talk)


def kept(path: Path, kind: type[Written], annotator: Annotator) -> dict[str, Written]:
    """Read, by face id, what ``annotator`` wrote before, and people, who follow no prompt.

    Raises DataError if another annotator wrote in this file.
    """
    found = {one.face: one for one in read_jsonl(path, kind)} if path.exists() else {}
    for one in found.values():
        if one.annotator.prompt_version and one.annotator != annotator:
            raise DataError(
                f"{path}: {one.face} was written by {signature(one.annotator)}, not by"
                f" {signature(annotator)}; give another out, or remove this file"
            )
    return found


def signature(who: Annotator) -> str:
    """Name an annotator in full: what it is, its model, its prompt."""
    return " · ".join(filter(None, (who.name, who.model, who.prompt_version)))


def collect(
    path: Path,
    order: Sequence[str],
    known: Mapping[str, Written],
    answers: Iterable[Written | Unanswered],
) -> dict[str, Written]:
    """Append ``answers`` to ``path`` as they come, then bring the file into ``order``.

    ``known`` is what the file holds, by face id. Returns the records of the faces in ``order``;
    what has no answer goes to NAME.unanswered.jsonl, which is removed once all have one.
    """
    found, aside = dict(known), {}
    with JsonlLog(path) as log:
        for answer in answers:
            if isinstance(answer, Unanswered):
                aside[answer.face] = answer
            else:
                found[answer.face] = answer
                log.append(answer)
    mine = {face: found[face] for face in order if face in found}
    if list(mine) != [face for face in found if face in mine]:
        write_jsonl(path, (mine | found).values())
    _set_aside(path.with_suffix(".unanswered.jsonl"), [aside[f] for f in order if f in aside])
    return mine


def _set_aside(path: Path, unanswered: Sequence[Unanswered]) -> None:
    path.unlink(missing_ok=True)
    if unanswered:
        write_jsonl(path, unanswered)
        print(f"{len(unanswered):,} faces have no answer; {path.name} says why")
