"""Fit the linear map from the 468 points of the face mesh to the 81 landmarks.

    python -m tools.face_map --london ROOT

Each landmark is an affine combination of mesh points, so that the map holds under any
similarity. It is fitted by ridge regression on the templates of the training people of the
London set, mirrored ones included; the strength of the ridge is chosen by leaving people out.
Writes dfa_lib/face/weights/landmarks.safetensors and prints the error on validation people.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.model_selection import GroupKFold

from dfa_lib.face.detect import find_mesh
from dfa_lib.face.geometry import EYE_LEFT, EYE_RIGHT, Portrait, mirrored
from dfa_lib.face.networks import WEIGHTS
from dfa_lib.photo import open_photo
from dfa_lib.taxonomy import Split
from facesim.populations import london_split, read_tem

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def main() -> None:
    """Fit, write and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--london", type=Path, required=True, metavar="ROOT")
    root = parser.parse_args().london
    mesh, marks, people = samples(root, Split.TRAIN)
    errors = [left_out(mesh, marks, people, strength) for strength in STRENGTHS]
    strength = STRENGTHS[int(np.argmin(errors))]
    weights = fit(mesh, marks, strength)
    save_file({"landmarks": weights}, WEIGHTS / "landmarks.safetensors")
    held, truth, _ = samples(root, Split.VAL)
    print(f"ridge {strength}, left out {min(errors):.4f}, val {error(weights, held, truth):.4f}")


def samples(root: Path, split: Split) -> tuple[NDArray, NDArray, NDArray]:
    """Return meshes (n, 468, 2) and landmarks (n, 81, 2) in eye distances, and n people."""
    rows = []
    for template in sorted(root.glob("*_front/*.tem")):
        person = template.name[:3]
        if london_split(person) is split:
            photo = Portrait(open_photo(template.with_suffix(".jpg")), read_tem(template))
            rows += [(*_scaled(take), person) for take in (photo, mirrored(photo))]
    mesh, marks, people = zip(*rows, strict=True)
    return np.stack(mesh), np.stack(marks), np.array(people)


def fit(mesh: NDArray, marks: NDArray, strength: float) -> NDArray[np.float32]:
    """Return weights (81, 468) whose rows sum to one, so that weights @ mesh is the landmarks."""
    middle = mesh.mean(axis=1, keepdims=True)
    a = (mesh - middle).transpose(0, 2, 1).reshape(-1, mesh.shape[1])
    b = (marks - middle).transpose(0, 2, 1).reshape(-1, marks.shape[1])
    gram = a @ a.T
    dual = np.linalg.solve(gram + strength * len(a) * np.eye(len(a)), b)
    weights = (a.T @ dual).T
    weights += (1 - weights.sum(axis=1, keepdims=True)) / mesh.shape[1]
    return np.ascontiguousarray(weights, np.float32)  # safetensors writes memory as it lies


def left_out(mesh: NDArray, marks: NDArray, people: NDArray, strength: float) -> float:
    """Return the mean error on people who were not fitted, in five folds."""
    folds = GroupKFold(5).split(mesh, groups=people)
    return float(
        np.mean([error(fit(mesh[a], marks[a], strength), mesh[b], marks[b]) for a, b in folds])
    )


def error(weights: NDArray, mesh: NDArray, marks: NDArray) -> float:
    """Return the mean distance in eye distances."""
    return float(np.linalg.norm(weights @ mesh - marks, axis=2).mean())


def _scaled(photo: Portrait) -> tuple[NDArray, NDArray]:
    """Return mesh and landmarks about the middle of the eyes, in eye distances."""
    eyes = [photo.landmarks[part].mean(axis=0) for part in (EYE_LEFT, EYE_RIGHT)]
    middle, unit = sum(eyes) / 2, float(np.linalg.norm(eyes[1] - eyes[0]))
    points, _ = find_mesh(photo.image)[0]
    return (points - middle) / unit, (photo.landmarks - middle) / unit


if __name__ == "__main__":
    main()
