"""Step 1 of DFA-Instruct: where faces come from.

``procedural`` draws people who do not exist, ``london`` photographs 102 who do, ``folder``
takes your own photographs: there the forgeries are ours, and bona fide and forged faces pass
through the same camera. All other sources bring forgeries of their own.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import FunctionType, ModuleType

from tqdm.auto import tqdm

import facesim
from dfa_lib import __version__
from dfa_lib.face import geometry
from dfa_lib.files import code_digest, read_json, write_atomic
from dfa_lib.instruct import importer, making, readers, rows, splits
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.importer import import_faces
from dfa_lib.instruct.readers.celebdf import celebdf
from dfa_lib.instruct.readers.ddvqa import ddvqa
from dfa_lib.instruct.readers.deepfakebench import deepfakebench
from dfa_lib.instruct.readers.df40 import df40
from dfa_lib.instruct.readers.faceforensics import faceforensics
from dfa_lib.instruct.readers.folders import folder, imagefolder
from dfa_lib.instruct.readers.table import read, table
from dfa_lib.instruct.rows import Item, Row
from dfa_lib.records import DataError
from dfa_lib.shards import Shard, shard_path
from facesim.forge import METHODS
from facesim.generate import Studio, generate
from facesim.plan import plan
from facesim.populations import population_of

READERS: dict[str, Callable[..., Iterable[Item]]] = {
    read.__name__: read
    for read in (table, imagefolder, df40, deepfakebench, faceforensics, celebdf, ddvqa)
}
"""Sources whose forgeries are not ours."""
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
    columns: Mapping[str, str] | None = None,
    self_blended: int = 0,
    workers: int = 2,
    shard: Shard | None = None,
) -> FaceSet:
    """Make ``n`` faces of ``size`` pixels under ``out``, or read them back if they are there.

    Writes images/, masks/ and faces.jsonl; an interrupted call goes on where it stopped.
    The files do not depend on ``workers``. ``difficulty`` in [0, 1] hides the traces of our
    forgeries; another source, whose data lie under ``root``, gives up to ``n`` faces and
    skipped.json says what it left out and why. ``columns`` names columns (meaning -> column) and
    label words ({"label.echt": "real"}) that do not tell themselves. ``self_blended``: beside the
    ``n``, so many forgeries are made of each bona fide training face of another source, by blending
    it with itself. With ``shard`` (i, k), part i of k alone is made; ``shards.join`` joins them.
    Raises DataError for an unknown source, a missing ``root``, or a folder that holds faces made
    with other arguments, other code or other pictures.
    """
    out = Path(out)
    place = Path(root or source)
    recipe = _recipe(source, out, root, columns)
    recipe |= {"n": n, "seed": seed, "difficulty": difficulty, "size": size}
    if self_blended and source not in READERS:
        raise DataError(f"self_blended: the forgeries of source={source!r} are ours already; use 0")
    recipe |= {"self_blended": self_blended} if self_blended else {}
    with _claimed(out, recipe, shard):
        made = shard_path(out / "faces.jsonl", shard).exists()
        if source in READERS and not made:
            items = READERS[source](place, *((columns,) if columns else ()))
            import_faces(items, place, out, n, seed, size, workers, shard, source, self_blended)
        elif not made:
            if source == "folder":  # framed large enough to be framed once more
                photos = folder(place)
                place = shard_path(out / "photographs", shard)
                if not (place / "faces.jsonl").exists():
                    import_faces(photos, Path(root), place, sys.maxsize, 0, 2 * size, workers)
            population = population_of(source, place, seed, size)
            studio = Studio(population, out, seed, difficulty)
            generate(studio, plan(population, n, seed), workers, shard)
    return FaceSet.read(out, shard)


def _recipe(
    source: str, out: Path, root: Path | None, columns: Mapping[str, str] | None
) -> dict[str, object]:
    """Return what faces are made from: the source, and the code or the files behind it."""
    if source not in SOURCES:
        raise DataError(f"source={source!r}: unknown; choose one of {', '.join(SOURCES)}")
    if columns and source not in ("table", "imagefolder"):
        raise DataError(f"columns: only table and imagefolder take them, not source={source!r}")
    recipe = {"source": source, "version": __version__}
    if columns:
        recipe["columns"] = dict(columns)
    if source == "folder" or source in READERS:
        if root is None:
            raise DataError(f"root: missing; give the folder in which the data of {source} lie")
        recipe["root"] = str(root)
    if source in READERS:
        reading = _code_of(readers, geometry, rows, splits, importer)
        return recipe | {"pictures": _state(Path(root), out, columns), "reader": reading}
    return recipe | {"methods": _methods()}


def _methods() -> str:
    """Digest all code that makes our faces, and every registered method."""
    return _code_of(facesim, geometry, making, *(method.operate for method in METHODS.values()))


def _code_of(package: ModuleType, *beside: ModuleType | FunctionType) -> str:
    """Digest the files of a package, and modules and functions beside it."""
    digest = sha256(code_digest(*beside).encode())
    for path in sorted(Path(package.__file__).parent.rglob("*")):
        if path.suffix in (".py", ".npz", ".toml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _state(place: Path, out: Path, columns: Mapping[str, str] | None) -> str:
    """Digest name, size and time of the files a table names, or of all below a folder."""
    digest = sha256(place.read_bytes() if place.is_file() else b"")
    if place.is_file():
        rows = (item for item in read(place, columns or {}) if isinstance(item, Row))
        paths = (os.path.join(place.parent, row.path) for row in rows)
    else:
        paths = _files(place, out.resolve())
    for path in tqdm(paths, "has anything changed", unit="file", delay=3, leave=False):
        with suppress(OSError, ValueError):  # not there: the importer says so
            stat = os.stat(path, follow_symlinks=False)
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _files(place: Path, out: Path) -> Iterator[str]:
    """Yield the files below ``place`` in order, but for the folder that the lessons write to."""
    place = place.resolve()
    ours = out.is_relative_to(place) and place.joinpath(*out.relative_to(place).parts[:1])
    for here, folders, files in os.walk(place):
        folders[:] = sorted(one for one in folders if Path(here, one) != ours)
        yield from (os.path.join(here, name) for name in sorted(files))


@contextmanager
def _claimed(out: Path, recipe: dict[str, object], shard: Shard | None) -> Iterator[None]:
    """Note in ``out`` what its faces are made with; refuse a folder made otherwise.

    So is one with pictures of others where faces would be written, or cleared away. What cannot be
    made in the block does not bind the folder.
    """
    note = out / "recipe.json"
    fresh = not note.exists()
    theirs = [name for name in ("images", "masks", "photographs") if (out / name).exists()]
    if fresh and theirs and not any(out.glob("faces*.jsonl")):
        raise DataError(f"{out}: its {theirs[0]} were not made here; give another folder")
    if fresh:
        write_atomic(note, json.dumps(recipe) + "\n")  # shards may start at once
    held = read_json(note)
    if differ := [key for key in {**recipe, **held} if held.get(key) != recipe.get(key)]:
        raise DataError(
            f"{out}: holds faces made with {', '.join(f'{k}={held.get(k)!r}' for k in differ)};"
            " remove it or give another folder"
        )
    try:
        yield
    except DataError:
        if fresh:
            note.unlink(missing_ok=True)
            shutil.rmtree(shard_path(out / "photographs", shard), ignore_errors=True)
        raise
