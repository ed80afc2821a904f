"""P(forged) and the category probabilities of a face, by scoring whole answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfa_lib.gpt.analyst import Analyst, Question
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.wording import wordings
from dfa_lib.taxonomy import Category, Split, Task

WORDINGS = 4
"""How many wordings of a question a verdict is averaged over: no single one decides."""


@dataclass(frozen=True)
class Verdict:
    """The analyst's own probabilities, not calibrated: of forgery, and of each category."""

    forged: float
    categories: dict[Category, float]

    @property
    def category(self) -> Category:
        """The likeliest category among those that agree with P(forged)."""
        agree = {c: p for c, p in self.categories.items() if c.forged == (self.forged >= 0.5)}
        return max(agree, key=agree.__getitem__)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        label = "forged" if self.forged >= 0.5 else "bona fide"
        return f"{label}, P(forged) = {self.forged:.2f}"


def judge(analyst: Analyst, images: Sequence[np.ndarray], n: int = WORDINGS) -> list[Verdict]:
    """Return a verdict on each image (H, W, 3), averaged over ``n`` wordings."""
    asked = [*_questions(Task.DF_D, n), *_questions(Task.DF_C, n)]
    replies = analyst.reply(images, [asked] * len(images))
    scores = [np.array([reply.logprobs for reply in row[:n]]) for row in replies]
    kinds = [np.array([reply.logprobs for reply in row[n:]]) for row in replies]
    return [
        Verdict(_options(Task.DF_D, a)["forged"], {Category(k): p for k, p in c.items()})
        for a, c in zip(scores, (_options(Task.DF_C, k) for k in kinds), strict=True)
    ]


def forged_logit(analyst: Analyst, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return log P(forged) - log P(bona fide) of each image by one wording, (N,)."""
    replies = analyst.reply(images, [_questions(Task.DF_D, 1)] * len(images))
    scores = np.array([row[0].logprobs for row in replies])
    labels = list(OPTIONS[Task.DF_D])
    return scores[:, labels.index("forged")] - scores[:, labels.index("bona fide")]


def _questions(task: Task, n: int) -> list[Question]:
    options = tuple(OPTIONS[task].values())
    return [Question(text, task, options) for text in wordings(task, Split.TRAIN)[:n]]


def _options(task: Task, logprobs: np.ndarray) -> dict[str, float]:
    """Average log-probabilities (wordings, options), then normalise over the options."""
    mean = logprobs.mean(axis=0)
    weight = np.exp(mean - mean.max())
    return dict(zip(OPTIONS[task], (weight / weight.sum()).tolist(), strict=True))
