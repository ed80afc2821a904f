"""Make the faces of a plan: draw or photograph, forge, pass through the camera, save."""

import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from dfa_lib.face.geometry import Portrait
from dfa_lib.files import read_json
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.making import Outcome, make_faces, outcomes, save_face
from dfa_lib.records import DataError, Face, write_jsonl
from dfa_lib.shards import Shard, block, shard_path
from dfa_lib.taxonomy import Category, Split
from facesim.camera import shoot
from facesim.forge import METHODS, FaceModel, Forgery, Method, NoTrace, forge
from facesim.people import generator
from facesim.plan import Job, Take, plan
from facesim.populations import Population, population_of

_MOST_SEEN, _FEWEST_SEEN = 150, 8  # portraits a face model is fitted to


@dataclass(frozen=True)
class Studio:
    """Population, folder, seed and difficulty (0 to 1) of a generated data set."""

    population: Population
    out: Path
    seed: int
    difficulty: float


Order = tuple[Studio, Job]
"""A face to make, and where."""


def generate(studio: Studio, jobs: list[Job], workers: int, shard: Shard | None = None) -> None:
    """Make what is not there yet, in the order of the plan, then write faces.jsonl at once."""
    mine = block(jobs, shard)
    models = _face_models(studio.population, jobs, mine, workers)
    make, label = partial(_make_chunk, models), studio.population.dataset
    orders = [(studio, job) for job in jobs]
    log = make_faces(orders, _name, make, studio.out, workers, shard, label)
    faces = (one.face for one in outcomes(log))
    write_jsonl(shard_path(studio.out / "faces.jsonl", shard), faces)
    log.unlink()


def remake(
    made: Path,
    ids: Collection[str],
    out: Path,
    difficulties: Sequence[float],
    root: Path | None = None,
    workers: int = 2,
    method: Method | None = None,
) -> dict[float, FaceSet]:
    """Make some faces of the folder ``made`` again, once per difficulty, under ``out`` anew.

    People, portraits and forgeries stay as they are; only the strength of the traces and the
    camera change. With a ``method`` all forgeries of a person are made by it instead.
    ``root`` as in ``load_faces``. Raises DataError if they were not made here.
    """
    note = made / "recipe.json"
    if not note.exists():
        raise DataError(f"{note}: missing; only faces of load_faces can be remade")
    recipe = read_json(note)
    source, seed = recipe["source"], recipe["seed"]
    place = made / "photographs" if source == "folder" else Path(root or source)
    population = population_of(source, place, seed, recipe["size"])
    jobs = plan(population, recipe["n"], seed)
    if method:
        by = {"method": method, "category": method.category}
        jobs = [replace(job, **by) if job.method and job.target else job for job in jobs]
    mine = [job for job in jobs if job.id in ids]
    make = partial(_make_chunk, _face_models(population, jobs, mine, workers))
    for one in difficulties:  # whatever else lies there may be somebody's
        shutil.rmtree(out / f"{one:g}", ignore_errors=True)
    (out / "faces.part.jsonl").unlink(missing_ok=True)
    studios = [Studio(population, out / f"{one:g}", seed, one) for one in difficulties]
    orders = [(one, job) for job in mine for one in studios]  # side by side, to share portraits
    log = make_faces(orders, _name, make, out, workers, None, "remade")
    for at, one in enumerate(studios):
        remade = islice(outcomes(log), at, None, len(studios))
        write_jsonl(one.out / "faces.jsonl", (outcome.face for outcome in remade))
    log.unlink()
    return {one.difficulty: FaceSet.read(one.out) for one in studios}


def _name(order: Order) -> str:
    return order[1].id


def _face_models(
    population: Population, jobs: list[Job], mine: Collection[Job], workers: int
) -> dict[Split, FaceModel]:
    """Fit a face model to the people of each split in which ``mine`` has synthetic faces (EFS)."""
    splits = {job.split for job in mine if job.category is Category.EFS}
    takes: dict[Split, list[Take]] = {split: [] for split in Split if split in splits}
    for job in jobs:
        if job.split in takes and job.category is Category.BONA_FIDE and job.target:
            takes[job.split].append(job.target)
    pool = Parallel(n_jobs=workers, return_as="generator")
    fitted = pool(delayed(_fit)(population, people) for people in takes.values())
    return dict(zip(takes, tqdm(fitted, "face models", total=len(takes)), strict=True))


def _fit(population: Population, takes: list[Take]) -> FaceModel:
    """Fit to portraits spread over the split; a tiny split is photographed more often."""
    if len(takes) < _FEWEST_SEEN:
        takes = [Take(take.person, number, "") for number in range(_FEWEST_SEEN) for take in takes]
    chosen = np.linspace(0, len(takes) - 1, min(_MOST_SEEN, len(takes))).astype(int)
    with threadpool_limits(1):  # how many threads solve for a warp shows in its last bits
        return FaceModel.fit([_portrait(population, takes[k]) for k in chosen])


def _make_chunk(models: dict[Split, FaceModel], orders: Sequence[Order]) -> list[Outcome]:
    return [
        Outcome(job=job.id, face=_make(studio, job, models.get(job.split)))
        for studio, job in orders
    ]


def _make(studio: Studio, job: Job, model: FaceModel | None) -> Face:
    """Draw, forge, photograph and save one face."""
    population = studio.population
    rng = generator(job.id, studio.seed)
    target, donor = (take and _portrait(population, take) for take in (job.target, job.donor))
    method, forgery = job.method, None
    if job.method:
        method, forgery = _forged(job.method, rng, target, donor, model, studio.difficulty)
    portrait = forgery.portrait if forgery else target
    picture = Portrait(shoot(portrait.image, rng, studio.difficulty), portrait.landmarks)
    mask = np.rint(forgery.mask * 255).astype(np.uint8) if forgery else None
    return save_face(
        studio.out,
        job.id,
        picture,
        mask,
        category=job.category,
        method=method and method.name,
        dataset=population.dataset,
        identities=_identities(job),
        source=job.target.face if job.target and forgery else None,
        split=job.split,
        frame=population.frame(job.target.person, job.target.number) if job.target else None,
        altered_regions=forgery.altered if forgery else (),
        licence=population.licence,
        subgroup=population.subgroup(job.target.person) if job.target else {},
    )


def _forged(method: Method, *material: object) -> tuple[Method, Forgery]:
    """Forge by ``method``, or by the next of its category where it leaves no trace."""
    kin = [one for one in METHODS.values() if one.category is method.category and one != method]
    for one in (method, *kin):
        with suppress(NoTrace):
            return one, forge(one, *material)
    raise NoTrace(f"{method.category}: no method left a trace on this face")


def _identities(job: Job) -> tuple[str, ...]:
    """Return whose face it is: two people for a swap, nobody who exists for a synthesis."""
    if job.target is None:
        return (f"synthetic-{job.id}",)
    if job.category is Category.FS and job.donor:
        return job.target.person, job.donor.person
    return (job.target.person,)


@lru_cache(maxsize=96)
def _portrait(population: Population, take: Take) -> Portrait:
    return population.portrait(take.person, take.number)
