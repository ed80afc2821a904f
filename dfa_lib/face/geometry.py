"""Where things are on a face: 81 landmarks, alignment, region masks and warps.

Points are float32 (x, y) in pixels. The 81 landmarks are the 68 of iBUG 300-W in
their usual order and 13 on the hairline, all from image left to image right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.records import DataError
from dfa_lib.taxonomy import Region

Image = NDArray[np.uint8]
Points = NDArray[np.float32]
Mask = NDArray[np.bool_]

JAW = slice(0, 17)
BROW_LEFT = slice(17, 22)
BROW_RIGHT = slice(22, 27)
NOSE_BASE = slice(31, 36)
EYE_LEFT = slice(36, 42)
EYE_RIGHT = slice(42, 48)
LIP_OUTER = slice(48, 60)
LIP_INNER = slice(60, 68)
HAIRLINE = slice(68, 81)

# Where the eye centres, the nose base and the centre of the mouth of the mean London face
# go, as fractions of the side: chin to hairline then takes 70 % of the height.
_ANCHORS = np.array([[0.385, 0.452], [0.615, 0.452], [0.500, 0.610], [0.500, 0.699]], np.float32)
_GRID = 25


@dataclass(frozen=True)
class Portrait:
    """A face picture, ``image`` (H, W, 3) uint8 RGB, with its ``landmarks`` (81, 2) float32."""

    image: Image
    landmarks: Points


def resample_polyline(points: NDArray, n: int) -> Points:
    """Return ``n`` points (n, 2) evenly spaced along the polyline ``points`` (m, 2)."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0.0, along[-1], n)
    return np.stack([np.interp(at, along, points[:, k]) for k in (0, 1)], axis=1).astype(np.float32)


def from_frl189(points: NDArray) -> Points:
    """Turn the 189 points (189, 2) of the Face Research Lab template into the 81 landmarks."""
    if points.shape != (189, 2):
        raise DataError(f"template: {points.shape} values; a Face Research Lab template is 189 x 2")
    line = [resample_polyline(points[list(ids)], n) for ids, n in _FRL_LINES]
    jaw = np.concatenate([line[0], line[1][1:]])
    bridge = [(points[a] + points[b]) / 2 for a, b in ((50, 56), (51, 57), (52, 58), (54, 60))]
    base = [points[64], (points[64] + points[180]) / 2, points[55]]
    base += [(points[69] + points[181]) / 2, points[69]]
    left, right = points[87], points[93]
    inner = [left * 0.9 + right * 0.1, *points[[95, 96, 97]], left * 0.1 + right * 0.9]
    parts = [jaw, line[2], line[3], bridge, base, points[_FRL_EYES], points[_FRL_LIP]]
    parts += [inner, points[[102, 101, 100]], line[4]]
    return np.concatenate([np.asarray(part) for part in parts]).astype(np.float32)


def from_dlib(points: NDArray, mean: Points) -> Points:
    """Turn the 68 or 81 points (n, 2) of a dlib predictor into the 81 landmarks.

    dlib's 81 have the hairline in an order of their own; to 68 that of the ``mean`` is fitted.
    Raises ValueError for anything else.
    """
    points = np.asarray(points, np.float32)
    if points.shape not in ((68, 2), (81, 2)) or not np.isfinite(points).all():
        raise ValueError("not 68 or 81 points")
    if len(points) == 68:
        base = np.column_stack([mean, np.ones(len(mean))])
        fit = np.linalg.lstsq(base[:68], points, rcond=None)[0]
        return np.concatenate([points, (base[68:] @ fit).astype(np.float32)])
    across = points[45] - points[36]
    up = np.float32([across[1], -across[0]])
    off = points[68:] - points[NOSE_BASE].mean(axis=0)
    order = np.argsort(-np.arctan2(off @ up, off @ across))
    return np.concatenate([points[:68], points[68:][order]])


_FRL_LINES: tuple[tuple[Sequence[int], int], ...] = (
    ((109, 185, 110, 186, 111, 125, 126, 127, 128, 129), 9),
    ((129, 130, 131, 132, 133, 114, 188, 113, 187, 112), 9),
    (range(71, 77), 5),
    (range(77, 83), 5),
    (range(134, 145), 13),
)
_FRL_EYES = [18, 19, 21, 22, 30, 28, 23, 24, 26, 27, 33, 31]
_FRL_LIP = [87, 88, 89, 90, 91, 92, 93, 108, 107, 106, 105, 104]


def frame(landmarks: Points, size: int = 128) -> NDArray[np.float32]:
    """Return the similarity transform (2, 3) from the photograph to the aligned picture.

    Least squares over eyes, nose base and mouth centre, so that an expression moves it little.
    """
    parts = (EYE_LEFT, EYE_RIGHT, NOSE_BASE, LIP_OUTER)
    here = np.stack([landmarks[part].mean(axis=0) for part in parts]).astype(np.float64)
    there = _ANCHORS * size
    a, b = here - here.mean(axis=0), there - there.mean(axis=0)
    power = float((a**2).sum())
    if power < 1e-6:
        raise DataError("landmarks: all eye, nose and mouth points coincide; mark the face again")
    cos = float((a * b).sum()) / power
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
    turn = np.array([[cos, -sin], [sin, cos]])
    shift = there.mean(axis=0) - turn @ here.mean(axis=0)
    return np.column_stack([turn, shift]).astype(np.float32)


def crop_box(landmarks: Points, size: int = 128) -> tuple[float, float, float, float]:
    """Return the square (x0, y0, x1, y1) of the photograph, in pixels, that the frame shows."""
    matrix = frame(landmarks, size)
    half = size / 2 / float(np.hypot(matrix[0, 0], matrix[1, 0]))
    x, y = (float(v) for v in cv2.invertAffineTransform(matrix) @ [size / 2, size / 2, 1])
    return x - half, y - half, x + half, y + half


def align(image: Image, landmarks: Points, size: int = 128) -> Portrait:
    """Bring a face into the common frame of (size, size) pixels; the edge is mirrored outward."""
    matrix = frame(landmarks, size)
    points = move(landmarks, matrix)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.9:  # shrink by area first: a linear look-up alone would alias
        height, width = image.shape[:2]
        small = (max(round(width * scale), 1), max(round(height * scale), 1))
        back = np.array([[width / small[0], 0], [0, height / small[1]]], np.float32)
        matrix[:, 2] += matrix[:, :2] @ (np.diag(back) - 1) / 2
        matrix[:, :2] @= back
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    picture = cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return Portrait(picture, points)


def mirrored(portrait: Portrait) -> Portrait:
    """Flip a portrait left to right; the landmarks keep their order."""
    points = portrait.landmarks[_MIRROR].copy()
    points[:, 0] = portrait.image.shape[1] - 1 - points[:, 0]
    return Portrait(np.ascontiguousarray(portrait.image[:, ::-1]), points)


_MIRROR = np.r_[
    16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40,
    54:47:-1, 59:54:-1, 64:59:-1, 67, 66, 65, 80:67:-1,
]  # fmt: skip


def move(points: Points, matrix: NDArray) -> Points:
    """Apply an affine transform (2, 3) to ``points`` (n, 2)."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def warp(image: Image, source: Points, target: Points) -> Image:
    """Move what lies at the points ``source`` (n, 2) of a picture to ``target`` (n, 2).

    A thin-plate spline with the border held fast; it is evaluated on a coarse grid and the
    displacement enlarged, which is a hundred times cheaper than at every pixel.
    """
    from scipy.interpolate import RBFInterpolator  # slow to import, and few who import this warp

    height, width = image.shape[:2]
    border = _border(height, width)
    spline = RBFInterpolator(
        np.concatenate([target, border]),
        np.concatenate([source - target, np.zeros_like(border)]),
        smoothing=1e-2,  # closed lips repeat a knot
        kernel="thin_plate_spline",
    )
    shift = spline(_nodes(height, width)).astype(np.float32)
    field = cv2.resize(shift.reshape(_GRID, _GRID, 2), (width, height))
    at = _pixels(height, width) + field
    return cv2.remap(image, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


@lru_cache(maxsize=8)
def _border(height: int, width: int) -> Points:
    edge = np.linspace(0, 1, 5)
    sides = [(x, y) for x in edge for y in edge if x in (0, 1) or y in (0, 1)]
    return np.array(sides, np.float32) * np.array([width - 1, height - 1], np.float32)


@lru_cache(maxsize=8)
def _nodes(height: int, width: int) -> Points:
    """The centres of the cells of the coarse grid, where cv2.resize takes its samples to be."""
    cell = (np.arange(_GRID) + 0.5) / _GRID
    x, y = np.meshgrid(cell * width - 0.5, cell * height - 0.5)
    return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)


@lru_cache(maxsize=8)
def _pixels(height: int, width: int) -> Points:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x, y], axis=-1).astype(np.float32)


def fill(points: Points, size: int) -> Mask:
    """Return the inside of a polygon (n, 2) as a mask (size, size)."""
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillPoly(canvas, [_fixed(points)], 1, shift=3)
    return canvas.astype(bool)


def hull(points: Points, size: int, grow: float = 1.0) -> Mask:
    """Return the convex hull of ``points``, scaled by ``grow`` about its mean, as a mask."""
    around = cv2.convexHull(grown(points, grow)).reshape(-1, 2)
    return fill(around, size)


def grown(points: Points, by: float | tuple[float, float]) -> Points:
    """Scale points (n, 2) about their mean."""
    centre = points.mean(axis=0)
    return (centre + (points - centre) * np.float32(by)).astype(np.float32)


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.round(points * 8).astype(np.int32)


def region_masks(landmarks: Points, size: int) -> dict[Region, Mask]:
    """Return where each facial region lies, as masks (size, size) that do not overlap.

    Every region but SKIN has one; it may be empty. Neck and shoulders belong to none.
    """
    labels = np.zeros((size, size), np.uint8)
    for region, outline in _outlines(landmarks):
        cv2.fillPoly(labels, [_fixed(outline)], _LABEL[region], shift=3)
    return {region: labels == label for region, label in _LABEL.items() if region is not None}


_MAPPED = [Region.BACKGROUND] + [r for r in Region if r not in (Region.SKIN, Region.BACKGROUND)]
_LABEL: dict[Region | None, int] = {region: k for k, region in enumerate(_MAPPED)} | {None: 255}


def _outlines(marks: Points) -> Iterator[tuple[Region | None, Points]]:
    """Yield the polygons of the regions in the order of painting: later ones cover earlier ones."""
    left, right = marks[EYE_LEFT].mean(axis=0), marks[EYE_RIGHT].mean(axis=0)
    unit = float(np.linalg.norm(right - left))
    middle, jaw, hair = (left + right) / 2, marks[JAW], marks[HAIRLINE]
    yield from ((None, outline) for outline in _body(jaw, hair, middle, unit))
    for side, out in ((jaw[:4], -0.3), (jaw[:-5:-1], 0.3)):
        top = side[:1] - np.float32([0, 0.3 * unit])
        yield Region.EARS, np.concatenate([top, side, side[::-1] + np.float32([out * unit, 0])])
    cap = middle + (hair - middle) * np.float32(1.28)
    yield Region.HAIRLINE, np.concatenate([cap, hair[::-1]])
    yield Region.CHEEKS, np.concatenate([jaw, hair[::-1]])
    inner = middle + (hair - middle) * np.float32(0.9)
    yield Region.HAIRLINE, np.concatenate([hair, inner[::-1]])
    brows = marks[17:27]
    yield Region.FOREHEAD, np.concatenate([inner[2:-2], brows[::-1]])
    rim, nose = jaw[2:15], marks[33]
    yield Region.JAWLINE, np.concatenate([rim, (nose + (rim - nose) * np.float32(0.82))[::-1]])
    lip = grown(marks[LIP_OUTER], (0.9, 1.2))
    yield Region.CHIN, np.concatenate([jaw[6:11], lip[[6, 0]]])
    yield Region.NOSE, _nose(marks, unit)
    for brow in (marks[BROW_LEFT], marks[BROW_RIGHT]):
        up, down = np.float32([0, -0.07 * unit]), np.float32([0, 0.13 * unit])
        yield Region.EYEBROWS, np.concatenate([brow + up, (brow + down)[::-1]])
    for eye in (marks[EYE_LEFT], marks[EYE_RIGHT]):
        yield Region.EYES, grown(eye, (1.3, 1.9))
    yield Region.MOUTH, grown(marks[LIP_OUTER], (1.12, 1.25))


def _body(jaw: Points, hair: Points, middle: Points, unit: float) -> Iterator[Points]:
    """Yield head with ears and hair, then neck and shoulders: neither face nor background."""
    head = np.concatenate([jaw, hair[::-1]])
    yield middle + (head - middle) * np.float32([1.3, 1.2])
    neck = np.float32([[-0.25, 0], [0.25, 0], [2.0, 1.2], [2.0, 9], [-2.0, 9], [-2.0, 1.2]]) * unit
    yield np.concatenate([jaw[[4]], jaw[[12]], jaw[8] + neck[2:]])


def _nose(marks: Points, unit: float) -> Points:
    """The outline of the nose: between the eyes down to just below the nostrils."""
    out = np.array([[-0.1, 0], [-0.12, -0.05], [-0.1, 0.1], [0.1, 0.1], [0.12, -0.05], [0.1, 0]])
    return marks[[27, 31, 31, 35, 35, 27]] + (out * unit).astype(np.float32)
