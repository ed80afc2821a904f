"""Which rows of one's own table or folder belong together: pairs, and copies of one picture."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path

from dfa_lib.instruct.rows import Item, Row, Skip
from dfa_lib.records import inside


def linked(items: Iterable[Item], root: Path) -> Iterator[Item]:
    """Yield the items of a source, each row linked to what must not be in another split.

    A row comes with the path of its counterpart as ``scene`` and leaves with the scene itself;
    without people it gets those of its counterpart, else is a person of its own.
    """
    items = list(items)
    rows = {row.frame: row for row in items if isinstance(row, Row)}
    if copies := _copies({row.path for row in rows.values()}, root):
        told = "; ".join(" = ".join(group[:3]) for group in copies[:3])
        yield f"{sum(map(len, copies)):,} files are copies, kept in one split: {told}"
    first = {path: group[0] for group in copies for path in group}
    for item in items:
        yield from _linked(item, rows, first) if isinstance(item, Row) else [item]


def _linked(row: Row, rows: Mapping[str, Row], first: Mapping[str, str]) -> Iterator[Item]:
    copied = first.get(row.path, row.path)
    same = rows.get(replace(row, path=copied).frame, row)
    if copied != row.path and same.category.forged != row.category.forged:
        yield Skip("a copy with another label; the first is used", f"{copied} = {row.path}")
        return
    _, *others = chain = _chain(row, rows)
    known = others and not others[0].category.forged
    if row.scene and not known:
        yield Skip("only a counterpart: no bona fide row has its path", f"{row.path}: {row.scene}")
    yield replace(
        row,
        people=next((one.people for one in chain if one.people), (row.path,)),
        scene=others[0].frame if known and row.category.forged else row.frame,
        links=(row.path, copied, *(one.path for one in others[:1])),
    )


def _chain(row: Row, rows: Mapping[str, Row]) -> list[Row]:
    """Return a row, its counterpart (of the same frame in a video), the counterpart of that ..."""
    chain = [row]
    while scene := chain[-1].scene:
        found = rows.get(replace(row, path=scene).frame) or rows.get(scene)
        if found is None or found in chain:
            break
        chain.append(found)
    return chain


def _copies(paths: Iterable[str], root: Path) -> list[list[str]]:
    """Return the groups of equal files; only those of equal size are read."""
    sizes: dict[int, list[str]] = defaultdict(list)
    same: dict[bytes, list[str]] = defaultdict(list)
    for path in sorted(paths):
        with suppress(OSError, ValueError):  # not there: the importer says so
            sizes[inside(root, path).stat().st_size].append(path)
    for path in (path for size, group in sizes.items() if size and group[1:] for path in group):
        with suppress(OSError), (root / path).open("rb") as content:
            same[file_digest(content, "sha256").digest()].append(path)
    return [group for group in same.values() if group[1:]]
