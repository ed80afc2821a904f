"""How detection moves with the pictures: the test faces in several versions."""

from collections.abc import Mapping, Sequence

from tqdm.auto import tqdm

from dfa_lib.analysts import Analyst, Question
from dfa_lib.bench import metrics
from dfa_lib.bench.scope import forged_logits
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.intervals import BootstrapSample, Triple


def sweep(
    analysts: Mapping[str, Analyst],
    versions: Mapping[str | float, FaceSet],
    questions: Sequence[Question],
    resamples: int = 1000,
) -> dict[str, dict[str | float, Triple]]:
    """DF-D AUC with its 95 % interval of each analyst on each version of the faces.

    ``questions`` are the wordings of DF-D. Versions that show the same people in the same order
    have intervals that rest on the same draws. Raises DataError for an analyst that gives no
    probabilities.
    """
    scores: dict[str, dict[str | float, Triple]] = {name: {} for name in analysts}
    for level, faces in tqdm(versions.items(), "sweep", unit="version"):
        sample = BootstrapSample.of(faces.faces, resamples)
        images = [faces.image(face) for face in faces]
        for name, analyst in analysts.items():
            logits = forged_logits(analyst, images, questions)
            scores[name][level] = sample.estimate(metrics.auc, sample.forged, logits)
    return scores
