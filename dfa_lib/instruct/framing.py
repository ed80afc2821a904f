"""Open what a reader found and bring it into the common frame, by landmarks or a detector."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.lib import format as npy

from dfa_lib.face.detect import find_face
from dfa_lib.face.geometry import NOSE_BASE, Image, Points, Portrait, align, frame
from dfa_lib.instruct.london import read_tem
from dfa_lib.instruct.readers.found import Found, beside
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError, inside
from facesim.people import model

_LARGEST_NPY = 100_000  # bytes; 81 points have 1,424 at most


@dataclass(frozen=True)
class Opened:
    """A picture with the landmarks (81, 2) of its face, in its own pixels."""

    image: Image
    landmarks: Points
    measured: bool  # by landmarks of the set; else by those of the detector


def opened(root: Path, found: Found, twin: Opened | None = None) -> Opened:
    """Read a picture and where its face is.

    A frame of a forged video is framed as its counterpart ``twin``, with which it shares
    every pixel that was not altered. Raises DataError, beginning with the path, where the
    picture is unreadable or no face is found.
    """
    image = _picture(root, found.path, found.at)
    points = _points(root, found) if found.at is None else None
    if points is not None:
        return Opened(image, points, True)
    if found.at is not None and twin is not None and twin.image.shape == image.shape:
        return Opened(image, twin.landmarks, twin.measured)
    return Opened(image, find_face(image, found.path).landmarks, False)


def mask_of(root: Path, found: Found, like: Opened, size: int) -> Image | None:
    """The mask (size, size) of a forged picture, framed as the picture; None if there is none."""
    if found.mask is None or not inside(root, found.mask).is_file():
        return None
    mask = _picture(root, found.mask, found.at)
    if mask.shape != like.image.shape:
        raise DataError(f"{found.path}: its mask has another size; extract the masks again")
    return align(mask, like.landmarks, size).image[..., 0]


def framed(picture: Opened, size: int) -> tuple[Portrait, tuple[float, float, float, float]]:
    """The aligned portrait, and the square (x0, y0, x1, y1) of the picture it shows."""
    matrix = frame(picture.landmarks, size)
    half = size / 2 / float(np.hypot(matrix[0, 0], matrix[1, 0]))
    x, y = (float(v) for v in cv2.invertAffineTransform(matrix) @ [size / 2, size / 2, 1])
    box = tuple(round(v, 1) for v in (x - half, y - half, x + half, y + half))
    return align(picture.image, picture.landmarks, size), box


def _picture(root: Path, path: str, at: int | None) -> Image:
    if at is None:
        return open_photo(inside(root, path), path)
    video = open_video(inside(root, path))
    if video.get(cv2.CAP_PROP_POS_FRAMES) > at:
        video.set(cv2.CAP_PROP_POS_FRAMES, 0)
    while video.get(cv2.CAP_PROP_POS_FRAMES) < at and video.grab():
        pass  # to seek is not exact with every codec
    fine, picture = video.read()
    if not fine:
        raise DataError(f"{path}: the video ends before a frame it announces")
    return np.ascontiguousarray(picture[..., ::-1])


@lru_cache(maxsize=16)
def open_video(path: Path) -> cv2.VideoCapture:
    """Open a video once: those of one family are read side by side, each of them forwards."""
    return cv2.VideoCapture(str(path))


def _points(root: Path, found: Found) -> Points | None:
    """The landmarks the manifest names, in landmarks/ beside frames/, or beside the picture."""
    path, stem = found.path, found.path.rpartition(".")[0]
    usual = (beside(path, "landmarks", ".npy"), f"{stem}.npy", f"{stem}.tem")
    for name in (found.landmarks, *usual):
        if name and (file := inside(root, name)).is_file():
            try:
                return read_tem(file) if name.endswith(".tem") else from_dlib(_array(file))
            except (OSError, ValueError, EOFError):
                raise DataError(f"{path}: its landmarks are unreadable; mark it again") from None
    return None


def _array(path: Path) -> np.ndarray:
    if path.stat().st_size > _LARGEST_NPY:
        raise ValueError("not landmarks")
    with path.open("rb") as file:  # np.load would also open archives
        return npy.read_array(file, allow_pickle=False)


def from_dlib(points: np.ndarray) -> Points:
    """Turn the 68 or 81 points (n, 2) of a dlib predictor into the 81 landmarks.

    dlib's 81 have the hairline in an order of their own; 68 have none, so a mean one is fitted.
    Raises ValueError for anything else.
    """
    points = np.asarray(points, np.float32)
    if points.shape not in ((68, 2), (81, 2)) or not np.isfinite(points).all():
        raise ValueError("not 68 or 81 points")
    if len(points) == 68:
        mean = model().mean_shape
        base = np.column_stack([mean, np.ones(len(mean))])
        fit = np.linalg.lstsq(base[:68], points, rcond=None)[0]
        return np.concatenate([points, (base[68:] @ fit).astype(np.float32)])
    across = points[45] - points[36]
    up = np.float32([across[1], -across[0]])
    off = points[68:] - points[NOSE_BASE].mean(axis=0)
    return np.concatenate(
        [points[:68], points[68:][np.argsort(-np.arctan2(off @ up, off @ across))]]
    )
