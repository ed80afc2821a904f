"""What the tower alone knows of forgeries, by linear probes: for the log, never for training."""

from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from dfa_lib.gpt.faceconv import FaceTowerModel
from dfa_lib.gpt.forward import pooled
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.sources import load_faces


class Probe:
    """Fits on people of the sample world; asks others there, and London's validation people.

    The fit sees forged faces and their labels, the tower does not.
    """

    def __init__(self, folder: Path, london: Path | None, faces: int, workers: int) -> None:
        world = load_faces("procedural", folder / "world", n=faces, workers=workers)
        self.train, self.asked = world.split("train"), {"sample world": world.split("test")}
        if london:
            photographs = load_faces(
                "london", folder / "london", n=faces, root=london, workers=workers
            )
            self.asked["london"] = photographs.split("val")

    def __call__(self, tower: FaceTowerModel) -> dict[str, dict[str, float]]:
        """Return DF-D AUC and DF-C accuracy for each set of faces asked about."""
        known, labels = _features(tower, self.train), _labels(self.train)
        detect, name = _fitted(known, labels != "bona fide"), _fitted(known, labels)
        result = {}
        for source, faces in self.asked.items():
            new, truth = _features(tower, faces), _labels(faces)
            auc = roc_auc_score(truth != "bona fide", detect.decision_function(new))
            right = (name.predict(new) == truth).mean()
            result[source] = {"DF-D AUC": round(float(auc), 3), "DF-C": round(float(right), 3)}
        return result


def _fitted(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    return model.fit(features, labels)


def _labels(faces: FaceSet) -> np.ndarray:
    return np.array([face.category.value for face in faces])


@torch.no_grad()
def _features(tower: FaceTowerModel, faces: FaceSet) -> np.ndarray:
    """Return mean and maximum of the tokens: (N, 2 C)."""
    images, rows = np.stack([faces.image(face) for face in faces]), []
    for part in torch.from_numpy(images).split(128):
        pictures = part.to(tower.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        tokens = tower(pictures).last_hidden_state.float()
        rows.append(pooled(tokens).cpu())
    return torch.cat(rows).numpy()
