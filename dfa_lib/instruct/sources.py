"""Step 1 of DFA-Instruct: where faces come from.

``procedural`` draws people who do not exist, ``london`` photographs 102 who do, ``folder``
takes your own photographs: there the forgeries are ours, and bona fide and forged faces pass
through the same camera. The research sets bring forgeries of their own.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path

from joblib import Parallel, delayed
from tqdm.auto import tqdm

import facesim
from dfa_lib import __version__
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.generate import chunked, face_models, generate, make_chunk
from dfa_lib.instruct.harvest import harvest
from dfa_lib.instruct.london import London, london_split
from dfa_lib.instruct.people import Population, Procedural
from dfa_lib.instruct.photographs import Photographs
from dfa_lib.instruct.plan import plan
from dfa_lib.instruct.readers.celebdf import celebdf
from dfa_lib.instruct.readers.ddvqa import ddvqa
from dfa_lib.instruct.readers.deepfakebench import deepfakebench
from dfa_lib.instruct.readers.df40 import df40
from dfa_lib.instruct.readers.faceforensics import faceforensics
from dfa_lib.instruct.readers.folder import folder as folder_reader
from dfa_lib.instruct.readers.found import Item
from dfa_lib.instruct.readers.imagefolder import imagefolder
from dfa_lib.instruct.readers.table import table
from dfa_lib.records import DataError, write_jsonl
from dfa_lib.shards import Shard, shard_path
from facesim.forge import METHODS

__all__ = ["FaceSet", "load_faces", "london_split", "remake"]

READERS: dict[str, Callable[[Path], Iterable[Item]]] = {
    read.__name__: read
    for read in (table, imagefolder, df40, deepfakebench, faceforensics, celebdf, ddvqa)
}
"""Research sets: their forgeries are not ours."""
SOURCES = ("procedural", "london", "folder", *READERS)


def load_faces(
    source: str = "procedural",
    out: Path = Path("work/01_instruct"),
    *,
    n: int = 2700,
    seed: int = 0,
    difficulty: float = 0.3,
    size: int = 128,
    root: Path | None = None,
    workers: int = 2,
    shard: Shard | None = None,
) -> FaceSet:
    """Make ``n`` faces of ``size`` pixels under ``out``, or read them back if they are there.

    Writes images/, masks/ and faces.jsonl; an interrupted call goes on where it stopped.
    The files do not depend on ``workers``. ``difficulty`` in [0, 1] hides the traces of our
    forgeries; a research set, whose data lie under ``root``, gives up to ``n`` faces and
    skipped.json says what it left out and why. With ``shard`` (i, k), part i of k alone is made
    and returned; ``shards.join`` makes faces.jsonl of the parts.
    Raises DataError for an unknown source, a missing ``root``, or a folder that holds faces made
    with other arguments.
    """
    if source not in SOURCES:
        raise DataError(f"source={source!r}: unknown; choose one of {', '.join(SOURCES)}")
    out, place = Path(out), Path(root or source)
    settings = {"source": source, "n": n, "seed": seed, "difficulty": difficulty, "size": size}
    recipe = settings | {"version": __version__}
    if source == "folder" or source in READERS:
        if root is None:
            raise DataError(f"root: missing; give the folder in which the data of {source} lie")
        recipe["root"] = str(root)
    if source in READERS:
        recipe["pictures"] = _state(place)
    else:
        recipe["methods"] = _methods()
    fresh = _claim(out, recipe)
    try:
        if not shard_path(out / "faces.jsonl", shard).exists():
            _make(out, place, workers, shard, **settings)
    except DataError:
        if fresh:  # what could not be made does not bind the folder
            (out / "recipe.json").unlink(missing_ok=True)
            shutil.rmtree(shard_path(out / "photographs", shard), ignore_errors=True)
        raise
    return FaceSet.read(out, shard)


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
    source = recipe["source"]
    place = folder / "photographs" if source == "folder" else Path(root or source)
    population = _population(source, place, seed, recipe["size"])
    jobs = plan(population, recipe["n"], seed)
    splits = {job.split for job in jobs if job.id in ids}
    pool = Parallel(n_jobs=workers, return_as="generator")
    models = face_models(population, jobs, pool, splits)
    chunks = list(chunked([job for job in jobs if job.id in ids]))
    shutil.rmtree(out, ignore_errors=True)
    sets = {level: out / f"{level:g}" for level in difficulties}
    for place in sets.values():
        (place / "images").mkdir(parents=True)
        (place / "masks").mkdir()
    made = pool(
        delayed(make_chunk)(population, chunk, models[split], place, seed, level)
        for split, chunk in chunks
        for level, place in sets.items()
    )
    faces = list(tqdm(made, "remade", total=len(chunks) * len(sets)))
    for at, place in enumerate(sets.values()):
        write_jsonl(place / "faces.jsonl", chain(*faces[at :: len(sets)]))
    return {level: FaceSet.read(place) for level, place in sets.items()}


def _methods() -> str:
    """Digest of the sample world and of every registered method: other code makes other faces."""
    digest = sha256()
    world = Path(facesim.__file__).parent
    for path in sorted(path for path in world.rglob("*") if path.suffix in (".py", ".npz")):
        digest.update(path.read_bytes())
    for name, method in METHODS.items():
        digest.update(name.encode() + method.operate.__code__.co_code)
    return digest.hexdigest()[:12]


def _state(place: Path) -> str:
    """Digest of the table itself, or of when the folder and those in it last changed."""
    if place.is_file():
        return sha256(place.read_bytes()).hexdigest()[:12]
    folders = [place, *sorted(one for one in place.glob("*") if one.is_dir())]
    times = [(one.name, one.stat().st_mtime_ns) for one in folders if one.exists()]
    return sha256(repr(times).encode()).hexdigest()[:12]


def _make(
    out: Path,
    root: Path,
    workers: int,
    shard: Shard | None,
    *,
    source: str,
    n: int,
    seed: int,
    difficulty: float,
    size: int,
) -> None:
    if source in READERS:
        harvest(READERS[source], root, out, n, seed, size, workers, shard)
        return
    if source == "folder":
        album = shard_path(out / "photographs", shard)
        if not (album / "faces.jsonl").exists():  # large enough to be re-framed
            harvest(folder_reader, root, album, sys.maxsize, 0, 2 * size, workers)
        root = album
    population = _population(source, root, seed, size)
    generate(population, plan(population, n, seed), out, seed, difficulty, workers, shard)


def _population(source: str, root: Path, seed: int, size: int) -> Population:
    if source == "procedural":
        return Procedural(seed, size)
    if source == "london":
        return London(root, size)
    if source == "folder":
        return Photographs(root, size, (root / "faces.jsonl").stat().st_mtime_ns)
    raise DataError(f"source={source}: its forgeries are not ours and cannot be remade")


def _claim(out: Path, recipe: dict[str, object]) -> bool:
    """Note in ``out`` what its faces are made with; refuse a folder made otherwise.

    True if there was no note before.
    """
    note = out / "recipe.json"
    fresh = not note.exists()
    if fresh:
        out.mkdir(parents=True, exist_ok=True)
        partial = out / f"recipe.{os.getpid()}.partial"  # shards may start at once
        partial.write_text(json.dumps(recipe) + "\n", encoding="utf-8")
        partial.replace(note)
    held = json.loads(note.read_text("utf-8"))
    differ = [f"{key}={held.get(key)!r}" for key in recipe if held.get(key) != recipe[key]]
    if differ:
        raise DataError(
            f"{out}: holds faces made with {', '.join(differ)}; remove it or give another folder"
        )
    return fresh
