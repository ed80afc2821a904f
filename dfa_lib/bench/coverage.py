"""Risk and coverage: what abstaining costs, and what it is worth.

An abstention is no answer, so scores over all faces count it as wrong; selective scores are
over the faces that were judged. Among those, the risk-coverage curve (El-Yaniv and Wiener
2010) shows the share of wrong answers as the analyst keeps silent wherever it is less sure.
"""

from collections.abc import Sequence
from functools import partial
from itertools import cycle

import cv2
import numpy as np

from dfa_lib.bench import metrics
from dfa_lib.bench.detection_metrics import TaskPredictions
from dfa_lib.bench.exam import Exam
from dfa_lib.face.geometry import Image
from dfa_lib.intervals import BootstrapSample
from dfa_lib.records import Prediction
from dfa_lib.taxonomy import Task


def risk_coverage(
    given: Sequence[Prediction], refused: Sequence[str], exam: Exam, resamples: int = 1000
) -> dict:
    """Return DF-D scores with and without the test faces that were ``refused``.

    ``given`` are the analyst's predictions; ``refused`` says why each face of ``exam.test`` is
    not judged, "" where it is. AURC is the area under the risk-coverage curve; an analyst whose
    sureness tells nothing has the error rate of the faces judged, "AURC random".
    """
    sample = BootstrapSample.of(exam.test, resamples, exam.seed)
    predicted = TaskPredictions.of(Task.DF_D, exam.test, given)
    judged = np.array([not why for why in refused])
    right, scores = predicted.right(sample), predicted.scores
    wrong, sure = 1 - right, np.abs(scores)
    found = {
        "coverage": sample.estimate(metrics.mean, judged.astype(float)),
        "ACC, abstaining is wrong": sample.estimate(metrics.mean, right * judged),
    }
    if judged.any():
        estimate = partial(sample.estimate, where=judged)
        found |= {
            "ACC of faces judged": estimate(metrics.mean, right),
            "AUC of faces judged": estimate(metrics.auc, sample.forged, scores),
            "AURC": estimate(metrics.risk_coverage_area, wrong, sure),
            "AURC random": estimate(metrics.mean, wrong),
        }
    risk = metrics.risk_curve(wrong[judged], sure[judged])
    curve = [[(at + 1) / len(right), float(one)] for at, one in enumerate(risk)]
    return {"scores": found, "curve": curve}


def strangers(faces: Sequence[Image], photographs: Sequence[Image]) -> dict[str, list[Image]]:
    """Return pictures that no analyst of ``faces`` should judge, two or three for each face.

    "no face": parts of ``photographs`` that show none, scrambled faces and noise. "another
    world": faces as drawings, as negatives, and with red and blue exchanged. All are
    (H, W, 3) uint8 of the size of the faces.
    """
    rng = np.random.default_rng(0)
    pairs = list(zip(cycle(photographs), faces, strict=False))
    parts = [_part(photograph, len(face), rng) for photograph, face in pairs]
    noise = [_noise(len(face), rng) for face in faces[:: len(_GRAINS)]]
    drawing = partial(cv2.stylization, sigma_s=40, sigma_r=0.4)
    exchanging = partial(cv2.cvtColor, code=cv2.COLOR_RGB2BGR)
    worlds = drawing, cv2.bitwise_not, exchanging
    return {
        "no face": [*parts, *(_scrambled(face, rng) for face in faces), *noise],
        "another world": [worlds[at % 3](face) for at, face in enumerate(faces)],
    }


_GRAINS = (1, 2, 4, 8, 16, 32)


def _part(photograph: Image, size: int, rng: np.random.Generator) -> Image:
    """Cut a random square out of a photograph, a fifth to the whole of its height wide."""
    height, width = photograph.shape[:2]
    side = round(min(height, width) * rng.uniform(0.2, 1))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(photograph[y : y + side, x : x + side], (size, size), interpolation=how)


def _scrambled(face: Image, rng: np.random.Generator) -> Image:
    """Cut a face into 4 x 4 tiles and lay them down in another order."""
    tile = len(face) // 4
    rows = face[: 4 * tile, : 4 * tile].reshape(4, tile, 4, tile, 3).swapaxes(1, 2)
    mixed = rng.permutation(rows.reshape(16, tile, tile, 3)).reshape(4, 4, tile, tile, 3)
    return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(4 * tile, 4 * tile, 3))


def _noise(size: int, rng: np.random.Generator) -> Image:
    small = max(size // int(rng.choice(_GRAINS)), 1)
    grain = rng.integers(0, 256, (small, small, 3), np.uint8)
    return cv2.resize(grain, (size, size), interpolation=cv2.INTER_CUBIC)
