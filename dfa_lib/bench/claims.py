"""The paper's three claims as experiments: the same exam for analysts that differ in one thing.

A seed draws the training faces, the first weights and the order of the faces. All analysts of a
seed learn from the same faces, seen equally often, so differences are paired twice: by seed,
and by the faces and questions of the exam.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from dfa_lib.analysts import Analyst
from dfa_lib.bench.baselines import Blind, Probe
from dfa_lib.bench.encoder_baseline import FineTuned
from dfa_lib.bench.exam import Exam, set_exam, some
from dfa_lib.bench.run import ask
from dfa_lib.bench.scoring import collect, headlines
from dfa_lib.files import write_atomic
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.presets import Preset
from dfa_lib.gpt.train import train
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.intervals import BootstrapSample, Runs, Statistic, difference, over_runs
from dfa_lib.records import DataError, InstructRecord
from dfa_lib.taxonomy import Task

VERDICTS = (Task.DF_D, Task.DF_C)
METRICS = ("DF-D AUC", "DF-C accuracy")
RESULT = "claims.json"


@dataclass(frozen=True)
class Variant:
    """Which questions a model is tuned on; ``times`` weighs the verdicts by repeating them."""

    tasks: tuple[Task, ...]
    times: int = 1

    def of(self, record: InstructRecord) -> InstructRecord:
        """A record with the questions of this variant alone."""
        qa = []
        for one in record.qa:
            if one.task in self.tasks:
                qa += [one] * (self.times if one.task in VERDICTS else 1)
        return record.model_copy(update={"qa": tuple(qa)})


VARIANTS = {
    "verdicts": Variant(VERDICTS),
    "with_AD": Variant((*VERDICTS, Task.AD)),
    "all_seven": Variant(tuple(Task)),
    "all_weighed": Variant(tuple(Task), times=5),
}
"""``all_seven`` is the paper's recipe. In ``all_weighed`` 10 of 15 answers are verdicts, and so
they hold two thirds of the loss, as in ``with_AD``: it tells dilution from what FC itself does."""
ANALYSTS = (*reversed(VARIANTS), "fine_tuned", "linear_probe", "untuned", "blind")
"""Everybody who may sit the exam, in the order in which figures and tables list them."""

CLAIMS = {
    "A  tuned MLLM, over vision only": ("all_seven", "fine_tuned"),
    "A  tuned MLLM, over a linear probe": ("all_seven", "linear_probe"),
    "A  tuned on verdicts, over vision only": ("verdicts", "fine_tuned"),
    "A  tuned on verdicts, over a linear probe": ("verdicts", "linear_probe"),
    "B  with AD, over verdicts alone": ("with_AD", "verdicts"),
    "B  with AD and FC, over verdicts alone": ("all_seven", "verdicts"),
    "B  the same, verdicts weighed up": ("all_weighed", "verdicts"),
    "C  tuned, over untuned": ("all_seven", "untuned"),
}
"""Each claim as differences between two analysts that the paper would have above zero.

"Vision only" is the same encoder tuned on the five categories."""


@dataclass(frozen=True)
class Study:
    """Faces of one source and what all runs on them share; ``out`` keeps what was done.

    ``count`` faces are drawn for each run; ``limit`` bounds the faces of the exam.
    """

    faces: FaceSet
    records: Mapping[str, InstructRecord]
    preset: Preset
    out: Path
    count: int
    limit: int | None = None

    @cached_property
    def exam(self) -> Exam:
        """Held-out people, asked for both verdicts in held-out wordings; the same for all."""
        exam = set_exam(self.faces, limit=self.limit, val_limit=0)
        return replace(exam, questions={task: exam.questions[task] for task in VERDICTS})

    @cached_property
    def recipe(self) -> Preset:
        """The preset with tasks that count alike and no auxiliary loss, as in the paper."""
        return replace(self.preset, weights={}, bona_fide=1.0, talk=0, naming=0.0, everyday=False)

    @cached_property
    def untuned(self) -> LocalAnalyst:
        """The base as it is."""
        return LocalAnalyst(load_base(self.recipe), self.recipe, "untuned")

    def pupils(self, seed: int) -> FaceSet:
        """The training faces of a seed, drawn from those that were described."""
        described = [face for face in self.exam.train if face.id in self.records]
        return FaceSet(self.faces.root, some(described, self.count, seed))

    def tune(self, name: str, seed: int) -> LocalAnalyst:
        """The model of one variant and seed: tuned now, taken up again, or read back."""
        lessons = [VARIANTS[name].of(self.records[face.id]) for face in self.pupils(seed)]
        base, processor = load_base(self.recipe)
        model = add_lora(base, self.recipe, seed)
        out = self.out / f"{name}-{seed}"
        train(model, processor, self.faces, lessons, self.recipe, out, seed=seed)
        return LocalAnalyst(out, name=name)

    def analysts(self, seed: int) -> Iterator[tuple[str, Analyst]]:
        """Name and analyst, one after the other, as each is ready; untuned has no seed."""
        for name in VARIANTS:
            model = self.tune(name, seed)
            yield f"{name}-{seed}", model
            if name == "all_seven":
                yield f"blind-{seed}", Blind(model)
        pupils, base = self.pupils(seed), self.untuned
        yield f"fine_tuned-{seed}", FineTuned(base, pupils, round(self.preset.epochs), seed)
        yield f"linear_probe-{seed}", Probe("linear_probe", base.features, pupils)
        yield "untuned", base


@dataclass(frozen=True)
class Outcome:
    """How everybody did: for each metric and analyst, one statistic per seed."""

    study: Study
    sample: BootstrapSample
    scores: Mapping[str, Mapping[str, Sequence[Statistic]]]

    def level(self, name: str, metric: str) -> Runs:
        """The score of an analyst."""
        return over_runs(self.scores[metric][name], self.sample)

    def gap(self, mine: str, other: str, metric: str) -> Runs:
        """How far one analyst is above another, seed by seed on the same faces."""
        rows = self.scores[metric]
        pairs = zip(rows[mine], rows[other], strict=True)
        return over_runs([difference(*pair) for pair in pairs], self.sample)

    def save(self) -> dict:
        """Write ``out``/claims.json and return what stands in it: plain numbers."""
        study = self.study
        levels, gaps = {}, {}
        for one in METRICS:
            levels[one] = {name: asdict(self.level(name, one)) for name in ANALYSTS}
            gaps[one] = {claim: asdict(self.gap(*pair, one)) for claim, pair in CLAIMS.items()}
        about = {"preset": study.preset.name, "faces": study.count, "exam": study.exam.hash}
        size = {"n": len(self.sample.faces), "identities": self.sample.identities}
        data = {**about, **size, "levels": levels, "gaps": gaps}
        write_atomic(study.out / RESULT, json.dumps(data, indent=1) + "\n")
        return data


def run(study: Study, seeds: int, resamples: int = 1000) -> Outcome:
    """Tune and ask everybody, seed after seed; what is on file is not done again.

    Raises DataError for fewer than two seeds: one says nothing of how runs differ.
    """
    if seeds < 2:
        raise DataError(f"SEEDS={seeds}: one run cannot show how far runs differ; use 2 or more")
    exam, scores = study.exam, {metric: {} for metric in METRICS}
    exam.save(study.out)
    sample = BootstrapSample.of(exam.test, resamples)
    for seed in range(seeds):
        for file, analyst in study.analysts(seed):
            given = ask(file, analyst, exam, study.out / "predictions", quiet=True)
            for metric, statistic in headlines(collect(given, exam), sample).items():
                scores[metric].setdefault(file.partition("-")[0], []).append(statistic)
    return Outcome(study, sample, scores)
