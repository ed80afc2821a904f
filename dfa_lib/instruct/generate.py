"""Make the faces of a plan: draw or photograph, forge, pass through the camera, save."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from dfa_lib.face.geometry import Portrait
from dfa_lib.instruct.making import log_in_order, save_png
from dfa_lib.instruct.people import Population
from dfa_lib.instruct.plan import Job, Take
from dfa_lib.records import Face, read_jsonl, write_jsonl
from dfa_lib.shards import Shard, block, shard_path
from dfa_lib.taxonomy import Category, Split
from facesim.camera import shoot
from facesim.forge import FaceModel, Forgery, forge
from facesim.people import generator

_MOST_SEEN, _FEWEST_SEEN = 150, 8  # portraits a face model is fitted to
_CHUNK = 60  # faces made in one go, so that portraits are shared


def generate(
    population: Population,
    jobs: list[Job],
    out: Path,
    seed: int,
    difficulty: float,
    workers: int,
    shard: Shard | None = None,
) -> None:
    """Make what is not there yet, in the order of the plan, then write faces.jsonl at once."""
    partial = shard_path(out / "faces.part.jsonl", shard)
    for folder in ("images", "masks"):
        (out / folder).mkdir(exist_ok=True)
    mine = list(block(jobs, shard))
    done = sum(1 for _ in read_jsonl(partial, Face)) if partial.exists() else 0
    pool = Parallel(n_jobs=workers, return_as="generator")
    todo = list(chunked(mine[done:]))
    splits = {split for split, _ in todo}
    models = face_models(population, jobs, pool, splits) if todo else {}
    tasks = (
        delayed(make_chunk)(population, chunk, models[split], out, seed, difficulty)
        for split, chunk in todo
    )
    log_in_order(pool, tasks, partial, done, len(mine), population.dataset)
    write_jsonl(shard_path(out / "faces.jsonl", shard), read_jsonl(partial, Face))
    partial.unlink()


def chunked(jobs: list[Job]) -> Iterator[tuple[Split, list[Job]]]:
    """Cut jobs into runs of one split."""
    for split, group in groupby(jobs, key=lambda job: job.split):
        mine = list(group)
        yield from ((split, mine[at : at + _CHUNK]) for at in range(0, len(mine), _CHUNK))


def face_models(
    population: Population, jobs: list[Job], pool: Parallel, splits: set[Split]
) -> dict[Split, FaceModel]:
    """Fit one face model for each of ``splits`` to its own people, all that ``jobs`` have."""
    takes: dict[Split, list[Take]] = {split: [] for split in Split if split in splits}
    for job in jobs:
        if job.split in takes and job.category is Category.BONA_FIDE and job.target:
            takes[job.split].append(job.target)
    fitted = pool(delayed(_fit)(population, mine) for mine in takes.values())
    return dict(zip(takes, tqdm(fitted, "face models", total=len(takes)), strict=True))


def _fit(population: Population, takes: list[Take]) -> FaceModel:
    """Fit to portraits spread over the split; a tiny split is photographed more often."""
    if len(takes) < _FEWEST_SEEN:
        takes = [Take(take.person, number, "") for number in range(_FEWEST_SEEN) for take in takes]
    chosen = np.linspace(0, len(takes) - 1, min(_MOST_SEEN, len(takes))).astype(int)
    with threadpool_limits(1):  # how many threads solve for a warp shows in its last bits
        return FaceModel.fit([_portrait(population, takes[k]) for k in chosen])


def make_chunk(
    population: Population,
    jobs: list[Job],
    model: FaceModel,
    out: Path,
    seed: int,
    difficulty: float,
) -> list[Face]:
    """Make a run of jobs on one core: what a worker is sent."""
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        return [_make(population, job, model, out, seed, difficulty) for job in jobs]


def _make(
    population: Population,
    job: Job,
    model: FaceModel,
    out: Path,
    seed: int,
    difficulty: float,
) -> Face:
    """Draw, forge, photograph and save one face."""
    rng = generator(job.id, seed)
    target, donor = (take and _portrait(population, take) for take in (job.target, job.donor))
    forgery = _forged(job, rng, target, donor, model, difficulty)
    portrait = forgery.portrait if forgery else target
    picture = shoot(portrait.image, rng, difficulty)
    digest = save_png(out / f"images/{job.id}.png", picture[..., ::-1])
    if forgery:
        save_png(out / f"masks/{job.id}.png", np.rint(forgery.mask * 255).astype(np.uint8))
    return Face(
        id=job.id,
        image=f"images/{job.id}.png",
        sha256=digest,
        category=job.category,
        method=job.method and job.method.name,
        dataset=population.dataset,
        identities=tuple(_identities(job)),
        source=job.target.face if job.target and forgery else None,
        split=job.split,
        frame=population.frame(job.target.person, job.target.number) if job.target else None,
        landmarks=tuple((round(float(x), 1), round(float(y), 1)) for x, y in portrait.landmarks),
        altered_regions=forgery.altered if forgery else (),
        mask=f"masks/{job.id}.png" if forgery else None,
        licence=population.licence,
        subgroup=population.subgroup(job.target.person) if job.target else {},
    )


def _forged(
    job: Job,
    rng: np.random.Generator,
    target: Portrait | None,
    donor: Portrait | None,
    model: FaceModel,
    difficulty: float,
) -> Forgery | None:
    if job.method is None:
        return None
    return forge(job.method, rng, target, donor, model, difficulty)


def _identities(job: Job) -> Iterator[str]:
    """Yield whose face it is: two people for a swap, nobody who exists for a synthesis."""
    if job.target is None:
        yield f"synthetic-{job.id}"
        return
    yield job.target.person
    if job.category is Category.FS and job.donor:
        yield job.donor.person


@lru_cache(maxsize=96)
def _cached(population: Population, person: str, number: int) -> Portrait:
    return population.portrait(person, number)


def _portrait(population: Population, take: Take) -> Portrait:
    return _cached(population, take.person, take.number)
