"""Step 1 of DFA-Instruct: where faces come from.

``procedural`` draws people who do not exist, ``london`` photographs 102 who do; the
forgeries are ours. Bona fide and forged faces pass through the same camera.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import chain, groupby
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from dfa_lib import __version__
from dfa_lib.faces.camera import shoot
from dfa_lib.faces.forge import FaceModel, Forgery, forge
from dfa_lib.faces.geometry import Portrait
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.london import London, london_split
from dfa_lib.instruct.people import Population, Procedural, dice
from dfa_lib.instruct.plan import Job, Take, plan
from dfa_lib.records import DataError, Face, JsonlLog, read_jsonl, write_jsonl
from dfa_lib.taxonomy import Category, Split

__all__ = ["FaceSet", "load_faces", "london_split"]

SOURCES = ("procedural", "london")
_MOST_SEEN, _FEWEST_SEEN = 150, 8  # portraits a face model is fitted to
_CHUNK = 60  # faces made in one go, so that portraits are shared


def load_faces(
    source: str = "procedural",
    out: Path = Path("work/01_instruct"),
    *,
    n: int = 5100,
    seed: int = 0,
    difficulty: float = 0.5,
    size: int = 128,
    root: Path | None = None,
    workers: int = 2,
) -> FaceSet:
    """Make ``n`` faces of ``size`` pixels under ``out``, or read them back if they are there.

    Writes images/, masks/ and faces.jsonl; an interrupted call goes on where it stopped.
    The files do not depend on ``workers``. ``difficulty`` in [0, 1] hides the traces.
    Raises DataError for an unknown source, a missing ``root`` (for "london"), or a folder
    that holds faces made with other arguments.
    """
    out = Path(out)
    population = _population(source, root, seed, size)
    recipe = {"source": source, "n": n, "seed": seed, "difficulty": difficulty, "size": size}
    _claim(out, recipe | {"version": __version__})
    if not (out / "faces.jsonl").exists():
        _make_all(population, plan(population, n, seed), out, seed, difficulty, workers)
    return FaceSet.read(out)


def remake(
    folder: Path,
    ids: Collection[str],
    out: Path,
    difficulties: Sequence[float],
    root: Path | None = None,
    workers: int = 2,
) -> dict[float, FaceSet]:
    """Make some faces of ``folder`` again, once per difficulty, each time under ``out`` anew.

    People, portraits and forgeries stay as they are; only the strength of the traces and the
    camera change. ``root`` as in ``load_faces``. Raises DataError if they were not made here.
    """
    if not (folder / "recipe.json").exists():
        raise DataError(f"{folder}/recipe.json: missing; only faces of load_faces can be remade")
    recipe = json.loads((folder / "recipe.json").read_text("utf-8"))
    seed = recipe["seed"]
    population = _population(recipe["source"], root, seed, recipe["size"])
    jobs = plan(population, recipe["n"], seed)
    splits = {job.split for job in jobs if job.id in ids}
    pool = Parallel(n_jobs=workers, return_as="generator")
    models = _face_models(population, [job for job in jobs if job.split in splits], pool)
    chunks = list(_chunks([job for job in jobs if job.id in ids]))
    shutil.rmtree(out, ignore_errors=True)
    sets = {level: out / f"{level:g}" for level in difficulties}
    for place in sets.values():
        (place / "images").mkdir(parents=True)
        (place / "masks").mkdir()
    made = pool(
        delayed(_make_chunk)(population, chunk, models[split], place, seed, level)
        for split, chunk in chunks
        for level, place in sets.items()
    )
    faces = list(tqdm(made, "remade", total=len(chunks) * len(sets)))
    for at, place in enumerate(sets.values()):
        write_jsonl(place / "faces.jsonl", chain(*faces[at :: len(sets)]))
    return {level: FaceSet.read(place) for level, place in sets.items()}


def _population(source: str, root: Path | None, seed: int, size: int) -> Population:
    if source == "procedural":
        return Procedural(seed, size)
    if source == "london":
        return London(Path(root or "london"), size)
    raise DataError(f"source={source!r}: unknown; choose one of {', '.join(SOURCES)}")


def _claim(out: Path, recipe: dict[str, object]) -> None:
    """Note in ``out`` what its faces are made with; refuse a folder made otherwise."""
    note = out / "recipe.json"
    if not note.exists():
        out.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(recipe) + "\n", encoding="utf-8")
    held = json.loads(note.read_text("utf-8"))
    differ = [f"{key}={held.get(key)!r}" for key in recipe if held.get(key) != recipe[key]]
    if differ:
        raise DataError(
            f"{out}: holds faces made with {', '.join(differ)}; remove it or give another folder"
        )


def _make_all(
    population: Population,
    jobs: list[Job],
    out: Path,
    seed: int,
    difficulty: float,
    workers: int,
) -> None:
    """Make what is not there yet, in the order of the plan, then write faces.jsonl at once."""
    partial = out / "faces.part.jsonl"
    for folder in ("images", "masks"):
        (out / folder).mkdir(exist_ok=True)
    pool = Parallel(n_jobs=workers, return_as="generator")
    with JsonlLog(partial) as log, tqdm(total=len(jobs), desc=population.dataset) as bar:
        bar.update(_count(partial))
        todo = list(_chunks(jobs[bar.n :]))
        models = _face_models(population, jobs, pool) if todo else {}
        make = delayed(_make_chunk)
        for faces in pool(
            make(population, chunk, models[split], out, seed, difficulty) for split, chunk in todo
        ):
            for face in faces:
                log.append(face)
            bar.update(len(faces))
    write_jsonl(out / "faces.jsonl", read_jsonl(partial, Face))
    partial.unlink()


def _chunks(jobs: list[Job]) -> Iterator[tuple[Split, list[Job]]]:
    for split, group in groupby(jobs, key=lambda job: job.split):
        mine = list(group)
        yield from ((split, mine[at : at + _CHUNK]) for at in range(0, len(mine), _CHUNK))


def _count(path: Path) -> int:
    return sum(1 for _ in read_jsonl(path, Face))


def _face_models(population: Population, jobs: list[Job], pool: Parallel) -> dict[Split, FaceModel]:
    """Fit one face model per split to that split's own people."""
    takes: dict[Split, list[Take]] = {job.split: [] for job in jobs}
    for job in jobs:
        if job.category is Category.BONA_FIDE and job.target:
            takes[job.split].append(job.target)
    fitted = pool(delayed(_fit)(population, mine) for mine in takes.values())
    return dict(zip(takes, tqdm(fitted, "face models", total=len(takes)), strict=True))


def _fit(population: Population, takes: list[Take]) -> FaceModel:
    """Fit to portraits spread over the split; a tiny split is photographed more often."""
    if len(takes) < _FEWEST_SEEN:
        takes = [Take(take.person, number, "") for number in range(_FEWEST_SEEN) for take in takes]
    chosen = np.linspace(0, len(takes) - 1, min(_MOST_SEEN, len(takes))).astype(int)
    with threadpool_limits(1):  # how many threads share a decomposition shows in its last bits
        return FaceModel.fit([_portrait(population, takes[k]) for k in chosen])


def _make_chunk(
    population: Population,
    jobs: list[Job],
    model: FaceModel,
    out: Path,
    seed: int,
    difficulty: float,
) -> list[Face]:
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
    rng = dice(job.id, seed)
    target, donor = (take and _portrait(population, take) for take in (job.target, job.donor))
    forgery = _forged(job, rng, target, donor, model, difficulty)
    portrait = forgery.portrait if forgery else target
    picture = shoot(portrait.image, rng, difficulty)
    digest = _save(out / f"images/{job.id}.png", picture[..., ::-1])
    if forgery:
        _save(out / f"masks/{job.id}.png", np.rint(forgery.mask * 255).astype(np.uint8))
    return Face(
        id=job.id,
        image=f"images/{job.id}.png",
        sha256=digest,
        category=job.category,
        method=job.method,
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


def _save(path: Path, picture: np.ndarray) -> str:
    """Write a PNG at once and return its SHA-256."""
    _, code = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    content = code.tobytes()
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
    return sha256(content).hexdigest()
