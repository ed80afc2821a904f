"""Small trees in the layout of the research data sets: real pictures, landmarks and videos."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from faces import toy_portrait

from dfa_lib.face.geometry import Portrait
from dfa_lib.instruct.faceset import FaceSet
from facesim.populations import Procedural

DLIB_HAIRLINE = (77, 75, 76, 68, 69, 70, 71, 80, 72, 73, 79, 74, 78)
"""Where dlib's 81-point predictor has the hairline, from image left to right."""
SIZE = 96


def in_dlib_order(points: np.ndarray) -> np.ndarray:
    shuffled = points.copy()
    shuffled[list(DLIB_HAIRLINE)] = points[68:]
    return shuffled


def picture(path: Path, seed: int = 0, landmarks: bool = True) -> None:
    """Write one cropped frame, no copy of another, and landmarks as DeepfakeBench has them."""
    portrait = _toy(seed % 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = portrait.image[..., ::-1].copy()
    image[:4, :4] = np.frombuffer(
        sha256(str(path.parts[-5:]).encode()).digest()[:16], np.uint8
    ).reshape(4, 4, 1)
    assert cv2.imwrite(str(path), image)
    if landmarks:
        points = Path(str(path).replace("/frames/", "/landmarks/")).with_suffix(".npy")
        points.parent.mkdir(parents=True, exist_ok=True)
        np.save(points, in_dlib_order(portrait.landmarks))


def frames(folder: Path, numbers: Iterable[int], seed: int = 0) -> None:
    for number in numbers:
        picture(folder / f"{number:03d}.png", seed)


def video(path: Path, length: int = 6, face: str = "p0-train-0000", mark: bool = False) -> None:
    """Write a film of one face that brightens frame by frame; ``mark`` alters the mouth."""
    still = _drawn(face).copy()
    if mark:
        still[120:136, 70:110] = (200, 40, 40)
    film([still * (0.5 + k / 128) for k in range(length)], path)  # never too bright for a byte


def film(pictures: Sequence[np.ndarray], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures[0].shape[:2]
    code = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), code, 25, (width, height))
    for one in pictures:
        writer.write(np.ascontiguousarray(one[..., ::-1].astype(np.uint8)))
    writer.release()
    assert path.stat().st_size > 1000


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def split_lists(folder: Path) -> None:
    """071 and 054 train, 003 and 004 validate, 001 and 002 test."""
    for name, pair in (("train", "071 054"), ("val", "003 004"), ("test", "001 002")):
        write_json(folder / f"{name}.json", [pair.split()])


def counts(faces: FaceSet) -> dict[str, int]:
    """Faces by category, and pairs."""
    found = Counter(face.category.value for face in faces)
    return {**found, "pairs": sum(face.source is not None for face in faces)}


def skipped(faces: FaceSet) -> dict[str, int]:
    """How often each reason was given."""
    report = json.loads((faces.root / "skipped.json").read_text("utf-8"))
    return {reason: entry["count"] for reason, entry in report["skipped"].items()}


@cache
def _toy(seed: int) -> Portrait:
    return toy_portrait(seed, SIZE)


@cache
def _drawn(face: str) -> np.ndarray:
    return cv2.resize(Procedural(0, 176).portrait(face, 0).image, (176, 176))
