"""Turn the rows of any source into faces: open, frame, save, and say what was left out and why."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from tqdm.auto import tqdm

from dfa_lib.face.detect import covered, find_face, same_face
from dfa_lib.face.geometry import Image, Points, Portrait, align, crop_box, from_dlib, region_masks
from dfa_lib.files import write_atomic
from dfa_lib.instruct.agreement import PEOPLE, Voices
from dfa_lib.instruct.making import Outcome, make_faces, outcomes, save_face
from dfa_lib.instruct.rows import Item, Row
from dfa_lib.instruct.splits import Piece, Tally, assign_splits, note_skip, with_self_blends
from dfa_lib.photo import open_photo
from dfa_lib.records import Annotation, Annotator, DataError, inside, write_jsonl
from dfa_lib.shards import Shard, shard_path
from dfa_lib.taxonomy import Category, Region, Split
from facesim.forge import LEAST_PIXELS
from facesim.people import generator, model
from facesim.selfblend import self_blend

HUMAN = Annotator(name="human")
"""People, who follow no prompt; the data set of the face tells which people."""
_FILES = {"note": "annotations.jsonl", "voices": PEOPLE, "face": "faces.jsonl"}
_UNREADABLE = (OSError, ValueError, MemoryError, cv2.error)


def import_faces(
    items: Iterable[Item],
    root: Path,
    out: Path,
    n: int,
    seed: int,
    size: int,
    workers: int,
    shard: Shard | None = None,
    source: str = "folder",
    self_blended: int = 0,
) -> None:
    """Save up to ``n`` faces of ``size`` pixels from the ``items`` of a source below ``root``.

    Beside them, ``self_blended`` forgeries are made of each bona fide training face. Writes
    images/, masks/, faces.jsonl, annotations.jsonl and annotations.people.jsonl where people
    wrote any, and skipped.json; prints what will be read before any picture is opened,
    and what was kept after. Raises DataError where nothing usable is found.
    """
    folder = root.parent if root.is_file() else root
    pieces, tally = assign_splits(tqdm(items, f"{source}: rows", unit="row", delay=3), n, seed)
    pieces = list(with_self_blends(pieces, self_blended))
    rows = Counter(f"{piece.split} {piece.row.category}" for piece in pieces)
    people = len({person for piece in pieces for person in piece.row.people})
    told = f"people: {people:,}; pairs: {sum(piece.twin is not None for piece in pieces):,}"
    print(f"{source}: to be read: {_listed(rows)}; {told}; left out: {_reasons(tally)}")
    if nameless := sum(piece.row.people == (piece.row.path,) for piece in pieces):
        print(
            f"{source}: nobody is named for {nameless:,} pictures: each counts as one person, and"
            " one person may be in two splits; name them in the column person of a table"
        )
    if pieces and len({piece.row.category.forged for piece in pieces}) < 2:
        print(
            f"{source}: all are {'forged' if pieces[0].row.category.forged else 'bona fide'}:"
            " with one kind alone no analyst can learn to tell them apart"
        )
    if bare := [split for split in Split if split not in {piece.split for piece in pieces}]:
        print(f"{source}: no picture for {' and '.join(bare)}: too few people who are not linked")

    make = partial(_make_chunk, folder, out, size)
    log = make_faces(pieces, lambda piece: piece.row.frame, make, out, workers, shard, source)
    line = _report(log, tally, shard_path(out / "skipped.json", shard))
    if not pieces or (shard is None and not any(one.face for one in outcomes(log))):
        log.unlink()
        raise DataError(f"root={root}: no usable face; {line}")
    print(f"{source}: {line}")
    for field, name in _FILES.items():
        if field == "face" or any(getattr(one, field) for one in outcomes(log)):
            found = (getattr(one, field) for one in outcomes(log))
            write_jsonl(shard_path(out / name, shard), filter(None, found))
    log.unlink()


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items()) or "nothing"


def _reasons(tally: Tally) -> str:
    """Return each reason with how often and the first place, in one line."""
    said = (
        f"{entry['count']:,} {reason}" + (f" ({entry['first']})" if entry["first"] else "")
        for reason, entry in sorted(tally.items(), key=lambda entry: -entry[1]["count"])
    )
    return "; ".join(said) or "nothing"


def _report(log: Path, tally: Tally, path: Path) -> str:
    """Write what was kept, what was left out and why; return it in one line."""
    kept: Counter[str] = Counter()
    for one in outcomes(log):
        if one.skipped:
            note_skip(tally, one.skipped, one.job)
        elif one.face:
            kept[one.face.category.value] += 1
            kept["pairs"] += one.face.source is not None
    order = dict(sorted(tally.items(), key=lambda entry: -entry[1]["count"]))
    write_atomic(path, json.dumps({"kept": kept, "skipped": order}, indent=1) + "\n")
    return f"{_listed(kept)}; left out: {_reasons(tally)}"


# --- one face -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Opened:
    """A picture (H, W, 3), the landmarks (81, 2) of its face and its mask (H, W), if it has one."""

    image: Image
    landmarks: Points
    mask: Image | None = None


def _make_chunk(root: Path, out: Path, size: int, pieces: Sequence[Piece]) -> list[Outcome]:
    for cached in (_open, _open_video):  # the files may have changed since the last call
        cached.cache_clear()
    return [_make(root, out, size, piece) for piece in pieces]


def _make(root: Path, out: Path, size: int, piece: Piece) -> Outcome:
    """Open, frame and save one picture, or say why not."""
    row = piece.row
    try:
        twin = None
        if piece.twin:
            with suppress(*_UNREADABLE):  # then it is left out itself
                twin = _open(root, piece.twin.row)
        picture = _open(root, row, twin)
        alike = twin and picture.image.shape == twin.image.shape
        if alike and not same_face(picture.landmarks, twin.landmarks.mean(axis=0)):
            twin = None  # another person of the picture
        if piece.blended:
            own = Portrait(picture.image, picture.landmarks)
            image, alpha = self_blend(generator(piece.id), own)
            picture = replace(picture, image=image, mask=np.rint(alpha * 255).astype(np.uint8))
        mask = picture.mask
        mask = None if mask is None else align(mask, picture.landmarks, size).image
        portrait = align(picture.image, picture.landmarks, size)
    except _UNREADABLE as error:
        told = " ".join(str(error).replace(f": {root}", "").split()) or type(error).__name__
        reason = told.removeprefix(f"{row.path}: ").partition(";")[0]
        return Outcome(job=row.frame, skipped=reason[:120])
    face = save_face(
        out,
        piece.id,
        portrait,
        mask,
        category=row.category,
        method=row.method,
        dataset=row.dataset,
        identities=row.people,
        source=piece.twin.id if piece.twin and twin else None,
        split=piece.split,
        frame=row.frame,
        crop=tuple(round(edge, 1) for edge in crop_box(picture.landmarks, size)),
        altered_regions=_altered(row, mask, portrait.landmarks, size),
        licence=row.licence,
        subgroup=dict(row.subgroup),
    )
    said = {"face": face.id, "findings": row.findings, "text": row.text, "annotator": HUMAN}
    note = Annotation(**said) if row.text else None
    voices = Voices(face=face.id, texts=row.voices) if row.voices else None
    return Outcome(job=row.frame, face=face, note=note, voices=voices)


@lru_cache(maxsize=4)
def _open(root: Path, row: Row, twin: Opened | None = None) -> Opened:
    """Read a picture and where its face is: under its mask, else where its counterpart's is.

    A frame of a forged video shares with its counterpart what was not altered. Raises
    DataError, beginning with the path, where the picture is unreadable or no face is found.
    """
    image = _picture(root, row.path, row.at)
    mask = _mask(root, row, image.shape)
    like = twin if twin and twin.image.shape == image.shape else None
    like = like if like and (mask is None or covered(mask, like.landmarks)) else None
    if like and row.at is not None:
        return Opened(image, like.landmarks, mask)
    points = _points(root, row) if row.at is None else None
    if points is None:
        points = find_face(image, row.path, mask, like and like.landmarks).landmarks
    return Opened(image, points, mask)


def _mask(root: Path, row: Row, shape: tuple[int, ...]) -> Image | None:
    """Read the mask (H, W) of a forged picture (H, W, 3), if it has one."""
    path = row.mask or (row.category.forged and _mask_of(row.path))
    if not path or not inside(root, path).is_file():
        return None
    mask = _picture(root, path, row.at)
    if mask.shape != shape:
        raise DataError(f"{row.path}: its mask has another size; extract the masks again")
    return mask[..., 0]


def _mask_of(path: str) -> str | None:
    """Return where FaceForensics++ has the mask of a frame: a PNG under c23, or a video."""
    match = re.fullmatch(r"(.+)/(?:c23|raw|c40)/(frames|videos)/(.+)", path)
    if match is None:
        return None
    head, kind, tail = match.groups()
    still = PurePosixPath(tail).with_suffix(".png")
    return f"{head}/masks/videos/{tail}" if kind == "videos" else f"{head}/c23/masks/{still}"


def _altered(
    row: Row, mask: Image | None, landmarks: Points, size: int
) -> tuple[Region, ...] | None:
    """Return where a picture was altered: all over if synthesised, by its mask, or unknown."""
    if not row.category.forged:
        return ()
    if row.category is Category.EFS:
        mask = np.full((size, size), 255, np.uint8)
    if mask is None:
        return None
    regions = region_masks(landmarks, size).items()
    return tuple(r for r, m in regions if m.sum() >= LEAST_PIXELS and mask[m].mean() > 127)


def _picture(root: Path, path: str, at: int | None) -> Image:
    if at is None:
        return open_photo(inside(root, path), path)
    video = _open_video(inside(root, path))
    if video.get(cv2.CAP_PROP_POS_FRAMES) > at:
        video.set(cv2.CAP_PROP_POS_FRAMES, 0)
    while video.get(cv2.CAP_PROP_POS_FRAMES) < at and video.grab():
        pass  # to seek is not exact with every codec
    fine, picture = video.read()
    if not fine:
        raise DataError(f"{path}: the video ends before its stated number of frames")
    return np.ascontiguousarray(picture[..., ::-1])


@lru_cache(maxsize=16)
def _open_video(path: Path) -> cv2.VideoCapture:
    """Open a video once: those of one family are read side by side, each of them forwards."""
    return cv2.VideoCapture(str(path))


def _points(root: Path, row: Row) -> Points | None:
    """Read the landmarks the row names, in landmarks/ beside frames/, or beside the picture."""
    here = f"{row.path.rpartition('.')[0]}.npy"
    for name in (row.landmarks, "/landmarks/".join(here.rsplit("/frames/", 1)), here):
        if name and (file := inside(root, name)).is_file():
            try:
                points = np.load(file, mmap_mode="r", allow_pickle=False)  # however large it is
                return from_dlib(points, model().mean_shape)
            except (OSError, TypeError, ValueError, EOFError):
                told = f"{row.path}: its landmarks are unreadable; mark it again"
                raise DataError(told) from None
    return None
