"""Find the face on a photograph that comes without landmarks, and frame it as training did.

The cascade (local binary patterns, skimage.feature.Cascade) ships with scikit-image:
nothing is downloaded. It sees upright, frontal faces, like those the lessons train on.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from skimage import data
from skimage.feature import Cascade

from dfa_lib.face.geometry import Image
from dfa_lib.records import DataError

# From a detected box to the frame of geometry.align, in widths of the box: median over the
# 102 neutral photographs of the London set (mean error of the side 5 %, of the centre 1 %).
_SIDE = 1.63
_DOWN = -0.04
_WORKING_SIDES = (400, 1000)  # pixels; the second look is for small faces in large pictures
_SMALLEST = 40  # pixels of the working picture: 4 % of a large photograph
_VOTES = 8  # windows that must agree on a face
_SHARE = 0.2  # of the votes of the clearest face that a second one needs


class NoFace(DataError):
    """No face was found on the picture."""


@dataclass(frozen=True)
class FaceCrop:
    """The largest face of a photograph, framed as ``geometry.align`` frames it.

    ``image`` (size, size, 3) uint8; ``box`` (x0, y0, x1, y1) in pixels of the photograph;
    ``others`` is how many more faces were seen on it.
    """

    image: Image
    box: tuple[float, float, float, float]
    others: int

    @property
    def note(self) -> str:
        """One sentence when a choice had to be made, else the empty string."""
        if not self.others:
            return ""
        return f"{self.others + 1} faces were found; this is about the largest one."


def find_face(image: Image, name: str = "picture", size: int = 128) -> FaceCrop:
    """Return the largest face on ``image`` (H, W, 3); raise NoFace if there is none."""
    boxes = find_boxes(image)
    if not boxes:
        raise NoFace(
            f"{name}: no face was found; use an upright, frontal, well-lit portrait"
            " or crop the picture closer"
        )
    x, y, width = boxes[0]
    half = _SIDE * width / 2
    frame = (x - half, y + _DOWN * width - half, x + half, y + _DOWN * width + half)
    return FaceCrop(_cut(image, frame, size), frame, len(boxes) - 1)


def find_boxes(image: Image) -> list[tuple[float, float, float]]:
    """Return (centre x, centre y, width) in pixels of every face found, the largest first."""
    for side in _WORKING_SIDES:
        scale = side / max(image.shape[:2])
        if boxes := _groups(_windows(image, scale)):
            return sorted(boxes, key=lambda box: -box[2])
    return []


@lru_cache(maxsize=1)
def _cascade() -> Cascade:
    return Cascade(data.lbp_frontal_face_cascade_filename())


def _windows(image: Image, scale: float) -> np.ndarray:
    """Return every window the cascade accepts, (n, 3): centre x, centre y, width.

    The mirrored picture is asked too: the votes double and a bias to one side cancels out.
    """
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
    hits = [_hits(small), _hits(np.ascontiguousarray(small[:, ::-1]))]
    hits[1][:, 0] = small.shape[1] - hits[1][:, 0]
    return np.concatenate(hits) / scale


def _hits(picture: Image) -> np.ndarray:
    longest = max(picture.shape[:2])
    found = _cascade().detect_multi_scale(
        img=picture, scale_factor=1.05, step_ratio=1, min_size=(_SMALLEST, _SMALLEST),
        max_size=(longest, longest), min_neighbor_number=1, intersection_score_threshold=1.0,
    )  # fmt: skip
    boxes = [(f["c"] + f["width"] / 2, f["r"] + f["height"] / 2, f["width"]) for f in found]
    return np.array(boxes, dtype=np.float64).reshape(-1, 3)


def _groups(windows: np.ndarray) -> list[tuple[float, float, float]]:
    """Average the windows of each face; what has few votes beside the best one is none."""
    faces: list[tuple[float, float, float]] = []
    needed = _VOTES
    while len(windows):
        apart = np.abs(windows[:, None, :2] - windows[None, :, :2]).max(axis=2)
        same = apart < 0.2 * windows[None, :, 2]
        seed = same.sum(axis=0).argmax()
        if same[:, seed].sum() < needed:
            break
        face = windows[same[:, seed]].mean(axis=0)
        needed = max(needed, _SHARE * same[:, seed].sum())
        faces.append((float(face[0]), float(face[1]), float(face[2])))
        windows = windows[np.abs(windows[:, :2] - face[:2]).max(axis=1) > 0.6 * face[2]]
    return faces


def _cut(image: Image, frame: tuple[float, float, float, float], size: int) -> Image:
    """Cut ``frame`` out and scale it to (size, size); the edge is mirrored as in align."""
    x0, y0, x1, y1 = (round(v) for v in frame)
    height, width = image.shape[:2]
    pad = max(0, -x0, -y0, x1 - width, y1 - height)
    if pad:
        image = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
    face = image[y0 + pad : y1 + pad, x0 + pad : x1 + pad]
    how = cv2.INTER_AREA if len(face) > size else cv2.INTER_CUBIC
    return cv2.resize(face, (size, size), interpolation=how)
