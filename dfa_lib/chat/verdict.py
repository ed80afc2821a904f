"""P(forged) and the category probabilities of a face, by scoring whole answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from dfa_lib import findings
from dfa_lib.analysts import Analyst, Question, Reply
from dfa_lib.bench.calibration import Calibration
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.wording import wordings
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split, Task

WORDINGS = 4
"""How many wordings of a question a verdict is averaged over: no single one decides."""


@dataclass(frozen=True)
class Verdict:
    """The probability of forgery, and of each category.

    ``calibrated`` is the number of faces on which P(forged) was calibrated; the categories then
    share it as the analyst weighs them. With 0 all are the analyst's own probabilities, and the
    two may contradict each other.
    """

    forged: float
    categories: dict[Category, float]
    calibrated: int = 0

    @property
    def category(self) -> Category:
        """The likeliest category among those that agree with P(forged)."""
        agree = {c: p for c, p in self.categories.items() if c.forged == (self.forged >= 0.5)}
        return max(agree, key=agree.__getitem__)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        label = "forged" if self.forged >= 0.5 else "bona fide"
        return f"{label}, P(forged) {percent(self.forged)}"

    @property
    def origin(self) -> str:
        """How far the probabilities can be trusted, in words."""
        if not self.calibrated:
            return "The analyst's own probabilities, not calibrated."
        return f"P(forged) is calibrated on {self.calibrated} validation faces of lesson 03."


def percent(share: float) -> str:
    """Write a probability as a percentage; 0 % and 100 % would be a certainty nobody has."""
    return "<1%" if share < 0.005 else ">99%" if share >= 0.995 else f"{share:.0%}"


def judge(
    analyst: Analyst,
    images: Sequence[np.ndarray],
    n: int = WORDINGS,
    calibration: Calibration | None = None,
) -> list[Verdict]:
    """Return a verdict on each image (H, W, 3), averaged over ``n`` wordings.

    A ``calibration`` brings the wordings of DF-D and the temperature with it. An analyst that
    gives no probabilities has its answers counted.
    """
    detect = calibration.questions if calibration else _questions(Task.DF_D, n)
    kinds = _questions(Task.DF_C, n)
    replies = analyst.reply(images, [[*detect, *kinds]] * len(images))
    return [
        _verdict(
            _logs(Task.DF_D, detect, row[: len(detect)]),
            _logs(Task.DF_C, kinds, row[len(detect) :]),
            calibration,
        )
        for row in replies
    ]


def forged_logit(analyst: Analyst, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return log P(forged) - log P(bona fide) of each image by one wording, (N,).

    Raises DataError for an analyst that gives no probabilities.
    """
    replies = analyst.reply(images, [_questions(Task.DF_D, 1)] * len(images))
    if any(row[0].logprobs is None for row in replies):
        raise DataError(f"{analyst.name}: gives no probabilities, so nothing shows what moves it")
    scores = np.array([row[0].logprobs for row in replies])
    labels = list(OPTIONS[Task.DF_D])
    return scores[:, labels.index("forged")] - scores[:, labels.index("bona fide")]


def _questions(task: Task, n: int) -> list[Question]:
    options = tuple(OPTIONS[task].values())
    return [Question(text, task, options) for text in wordings(task, Split.TRAIN)[:n]]


def _logs(task: Task, asked: Sequence[Question], replies: Sequence[Reply]) -> dict[str, float]:
    """The log-probability of each label, averaged over the wordings, or its share of the votes.

    Each label has half a vote to begin with: a few answers make nobody certain.
    """
    labels = list(OPTIONS[task])
    if all(reply.logprobs is not None for reply in replies):
        means = np.mean([reply.logprobs for reply in replies], axis=0)
    else:
        pairs = zip(replies, asked, strict=True)
        votes = [findings.verdict(reply.text, task, question.text) for reply, question in pairs]
        means = np.log([votes.count(label) + 0.5 for label in labels])
    return dict(zip(labels, means.tolist(), strict=True))


def _verdict(
    detect: dict[str, float], kinds: dict[str, float], calibration: Calibration | None
) -> Verdict:
    warmth = calibration.temperature if calibration else 1.0
    forged = expit((detect["forged"] - detect["bona fide"]) / warmth)
    weights = {Category(label): np.exp(log - max(kinds.values())) for label, log in kinds.items()}
    if calibration:  # P(category) = P(forged) x P(category | forged)
        total = sum(w for kind, w in weights.items() if kind.forged)
        shares = {k: forged * w / total if k.forged else 1 - forged for k, w in weights.items()}
    else:
        shares = {kind: w / sum(weights.values()) for kind, w in weights.items()}
    numbers = {kind: float(share) for kind, share in shares.items()}
    return Verdict(float(forged), numbers, calibration.faces if calibration else 0)
