"""What annotators answer, and what they do not, on disk: as it comes, at the end in order."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import FunctionType, ModuleType
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


def kept(
    path: Path, kind: type[Written], annotator: Annotator, fresh: Callable[[Written], bool]
) -> dict[str, Written]:
    """Return, by face id, what ``annotator`` wrote before and is still ``fresh``, and people.

    The rest is dropped, with a printed line; people follow no prompt, so theirs stays.
    Raises DataError if another annotator wrote in this file.
    """
    every = list(read_jsonl(path, kind)) if path.exists() else []
    for one in every:
        if one.annotator.prompt_version and one.annotator != annotator:
            raise DataError(
                f"{path}: {one.face} was written by {signature(one.annotator)}, not by"
                f" {signature(annotator)}; give another out, or remove this file"
            )
    found = {one.face: one for one in every if not one.annotator.prompt_version or fresh(one)}
    if stale := len(every) - len(found):
        print(f"{path.name}: {stale:,} answers are asked for again: what they rest on has changed")
        write_jsonl(path, found.values())
    return found


def code_digest(*things: type | ModuleType) -> str:
    """Digest the source of modules, and of the methods of classes, wherever they are defined."""
    digest = sha256()
    for thing in things:
        parts = [thing] if isinstance(thing, ModuleType) else vars(thing).values()
        for part in parts:
            if isinstance(part, FunctionType | ModuleType):
                digest.update(inspect.getsource(part).encode())
    return digest.hexdigest()[:12]


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
    unanswered = path.with_suffix(".unanswered.jsonl")
    unanswered.unlink(missing_ok=True)
    if aside:
        write_jsonl(unanswered, [aside[face] for face in order if face in aside])
        print(f"{len(aside):,} faces have no answer; {unanswered.name} says why")
    return mine
