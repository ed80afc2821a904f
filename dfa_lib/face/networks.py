"""The networks that find a face and its mesh: BlazeFace and Face Mesh of MediaPipe, by OpenCV.

The weights (Apache-2.0, see weights/NOTICE.md) lie beside this module, so nothing is
downloaded. Pictures are (H, W, 3) uint8 RGB; points are (x, y) in pixels of the picture.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import Image, Points, move

WEIGHTS = Path(__file__).parent / "weights"
_MESH_SIDE = 192  # pixels the mesh network looks at
_ROOM = 1.5  # how much wider than the face that view is
_EYES = (33, 263)  # outer corners in the mesh
_DETECTORS = {
    "near": (128, ((16, 2), (8, 6)), ("regressors", "classificators")),
    "far": (192, ((48, 1),), ("reshaped_regressor_face_4", "reshaped_classifier_face_4")),
}
"""Side of the input, (cells a side, anchors a cell) by layer, outputs: boxes and scores."""


def detect(image: Image, name: str) -> NDArray[np.float32]:
    """Return the faces that the detector ``near`` or ``far`` sees, the surest first.

    Each row (n, 6): x and y of the centre, side, x and y of the vector from the eye at the
    left of the picture to the other one, confidence of at least .5. The near one sees
    faces of a fifth of the picture and more, the far one smaller ones.
    """
    side, layers, outputs = _DETECTORS[name]
    longest = max(image.shape[:2])
    matrix = np.float32([[side / longest, 0, 0], [0, side / longest, 0]])
    matrix[:, 2] = (side - np.float32(image.shape[1::-1]) * side / longest) / 2
    view = _view(image, matrix, side).astype(np.float32) / 127.5 - 1
    boxes, scores = _run(name, view, outputs)
    sure = 1 / (1 + np.exp(-np.clip(scores.reshape(-1), -60, 60)))
    chosen = np.flatnonzero(sure >= 0.5)
    boxes = boxes.reshape(-1, 16)[chosen]
    centre = boxes[:, :2] + _anchors(layers)[chosen] * side
    where = (centre - matrix[:, 2]) * longest / side
    width = boxes[:, 2:4].max(axis=1)
    across = boxes[:, 6:8] - boxes[:, 4:6]
    rows = np.column_stack([where, width * longest / side, across, sure[chosen]])
    return _distinct(rows[np.argsort(-rows[:, 5])])


def mesh(image: Image, centre: Points, side: float, across: Points) -> tuple[Points, float]:
    """Return the 468 points (468, 2) of the face in a square, and how sure it is one (0 to 1).

    The square has its ``centre``, its ``side`` in pixels and the direction ``across`` of the
    line through the eyes.
    """
    scale = _MESH_SIDE / (side * _ROOM)
    turn = across / max(float(np.hypot(*across)), 1e-6) * scale
    matrix = np.float32([[turn[0], turn[1], 0], [-turn[1], turn[0], 0]])
    matrix[:, 2] = _MESH_SIDE / 2 - matrix[:, :2] @ centre
    view = _view(image, matrix, _MESH_SIDE).astype(np.float32) / 255
    points, score = _run("mesh", view, ("conv2d_21", "conv2d_31"))
    there = points.reshape(468, 3)[:, :2]
    back = cv2.invertAffineTransform(matrix)
    return move(there, back), float(1 / (1 + np.exp(-np.clip(score.item(), -60, 60))))


def around(points: Points) -> tuple[Points, float, Points]:
    """Return centre, side and direction of the square around a mesh (468, 2)."""
    across = points[_EYES[1]] - points[_EYES[0]]
    turn = across / max(float(np.hypot(*across)), 1e-6)
    spin = np.float32([[turn[0], turn[1]], [-turn[1], turn[0]]])
    upright = points @ spin.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    return (low + high) / 2 @ spin, float((high - low).max()), across


def _view(image: Image, matrix: NDArray[np.float32], side: int) -> Image:
    """Return the picture under ``matrix``, shrunk by area first so that it does not alias."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        image = cv2.resize(image, None, fx=scale * 2, fy=scale * 2, interpolation=cv2.INTER_AREA)
        matrix = matrix.copy()
        matrix[:, :2] /= scale * 2
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)


def _run(name: str, view: NDArray[np.float32], outputs: tuple[str, ...]) -> tuple[NDArray, ...]:
    network = _network(name)
    network.setInput(np.ascontiguousarray(view.transpose(2, 0, 1)[None]))
    return tuple(network.forward(outputs))


@lru_cache(maxsize=3)
def _network(name: str) -> cv2.dnn.Net:
    """Read a network for OpenCV's classic engine: the new one of OpenCV 5 drops an output."""
    engine = [cv2.dnn.ENGINE_CLASSIC] if hasattr(cv2.dnn, "ENGINE_CLASSIC") else []
    return cv2.dnn.readNetFromTFLite(str(WEIGHTS / f"{name}.tflite"), *engine)


@lru_cache(maxsize=2)
def _anchors(layers: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """Return the centres (n, 2) of the anchors as shares of the side, in the order of outputs."""
    parts = []
    for cells, count in layers:
        y, x = np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2, indexing="ij")
        parts.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(parts).astype(np.float32)


def _distinct(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the surest of rows whose centres lie within half a face of each other."""
    kept: list[NDArray[np.float32]] = []
    for row in rows:
        if all(np.hypot(*(row[:2] - other[:2])) > 0.5 * other[2] for other in kept):
            kept.append(row)
    return np.array(kept, np.float32).reshape(-1, 6)
