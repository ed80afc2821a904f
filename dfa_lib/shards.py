"""Shards: a share of the work for each task of a scheduler; joined, they equal the whole."""

import re
import shutil
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dfa_lib.files import atomic
from dfa_lib.records import DataError

Shard = tuple[int, int]
"""(i, n): part i of n, counted from 0."""

Item = TypeVar("Item")
_NAMED = re.compile(r"(.+)\.\d{5}-of-\d{5}")


def parse_shard(text: str) -> Shard:
    """Read "3/16"; raise DataError unless it says i/n with 0 <= i < n."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    shard = (int(match[1]), int(match[2])) if match else (0, 0)
    if shard[0] >= shard[1]:
        raise DataError(f"shard={text}: no such part; count from 0, as 0/16 to 15/16")
    return shard


def block(items: Collection[Item], shard: Shard | None) -> Collection[Item]:
    """The contiguous share of ``shard``, a list; all ``items`` as they are without one."""
    if shard is None:
        return items
    i, n = parse_shard("{}/{}".format(*shard))
    return list(islice(items, len(items) * i // n, len(items) * (i + 1) // n))


def shard_path(path: Path, shard: Shard | None) -> Path:
    """Name the file of one shard: faces.jsonl, (3, 16) -> faces.00003-of-00016.jsonl."""
    if shard is None:
        return path
    return path.with_name(f"{path.stem}.{shard[0]:05d}-of-{shard[1]:05d}{path.suffix}")


def shards(path: Path) -> list[Path]:
    """The shards of ``path`` that are there, in order."""
    beside = ((one, _NAMED.fullmatch(one.stem)) for one in path.parent.glob(f"*{path.suffix}"))
    return sorted(one for one, named in beside if named and named[1] == path.stem)


def join(path: Path) -> None:
    """Concatenate the shards of ``path`` into it, at once, and keep them.

    Raises DataError unless all shards of exactly one division are there.
    """
    found = shards(path)
    n = int(found[0].stem[-5:]) if found else 1
    wanted = [shard_path(path, (i, n)) for i in range(n)]
    if found != wanted:
        odd = sorted({*found} ^ {*wanted})[0]
        problem = "missing; run this shard" if odd in wanted else "of another division; remove it"
        raise DataError(f"{odd}: {problem}, then join again")
    with atomic(path, "wb") as whole:
        for part in wanted:
            if not ends_in_newline(part):
                raise DataError(f"{part}: cut off at the end; run this shard again, then join")
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)


def ends_in_newline(path: Path) -> bool:
    """Tell whether the last line of a file is whole; so it is in an empty file."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 1, 0))
        return file.read() in (b"\n", b"")
