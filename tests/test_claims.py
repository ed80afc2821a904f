"""Claims as experiments: what is compared differs in one thing, and the interval covers it all."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dfa_lib.bench import metrics
from dfa_lib.bench.claimplots import gaps, levels, results, table
from dfa_lib.bench.claims import CLAIMS, VARIANTS, VERDICTS, Study, Variant, run
from dfa_lib.gpt.presets import NANO
from dfa_lib.gpt.train import Step
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.intervals import BootstrapSample, Runs, draw, over_runs
from dfa_lib.records import DataError, InstructRecord, Prediction, read_jsonl
from dfa_lib.runtime import RESCUE

FACES = RESCUE / "01_instruct"


@pytest.fixture(scope="module")
def records() -> dict[str, InstructRecord]:
    return {record.id: record for record in load_records(FACES / "instruct.jsonl")}


def share(variant: Variant, record: InstructRecord) -> float:
    """Which share of a face's answers are verdicts; with equal answers, that of the loss."""
    tasks = [qa.task for qa in variant.of(record).qa]
    return sum(task in VERDICTS for task in tasks) / len(tasks)


def test_variants_take_questions_away_and_change_none(records: dict[str, InstructRecord]) -> None:
    record = next(iter(records.values()))
    shares = {name: share(variant, record) for name, variant in VARIANTS.items()}
    assert shares == {"verdicts": 1, "with_AD": 2 / 3, "all_seven": 2 / 7, "all_weighed": 2 / 3}
    assert VARIANTS["all_seven"].of(record) == record
    for variant in VARIANTS.values():
        assert {*variant.of(record).qa} <= {*record.qa}
        assert variant.of(record).face == record.face


def test_every_claim_compares_two_who_are_there() -> None:
    names = {*VARIANTS, "fine_tuned", "linear_probe", "untuned", "blind"}
    assert {name for pair in CLAIMS.values() for name in pair} <= names
    assert {claim[0] for claim in CLAIMS} == set("ABC")


def runs_of(values: np.ndarray, sample: BootstrapSample) -> Runs:
    """Runs whose statistic is the mean of ``values`` (runs, faces)."""
    return over_runs([partial(metrics.mean, one) for one in values], sample)


def nobody(people: int, pictures: int, seed: int, resamples: int = 200) -> BootstrapSample:
    """A sample of faceless ``people`` with some ``pictures`` each."""
    cluster = np.repeat(np.arange(people), pictures)
    return BootstrapSample((None,) * len(cluster), draw(cluster, resamples, seed), people)


def test_by_hand_on_runs_that_know_no_people() -> None:
    """Three runs of constant faces: all doubt is Student's t with two degrees of freedom."""
    found = runs_of(np.array([0.1, 0.2, 0.6])[:, None] * np.ones((3, 40)), nobody(20, 2, 0))
    error = np.std([0.1, 0.2, 0.6], ddof=1) / 3**0.5
    assert found.value == pytest.approx(0.3)
    assert found.people == pytest.approx(0, abs=1e-9)
    assert found.seeds == pytest.approx(error)
    assert found.high - found.value == pytest.approx(4.3027 * error, rel=1e-4)


def test_runs_that_are_alike_leave_the_people() -> None:
    """The same run thrice: the interval is that of its mean over 50 people, known in theory."""
    values = np.random.default_rng(0).normal(0, 1, 50)
    found = runs_of(np.stack([values] * 3), nobody(50, 1, 0, 4000))
    assert found.seeds == 0
    assert found.people == pytest.approx(values.std(ddof=1) / 50**0.5, rel=0.05)
    assert found.high - found.value == pytest.approx(2.0096 * found.people, rel=1e-3)


def test_nothing_differs_nothing_is_in_doubt() -> None:
    found = runs_of(np.zeros((2, 20)), nobody(10, 2, 0))
    assert (found.low, found.value, found.high) == (0, 0, 0)


def test_the_interval_covers_people_and_seeds_where_people_alone_do_not() -> None:
    """400 experiments of three runs on 60 people, whose truth is 0; the lesson quotes it."""
    held = alone = 0
    for seed in range(400):
        dice, sample = np.random.default_rng(seed), nobody(60, 3, seed)
        who = np.repeat(np.arange(60), 3)
        hard, run_by_who = dice.normal(0, 0.1, 60)[who], dice.normal(0, 0.1, (3, 60))[:, who]
        noise = dice.normal(0, 0.2, (3, 180))
        found = runs_of(dice.normal(0, 0.05, (3, 1)) + hard + run_by_who + noise, sample)
        held += found.low <= 0 <= found.high
        alone += abs(found.value) <= 1.96 * found.people
    print(f"over people and seeds {held / 400:.1%}, over people alone {alone / 400:.1%}")
    assert 0.92 <= held / 400 <= 0.98
    assert alone / 400 < 0.8


def test_one_seed_is_refused(tmp_path: Path, records: dict[str, InstructRecord]) -> None:
    study = Study(FaceSet.read(FACES), records, NANO, tmp_path, 16)
    with pytest.raises(DataError, match="SEEDS=1"):
        run(study, 1)


@pytest.mark.full
@pytest.mark.slow
def test_what_is_on_file_is_not_done_again(
    tmp_path: Path, records: dict[str, InstructRecord]
) -> None:
    """A second call tunes nothing, asks nothing and finds the same; so does one after a cut."""
    preset = replace(NANO, epochs=1)
    study = Study(FaceSet.read(FACES), records, preset, tmp_path / "drawn", 16, limit=12)
    first = run(study, 2, resamples=50).save()
    before = written(study.out)
    (study.out / "predictions" / "linear_probe-1.jsonl").write_text("")
    assert run(study, 2, resamples=50).save() == first
    assert written(study.out) == before
    found = results(tmp_path)
    assert list(found) == ["drawn"]
    assert table(found, "B").count("| drawn |") == 6
    assert "fine tuned" in levels(found).get_label()
    assert "over vision only" in gaps(found, "A").get_label()


def written(out: Path) -> dict[str, list[float]]:
    """What tuning and asking took, to the millisecond: done again, it would not be the same."""
    logs = {path: read_jsonl(path, Step) for path in out.glob("*/log.jsonl")}
    given = {path: read_jsonl(path, Prediction) for path in out.glob("predictions/[!l]*.jsonl")}
    return {str(path): [one.seconds for one in rows] for path, rows in {**logs, **given}.items()}
