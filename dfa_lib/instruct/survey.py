"""Decide which of the pictures a reader found become faces: splits by person, no leaks, a draw."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count

from dfa_lib.instruct.plan import face_id
from dfa_lib.instruct.readers.found import Found, Home, Item, Skip
from dfa_lib.taxonomy import Category, Split

_ORDER = list(Split)
Tally = dict[str, dict[str, object]]
"""Reason -> how often, and the first path."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One face to save, and the bona fide one it was made from."""

    id: str
    split: Split
    found: Found
    twin: "Piece | None" = None


def survey(items: Iterable[Item], n: int, seed: int) -> tuple[list[Piece], Tally]:
    """Decide, before anything is opened, which pictures become faces and in which split.

    A person's home is the split of the official lists, else the most held-out one in which
    a bona fide picture of the person is listed, else dealt. A picture stays only if all its
    people are at home in one split, and it is listed there. Where that leaves no validation
    or no test, these are carved out of training, by person.
    """
    tally: Tally = {}
    found: dict[str, Found] = {}
    official: dict[str, Split] = {}
    for item in items:
        if isinstance(item, Skip):
            note_skip(tally, item.reason, item.path, item.count)
        elif isinstance(item, Home):
            official[item.person] = _most_held_out(official.get(item.person), item.split)
        elif item.frame in found:
            known = found[item.frame]
            found[item.frame] = replace(known, listed=tuple({*known.listed, *item.listed}))
            note_skip(tally, "listed more than once", item.frame)
        else:
            found[item.frame] = item
    homes = _homes(found.values()) | official
    homes |= deal([one for one in found.values() if not homes.keys() & {*one.people}], seed)
    placed = {}
    for one in found.values():
        split = _split(one, homes)
        if isinstance(split, Split):
            placed[one] = split
        else:
            note_skip(tally, split, one.frame)
    placed |= _carved(placed, seed)
    chosen = _choose(list(placed), n, seed)
    if len(chosen) < len(placed):
        note_skip(tally, f"more than n={n}", "", len(placed) - len(chosen))
    return _pieces({one: placed[one] for one in chosen}), tally


def note_skip(tally: Tally, reason: str, path: str, times: int = 1) -> None:
    """Count what was left out, by its reason."""
    entry = tally.setdefault(reason, {"count": 0, "first": path})
    entry["count"] += times


def _most_held_out(*splits: Split | None) -> Split:
    return max((split for split in splits if split), key=_ORDER.index)


def _homes(found: Iterable[Found]) -> dict[str, Split]:
    """The most held-out listing of every person; bona fide pictures overrule forgeries."""
    own: dict[str, Split] = {}
    forged: dict[str, Split] = {}
    for one in found:
        table = forged if one.category.forged else own
        for person in one.people if one.listed else ():
            table[person] = _most_held_out(table.get(person), *one.listed)
    return forged | own


SHARES = {Split.TRAIN: 0.7, Split.VAL: 0.1, Split.TEST: 0.2}


def deal(
    found: Sequence[Found], seed: int, shares: Mapping[Split, float] = SHARES
) -> dict[str, Split]:
    """Deal people to splits; those who share a picture stay together.

    Each group of people goes where its bona fide and forged pictures are missed most.
    """
    groups: dict[str, list[Found]] = defaultdict(list)
    leader = _leaders(found)
    for one in found:
        groups[leader[one.people[0]]].append(one)
    total = Counter(one.category.forged for one in found)
    have = {split: Counter[bool]() for split in shares}
    homes: dict[str, Split] = {}
    drawn = sorted(groups, key=lambda name: sha256(f"{seed}/{name}".encode()).digest())
    for name in sorted(drawn, key=lambda name: -len(groups[name])):
        mine = Counter(one.category.forged for one in groups[name])

        def missed(split: Split, mine: Counter[bool] = mine) -> float:
            return sum(n * (shares[split] - have[split][k] / total[k]) for k, n in mine.items())

        split = max(shares, key=lambda split: missed(split) / shares[split])
        have[split] += mine
        homes |= {person: split for one in groups[name] for person in one.people}
    return homes


def _leaders(found: Iterable[Found]) -> dict[str, str]:
    """One name for all people who are linked by pictures that show two of them."""
    leader: dict[str, str] = {}

    def first(person: str) -> str:
        leader.setdefault(person, person)
        while leader[person] != person:
            leader[person] = leader[leader[person]]
            person = leader[person]
        return person

    for one in found:
        for other in one.people:
            leader[first(other)] = first(one.people[0])
    return {person: first(person) for person in leader}


def _carved(placed: Mapping[Found, Split], seed: int) -> dict[Found, Split]:
    """Validation and test pictures out of those of training, where a set has none."""
    there = {*placed.values()}
    if Split.TRAIN not in there or there >= {Split.VAL, Split.TEST}:
        return {}
    wanted = {split: share for split, share in SHARES.items() if split not in there}
    shares = {Split.TRAIN: 1 - sum(wanted.values()), **wanted}
    training = [one for one, split in placed.items() if split is Split.TRAIN]
    homes = deal(training, seed, shares)
    return {one: homes[one.people[0]] for one in training}


def _split(found: Found, homes: dict[str, Split]) -> Split | str:
    """The split of a picture, or why it belongs to none."""
    splits = {homes[person] for person in found.people if person in homes}
    split = splits.pop()
    if splits or (found.listed and split not in found.listed):
        return "leak: a person is held out"
    return split


def _choose(found: list[Found], n: int, seed: int) -> list[Found]:
    """Draw up to ``n``: categories in turn, in each its methods in turn, counterparts along."""
    if len(found) <= n:
        return found
    twins = _twins(found)
    drawn = sorted(found, key=lambda one: sha256(f"{seed}/{one.frame}".encode()).digest())
    drawn = _in_turns(drawn, lambda one: (one.category, one.method))
    chosen: set[Found] = set()
    for one in _in_turns(drawn, lambda one: one.category):
        new = {one, twins.get(one.scene, one)} - chosen
        if len(chosen) + len(new) <= n:
            chosen |= new
    return [one for one in found if one in chosen]


def _in_turns(found: list[Found], kind: Callable[[Found], object]) -> list[Found]:
    """Deal out: the first of every kind, then the second of every kind, and so on."""
    rank: dict[object, Iterator[int]] = defaultdict(count)
    return sorted(found, key=lambda one: next(rank[kind(one)]))


def _twins(found: Iterable[Found]) -> dict[str | None, Found]:
    return {one.scene: one for one in found if one.scene and not one.category.forged}


def _pieces(placed: dict[Found, Split]) -> list[Piece]:
    """Name the faces, split by split; each bona fide one is followed by what was made of it."""
    first: dict[str, int] = {}
    for at, one in enumerate(placed):
        first.setdefault(one.scene or one.frame, at)
    order = sorted(
        placed,
        key=lambda one: (
            _ORDER.index(placed[one]),
            first[one.scene or one.frame],
            one.category.forged,
        ),
    )
    numbers = {category: count() for category in Category}
    twins: dict[str | None, Piece] = {}
    pieces = []
    for one in order:
        twin = twins.get(one.scene) if one.category.forged else None
        pieces.append(Piece(face_id(one.category, numbers), placed[one], one, twin))
        if one.scene and not one.category.forged:
            twins[one.scene] = pieces[-1]
    return pieces
