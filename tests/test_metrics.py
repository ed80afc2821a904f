"""Scores and intervals: hand-computed cases, scikit-learn as second opinion, coverage."""

import time
from functools import partial
from itertools import permutations

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as sk

from dfa_lib import intervals
from dfa_lib.bench import metrics
from dfa_lib.bench.description_metrics import grounding, reference, rouge_l
from dfa_lib.records import Annotation, Annotator, Face, Finding, InstructRecord
from dfa_lib.taxonomy import Category

RNG = np.random.default_rng(0)


def plain(metric, *arrays: np.ndarray) -> float:
    """The metric of an unweighted test set."""
    return float(metric(*arrays, np.ones((1, len(arrays[-1]))))[0])


# Scores from high to low: forged, bona fide, forged, bona fide.
FORGED = np.array([True, False, True, False])
SCORE = np.array([0.9, 0.8, 0.4, 0.1])


def test_hand_computed_ranking() -> None:
    assert plain(metrics.auc, FORGED, SCORE) == 0.75  # 3 of 4 pairs in order
    assert plain(metrics.average_precision, FORGED, SCORE) == pytest.approx((1 + 2 / 3) / 2)
    assert plain(metrics.equal_error_rate, FORGED, SCORE) == 0.5
    assert plain(partial(metrics.hit_rate_at, 0.01), FORGED, SCORE) == 0.5
    assert plain(partial(metrics.hit_rate_at, 0.5), FORGED, SCORE) == 1


def test_hand_computed_calibration() -> None:
    probability = np.array([0.95, 0.75, 0.45, 0.05])
    gaps = (abs(1 - 0.95) + abs(0 - 0.75) + abs(1 - 0.45) + abs(0 - 0.05)) / 4
    assert plain(metrics.calibration_error, FORGED, probability) == pytest.approx(gaps)
    assert metrics.reliability(FORGED, np.array([1, 0.9, 0.1, 0.1])) == [
        (0.1, 0.5, 2),
        (0.95, 0.5, 2),
    ]


def test_risk_does_not_depend_on_the_order_of_ties() -> None:
    """The mean over all orders of the equally sure, plain and in a resample."""
    wrong, sure = np.array([1, 0, 0, 1, 0.0]), np.array([1, 1, 3, 1, 2.0])
    orders = [np.r_[2, 4, tie] for tie in permutations([0, 1, 3])]
    risks = [wrong[order].cumsum() / np.arange(1, 6) for order in orders]
    assert metrics.risk_curve(wrong, sure) == pytest.approx(np.mean(risks, axis=0))
    assert plain(metrics.risk_coverage_area, wrong, sure) == pytest.approx(np.mean(risks))
    for mixed in permutations(range(5)):
        at = np.array(mixed)
        assert metrics.risk_curve(wrong[at], sure[at]) == pytest.approx(np.mean(risks, axis=0))
        twice = np.array([[2, 1, 0, 1, 3.0]])[:, at]
        drawn = np.repeat(at, twice[0].astype(int))
        area = metrics.risk_coverage_area(wrong[at], sure[at], twice)[0]
        assert area == pytest.approx(plain(metrics.risk_coverage_area, wrong[drawn], sure[drawn]))
    equal = np.zeros(10)
    assert plain(metrics.risk_coverage_area, np.repeat([1.0, 0], 5), equal) == pytest.approx(0.5)


def test_hand_computed_sets() -> None:
    said = np.array([[1, 1, 0], [0, 0, 1]], bool)
    true = np.array([[1, 0, 0], [0, 0, 0]], bool)  # the second face is bona fide
    one = np.ones((1, 2))
    three = metrics.precision, metrics.recall, metrics.f1
    assert [float(metric(said, true, one)[0]) for metric in three] == [1 / 3, 1, 0.5]


def test_hand_computed_rouge() -> None:
    assert rouge_l("the nose shows blur", "The nose and eyes show blur.") == 2 * 3 / 10
    assert rouge_l("", "blur") == rouge_l("blur", "grid") == 0
    begin = time.process_time()
    assert 0 < rouge_l("the nose " * 5000, "The nose and eyes show blur.") < 0.01
    assert time.process_time() - begin < 2  # 10,000 words that nobody wanted


@pytest.mark.parametrize("ties", [False, True])
def test_ranking_equals_scikit_learn(ties: bool) -> None:
    for _ in range(12):
        size = RNG.integers(5, 80)
        forged = np.append(RNG.random(size) < 0.6, [True, False])
        score = RNG.normal(size=size + 2) + forged
        score = score.round(0) if ties else score
        weights = RNG.integers(0, 4, (3, size + 2)) + np.eye(3, size + 2, dtype=int)
        weights[:, -2:] += 1
        for metric, theirs in (
            (metrics.auc, sk.roc_auc_score),
            (metrics.average_precision, sk.average_precision_score),
        ):
            wanted = [theirs(forged, score, sample_weight=row) for row in weights]
            assert np.allclose(metric(forged, score, weights), wanted)


@pytest.mark.parametrize("kind", ["mixed", "all forged", "all bona fide"])
def test_calibration_equals_a_loop_and_scikit_learn(kind: str) -> None:
    """Ties and the edges of the bins included; calibration is defined for one class as well."""
    for _ in range(10):
        size = int(RNG.integers(1, 80))
        forged = {"mixed": RNG.random(size) < 0.5, "all forged": np.ones(size, bool)}.get(
            kind, np.zeros(size, bool)
        )
        stated = RNG.integers(0, 21, size) / 20
        bins: dict[int, list[int]] = {}
        for at, share in enumerate(stated):
            bins.setdefault(min(int(share * 10), 9), []).append(at)
        gaps = [abs(forged[at].mean() - stated[at].mean()) * len(at) for at in bins.values()]
        error = plain(metrics.calibration_error, forged, stated)
        assert error == pytest.approx(sum(gaps) / size)
        brier = plain(metrics.mean, (stated - forged) ** 2)
        theirs = sk.brier_score_loss(forged, stated, labels=[False, True], pos_label=True)
        assert brier == pytest.approx(theirs)


def test_region_scores_equal_scikit_learn() -> None:
    for _ in range(10):
        said, true = RNG.random((2, 30, 12)) < 0.3
        row = RNG.integers(0, 3, 30)
        three = metrics.precision, metrics.recall, metrics.f1
        found = tuple(float(metric(said, true, row[None])[0]) for metric in three)
        theirs = sk.precision_recall_fscore_support(
            true.ravel(), said.ravel(), average="binary", sample_weight=np.repeat(row, 12)
        )
        assert found == pytest.approx(theirs[:3])


def test_grounding_by_hand_and_by_the_definition_of_tridf() -> None:
    true = frozenset({("nose", "blur"), ("eyes", "blur"), ("chin", "grid")})
    # one of two claims holds: COVER 1/3, CHAIR 1/2, F0.5 of (1/2, 1/3)
    half = 1.25 * 0.5 * (1 / 3) / (0.25 * 0.5 + 1 / 3)
    assert grounding({("nose", "blur"), ("nose", "grid")}, true) == pytest.approx(
        (1 / 3, 1 / 2, 1, half)
    )
    assert grounding(set(), true) == (0, 1, 1, 0)
    assert grounding(set(true), true) == (1, 0, 0, 1)
    for _ in range(20):
        said, true = (set(RNG.integers(0, 9, RNG.integers(1, 9)).tolist()) for _ in range(2))
        universe = range(9)
        columns = ([one in part for one in universe] for part in (true, said))
        precision, recall, f_half, _ = sk.precision_recall_fscore_support(
            *columns, beta=0.5, average="binary", zero_division=0
        )
        cover, chair, some, f_mine = grounding(said, frozenset(true))
        assert (cover, 1 - chair, f_mine) == pytest.approx((recall, precision, f_half))
        assert some == (chair > 0)


@pytest.mark.parametrize(
    ("known", "author", "scored"),
    [
        ({}, {"prompt_version": "1"}, False),
        ({"altered_regions": ("nose",)}, {"prompt_version": "1"}, True),
        ({"source": "bf_0"}, {"prompt_version": "1"}, True),
        ({}, {}, True),
    ],
    ids=["a guess", "a mask", "a counterpart", "a person"],
)
def test_the_reference_rests_on_what_is_known(known: dict, author: dict, scored: bool) -> None:
    named = {"id": "f", "image": "f.png", "sha256": "", "dataset": "d", "identities": ("p",)}
    face = Face(**named, category="forged", split="test", licence="l", **known)
    claim = Finding(region="nose", artifact="blur", evidence="")
    by = Annotator(name="somebody", **author)
    note = Annotation(face=face.id, findings=(claim,), text="The nose shows blur.", annotator=by)
    pairs, text = reference(InstructRecord(face=face, annotation=note, qa=()))
    assert (bool(pairs), bool(text)) == (scored, scored)


def test_shares_equal_scikit_learn() -> None:
    for _ in range(8):
        truth, answer = RNG.integers(0, 5, (2, 60))
        weights = RNG.integers(0, 3, (2, 60))
        right = (truth == answer).astype(float)
        every = np.arange(5)
        for row, f1, balanced, accuracy in zip(
            weights,
            metrics.macro_f1(5, truth, answer, weights),
            metrics.balanced_accuracy(truth, right, weights),
            metrics.mean(right, weights),
            strict=True,
        ):
            weigh = {"sample_weight": row}
            theirs = sk.f1_score(truth, answer, labels=every, average="macro", **weigh)
            assert f1 == pytest.approx(theirs)
            assert accuracy == pytest.approx(sk.accuracy_score(truth, answer, **weigh))
            assert balanced == pytest.approx(sk.balanced_accuracy_score(truth, answer, **weigh))


def test_equal_error_and_hit_rate_agree_with_the_roc_curve() -> None:
    for _ in range(10):
        forged = np.append(RNG.random(60) < 0.5, [True, False])
        score = (RNG.normal(size=62) + forged).round(1)
        alarm, hit, _ = sk.roc_curve(forged, score, drop_intermediate=False)
        fine = np.linspace(0, 1, 20_001)
        gap = np.abs(np.interp(fine, alarm, hit) - (1 - fine))
        assert plain(metrics.equal_error_rate, forged, score) == pytest.approx(
            fine[gap.argmin()], abs=0.02
        )
        for limit in (0.01, 0.05, 0.3):
            found = plain(partial(metrics.hit_rate_at, limit), forged, score)
            assert found == hit[alarm <= limit].max()


def test_an_unparsable_class_answer_is_wrong_in_macro_f1() -> None:
    truth = np.array([0, 0, 1, 1])
    answer = np.array([0, -1, 1, -1])
    assert metrics.macro_f1(2, truth, answer, np.ones((1, 4)))[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", [True, False])
def test_a_single_class_gives_nan_and_no_crash(kind: bool) -> None:
    forged = np.full(5, kind)
    for metric in (
        metrics.auc,
        metrics.average_precision,
        metrics.equal_error_rate,
        partial(metrics.hit_rate_at, 0.05),
    ):
        assert np.isnan(plain(metric, forged, np.arange(5.0)))
    assert metrics.fit_temperature(forged, np.arange(5.0)) == 1
    assert np.isnan(plain(metrics.mean, np.full(3, np.nan)))


def test_temperature_is_found_again() -> None:
    score = RNG.normal(size=20_000) * 2
    forged = RNG.random(20_000) < expit(score)
    assert metrics.fit_temperature(forged, score * 3) == pytest.approx(3, rel=0.05)
    assert metrics.fit_temperature(forged, -score) > 10  # never negative: it turns no answer round


def _faces(identities: list[tuple[str, ...]]) -> list[Face]:
    same = {
        "image": "x.png",
        "sha256": "",
        "category": Category.FS,
        "dataset": "toy",
        "split": "test",
        "licence": "-",
    }
    return [Face(id=str(at), identities=names, **same) for at, names in enumerate(identities)]


def test_faces_of_one_identity_are_drawn_together() -> None:
    faces = _faces([("a",), ("b",), ("a", "b"), ("b", "a"), ("c",)])
    cluster = intervals.clusters(faces)
    assert list(cluster) == [0, 1, 0, 1, 2]
    weights = intervals.draw(cluster, 200, seed=1)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 1] == weights[:, 3]).all()
    assert (weights[:, [0, 1, 4]].sum(axis=1) == 3).all()
    assert (weights == intervals.draw(cluster, 200, seed=1)).all()
    assert (weights != intervals.draw(cluster, 200, seed=2)).any()


def test_an_interval_needs_two_identities_and_spans_the_value() -> None:
    weights = intervals.draw(np.zeros(4, int), 50)
    value, low, high = intervals.estimate(partial(metrics.mean, np.arange(4.0)), weights, 1)
    assert value == 1.5 and np.isnan([low, high]).all()
    part = intervals.BootstrapSample.of(_faces([("a",), ("b",), ("c",)]), 100)
    value, low, high = part.estimate(metrics.mean, np.array([0.0, 0.5, 1.0]))
    assert low < value < high
    assert part.people(np.array([True, False, False])) == 1


def test_a_small_lead_may_be_none() -> None:
    """Right on six and on five of twelve people, none in common: the sign is open."""
    sample = intervals.BootstrapSample.of(_faces([(str(person),) for person in range(12)]), 300)
    one, other = np.repeat([1.0, 0.0], 6), np.repeat([0.0, 1.0, 0.0], [6, 5, 1])
    value, low, high = sample.paired(partial(metrics.mean, one), partial(metrics.mean, other))
    assert value == pytest.approx(1 / 12) and low < -0.2 and high > 0.3
    assert 0 < sample.estimate(metrics.mean, one)[1]
    almost = np.append(np.ones(11), 0.0)
    assert sample.estimate(metrics.mean, almost)[2] < 1  # no certainty near the end


def test_intervals_cover_the_truth() -> None:
    """300 simulated test sets of 40 identities with 6 alike faces each (benchmarks do more)."""
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(40), 6)
    covered = 0
    for number in range(300):
        right = rng.normal(size=40)[cluster] + rng.normal(size=240) > 0
        weights = intervals.draw(cluster, 200, seed=number)
        _, low, high = intervals.estimate(partial(metrics.mean, right.astype(float)), weights, 40)
        covered += low <= 0.5 <= high
    assert 0.92 <= covered / 300 <= 0.98


def test_a_perfect_score_on_few_people_is_no_certainty() -> None:
    """Three in a hundred people are got wrong; twelve are asked, and mostly all are right."""
    rng, covered, perfect = np.random.default_rng(5), 0, 0
    for number in range(200):
        right = (rng.random(12) < 0.97).astype(float)
        weights = intervals.draw(np.arange(12), 100, seed=number)
        value, low, high = intervals.estimate(partial(metrics.mean, right), weights, 12)
        covered += low <= 0.97 <= high
        perfect += value == 1
    assert perfect > 100 and covered / 200 >= 0.92
    wrong = intervals.estimate(partial(metrics.mean, np.zeros(12)), weights, 12)
    assert wrong == pytest.approx((0, 0, 1 - 0.025 ** (1 / 12)))


def test_a_thousand_draws_of_a_large_test_set_are_quick() -> None:
    cluster = RNG.permutation(np.arange(1200) % 120)
    forged, score = RNG.random(1200) < 0.7, RNG.normal(size=1200)
    weights = intervals.draw(cluster, 1000)
    begin = time.process_time()
    intervals.estimate(partial(metrics.auc, forged, score), weights, 120)
    assert time.process_time() - begin < 2
