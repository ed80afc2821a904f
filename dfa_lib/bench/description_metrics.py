"""Scores of artifact descriptions: what a text claims against what was altered and annotated.

Regions are compared with the altered regions of the forgery, which a mask tells exactly; where
there is none, with the regions that people named.
(region, artifact) findings are compared with the annotation's by COVER, CHAIR, Hal and F0.5
as TriDF (CVPR 2026) defines them, with a lexicon in place of its language model.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from dfa_lib import findings
from dfa_lib.bench import metrics
from dfa_lib.bench.exam import told
from dfa_lib.intervals import BootstrapSample, Statistic, Triples, over
from dfa_lib.records import Face, InstructRecord
from dfa_lib.taxonomy import Category, Region, Task

Pairs = frozenset[tuple[Region, findings.Artifact]]


@dataclass(frozen=True)
class Descriptions:
    """What is known of the test faces: altered regions, annotated findings, reference texts.

    ``altered`` (N, 12) bool has one column per Region; ``known`` (N,) says where it is known;
    ``constant`` (12,) bool is the best answer that does not look at the picture.
    """

    sample: BootstrapSample
    altered: np.ndarray
    known: np.ndarray
    annotated: tuple[Pairs, ...]
    references: tuple[str, ...]
    constant: np.ndarray

    @classmethod
    def of(
        cls, sample: BootstrapSample, records: Mapping[str, InstructRecord], constant: np.ndarray
    ) -> "Descriptions":
        """Look up what the records say of the faces; a face without one has no reference."""
        mine = [records.get(face.id) for face in sample.faces]
        annotated, references = zip(*map(reference, mine), strict=True)
        regions = altered_regions(sample.faces, records)
        return cls(sample, *regions, annotated, references, constant)

    def scores(self, texts: Sequence[str], answers: Sequence[str | None]) -> Triples:
        """All AD scores. Region scores pool all faces: a claim on a bona fide face is wrong."""
        claimed = claimed_regions(texts)
        forged, estimate = self.sample.forged, self.sample.estimate
        pairs = zip(texts, self.references, strict=True)
        values = self._findings(texts) | {
            "ROUGE-L": np.array([rouge_l(*pair) if pair[1] else np.nan for pair in pairs]),
            "bona fide hallucination": np.where(forged, np.nan, claimed.any(axis=1)),
            "unparsable": np.array([answer is None for answer in answers], float),
        }
        constant = self.regions(self._constant)
        return {
            "region precision": estimate(self.regions(claimed, metric=metrics.precision)),
            "region recall": estimate(self.regions(claimed, metric=metrics.recall)),
            "region F1": estimate(self.regions(claimed)),
            "region F1 forged": estimate(self.regions(claimed, forged)),
            **{name: estimate(metrics.mean, value) for name, value in values.items()},
            "F1 above constant": self.sample.paired(self.regions(claimed), constant),
        }

    def details(self, texts: Sequence[str], prompts: Sequence[str]) -> dict:
        """Region F1 by category, region and wording, and the best and worst texts."""
        claimed, asked, estimate = claimed_regions(texts), np.array(prompts), self.sample.estimate
        ever = (claimed | self.altered)[self.known].any(axis=0)
        columns = {
            region.value: (claimed[:, [at]], self.altered[:, [at]])
            for at, region in enumerate(Region)
            if ever[at]
        }
        return {
            "per_category": self._by_category(claimed),
            "per_wording": {
                text: estimate(self.regions(claimed, asked == text))
                for text in dict.fromkeys(prompts)
            },
            "per_region": {
                name: estimate(metrics.f1, *column, where=self.known)
                for name, column in columns.items()
            },
            "heat": self._heat(claimed),
            **self._examples(texts, claimed),
        }

    def constant_scores(self) -> dict:
        """The best constant answer: its regions, and its region F1 overall and by category."""
        claimed = self._constant
        return {
            "regions": [region.value for region in named(self.constant)],
            "region F1": self.sample.estimate(self.regions(claimed)),
            "region F1 forged": self.sample.estimate(self.regions(claimed, self.sample.forged)),
            "per_category": self._by_category(claimed),
        }

    @property
    def _constant(self) -> np.ndarray:
        return np.broadcast_to(self.constant, self.altered.shape)

    def regions(
        self,
        claimed: np.ndarray,
        member: np.ndarray | None = None,
        metric: Callable[..., np.ndarray] = metrics.f1,
    ) -> Statistic:
        """Return F1, or another ``metric``, of the regions ``claimed`` (N, 12).

        It is over the faces of ``member`` (N,) whose alterations are known, and nan where none of
        those is forged: bona fide faces alone say little.
        """
        kept = self.known if member is None else self.known & member
        if self.sample.forged.any() and not (kept & self.sample.forged).any():
            kept = np.zeros_like(kept)
        return over(kept, metric, claimed, self.altered)

    def _findings(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """COVER, CHAIR, Hal and F0.5 of each forged face with annotated findings, else nan."""
        rows = [
            grounding(findings.findings(text), true) if forged and true else (np.nan,) * 4
            for text, true, forged in zip(texts, self.annotated, self.sample.forged, strict=True)
        ]
        return dict(zip(("COVER", "CHAIR", "Hal", "F0.5"), np.array(rows).T, strict=True))

    def _by_category(self, claimed: np.ndarray) -> Triples:
        return {
            name: self.sample.estimate(self.regions(claimed, member))
            for name, member in self._members.items()
            if Category(name).forged
        }

    @cached_property
    def _members(self) -> dict[str, np.ndarray]:
        """Which faces (N,) are of each category that occurs."""
        given = np.array([face.category.value for face in self.sample.faces])
        return {one.value: given == one for one in Category if (given == one).any()}

    def _heat(self, claimed: np.ndarray) -> dict[str, dict[str, list[float]]]:
        """By category and region: the share of faces where it is claimed, and where it is so."""
        both = np.stack([claimed, self.altered], axis=2)
        return {
            name: dict(zip(map(str, Region), both[at].mean(axis=0).tolist(), strict=True))
            for name, member in self._members.items()
            if (at := member & self.known).any()
        }

    def _examples(self, texts: Sequence[str], claimed: np.ndarray) -> dict[str, list[dict]]:
        """The descriptions that match best and worst, one of each forgery category."""
        hits = (claimed & self.altered).sum(axis=1)
        claims = claimed.sum(axis=1)
        f1 = 2 * hits / np.maximum(claims + self.altered.sum(axis=1), 1)
        known = np.flatnonzero(self.sample.forged & self.known)
        # of equal scores the fullest description is worth most
        ranked = {
            "best": known[np.lexsort([claims[known], f1[known]])],
            "worst": known[np.lexsort([claims[known], -f1[known]])],
        }
        found = {}
        for name, order in ranked.items():
            last = {self.sample.faces[at].category: at for at in order}
            found[name] = [
                told(self.sample.faces[at])
                | {
                    "text": texts[at],
                    "reference": self.references[at],
                    "altered": [region.value for region in named(self.altered[at])],
                    "region F1": float(f1[at]),
                }
                for at in (last[one] for one in Category if one in last)
            ]
        return found


def best_constant(
    faces: Sequence[Face], records: Mapping[str, InstructRecord] = MappingProxyType({})
) -> np.ndarray:
    """The set of regions (12,) bool that, said of each of ``faces``, has the highest F1.

    For a given number of regions the most frequent ones are best, so twelve sets are tried.
    """
    altered, known = altered_regions(faces, records)
    counts = altered[known].sum(axis=0)
    frequent = np.argsort(-counts, kind="stable")
    sizes = np.arange(1, len(Region) + 1)
    f1 = 2 * counts[frequent].cumsum() / np.maximum(known.sum() * sizes + counts.sum(), 1)
    return np.isin(np.arange(len(Region)), frequent[: f1.argmax() + 1])


def altered_regions(
    faces: Sequence[Face], records: Mapping[str, InstructRecord] = MappingProxyType({})
) -> tuple[np.ndarray, np.ndarray]:
    """Return which regions (N, 12) of each face were altered, and where (N,) that is known."""
    each = [_altered(face, records.get(face.id)) for face in faces]
    known = np.array([regions is not None for regions in each], bool)
    table = [[region in (regions or ()) for region in Region] for regions in each]
    return np.array(table, bool).reshape(-1, len(Region)), known


def _altered(face: Face, record: InstructRecord | None) -> Collection[Region] | None:
    """What the mask tells, else what people named, who follow no prompt; None if neither."""
    if not face.category.forged:
        return ()
    told = record.annotation if record and not record.annotation.annotator.prompt_version else None
    if face.altered_regions is None and told and told.findings:
        return {finding.region for finding in told.findings}
    return face.altered_regions


def claimed_regions(texts: Sequence[str]) -> np.ndarray:
    """Which regions (N, 12) each text calls altered."""
    claimed = [findings.regions(text) for text in texts]
    return np.array([[region in said for region in Region] for said in claimed], bool)


def reference(record: InstructRecord | None) -> tuple[Pairs, str]:
    """Annotated findings and the description that the analyst's text is compared with.

    There is none of a forgery about which neither mask nor counterpart nor a person says anything:
    what an annotator claims about its place is a guess.
    """
    if record is None or not _grounded(record):
        return frozenset(), ""
    pairs = frozenset((one.region, one.artifact) for one in record.annotation.findings)
    answers = [qa.answer for qa in record.qa if qa.task is Task.AD]
    return pairs, (answers or [record.annotation.text])[0]


def _grounded(record: InstructRecord) -> bool:
    face = record.face
    shown = not face.category.forged or face.altered_regions is not None or face.source is not None
    return shown or record.annotation.annotator.prompt_version is None


@lru_cache(maxsize=10_000)
def rouge_l(text: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of words (Lin 2004), in [0, 1].

    It stands in the report because others report it, and ranks nobody: a model that always
    recites the commonest sentence shares many words.
    """
    score = RougeScorer(["rougeL"]).score(reference, text[: findings.LONGEST])
    return float(score["rougeL"].fmeasure)


def grounding(said: set[tuple], true: Pairs) -> tuple[float, float, float, float]:
    """COVER, CHAIR, Hal and F0.5; to claim nothing on a forged face is all hallucination."""
    hits = len(said & true)
    cover = hits / len(true)
    chair = 1 - hits / len(said) if said else 1.0
    weight = 0.25
    below = weight * (1 - chair) + cover
    f_half = (1 + weight) * (1 - chair) * cover / below if below else 0.0
    return cover, chair, float(chair > 0), f_half


def named(row: np.ndarray) -> list[Region]:
    """Return the regions whose column of ``row`` (12,) is true."""
    return [region for region, on in zip(Region, row, strict=True) if on]
