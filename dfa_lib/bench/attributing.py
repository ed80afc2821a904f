"""Attribution: which method inside its category made a forged face, or is it an unknown one?

The paper does not ask this. An analyst answers it as it was taught to, by the optional QA of
``build_conversations(..., methods=...)``: the methods given there, or "unknown".
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from scipy.special import logsumexp

from dfa_lib.bench import metrics
from dfa_lib.bench.detecting import WRONG
from dfa_lib.bench.exam import Exam
from dfa_lib.bench.intervals import Sheet, Triples
from dfa_lib.bench.report import plain
from dfa_lib.bench.run import ask
from dfa_lib.gpt.analyst import Analyst, Question
from dfa_lib.instruct.wording import say, wordings
from dfa_lib.records import DataError, Prediction
from dfa_lib.taxonomy import Category, Split, Task

UNKNOWN = say(Task.FC, "method unknown")


def attribute(
    analysts: Mapping[str, Analyst],
    exam: Exam,
    methods: Collection[str],
    out: Path,
    paraphrases: int = 3,
    resamples: int = 1000,
) -> dict[str, Triples]:
    """Ask who made each forged test face; write ``out``/attribution.json, and return it.

    ``methods`` are the known ones. Scores by analyst: "accuracy", where "unknown" is the right
    answer to any other method; "closed accuracy", the best known method on faces of known ones;
    "open-set AUC", how well the score of "unknown" tells the two kinds of faces apart; and
    "chance", the accuracy of dice. Predictions are kept and resumed as in ``run_bench``.
    """
    forged = [face for face in exam.test if face.category.forged]
    offered = {face.category: _answers(exam, face.category, methods) for face in forged}
    if not forged or not any(answers[1:] for answers in offered.values()):
        raise DataError(f"methods={sorted(methods)}: none made a test face; name those in training")
    sheet = Sheet.of(forged, resamples, exam.seed)
    found = {}
    for name, analyst in analysts.items():
        given: dict[str, Prediction] = {}
        for category, answers in offered.items():
            part = _part(exam, category, answers, paraphrases)
            folder = out / "attribution" / category.value
            given |= {one.face: one for one in ask(name, _Attributing(analyst), part, folder)}
        found[name] = _scores([given[face.id] for face in forged], sheet, offered, methods)
    path = out / "attribution.json"
    path.write_text(json.dumps(plain(found), indent=1) + "\n", "utf-8")
    return json.loads(path.read_text("utf-8"))


class _Attributing:
    """An analyst that is asked this task alone."""

    tasks = (Task.FC,)

    def __init__(self, analyst: Analyst) -> None:
        self.name, self.reply, self.stream = analyst.name, analyst.reply, analyst.stream
        self.fingerprint = getattr(analyst, "fingerprint", "")


def _answers(exam: Exam, category: Category, methods: Collection[str]) -> tuple[str, ...]:
    """The answer "unknown", then one answer for each known method of a category."""
    listed = {face.method for face in exam.faces if face.category is category}
    return UNKNOWN, *(_answer(name) for name in sorted(listed & set(methods)))


def _answer(method: str) -> str:
    return say(Task.FC, "method known", method=method.replace("_", " "))


def _part(exam: Exam, category: Category, answers: tuple[str, ...], paraphrases: int) -> Exam:
    """The exam on the forged test faces of one category."""
    variants = wordings(Task.FC, Split.TEST, "method")
    chosen = Random(f"{exam.seed}/method").sample(variants, min(paraphrases, len(variants)))
    test = tuple(face for face in exam.test if face.category is category)
    questions = {Task.FC: tuple(Question(text, Task.FC, answers) for text in chosen)}
    return replace(exam, test=test, val=(), questions=questions)


def _scores(
    given: Sequence[Prediction],
    sheet: Sheet,
    offered: Mapping[Category, tuple[str, ...]],
    methods: Collection[str],
) -> Triples:
    known = np.array([face.method in methods for face in sheet.faces])
    right = [_answer(face.method) if face.method in methods else UNKNOWN for face in sheet.faces]
    rows = [*zip(given, right, strict=True)]
    closed = [
        _best_known(one) == wanted if ok else np.nan
        for (one, wanted), ok in zip(rows, known, strict=True)
    ]
    novelty = np.array([_novelty(one, new) for one, new in zip(given, ~known, strict=True)])
    dice = [1 / len(offered[face.category]) for face in sheet.faces]
    statistics = {
        "accuracy": partial(metrics.mean, np.array([one.answer == w for one, w in rows], float)),
        "closed accuracy": partial(metrics.mean, np.array(closed, float)),
        "open-set AUC": partial(metrics.auc, ~known, novelty),
        "unparsable": partial(metrics.mean, np.array([one.answer is None for one in given], float)),
        "chance": partial(metrics.mean, np.array(dice)),
    }
    return {name: sheet.estimate(statistic) for name, statistic in statistics.items()}


def _best_known(given: Prediction) -> str | None:
    named = {text: value for text, value in (given.options or {}).items() if text != UNKNOWN}
    return max(named, key=named.__getitem__) if named else None


def _novelty(given: Prediction, new: bool) -> float:
    """How much likelier "unknown" is than all known methods; unreadable is wrong."""
    named = [value for text, value in (given.options or {}).items() if text != UNKNOWN]
    if given.answer is None or not named:
        return -WRONG if new else WRONG
    return given.options[UNKNOWN] - float(logsumexp(named))
