"""Step 2 of DFA-Instruct: describe the artifacts of every face, and say who described them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.naming import Normal, calibrate, measure
from dfa_lib.instruct.wording import describe, library
from dfa_lib.records import Annotation, Annotator, DataError, Face, JsonlLog, read_jsonl
from dfa_lib.taxonomy import Category, Task

MEASURING = Annotator(name="measuring", prompt_version=library(Task.AD).version)
_CHUNK = 50


def annotate(
    faces: FaceSet, annotator: str = "measuring", out: Path | None = None, workers: int = 2
) -> dict[str, Annotation]:
    """Describe ``faces`` in ``out``/annotations.jsonl; return the annotations by face id.

    ``out`` is the folder of the faces unless given. What is there already is kept, so an
    interrupted call goes on where it stopped. The measuring annotator compares a forgery with
    its bona fide counterpart; it is told the label, as GPT-4o is in the paper.
    Raises DataError for an unknown annotator.
    """
    if annotator != MEASURING.name:
        raise DataError(f"annotator={annotator!r}: unknown; choose {MEASURING.name!r}")
    path = Path(out or faces.root) / "annotations.jsonl"
    with JsonlLog(path) as log:
        notes = {note.face: note for note in read_jsonl(path, Annotation)}
        todo = [face for face in faces if face.id not in notes]
        for note in _measured(faces, todo, workers):
            notes[note.face] = note
            log.append(note)
    return {face.id: notes[face.id] for face in faces}


def _measured(faces: FaceSet, todo: list[Face], workers: int) -> Iterator[Annotation]:
    if not todo:
        return
    normal = calibrate(faces)
    chunks = [todo[at : at + _CHUNK] for at in range(0, len(todo), _CHUNK)]
    pool = Parallel(n_jobs=workers, return_as="generator")
    with tqdm(total=len(todo), desc="annotate") as bar:
        for notes in pool(
            delayed(_annotate)(_with_counterparts(chunk, faces), chunk, normal) for chunk in chunks
        ):
            bar.update(len(notes))
            yield from notes


def _with_counterparts(chunk: list[Face], faces: FaceSet) -> FaceSet:
    """The least a worker has to be sent: some faces and what they were made from."""
    sources = {face.source: faces[face.source] for face in chunk if face.source}
    return FaceSet(faces.root, (*chunk, *sources.values()))


def _annotate(faces: FaceSet, chunk: list[Face], normal: Normal) -> list[Annotation]:
    cv2.setNumThreads(1)
    return [_note(face, faces, normal) for face in chunk]


def _note(face: Face, faces: FaceSet, normal: Normal) -> Annotation:
    findings = measure(face, faces, normal)
    return Annotation(
        face=face.id,
        findings=tuple(findings),
        text=describe(findings, whole=face.category is Category.EFS),
        annotator=MEASURING,
    )
