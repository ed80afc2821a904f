"""Words that a description shares with its reference: BLEU-4, ROUGE-L and METEOR.

They stand in the report as context and rank nobody: two people describe one artifact in other
words, and a model that always recites the commonest sentence shares many. What is claimed is
compared in ``description_metrics``.
"""

import re
from functools import cache, lru_cache

import numpy as np
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from dfa_lib.bench.metrics import ratio
from dfa_lib.findings import LONGEST


@lru_cache(maxsize=10_000)
def bleu_counts(text: str, reference: str) -> tuple[int, ...]:
    """What corpus BLEU is made of: words said, words wanted, matches and n-grams of 1 to 4."""
    score = _bleu().sentence_score(text[:LONGEST], [reference])
    return score.sys_len, score.ref_len, *score.counts, *score.totals


def bleu(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Corpus BLEU-4 of each resample, (B,) in [0, 1], without smoothing.

    ``counts`` (N, 10) as ``bleu_counts`` gives them, ``weights`` (B, N); equal to sacrebleu's
    for a row of ones.
    """
    said, wanted, *rest = (weights @ counts).T.astype(float)
    with np.errstate(divide="ignore"):
        precision = np.log(np.nan_to_num(ratio(np.array(rest[:4]), np.array(rest[4:]))))
    brevity = np.minimum(0, 1 - ratio(wanted, said))
    score = np.exp(precision.mean(axis=0) + np.nan_to_num(brevity))
    return np.where(wanted > 0, score, np.nan)


@lru_cache(maxsize=10_000)
def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004)."""
    return float(_rouge().score(reference, text[:LONGEST])["rougeL"].fmeasure)


@lru_cache(maxsize=10_000)
def meteor(text: str, reference: str) -> float:
    """METEOR by words and stems (Banerjee and Lavie 2005), in [0, 1].

    Without its third stage, synonyms: WordNet would have to be downloaded.
    """
    said, wanted = (re.findall(r"\w+", part.lower()) for part in (text[:LONGEST], reference))
    return float(single_meteor_score(wanted, said, wordnet=_NoSynonyms()))


class _NoSynonyms:
    """A WordNet that knows no word."""

    def synsets(self, word: str) -> tuple:
        return ()


@cache
def _bleu() -> BLEU:
    return BLEU(effective_order=True)  # silences a warning; the counts are the same


@cache
def _rouge() -> RougeScorer:
    return RougeScorer(["rougeL"])
