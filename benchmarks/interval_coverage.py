"""How often a 95 % interval of the benchmark holds the truth: 1,000 simulated test sets.

Each set has identities of its own, and faces of one identity resemble each other: what is easy
about a person is easy on every picture of theirs. The truth is known in closed form. Two
analysts sit each set, and the interval of their difference is looked at as well.

    python -m benchmarks.interval_coverage
"""

import json
from functools import partial

import numpy as np
from scipy.stats import norm

from dfa_lib.bench import metrics
from dfa_lib.intervals import BootstrapSample, Triple
from dfa_lib.records import Face
from dfa_lib.taxonomy import Category

SETS, RESAMPLES = 1000, 400
SIZES = {"28 people, 8 faces each": (28, 8), "60 people, 5 faces each": (60, 5)}
PERSON, PICTURE = 1.0, 1.0  # standard deviation of what people and pictures add to a score
SKILLS = {"fair": (1.8, 1.4), "strong": (4.0, 3.5)}  # how far forged lie above bona fide faces


def faces(people: int, each: int) -> list[Face]:
    """A test set: half of each person's faces are forged."""
    same = {"image": "x.png", "sha256": "", "dataset": "toy", "split": "test", "licence": "-"}
    return [
        Face(
            id=f"{person}-{number}",
            category=Category.FS if number % 2 else Category.BONA_FIDE,
            identities=(str(person),),
            **same,
        )
        for person in range(people)
        for number in range(each)
    ]


def scores(
    rng: np.random.Generator, people: int, each: int, skills: tuple[float, float]
) -> list[np.ndarray]:
    """Scores of two analysts, (people * each,); both find the same people hard."""
    hard = rng.normal(0, PERSON, (people, 2)).repeat(each, axis=0)  # bona fide, forged
    forged = np.arange(people * each) % each % 2
    shared = hard[np.arange(len(forged)), forged]
    noise = rng.normal(0, PICTURE, (2, len(forged)))
    return [shared + skill * (forged - 0.5) + one for skill, one in zip(skills, noise, strict=True)]


def truth(skills: tuple[float, float]) -> dict[str, float]:
    """The values on a test set without end, in closed form."""
    spread = np.hypot(PERSON, PICTURE)
    first, second = (float(norm.cdf(skill / (spread * 2**0.5))) for skill in skills)
    right = float(norm.cdf(skills[0] / 2 / spread))
    return {"AUC": first, "ACC": right, "AUC, paired": first - second}


def intervals(sample: BootstrapSample, first: np.ndarray, second: np.ndarray) -> dict[str, Triple]:
    """The intervals of one simulated set."""
    one, other = (partial(metrics.auc, sample.forged, given) for given in (first, second))
    right = ((first > 0) == sample.forged).astype(float)
    return {
        "AUC": sample.estimate(one),
        "ACC": sample.estimate(partial(metrics.mean, right)),
        "AUC, paired": sample.paired(one, other),
    }


def main() -> None:
    """Print the coverage by size, skill and score; last line: that of all, and how many sets."""
    every, cells = [], [(size, skill) for size in SIZES for skill in SKILLS]
    print(f"{'test sets':<26}{'analysts':<10}{'score':<14}{'truth':>7}{'coverage':>10}")
    for size, skill in cells:
        known, listed = truth(SKILLS[skill]), faces(*SIZES[size])
        inside: dict[str, list[bool]] = {name: [] for name in known}
        for seed in range(SETS // len(cells)):
            rng = np.random.default_rng([seed, *SIZES[size]])
            given = scores(rng, *SIZES[size], SKILLS[skill])
            found = intervals(BootstrapSample.of(listed, RESAMPLES, seed), *given)
            for name, (_, low, high) in found.items():
                inside[name].append(low <= known[name] <= high)
        for name, value in known.items():
            every += inside[name]
            share = np.mean(inside[name])
            print(f"{size:<26}{skill:<10}{name:<14}{value:>7.3f}{share:>10.3f}")
    print(json.dumps({"coverage": round(float(np.mean(every)), 4), "sets": SETS}))


if __name__ == "__main__":
    main()
