"""Make faces chunk by chunk, in order, so that an interrupted run goes on where it stopped."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from dfa_lib.face.geometry import Portrait
from dfa_lib.files import digest, write_atomic
from dfa_lib.instruct.agreement import Voices
from dfa_lib.records import Annotation, Face, JsonlLog, Record, read_jsonl
from dfa_lib.shards import Shard, block, shard_path

_CHUNK = 60
"""Faces made in one go, so that portraits are shared."""


class Outcome(Record):
    """Result of one job: a face and what people said of it, or the reason why there is none."""

    job: str
    face: Face | None = None
    note: Annotation | None = None
    voices: Voices | None = None
    skipped: str | None = None


def make_faces(
    jobs: Sequence,
    name: Callable[..., str],
    make: Callable[[Sequence], list[Outcome]],
    out: Path,
    workers: int,
    shard: Shard | None,
    label: str,
) -> Path:
    """Run what is not there yet of ``jobs``; return the file with the ``Outcome`` of each.

    ``make`` turns a run of jobs into their outcomes, and is sent to the workers; ``name`` tells a
    job from all others. What an interrupted run has logged is kept if it did the same jobs.
    """
    log_path = shard_path(out / "faces.part.jsonl", shard)
    mine = list(block(jobs, shard))
    made = [one.job for one in outcomes(log_path)]
    if made != [name(job) for job in mine[: len(made)]]:
        log_path.unlink()
        made = []
    todo = mine[len(made) :]
    pool = Parallel(n_jobs=workers, return_as="generator")
    chunks = (delayed(_alone)(make, todo[at : at + _CHUNK]) for at in range(0, len(todo), _CHUNK))
    with JsonlLog(log_path, Outcome) as log, tqdm(None, label, len(mine), initial=len(made)) as bar:
        for done in pool(chunks):
            for one in done:
                log.append(one)
            bar.update(len(done))
    return log_path


def _alone(make: Callable[[Sequence], list[Outcome]], jobs: Sequence) -> list[Outcome]:
    """Make a run of faces on one core."""
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        return make(jobs)


def outcomes(log_path: Path) -> Iterator[Outcome]:
    """Yield what an earlier run logged, if there was one."""
    return read_jsonl(log_path, Outcome) if log_path.exists() else iter(())


def save_face(
    out: Path, name: str, portrait: Portrait, mask: np.ndarray | None, **known: object
) -> Face:
    """Save a framed picture (S, S, 3) and its mask (S, S), both uint8; return the record of it.

    ``known`` are the fields of the record that the pictures do not tell.
    """
    if mask is not None:
        _save_png(out / f"masks/{name}.png", mask)
    return Face(
        id=name,
        image=f"images/{name}.png",
        sha256=_save_png(out / f"images/{name}.png", portrait.image[..., ::-1]),
        landmarks=tuple((round(float(x), 1), round(float(y), 1)) for x, y in portrait.landmarks),
        mask=None if mask is None else f"masks/{name}.png",
        **known,
    )


def _save_png(path: Path, picture: np.ndarray) -> str:
    """Write a PNG (BGR or grey, as OpenCV has it) at once and return its SHA-256."""
    _, code = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    content = code.tobytes()
    write_atomic(path, content)
    return digest(content)
