"""Celeb-DF v1 and v2 (Li et al. 2020): its videos, or frames as DeepfakeBench has them."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dfa_lib.instruct.rows import Home, Item, Taken, cast, recorded, sampled
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split

BONA_FIDE = ("Celeb-real", "YouTube-real")
_KNOWN = {"dataset": "celebdf", "licence": "Celeb-DF terms of use (research only)"}
_TEST_LIST = "List_of_testing_videos.txt"


def celebdf(root: Path) -> Iterator[Item]:
    """Read the three folders; the folder says what is forged.

    Test holds exactly the videos of the testing list (its digits, 1 for bona fide, are the
    inverse of everyone else's). Its people are held out, so their other videos and the
    forgeries with them are left out. Raises DataError where the list is missing.
    """
    folders = ("", "Celeb-DF-v2/", "Celeb-DF-v1/", "Celeb-DF/")
    base = next((f for f in folders if (root / f / _TEST_LIST).is_file()), None)
    if base is None:
        raise DataError(f"root={root}: no {_TEST_LIST}; give the folder of Celeb-DF that holds it")
    taken: Taken = {}
    yield from originals(root, base, taken)
    yield from _listed(root, base, "Celeb-synthesis", taken, category=Category.FS, method="celebdf")


def originals(root: Path, base: str, taken: Taken) -> Iterator[Item]:
    """Yield who is held out for testing, then the bona fide pictures."""
    people = {one for _, video in _tested(root / base) for one in cast("cdf", video)[0]}
    yield from (Home(person, Split.TEST) for person in sorted(people))
    for folder in BONA_FIDE:
        yield from _listed(root, base, folder, taken, category=Category.BONA_FIDE)


def _listed(root: Path, base: str, folder: str, taken: Taken, **known: object) -> Iterator[Item]:
    tested = _tested(root / base)
    for clip in recorded(root, f"{base}{folder}"):
        video = folder, PurePosixPath(clip.path).stem
        split = Split.TEST if video in tested else Split.TRAIN
        yield from sampled(clip, "cdf", taken, listed=(split,), **_KNOWN, **known)


def _tested(base: Path) -> set[tuple[str, str]]:
    """Return the (folder, video) on the list of testing videos."""
    lines = (base / _TEST_LIST).read_text("utf-8-sig", errors="replace").splitlines()
    paths = [PurePosixPath(line.split(maxsplit=1)[-1].strip()) for line in lines if line.strip()]
    return {(path.parent.name, path.stem) for path in paths}
