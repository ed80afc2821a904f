"""Decide which rows become faces: splits by person, no leaks, a balanced draw."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count

from scipy.cluster.hierarchy import DisjointSet

from dfa_lib.instruct.rows import Home, Item, Row, Skip
from dfa_lib.taxonomy import Category, Split
from facesim.plan import face_id

SHARES = {Split.TRAIN: 0.7, Split.VAL: 0.1, Split.TEST: 0.2}
_ORDER = list(Split)
Tally = dict[str, dict[str, object]]
"""Reason -> how often, and the first path."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One face to save, and the bona fide one it was made from.

    A ``blended`` one has no picture of its own: it is made of the bona fide one alone.
    """

    id: str
    split: Split
    row: Row
    twin: "Piece | None" = None
    blended: bool = False


def assign_splits(items: Iterable[Item], n: int, seed: int) -> tuple[list[Piece], Tally]:
    """Decide, before anything is opened, which rows become faces and in which split.

    A person's home is the split of the official lists, else the most held-out one in which
    a bona fide picture of the person is listed, else dealt. A row stays only if all its
    people are at home in one split, and it is listed there. Where that leaves no validation
    or no test, these are carved out of training, by person.
    """
    tally: Tally = {}
    rows: dict[str, Row] = {}
    official: dict[str, Split] = {}
    for item in items:
        if isinstance(item, Skip):
            note_skip(tally, item.reason, item.path)
        elif isinstance(item, str):
            print(item)
        elif isinstance(item, Home):
            known = official.get(item.person, item.split), item.split
            official[item.person] = max(known, key=_ORDER.index)
        elif known := rows.get(item.frame):
            rows[item.frame] = replace(known, listed=tuple({*known.listed, *item.listed}))
            same = known.category == item.category
            again = "more than once" if same else "with different labels; the first is used"
            note_skip(tally, f"listed {again}", item.frame)
        else:
            rows[item.frame] = item
    homes = _homes(rows.values()) | official
    homes |= deal([row for row in rows.values() if not homes.keys() & {*row.bound}], seed)
    placed = {}
    for row in rows.values():
        splits = {homes[one] for one in row.bound if one in homes}
        if len(splits) > 1 or (row.listed and not splits <= {*row.listed}):
            note_skip(tally, "leak: a person is held out", row.frame)
        else:
            placed[row] = splits.pop()
    placed |= _carved(placed, seed)
    chosen = _choose(list(placed), n, seed)
    if len(chosen) < len(placed):
        note_skip(tally, f"more than n={n}", "", len(placed) - len(chosen))
    return _pieces({row: placed[row] for row in chosen}), tally


def with_self_blends(pieces: Sequence[Piece], times: int) -> Iterator[Piece]:
    """Yield the pieces, each bona fide training face followed by ``times`` forgeries of itself."""
    for piece in pieces:
        yield piece
        if piece.split is Split.TRAIN and not piece.row.category.forged:
            known = {"category": Category.FORGED, "method": "self_blended", "text": None}
            row = replace(piece.row, findings=(), voices=(), mask=None, **known)
            for k in range(times):
                yield Piece(f"{piece.id}_sb{k}", piece.split, row, piece, blended=True)


def note_skip(tally: Tally, reason: str, path: str, times: int = 1) -> None:
    """Count what was left out, by its reason."""
    tally.setdefault(reason, {"count": 0, "first": path})["count"] += times


def _homes(rows: Iterable[Row]) -> dict[str, Split]:
    """Return the most held-out listing of every person; bona fide pictures overrule forgeries."""
    own: dict[str, Split] = {}
    forged: dict[str, Split] = {}
    for row in rows:
        table = forged if row.category.forged else own
        for person in row.bound if row.listed else ():
            known = [*row.listed, table.get(person, row.listed[0])]
            table[person] = max(known, key=_ORDER.index)
    return forged | own


def deal(
    rows: Sequence[Row], seed: int, shares: Mapping[Split, float] = SHARES
) -> dict[str, Split]:
    """Deal people to splits; those who share a picture stay together.

    Each group of people goes where its bona fide and forged pictures are missed most.
    """
    together = DisjointSet()
    for row in rows:
        for one in row.bound:
            together.add(one)
            together.merge(row.people[0], one)
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[together[row.people[0]]].append(row)
    total = Counter(row.category.forged for row in rows)
    have = {split: Counter[bool]() for split in shares}
    homes: dict[str, Split] = {}
    drawn = sorted(groups, key=lambda name: sha256(f"{seed}/{name}".encode()).digest())
    for name in sorted(drawn, key=lambda name: -len(groups[name])):
        mine = Counter(row.category.forged for row in groups[name])

        def missed(split: Split, mine: Counter[bool] = mine) -> float:
            lack = (n * (shares[split] - have[split][k] / total[k]) for k, n in mine.items())
            return sum(lack) / shares[split]

        split = max(shares, key=missed)
        have[split] += mine
        homes |= {person: split for row in groups[name] for person in row.bound}
    return homes


def _carved(placed: Mapping[Row, Split], seed: int) -> dict[Row, Split]:
    """Take validation and test rows out of training, where a set has none."""
    there = {*placed.values()}
    if Split.TRAIN not in there or there >= {Split.VAL, Split.TEST}:
        return {}
    wanted = {split: share for split, share in SHARES.items() if split not in there}
    training = [row for row, split in placed.items() if split is Split.TRAIN]
    homes = deal(training, seed, {Split.TRAIN: 1 - sum(wanted.values()), **wanted})
    return {row: homes[row.people[0]] for row in training}


def _choose(rows: list[Row], n: int, seed: int) -> list[Row]:
    """Draw up to ``n``: categories in turn, in each its methods in turn, counterparts along."""
    if len(rows) <= n:
        return rows
    twins = {row.scene: row for row in rows if row.scene and not row.category.forged}
    drawn = sorted(rows, key=lambda row: sha256(f"{seed}/{row.frame}".encode()).digest())
    drawn = _in_turns(drawn, lambda row: (row.category, row.method))
    chosen: set[Row] = set()
    for row in _in_turns(drawn, lambda row: row.category):
        new = {row, twins.get(row.scene, row)} - chosen
        if len(chosen) + len(new) <= n:
            chosen |= new
    return [row for row in rows if row in chosen]


def _in_turns(rows: list[Row], kind: Callable[[Row], object]) -> list[Row]:
    """Deal out: the first of every kind, then the second of every kind, and so on."""
    rank: dict[object, Iterator[int]] = defaultdict(count)
    return sorted(rows, key=lambda row: next(rank[kind(row)]))


def _pieces(placed: dict[Row, Split]) -> list[Piece]:
    """Name the faces, split by split; each bona fide one is followed by what was made of it."""
    first: dict[str, int] = {}
    for at, row in enumerate(placed):
        first.setdefault(row.scene or row.frame, at)
    numbers = {category: count() for category in Category}
    twins: dict[str | None, Piece] = {}
    pieces = []

    def order(row: Row) -> tuple[int, int, bool]:
        return _ORDER.index(placed[row]), first[row.scene or row.frame], row.category.forged

    for row in sorted(placed, key=order):
        twin = twins.get(row.scene) if row.category.forged else None
        pieces.append(Piece(face_id(row.category, numbers), placed[row], row, twin))
        if row.scene and not row.category.forged:
            twins[row.scene] = pieces[-1]
    return pieces
