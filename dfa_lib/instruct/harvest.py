"""Turn what a reader found into faces: open, frame, save, and say what was skipped and why."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from dfa_lib.face.geometry import Image, Points, region_masks
from dfa_lib.instruct.framing import Opened, framed, mask_of, open_video, opened
from dfa_lib.instruct.making import log_in_order, save_png
from dfa_lib.instruct.readers.found import Found, Item
from dfa_lib.instruct.survey import Piece, Tally, note_skip, survey
from dfa_lib.records import Annotation, Annotator, DataError, Face, Record, read_jsonl, write_jsonl
from dfa_lib.shards import Shard, block, shard_path
from dfa_lib.taxonomy import Category, Region
from facesim.forge import LEAST_PIXELS

HUMAN = Annotator(name="human")
"""People, who follow no prompt; the data set of the face tells which people."""
_CHUNK = 60


class Outcome(Record):
    """What became of a piece: a face and what people said of it, or why there is none."""

    frame: str
    face: Face | None = None
    note: Annotation | None = None
    by_detector: bool = False
    skipped: str | None = None


def harvest(
    read: Callable[[Path], Iterable[Item]],
    root: Path,
    out: Path,
    n: int,
    seed: int,
    size: int,
    workers: int,
    shard: Shard | None = None,
) -> None:
    """Save up to ``n`` of the faces that ``read`` finds below ``root`` (this ``shard`` of them).

    Writes images/, masks/, faces.jsonl, annotations.jsonl where people wrote any, and
    skipped.json; prints one line. Raises DataError where nothing usable is found.
    """
    items, given = read(root), root
    root = root.parent if root.is_file() else root
    pieces, tally = survey(tqdm(items, f"{read.__name__}: rows", unit="row", delay=3), n, seed)
    print(f"{read.__name__}: {_planned(pieces, tally)}")
    mine = list(block(pieces, shard))
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    partial = shard_path(out / "faces.part.jsonl", shard)
    done = _done(partial, mine)
    chunks = [mine[at : at + _CHUNK] for at in range(done, len(mine), _CHUNK)]
    tasks = (delayed(_make_chunk)(root, out, size, chunk) for chunk in chunks)
    pool = Parallel(n_jobs=workers, return_as="generator")
    log_in_order(pool, tasks, partial, done, len(mine), read.__name__)
    line = _report(partial, tally, shard_path(out / "skipped.json", shard))
    if not pieces or (shard is None and not any(_faces(partial))):
        partial.unlink()
        raise DataError(f"root={given}: no usable face; {line}")
    print(f"{read.__name__}: {line}")
    notes = [outcome.note for outcome in read_jsonl(partial, Outcome) if outcome.note]
    if notes:
        write_jsonl(shard_path(out / "annotations.jsonl", shard), notes)
    write_jsonl(shard_path(out / "faces.jsonl", shard), _faces(partial))
    partial.unlink()


def _planned(pieces: Sequence[Piece], tally: Tally) -> str:
    """How many rows of what there are, by split, and what is left out, in one line."""
    rows = Counter((piece.split.value, piece.found.category.value) for piece in pieces)
    held = ", ".join(f"{n:,} {split} {kind}" for (split, kind), n in rows.items()) or "nothing"
    return f"to be read: {held}; left out: {_left_out(tally)}"


def _left_out(tally: Tally) -> str:
    """Each reason with how often and the first place."""
    reasons = sorted(tally.items(), key=lambda entry: -entry[1]["count"])
    return (
        "; ".join(
            f"{entry['count']:,} {reason}" + (f" ({entry['first']})" if entry["first"] else "")
            for reason, entry in reasons
        )
        or "nothing"
    )


def _done(partial: Path, pieces: Sequence[Piece]) -> int:
    """How many pieces an interrupted run has made; one on another tree does not count."""
    made = [o.frame for o in read_jsonl(partial, Outcome)] if partial.exists() else []
    if made != [piece.found.frame for piece in pieces[: len(made)]]:
        partial.unlink()
        return 0
    return len(made)


def _make_chunk(root: Path, out: Path, size: int, pieces: list[Piece]) -> list[Outcome]:
    cv2.setNumThreads(1)
    for cached in (_opened, open_video):  # the files may have changed since the last call
        cached.cache_clear()
    with threadpool_limits(1):
        return [_make(root, out, size, piece) for piece in pieces]


def _make(root: Path, out: Path, size: int, piece: Piece) -> Outcome:
    """Open, frame and save one picture, or say why not."""
    found = piece.found
    try:
        twin = _twin(root, piece.twin)
        picture = _opened(root, found) if twin is None else opened(root, found, twin)
        portrait, box = framed(picture, size)
        mask = mask_of(root, found, picture, size)
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{found.path}: ").partition(";")[0]
        reason = reason.removesuffix(f" {root}")
        return Outcome(frame=found.frame, skipped=reason)
    if mask is not None:
        save_png(out / f"masks/{piece.id}.png", mask)
    face = Face(
        id=piece.id,
        image=f"images/{piece.id}.png",
        sha256=save_png(out / f"images/{piece.id}.png", portrait.image[..., ::-1]),
        category=found.category,
        method=found.method,
        dataset=found.dataset,
        identities=found.people,
        source=piece.twin.id if piece.twin and twin else None,
        split=piece.split,
        frame=found.frame,
        crop=box,
        landmarks=tuple((round(float(x), 1), round(float(y), 1)) for x, y in portrait.landmarks),
        altered_regions=_altered(found, mask, portrait.landmarks, size),
        mask=None if mask is None else f"masks/{piece.id}.png",
        licence=found.licence,
        subgroup=dict(found.subgroup),
    )
    note = _note(face.id, found) if found.text else None
    return Outcome(frame=found.frame, face=face, note=note, by_detector=not picture.measured)


def _note(face: str, found: Found) -> Annotation:
    return Annotation(face=face, findings=found.findings, text=found.text, annotator=HUMAN)


def _twin(root: Path, piece: Piece | None) -> Opened | None:
    """The bona fide counterpart, unless it was skipped itself."""
    try:
        return _opened(root, piece.found) if piece else None
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=4)
def _opened(root: Path, found: Found) -> Opened:
    return opened(root, found)


def _altered(
    found: Found, mask: Image | None, landmarks: Points, size: int
) -> tuple[Region, ...] | None:
    """Where a picture was altered: all over if synthesised, by its mask, or unknown."""
    if not found.category.forged:
        return ()
    if found.category is Category.EFS:
        mask = np.full((size, size), 255, np.uint8)
    if mask is None:
        return None
    regions = region_masks(landmarks, size).items()
    return tuple(r for r, m in regions if m.sum() >= LEAST_PIXELS and mask[m].mean() > 127)


def _faces(partial: Path) -> Iterator[Face]:
    return (outcome.face for outcome in read_jsonl(partial, Outcome) if outcome.face)


def _report(partial: Path, tally: Tally, path: Path) -> str:
    """Write what was kept, what was skipped and why; return it in one line."""
    kept: Counter[str] = Counter()
    for outcome in read_jsonl(partial, Outcome) if partial.exists() else ():
        if outcome.skipped:
            note_skip(tally, outcome.skipped, outcome.frame)
        elif outcome.face:
            kept[outcome.face.category.value] += 1
            kept["pairs"] += outcome.face.source is not None
            kept["framed by the detector"] += outcome.by_detector
    reasons = sorted(tally.items(), key=lambda entry: -entry[1]["count"])
    content = json.dumps({"kept": kept, "skipped": dict(reasons)}, indent=1)
    path.write_text(content + "\n", encoding="utf-8")
    held = ", ".join(f"{number} {name}" for name, number in kept.items()) or "nothing kept"
    left = ", ".join(f"{entry['count']} {reason}" for reason, entry in reasons) or "nothing"
    return f"{held}; skipped: {left}"
