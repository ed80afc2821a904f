"""How detection moves with the pictures: the test faces in several versions."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from tqdm.auto import tqdm

from dfa_lib.analysts import Analyst, Question
from dfa_lib.bench import metrics
from dfa_lib.bench.exam import labels
from dfa_lib.bench.intervals import BootstrapSample, Triple
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.taxonomy import Task

BATCH = 32


def sweep(
    analysts: Mapping[str, Analyst],
    versions: Mapping[str | float, FaceSet],
    questions: Sequence[Question],
    resamples: int = 1000,
) -> dict[str, dict[str | float, Triple]]:
    """DF-D AUC with its 95 % interval of each analyst on each version of the faces.

    ``questions`` are the wordings of DF-D. Versions that show the same people in the same order
    have intervals that rest on the same draws.
    """
    scores: dict[str, dict[str | float, Triple]] = {name: {} for name in analysts}
    total = len(analysts) * sum(map(len, versions.values()))
    with tqdm(total=total, desc="sweep", unit="face") as bar:
        for level, faces in versions.items():
            sample = BootstrapSample.of(faces.faces, resamples)
            for name, analyst in analysts.items():
                leaning = forged_leaning(analyst, faces, questions, bar)
                scores[name][level] = sample.estimate(partial(metrics.auc, sample.forged, leaning))
    return scores


def forged_leaning(
    analyst: Analyst, faces: FaceSet, questions: Sequence[Question], bar: tqdm
) -> np.ndarray:
    """Log odds of "forged" for each face, averaged over wordings, (N,)."""
    sign = np.array([1 if name == "forged" else -1 for name in labels(Task.DF_D)])
    leaning: list[float] = []
    for start in range(0, len(faces), BATCH):
        images = [faces.image(face) for face in faces.faces[start : start + BATCH]]
        replies = analyst.reply(images, [questions] * len(images))
        leaning += [np.mean([sign @ reply.logprobs for reply in row]) for row in replies]
        bar.update(len(images))
    return np.array(leaning)
