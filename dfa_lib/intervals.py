"""95 % intervals by bootstrap over identities.

Faces of one person resemble each other, so the person is what is drawn with replacement, not
the picture. All metrics of a report use the same draws, which makes their differences paired.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from dfa_lib.records import Face

Triple = tuple[float, float, float]
Triples = dict[str, Triple]
Statistic = Callable[[np.ndarray], np.ndarray]
_CHUNK = 2_000_000


@dataclass(frozen=True)
class BootstrapSample:
    """The test faces in order, and the draws (B, N) of them that all intervals rest on."""

    faces: tuple[Face, ...]
    weights: np.ndarray
    identities: int

    @classmethod
    def of(cls, faces: Sequence[Face], resamples: int = 1000, seed: int = 0) -> "BootstrapSample":
        """Draw the identities of ``faces`` with replacement, ``resamples`` times."""
        cluster = clusters(faces)
        return cls(tuple(faces), draw(cluster, resamples, seed), int(cluster.max()) + 1)

    @cached_property
    def forged(self) -> np.ndarray:
        """Which faces are forged, (N,) bool."""
        return np.array([face.category.forged for face in self.faces])

    def estimate(
        self,
        metric: Callable[..., np.ndarray],
        *values: np.ndarray,
        where: np.ndarray | None = None,
        people: int | None = None,
    ) -> Triple:
        """Value and 95 % interval of ``metric`` of ``values`` (N, ...), which lies in [0, 1].

        Only the faces ``where`` (N,) is true count; the interval is as wide as their number of
        identities demands, or that of ``people``.
        """
        if people is None:
            people = self.identities if where is None else self.people(where)
        return estimate(over(where, metric, *values), self.weights, people)

    def paired(self, mine: Statistic, other: Statistic) -> Triple:
        """How far one statistic is above another, on the same draws: "A beats B" if above 0."""
        return estimate(difference(mine, other), self.weights, self.identities, bounded=False)

    def people(self, where: np.ndarray) -> int:
        """How many identities the faces have for which ``where`` (N,) is true."""
        return len({self.faces[at].identities[0] for at in np.flatnonzero(where)})


@dataclass(frozen=True)
class Runs:
    """A mean over seeds, its 95 % interval, the value of each seed, and where doubt comes from.

    ``people`` and ``seeds`` are the standard errors due to the choice of either.
    """

    value: float
    low: float
    high: float
    runs: tuple[float, ...]
    people: float
    seeds: float


def clusters(faces: Sequence[Face]) -> np.ndarray:
    """Number (N,) of the identity each face counts to: the first, which is the target's.

    Swaps that share a donor alone count as independent, so intervals are a little too narrow
    where few donors serve many targets. Linking all who share a picture would leave no interval
    in a set whose people are swapped with one another: there it is one cluster.
    """
    return np.unique([face.identities[0] for face in faces], return_inverse=True)[1]


def draw(cluster: np.ndarray, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each face occurs in each resample: (resamples, N), N faces in clusters."""
    number = int(cluster.max()) + 1
    rng = np.random.default_rng(seed)
    return rng.multinomial(number, np.full(number, 1 / number), size=resamples)[:, cluster]


def over(
    where: np.ndarray | None, metric: Callable[..., np.ndarray], *values: np.ndarray
) -> Statistic:
    """``metric`` of ``values`` over the faces ``where`` (N,) is true, under weights of all."""
    if where is None:
        return partial(metric, *values)
    parts = [value[where] for value in values]
    return lambda weights: metric(*parts, weights[:, where])


def difference(mine: Statistic, other: Statistic) -> Statistic:
    """How far one statistic is above another, on the same draws."""
    return lambda weights: mine(weights) - other(weights)


def estimate(
    statistic: Statistic, weights: np.ndarray, identities: int, bounded: bool = True
) -> Triple:
    """Value of ``statistic`` on all faces and its 95 % interval over resamples.

    A ``bounded`` statistic lies in [0, 1]; its interval is made on the logit scale, by the
    spread of the resampled values. Their percentiles hold the truth too seldom when the value
    is near 1 (``benchmarks/interval_coverage.py``); they serve for all others. Both are widened
    for few ``identities`` (Hesterberg 2015, section 5.3). At 0 and 1 all resamples agree, so the
    far end is that of a share of which every identity was right, or none (Clopper and Pearson
    1934): a perfect score on few people is no certainty. Resamples in which the statistic is not
    defined are left out.
    """
    value = float(statistic(np.ones((1, weights.shape[1])))[0])
    rows = max(1, _CHUNK // max(1, weights.shape[1]))
    chunks = (weights[at : at + rows] for at in range(0, len(weights), rows))
    values = np.concatenate([statistic(chunk) for chunk in chunks])
    values = values[~np.isnan(values)]
    if identities < 2 or not len(values):
        return value, float("nan"), float("nan")
    if bounded and value in (0, 1) and (values == value).all():
        far = 0.025 ** (1 / identities)
        return value, min(value, far), max(value, 1 - far)
    bound = stats.t.ppf(0.975, identities - 1) * np.sqrt(identities / (identities - 1))
    if bounded and 0 < value < 1:
        half = bound * values.std() / (value * (1 - value))
        return value, float(expit(logit(value) - half)), float(expit(logit(value) + half))
    low, high = np.quantile(values, stats.norm.cdf([-bound, bound]))
    return value, min(float(low), value), max(float(high), value)


def over_runs(runs: Sequence[Statistic], sample: BootstrapSample) -> Runs:
    """Mean over runs of a statistic, with an interval over identities and seeds together.

    The variance of the mean as identities are drawn anew (bootstrap) and the variance of the
    runs divided by their number are added; the interval is Student's t with the degrees of
    freedom of Welch and Satterthwaite, which are few where few seeds are what is unsure.
    """
    values = np.array([run(np.ones((1, len(sample.faces))))[0] for run in runs])
    drawn = np.mean([run(sample.weights) for run in runs], axis=0)
    many, few = sample.identities, len(runs)
    parts = np.array([np.nanvar(drawn) * many / (many - 1), values.var(ddof=1) / few])
    total = parts.sum()
    free = total**2 / max((parts**2 / [many - 1, few - 1]).sum(), 1e-300)
    half = stats.t.ppf(0.975, max(free, 1)) * np.sqrt(total)
    mean = float(values.mean())
    errors = map(float, np.sqrt(parts))
    return Runs(mean, mean - half, mean + half, tuple(map(float, values)), *errors)
