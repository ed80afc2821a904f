"""P(forged) and the category probabilities of a face, by scoring whole answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from dfa_lib import findings
from dfa_lib.analysts import Analyst, Question, Reply
from dfa_lib.bench.calibration import Calibration
from dfa_lib.bench.exam import label_scores
from dfa_lib.bench.scope import CLOSE, Picture, forged_logits, framed, refusals
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.wording import wordings
from dfa_lib.taxonomy import Category, Split, Task

WORDINGS = 4
"""How many wordings of a question a verdict is averaged over: no single one decides."""


@dataclass(frozen=True)
class Verdict:
    """The probability of forgery, and of each category, or why there is none.

    The forged categories share P(forged) as the analyst weighs them, so the numbers agree.
    ``calibrated`` is the number of faces, of ``source``, on which P(forged) was calibrated; with
    0 it is the analyst's own. ``scoped`` tells whether the picture was compared with what the
    analyst learnt. ``abstained`` is the sentence that says why there is no verdict, else "":
    then ``forged`` is None and ``categories`` are empty. ``answers`` are those to the questions
    that were asked beside it.
    """

    forged: float | None
    categories: dict[Category, float]
    calibrated: int = 0
    scoped: bool = False
    abstained: str = ""
    answers: tuple[str, ...] = ()
    source: str = ""

    @property
    def label(self) -> str | None:
        """What the score says: "forged" or "bona fide"; None if there is no verdict."""
        if self.forged is None:
            return None
        return "forged" if self.forged >= 0.5 else Category.BONA_FIDE.value

    @property
    def category(self) -> Category | None:
        """The likeliest category among those that agree with P(forged); None without one."""
        agree = {c: p for c, p in self.categories.items() if c.forged == (self.label == "forged")}
        return max(agree, key=agree.__getitem__, default=None)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return self.abstained or f"{self.label}, P(forged) {percent(self.forged)}"

    @property
    def origin(self) -> str:
        """How far the verdict can be trusted, in words."""
        if self.abstained:
            return "No verdict: no number would mean anything here."
        if self.scoped:
            told = f"P(forged) is calibrated on {self.calibrated} validation faces of lesson 03"
            return f"{told}{WORLDS.get(self.source, '')}."
        told = "calibrated" if self.calibrated else "the analyst's own, not calibrated"
        return f"P(forged) is {told}; {NO_SCOPE}"

    def disagreement(self, answer: str, question: str = "") -> str:
        """Return a sentence if an ``answer`` in words contradicts the numbers, else ""."""
        claimed = "forged" if findings.claims(answer) else None
        said = findings.verdict(answer, Task.DF_D, question) or claimed
        kind = findings.verdict(answer, Task.DF_C, question)
        pairs = ((said, self.label), (kind and Category(kind), self.category))
        for words, numbers in pairs:
            if words and numbers and words != numbers:
                told = [getattr(one, "phrase", one) for one in (words, numbers)]
                return "The words say {}, the numbers say {}: the numbers count.".format(*told)
        return ""


WORLDS = {"procedural": ", all of them modelled: on a photograph it is a guess"}
NO_SCOPE = "nobody has measured on which pictures this analyst can be trusted, so it is a guess."


def percent(share: float) -> str:
    """Write a probability as a percentage; 0 % and 100 % would be a certainty nobody has."""
    return "<1%" if share < 0.005 else ">99%" if share >= 0.995 else f"{share:.0%}"


def judge(
    analyst: Analyst,
    pictures: Sequence[Picture],
    calibration: Calibration | None = None,
    questions: Sequence[str] = (),
) -> list[Verdict]:
    """Return a verdict on each picture it may judge, averaged over several wordings.

    Pictures are framed (H, W, 3) or faces as the detector found them. A ``calibration`` brings
    scope, wordings of DF-D and temperature with it. An analyst that gives no probabilities has
    its answers counted. ``questions`` are asked in the same pass over the pictures.
    """
    known = calibration or Calibration(1.0, tuple(_questions(Task.DF_D, WORDINGS)), 0)
    refused = refusals(analyst, pictures, known.scope)
    judged = [framed(one) for one, why in zip(pictures, refused, strict=True) if not why]
    kinds = _questions(Task.DF_C, WORDINGS)
    asked = [*known.questions, *kinds, *map(Question, questions)]
    replies = analyst.reply(judged, [asked] * len(judged))
    pairs = zip(judged, replies, strict=True)
    verdicts = (_verdict(image, row, kinds, known) for image, row in pairs)
    return [Verdict(None, {}, abstained=why) if why else next(verdicts) for why in refused]


def forged_logit(analyst: Analyst, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return log P(forged) - log P(bona fide) of each image by one wording, (N,).

    Raises DataError for an analyst that gives no probabilities.
    """
    return forged_logits(analyst, images, _questions(Task.DF_D, 1))


def _questions(task: Task, n: int) -> list[Question]:
    options = tuple(OPTIONS[task].values())
    return [Question(text, task, options) for text in wordings(task, Split.TRAIN)[:n]]


def _verdict(
    image: np.ndarray, replies: Sequence[Reply], kinds: Sequence[Question], known: Calibration
) -> Verdict:
    """P(category) = P(forged) x P(category | forged), whoever answers."""
    first, last = len(known.questions), len(known.questions) + len(kinds)
    sides = label_scores(Task.DF_D, known.questions, replies[:first])
    within = label_scores(Task.DF_C, kinds, replies[first:last])
    logit = sides["forged"] - sides["bona fide"]
    if known.scope and known.scope.close([image], np.array([logit]))[0]:
        return Verdict(None, {}, abstained=CLOSE)
    forged = float(expit(logit / known.temperature))
    weights = {Category(kind): log for kind, log in within.items() if Category(kind).forged}
    parts = (forged * softmax([*weights.values()])).tolist()
    return Verdict(
        forged,
        {Category.BONA_FIDE: 1 - forged, **dict(zip(weights, parts, strict=True))},
        known.faces,
        scoped=known.scope is not None,
        answers=tuple(reply.text for reply in replies[last:]),
        source=known.source,
    )
