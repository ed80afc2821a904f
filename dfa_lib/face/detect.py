"""Find the faces on a photograph, with 81 landmarks each, and frame them as training did.

A detector proposes, the mesh network disposes: what it is not sure to be a face is none.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from dfa_lib.face import networks
from dfa_lib.face.geometry import HAIRLINE, Image, Points, align, crop_box
from dfa_lib.records import DataError

_SURE = 0.5  # what the mesh network must give a face
_PASSES = 3  # looks of the mesh network; each is framed by the one before
_FRAMED = 0.62  # side of the face as a share of its frame
_LARGE = 640  # pixels; larger pictures are also searched in parts, if nothing else is found
_SLACK = 0.05  # of its side by which a picture may be cut otherwise and still be a frame
_CUT = 0.15  # of the landmarks below the hairline; chin and ears of good portraits may touch it
MOST_TILT = 5.0  # degrees that a framed face may be tilted; photographs are levelled
NO_FACE = (
    "No face was found; use an upright, frontal, well-lit portrait or crop the picture closer."
)
CUT_OFF = "The face is cut off by the edge of the picture; use one that shows all of it."


@dataclass(frozen=True)
class FaceCrop:
    """One face of a photograph, framed as ``geometry.align`` frames it.

    ``image`` (size, size, 3) uint8; ``box`` (x0, y0, x1, y1), the square of the photograph it
    shows (upright, also where the face is tilted), and ``landmarks`` (81, 2) float32, both in
    pixels of the photograph; ``others`` is how many more faces were seen; ``cut`` is a sentence
    if the edge of the photograph cuts the face off, else "".
    """

    image: Image
    box: tuple[float, float, float, float]
    landmarks: Points
    others: int
    cut: str

    @property
    def note(self) -> str:
        """One sentence when a choice had to be made, else the empty string."""
        if not self.others:
            return ""
        return (
            f"{self.others + 1} faces were found; this is about the largest one; crop for another."
        )


Picture = Image | FaceCrop
"""A face as the detector found it on a photograph, or a picture that is framed already."""


def pictures(image: Image, size: int = 128) -> list[Picture]:
    """Return the faces to judge on ``image`` (H, W, 3), the largest first: (size, size, 3).

    That is the picture itself if it shows one face and is cut as a frame already: framing it once
    more would only blur it.
    """
    faces = find_faces(image, size)
    off = [np.subtract(face.box, (0, 0, *image.shape[1::-1])) for face in faces]
    framed = len(off) == 1 and np.abs(off).max() < _SLACK * image.shape[1]
    return [image] if framed else [*faces]


def find_face(
    image: Image, name: str = "picture", mask: Image | None = None, near: Points | None = None
) -> FaceCrop:
    """Return one face on ``image`` (H, W, 3); raise DataError if there is none.

    That is the one ``mask`` (H, W) covers most, else the nearest to the landmarks ``near``
    (N, 2), else the largest.
    """
    faces = find_faces(image)
    if not faces:
        raise DataError(f"{name}: {NO_FACE}")
    if mask is not None:
        return max(faces, key=lambda face: covered(mask, face.landmarks))
    if near is not None:
        return min(faces, key=lambda face: float(np.abs(face.landmarks - near).mean()))
    return faces[0]


def _cut(landmarks: Points, image: Image) -> str:
    """Return ``CUT_OFF`` if too much of a face lies beyond the edge of ``image``, else ""."""
    face, last = landmarks[: HAIRLINE.start], np.float32(image.shape[1::-1]) - 1
    return CUT_OFF if ((face < 0) | (face > last)).any(axis=1).mean() > _CUT else ""


def covered(mask: Image, landmarks: Points) -> float:
    """Return the share, 0 to 1, of the box around ``landmarks`` that ``mask`` (H, W) covers."""
    x0, y0, x1, y1 = np.clip([landmarks.min(axis=0), landmarks.max(axis=0) + 1], 0, None).ravel()
    return float((mask[int(y0) : int(y1), int(x0) : int(x1)] > 127).mean())


def find_faces(image: Image, size: int = 128) -> list[FaceCrop]:
    """Return every face on ``image`` (H, W, 3), the largest first; none is an empty list."""
    marks = [landmarks_of(points) for points, _ in find_mesh(image)]
    crops = [
        FaceCrop(align(image, m, size).image, crop_box(m, size), m, len(marks) - 1, _cut(m, image))
        for m in marks
    ]
    return sorted(crops, key=lambda crop: crop.box[0] - crop.box[2])


def tilt(image: Image) -> float | None:
    """Return by how many degrees the face of a framed picture (S, S, 3) is tilted, clockwise.

    None if it shows no face, or a level one elsewhere than frames put it. The mesh network alone
    takes many things for a tilted face, so the detectors decide unless it sees a level one there.
    """
    side = image.shape[1]
    centre = np.float32([side / 2, image.shape[0] / 2])
    points, sure = networks.mesh(image, centre, _FRAMED * side, np.float32([1, 0]))
    if sure < _SURE or abs(_tilt(points)) > MOST_TILT:
        points = next((found for found, _ in find_mesh(image)), None)
    if points is None:
        return None
    off = np.abs(np.subtract(crop_box(landmarks_of(points)), (0, 0, side, side))).max()
    return None if off > _SLACK * side and abs(_tilt(points)) <= MOST_TILT else _tilt(points)


def _tilt(mesh: Points) -> float:
    _, _, across = networks.around(mesh)
    return float(np.degrees(np.arctan2(across[1], across[0])))


def find_mesh(image: Image) -> list[tuple[Points, float]]:
    """Return the mesh (468, 2) and the confidence of every face, the surest first."""
    if found := _searched(image, 0, 0):
        return _apart(found)
    height, width = image.shape[:2]
    if max(height, width) < _LARGE:
        return []
    side = max(height, width) // 2
    tiles = [(x, y) for y in _starts(height, side) for x in _starts(width, side)]
    parts = [_searched(image[y : y + side, x : x + side], x, y) for x, y in tiles]
    return _apart([face for part in parts for face in part])


def landmarks_of(mesh: Points) -> Points:
    """Return the 81 landmarks (81, 2) of a mesh (468, 2); tools/face_map.py fitted the map."""
    middle = mesh.mean(axis=0)
    return (_weights() @ (mesh - middle) + middle).astype(np.float32)


@lru_cache(maxsize=1)
def _weights() -> NDArray[np.float32]:
    return load_file(networks.WEIGHTS / "landmarks.safetensors")["landmarks"]


def _searched(image: Image, left: int, top: int) -> list[tuple[Points, float]]:
    """Ask both detectors and follow up what is new; points are moved by (left, top)."""
    faces: list[tuple[Points, float]] = []
    for row in np.concatenate([networks.detect(image, name) for name in ("near", "far")]):
        if any(same_face(points, row[:2]) for points, _ in faces):
            continue
        points, sure = networks.mesh(image, row[:2], float(row[2]), row[3:5])
        for _ in range(_PASSES - 1):
            points, sure = networks.mesh(image, *networks.around(points))
        if sure >= _SURE:
            faces.append((points, sure))
    return [(points + np.float32([left, top]), sure) for points, sure in faces]


def _apart(faces: list[tuple[Points, float]]) -> list[tuple[Points, float]]:
    """Keep the surest of those that lie on one another."""
    kept: list[tuple[Points, float]] = []
    for points, sure in sorted(faces, key=lambda face: -face[1]):
        if not any(same_face(other, points.mean(axis=0)) for other, _ in kept):
            kept.append((points, sure))
    return kept


def same_face(points: Points, centre: Points) -> bool:
    """Tell whether a face around ``centre`` (2,) is the one of ``points`` (N, 2)."""
    off = points.mean(axis=0) - centre
    return bool(np.hypot(*off) < 0.4 * np.ptp(points, axis=0).max())


def _starts(length: int, side: int) -> list[int]:
    """Where parts of ``side`` pixels begin so that they overlap by half and cover ``length``."""
    last = max(length - side, 0)
    return sorted({min(start, last) for start in range(0, last + side // 2, max(side // 2, 1))})
