"""Step 2 of DFA-Instruct: describe the artifacts of every face, and say who described them.

An annotator is anything with the two members of ``Describer``. Its answers are written as they
come, and once all are there the files take the order of the faces: they tell nothing of how
often the run was interrupted or which answer came first.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from dfa_lib.errors import DataError
from dfa_lib.face import geometry
from dfa_lib.files import code_digest, read_json, write_atomic
from dfa_lib.instruct import artifact_rules, evidence, wording
from dfa_lib.instruct.artifact_rules import Normal, calibrate, measure
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Annotation, Annotator, Face, JsonlLog, Record, read_jsonl, write_jsonl
from dfa_lib.shards import Shard, block, shard_path
from dfa_lib.taxonomy import Task
from facesim import camera

if TYPE_CHECKING:  # the client takes a second to import, and measuring needs none
    from dfa_lib.endpoint import Endpoint

_RULES = artifact_rules, camera, evidence, geometry, wording  # what "measuring" rests on


class Unanswered(Record):
    """A face without an answer, and the reason in the words of the annotator or its server.

    "invalid" is an answer, but not to what was asked.
    """

    face: str
    annotator: Annotator
    kind: Literal["refusal", "invalid", "error"]
    reason: str


class Describer(Protocol):
    """Interface of an annotator: a rule, or a model behind an endpoint."""

    annotator: Annotator

    def describe(self, faces: FaceSet, todo: Sequence[Face]) -> Iterator[Annotation | Unanswered]:
        """Answer once for every face of ``todo``, in any order; counterparts are in ``faces``."""


def annotate(
    faces: FaceSet,
    annotator: str | Describer = "measuring",
    out: Path | None = None,
    workers: int = 2,
    endpoint: "Endpoint | None" = None,
    shard: Shard | None = None,
) -> dict[str, Annotation]:
    """Describe ``faces`` in ``out``/annotations.jsonl; return the annotations by face id.

    ``annotator`` is "measuring", or "endpoint" for the model behind ``endpoint``, or a Describer
    of your own; as GPT-4o in the paper, it is told the label. ``out`` is the folder of the faces
    unless given. What the same code wrote about the same pictures is kept, so an interrupted
    call goes on where it stopped, and so is what people wrote, who follow no prompt. A face that
    gets no answer is missing from the result and stands with the reason in
    annotations.unanswered.jsonl; the next call asks again. With a ``shard`` only that share of
    the faces is described. Raises DataError for an unknown annotator, or if another one wrote in
    this file before.
    """
    writer = _writer(annotator, workers, endpoint)
    mine = list(block(faces, shard))
    path = shard_path(Path(out or faces.root) / "annotations.jsonl", shard)
    marks = path.with_suffix(".made.json")
    before = read_json(marks) if marks.exists() else {}
    made_from = _made_from(writer, faces, mine)
    stale = {face for face, made in made_from.items() if before.get(face, made) != made}
    found = _kept(path, writer.annotator, stale)
    todo = [face for face in mine if face.id not in found]
    aside: dict[str, Unanswered] = {}
    with JsonlLog(path, Annotation) as log:  # nobody else writes here now
        write_atomic(marks, json.dumps(before | made_from))
        for answer in writer.describe(faces, todo):
            if isinstance(answer, Unanswered):
                aside[answer.face] = answer
            else:
                found[answer.face] = answer
                log.append(answer)
    notes = {face.id: found[face.id] for face in mine if face.id in found}
    write_jsonl(path, (notes | found).values())
    _set_aside(path, [aside[face.id] for face in todo if face.id in aside])
    return notes


def _made_from(writer: Describer, faces: FaceSet, mine: Iterable[Face]) -> dict[str, str]:
    """Return, by face id, the digest of the code and the pictures that a description rests on."""
    rules = _RULES if isinstance(writer, Measuring) else ()
    code = code_digest(type(writer), *rules)
    pictures = {face.id: face.sha256 for face in faces}
    return {
        face.id: f"{code} {pictures[face.id][:12]} {pictures.get(face.source, '')[:12]}"
        for face in mine
    }


def _kept(path: Path, annotator: Annotator, stale: set[str]) -> dict[str, Annotation]:
    """Return what stays of a file; what is ``stale`` is dropped, with a printed line."""
    every = list(read_jsonl(path, Annotation)) if path.exists() else []
    by_prompt = [one for one in every if one.annotator.prompt_version]
    if other := next((one for one in by_prompt if one.annotator != annotator), None):
        raise DataError(
            f"{path}: {other.face} was written by {other.annotator}, not by {annotator};"
            " choose another out, or remove this file"
        )
    gone = {one.face for one in by_prompt if one.face in stale}
    found = {one.face: one for one in every if one.face not in gone}
    if gone:
        print(f"{path.name}: {len(gone):,} answers are requested again: their input has changed")
        write_jsonl(path, found.values())
    return found


def _set_aside(path: Path, unanswered: Sequence[Unanswered]) -> None:
    """Write NAME.unanswered.jsonl beside a file; once all are answered, it is removed."""
    path = path.with_suffix(".unanswered.jsonl")
    path.unlink(missing_ok=True)
    if unanswered:
        write_jsonl(path, unanswered)
        print(f"{len(unanswered):,} faces have no answer; {path.name} says why")


def _writer(annotator: str | Describer, workers: int, endpoint: "Endpoint | None") -> Describer:
    if annotator == "measuring":
        return Measuring(workers)
    if annotator == "endpoint" and endpoint:
        from dfa_lib.instruct.vlm_annotator import Looking

        return Looking(endpoint)
    if annotator == "endpoint":
        raise DataError("annotator='endpoint': no endpoint given; pass endpoint=Endpoint(...)")
    if isinstance(annotator, str):
        raise DataError(f"annotator={annotator!r}: unknown; choose 'measuring' or 'endpoint'")
    return annotator


class Measuring:
    """Annotator that compares a forgery with its bona fide counterpart and names what differs.

    Of a forgery without counterpart and mask it says that the place is not known.
    """

    annotator = Annotator(name="measuring", prompt_version=wording.library(Task.AD).version)

    def __init__(self, workers: int = 2) -> None:
        self._workers = workers

    def describe(self, faces: FaceSet, todo: Sequence[Face]) -> Iterator[Annotation | Unanswered]:
        """Describe ``todo`` in its order; a face that cannot be measured is set aside."""
        if not todo:
            return
        normal = calibrate(faces)
        pool = Parallel(n_jobs=self._workers, prefer="threads", return_as="generator")
        done = pool(delayed(_measured)(face, faces, normal) for face in todo)
        yield from tqdm(done, "annotate", total=len(todo))


def _measured(face: Face, faces: FaceSet, normal: Normal) -> Annotation | Unanswered:
    said = {"face": face.id, "annotator": Measuring.annotator}
    try:
        found = tuple(measure(face, faces, normal))
        unknown = face.category.forged and not found
        text = wording.say(Task.AD, "unknown") if unknown else wording.describe(found)
        return Annotation(findings=found, text=text, **said)
    except DataError as error:
        return Unanswered(kind="error", reason=str(error), **said)
