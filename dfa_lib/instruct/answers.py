"""The file of an annotator: answers are appended as they arrive and put in order at the end."""

import inspect
import json
import marshal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Literal

from dfa_lib.files import write_atomic
from dfa_lib.records import (
    Annotation,
    Annotator,
    DataError,
    Face,
    JsonlLog,
    Record,
    read_jsonl,
    write_jsonl,
)


class Unanswered(Record):
    """A face without an answer, and the reason in the words of the annotator or its server.

    "invalid" is an answer, but not to what was asked.
    """

    face: str
    annotator: Annotator
    kind: Literal["refusal", "invalid", "error"]
    reason: str


def code_digest(*things: type | ModuleType | FunctionType) -> str:
    """Digest the source of modules and functions, and of the methods of classes."""
    parts = chain(*(vars(one).values() if isinstance(one, type) else [one] for one in things))
    coded = (part for part in parts if isinstance(part, FunctionType | ModuleType))
    text = "".join(source for part in coded for source in _sources(part))
    return sha256(text.encode()).hexdigest()[:12]


def _sources(part: FunctionType | ModuleType) -> Iterator[str]:
    """Yield a source; with a function all that it names: functions beside it, numbers, texts."""
    used = inspect.getclosurevars(part) if isinstance(part, FunctionType) else None
    named = {**used.globals, **used.nonlocals} if used else {}
    beside = [one for one in named.values() if isinstance(one, FunctionType)]
    for one in (part, *(one for one in beside if one.__module__ == part.__module__)):
        try:
            yield inspect.getsource(one)
        except OSError:  # typed at a prompt
            yield marshal.dumps(one.__code__).hex()
    yield repr(sorted(one for one in named.items() if isinstance(one[1], int | float | str)))


def signature(who: Annotator) -> str:
    """Name an annotator in full: what it is, its model, its prompt."""
    return " · ".join(filter(None, (who.name, who.model, who.prompt_version)))


def complete(
    path: Path,
    annotator: Annotator,
    faces: Iterable[Face],
    made_from: Mapping[str, str],
    ask: Callable[[Sequence[Face]], Iterable[Annotation | Unanswered]],
) -> dict[str, Annotation]:
    """Return the annotations of ``faces`` by id: those in ``path``, and by ``ask`` the others.

    What ``annotator`` wrote before is kept while it is ``made_from`` the same (face id -> a
    digest, noted in NAME.made.json), and so is what people wrote, who follow no prompt. Answers
    are appended as they come; in the end the file takes the order of the faces. What has no
    answer goes to NAME.unanswered.jsonl, which is removed once all have one. Raises DataError if
    another annotator wrote in this file.
    """
    faces, marks = list(faces), path.with_suffix(".made.json")
    before = json.loads(marks.read_text("utf-8")) if marks.exists() else {}
    stale = {face for face, made in made_from.items() if before.get(face, made) != made}
    found, aside = _kept(path, annotator, stale), {}
    todo = [face for face in faces if face.id not in found]
    with JsonlLog(path) as log:  # nobody else writes here now
        write_atomic(marks, json.dumps(before | made_from))
        for answer in ask(todo):
            if isinstance(answer, Unanswered):
                aside[answer.face] = answer
            else:
                found[answer.face] = answer
                log.append(answer)
    mine = {face.id: found[face.id] for face in faces if face.id in found}
    write_jsonl(path, (mine | found).values())
    unanswered = path.with_suffix(".unanswered.jsonl")
    unanswered.unlink(missing_ok=True)
    if aside:
        write_jsonl(unanswered, [aside[face.id] for face in todo if face.id in aside])
        print(f"{len(aside):,} faces have no answer; {unanswered.name} says why")
    return mine


def _kept(path: Path, annotator: Annotator, stale: set[str]) -> dict[str, Annotation]:
    """Return what stays of a file; what is ``stale`` is dropped, with a printed line."""
    every = list(read_jsonl(path, Annotation)) if path.exists() else []
    by_prompt = [one for one in every if one.annotator.prompt_version]
    if other := next((one for one in by_prompt if one.annotator != annotator), None):
        raise DataError(
            f"{path}: {other.face} was written by {signature(other.annotator)}, not by"
            f" {signature(annotator)}; choose another out, or remove this file"
        )
    gone = {one.face for one in by_prompt if one.face in stale}
    found = {one.face: one for one in every if one.face not in gone}
    if gone:
        print(f"{path.name}: {len(gone):,} answers are requested again: their input has changed")
        write_jsonl(path, found.values())
    return found
