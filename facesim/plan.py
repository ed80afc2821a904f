"""Plan of a generated data set: who is shown on each face, and how it is made.

Identities come first: a split has its own people, and a forgery is made of people of one
split only. The plan follows from the arguments alone, so any part of it can be made
anywhere and comes out the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split
from facesim.forge import METHODS, Method
from facesim.people import generator
from facesim.populations import Population

FEWEST = 60
"""The least number of faces: every split then has two people to swap between."""
_FORGED = (Category.FS, Category.FR, Category.FE, Category.EFS)
_DONATED = (Category.FS, Category.FR)
Numbers = dict[Category, Iterator[int]]


@dataclass(frozen=True)
class Take:
    """One portrait of one person; ``face`` is the id of its bona fide picture."""

    person: str
    number: int
    face: str


@dataclass(frozen=True)
class Job:
    """One face to make: what it is, of whom, and by which method."""

    id: str
    split: Split
    category: Category
    method: Method | None = None
    target: Take | None = None
    donor: Take | None = None


def plan(population: Population, n: int, seed: int) -> list[Job]:
    """Decide on ``n`` faces: a third bona fide and a sixth of each forgery category.

    Methods are balanced inside a category; every target is in the set as a bona fide face.
    Raises DataError where there are too few for three splits.
    """
    if n < FEWEST:
        raise DataError(f"n={n}: too few faces for three splits; use {FEWEST} or more")
    numbers: Numbers = {category: count() for category in Category}
    sizes = np.diff(np.rint(np.cumsum([0, *population.shares.values()]) * n).astype(int))
    jobs: list[Job] = []
    for split, size in zip(population.shares, sizes, strict=True):
        jobs += _plan_split(population, split, int(size), numbers, generator(f"plan/{split}", seed))
    return jobs


def _plan_split(
    population: Population, split: Split, size: int, numbers: Numbers, rng: np.random.Generator
) -> list[Job]:
    """List the bona fide faces of a split person by person, each followed by what is made of it."""
    plain = max(size // 3, 2)
    people = population.people(split, max(-(-plain // population.takes), 4))
    bounds = np.linspace(0, plain, len(people) + 1).astype(int)  # as even as can be
    takes = [
        Take(person, number, face_id(Category.BONA_FIDE, numbers))
        for person, of_person in zip(people, np.diff(bounds), strict=True)
        for number in range(of_person)
    ]
    shares = np.diff(np.rint(np.linspace(0, size - plain, 5)).astype(int))
    forged: dict[Take | None, list[Job]] = {target: [] for target in [*takes, None]}
    for category, share in zip(_FORGED, shares, strict=True):
        for job in _forgeries(category, split, takes, int(share), numbers, rng):
            forged[job.target].append(job)
    plain_jobs = (Job(take.face, split, Category.BONA_FIDE, target=take) for take in takes)
    return [one for job in plain_jobs for one in (job, *forged[job.target])] + forged[None]


def _forgeries(
    category: Category,
    split: Split,
    takes: list[Take],
    n: int,
    numbers: Numbers,
    rng: np.random.Generator,
) -> Iterator[Job]:
    """Yield ``n`` forgeries of a category: each target once before any is used again."""
    methods = [method for method in METHODS.values() if method.category is category]
    rounds = [rng.permutation(len(takes)) for _ in range(n // len(takes) + 1)]
    for k, at in enumerate(np.sort(np.concatenate(rounds)[:n])):
        target = takes[at] if category is not Category.EFS else None
        donor = _donor(takes, int(at), rng) if category in _DONATED else None
        method = methods[k % len(methods)]
        yield Job(face_id(category, numbers), split, category, method, target, donor)


def _donor(takes: list[Take], at: int, rng: np.random.Generator) -> Take:
    """Choose a portrait of another person among the next forty, which are still in memory."""
    ahead = [takes[(at + step) % len(takes)] for step in range(1, 41)]
    others = [take for take in ahead if take.person != takes[at].person]
    return others[int(rng.integers(len(others)))]


def face_id(category: Category, numbers: Numbers) -> str:
    """Name the next face of a category: the first are bf_0000, fs_0000."""
    prefix = "bf" if category is Category.BONA_FIDE else category.value.lower()
    return f"{prefix}_{next(numbers[category]):04d}"
