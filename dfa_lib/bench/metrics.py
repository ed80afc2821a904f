"""Scores of the benchmark, each computed for many weightings of the test set at once.

A metric takes ``weights`` (B, N): how often each of N faces counts in each of B resamples,
and returns (B,) values; a row of ones gives the plain value, so a score and its interval come
from one formula (tests hold the plain values equal to scikit-learn's). A resample in which a
metric is not defined, such as an AUC of a single class, gives nan and never an error.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import digamma

Array = np.ndarray
BINS = 10


def ratio(over: Array, under: Array) -> Array:
    """``over / under``, nan where nothing is counted below."""
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)


def mean(values: Array, weights: Array) -> Array:
    """Weighted mean of ``values`` (N,); nan values do not count. Returns (B,)."""
    known = ~np.isnan(values)
    return ratio(weights[:, known] @ values[known], weights[:, known].sum(axis=1))


def auc(forged: Array, score: Array, weights: Array) -> Array:
    """Area under the ROC curve, ties counted half. ``forged`` (N,) bool, ``score`` (N,)."""
    hits, alarms = _counts(forged, score, weights)
    before = np.concatenate([np.zeros((len(hits), 1)), hits[:, :-1]], axis=1)
    area = ((hits + before) * np.diff(alarms, prepend=0, axis=1)).sum(axis=1) / 2
    return ratio(area, hits[:, -1] * alarms[:, -1])


def average_precision(forged: Array, score: Array, weights: Array) -> Array:
    """Precision summed over the steps of recall, as scikit-learn defines it."""
    hits, alarms = _counts(forged, score, weights)
    precision = np.nan_to_num(ratio(hits, hits + alarms))
    summed = (precision * np.diff(hits, prepend=0, axis=1)).sum(axis=1)
    return ratio(summed, np.where(alarms[:, -1] > 0, hits[:, -1], 0))


def equal_error_rate(forged: Array, score: Array, weights: Array) -> Array:
    """The error where misses are as frequent as false alarms, interpolated on the ROC curve."""
    alarm, hit = _roc(forged, score, weights)
    gap = alarm - (1 - hit)
    after = np.argmax(gap >= 0, axis=1)[:, None]
    before = np.maximum(after - 1, 0)
    high, low = (np.take_along_axis(gap, at, axis=1) for at in (after, before))
    step = np.nan_to_num(ratio(-low, high - low))
    first, second = (np.take_along_axis(alarm, at, axis=1) for at in (before, after))
    rate = (first + step * (second - first))[:, 0]
    return np.where(np.isnan(gap[:, -1]), np.nan, rate)


def hit_rate_at(limit: float, forged: Array, score: Array, weights: Array) -> Array:
    """Highest share of forgeries found while the share of false alarms is at most ``limit``."""
    alarm, hit = _roc(forged, score, weights)
    best = np.where(alarm <= limit, hit, 0).max(axis=1)
    return np.where(np.isnan(alarm[:, -1] + hit[:, -1]), np.nan, best)


def balanced_accuracy(truth: Array, right: Array, weights: Array) -> Array:
    """Mean over the classes of the share of ``right`` (N,) answers in each."""
    classes = [truth == label for label in np.unique(truth)]
    return np.mean([mean(right[one].astype(float), weights[:, one]) for one in classes], axis=0)


def calibration_error(forged: Array, probability: Array, weights: Array) -> Array:
    """Expected calibration error over ten bins of equal width (Guo et al. 2017)."""
    member = _bins(probability)[:, None] == np.arange(BINS)
    gap = weights @ (member * (forged - probability)[:, None])
    return ratio(np.abs(gap).sum(axis=1), weights.sum(axis=1))


def reliability(forged: Array, probability: Array) -> list[tuple[float, float, int]]:
    """Bins of the reliability diagram: mean probability, share of forgeries, faces."""
    bins = _bins(probability)
    members = (bins == number for number in np.unique(bins))
    return [
        (float(probability[at].mean()), float(forged[at].mean()), int(at.sum())) for at in members
    ]


def macro_f1(classes: int, truth: Array, answer: Array, weights: Array) -> Array:
    """Mean F1 over the classes that occur. ``truth``, ``answer`` (N,) int; -1 is unparsable."""
    said, true = answer[:, None] == np.arange(classes), truth[:, None] == np.arange(classes)
    each = [f1(said[:, [at]], true[:, [at]], weights) for at in range(classes)]
    return ratio(np.nansum(each, axis=0), (~np.isnan(each)).sum(axis=0))


def precision(claimed: Array, true: Array, weights: Array) -> Array:
    """Share of the claims that hold, pooled over all (face, label) pairs; both (N, L) bool."""
    hits, said = (weights @ part.sum(axis=1) for part in (claimed & true, claimed))
    return ratio(hits, said)


def recall(claimed: Array, true: Array, weights: Array) -> Array:
    """Share of what is so that is claimed, pooled likewise."""
    return precision(true, claimed, weights)


def f1(claimed: Array, true: Array, weights: Array) -> Array:
    """Harmonic mean of both, pooled likewise."""
    hits, both = (weights @ part.sum(axis=1) for part in (claimed & true, claimed * 1 + true))
    return ratio(2.0 * hits, both)


def risk_coverage_area(wrong: Array, sure: Array, weights: Array) -> Array:
    """Mean share of ``wrong`` (N,) answers among the surest 1, 2, ... N by ``sure`` (N,).

    Answers of equal sureness count as in random order: the mean over all their orders.
    """
    wrongs, rights = _counts(wrong, sure, weights)
    faces = wrongs + rights
    failed, before = (np.pad(part, ((0, 0), (1, 0)))[:, :-1] for part in (wrongs, faces))
    rate = np.nan_to_num(ratio(wrongs - failed, faces - before))
    # sum over k = before + 1 ... faces of (failed + rate * (k - before)) / k
    area = wrongs - failed + (failed - rate * before) * (digamma(faces + 1) - digamma(before + 1))
    return ratio(area.sum(axis=1), faces[:, -1])


def risk_curve(wrong: Array, sure: Array) -> Array:
    """Share of ``wrong`` (N,) answers among the surest 1, 2, ... N; ties as in its area."""
    _, group = np.unique(-sure, return_inverse=True)
    rate = np.bincount(group, wrong) / np.bincount(group)
    return rate[np.sort(group)].cumsum() / np.arange(1, len(wrong) + 1)


def fit_temperature(forged: Array, score: Array) -> float:
    """Temperature T > 0 for which sigmoid(score / T) fits validation labels best.

    One parameter only: it changes how sure an answer is, never which answer it is.
    """

    def loss(log_temperature: float) -> float:
        margin = np.where(forged, score, -score) / np.exp(log_temperature)
        return float(np.logaddexp(0, -margin).mean())

    if len(np.unique(forged)) < 2:
        return 1.0
    return float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x))


def _counts(forged: Array, score: Array, weights: Array) -> tuple[Array, Array]:
    """Forgeries and bona fide at or above each distinct score, highest first: (B, G) each."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    forged, weights = forged[order].astype(bool), weights[:, order]
    return ((weights * forged).cumsum(axis=1)[:, last], (weights * ~forged).cumsum(axis=1)[:, last])


def _roc(forged: Array, score: Array, weights: Array) -> tuple[Array, Array]:
    """False alarm rate and hit rate (B, 1 + G), starting at (0, 0)."""
    hits, alarms = _counts(forged, score, weights)
    start = np.zeros((len(hits), 1))
    return tuple(
        np.concatenate([start, ratio(part, part[:, -1:].repeat(part.shape[1], 1))], 1)
        for part in (alarms, hits)
    )


def _bins(probability: Array) -> Array:
    return np.minimum((probability * BINS).astype(int), BINS - 1)
