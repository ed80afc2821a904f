"""The face detector in use beside the cascade it replaced: recall, landmarks, false alarms.

    python -m benchmarks.detectors --london ROOT [--real FOLDER] [--everyone]

Recall and landmarks are measured on the London photographs of people for whom the map to the
81 landmarks was not fitted (``--everyone``: on all 102), upright and after everyday changes. A
face counts as found when the box's centre lies within a quarter of the true frame's side.
Landmark error is the mean distance to the template in eye distances; the cascade has no
landmarks, so a mean face is set into its frame, as imports did. ``--real`` is a folder of face
crops without truth. The last line is JSON.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data
from skimage.feature import Cascade

from dfa_lib.conditions import grey, jpeg
from dfa_lib.face.detect import find_faces
from dfa_lib.face.geometry import EYE_LEFT, EYE_RIGHT, Image, Points, frame, move
from dfa_lib.photo import open_photo
from dfa_lib.taxonomy import Split
from facesim.people import model
from facesim.populations import London, london_split, read_tem

Finder = Callable[[Image], list[Points]]


def main() -> None:
    """Print a table as it is measured, then everything as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--london", type=Path, required=True, metavar="ROOT")
    parser.add_argument("--real", type=Path, metavar="FOLDER")
    parser.add_argument("--everyone", action="store_true", help="people of the fit included")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    photos = list(photographs(args.london, args.everyone))
    empty = list(without_face())
    report = {"people": len(photos), "without_face": len(empty)}
    for name, finder in (("new", networks), ("old", cascade)):
        report[name] = recall(finder, photos) | false_alarms(finder, empty)
        report[name] |= real(finder, args.real) if args.real else {}
        print(name, json.dumps(report[name], indent=1), flush=True)
    print(json.dumps(report))


def networks(image: Image) -> list[Points]:
    """Return the landmarks (81, 2) of every face by the detector in use."""
    return [face.landmarks for face in find_faces(image)]


def cascade(image: Image) -> list[Points]:
    """Return a mean face (81, 2) for every face of the cascade of scikit-image."""
    scale = 400 / max(image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
    mean = move(model().mean_shape, frame(model().mean_shape, 1))
    faces = []
    for hit in _cascade().detect_multi_scale(
        img=small, scale_factor=1.05, step_ratio=1, min_size=(40, 40), max_size=(400, 400),
        min_neighbor_number=4, intersection_score_threshold=0.5,
    ):  # fmt: skip
        side = 1.63 * hit["width"]  # from the cascade's box to the frame of geometry.align
        x, y = hit["c"] + hit["width"] / 2 - side / 2, hit["r"] + 0.46 * hit["width"] - side / 2
        faces.append((mean * side + np.float32([x, y])) / np.float32(scale))
    return sorted(faces, key=lambda points: -float(np.ptp(points)))


@lru_cache(maxsize=1)
def _cascade() -> Cascade:
    return Cascade(data.lbp_frontal_face_cascade_filename())


def photographs(root: Path, everyone: bool) -> Iterator[tuple[Image, Points, dict[str, str]]]:
    """Yield photograph, true landmarks and subgroup of one neutral portrait a person."""
    london = London(root)
    for split in Split:
        for person in london.people(split, 200):
            if everyone or london_split(person) is not Split.TRAIN:
                path = root / london.frame(person, 0)
                points = read_tem(path.with_suffix(".tem"))
                yield open_photo(path), points, london.subgroup(person)


def changes() -> dict[str, Callable[[Image, Points], tuple[Image, Points]]]:
    """Return everyday changes of a photograph; those that move pixels move its landmarks."""
    return {
        "upright": lambda image, points: (image, points),
        "grey": lambda image, points: (grey(image), points),
        "dark": lambda image, points: ((image * 0.25).astype(np.uint8), points),
        "tilted 30": lambda image, points: turned(image, points, 30),
        "tilted 60": lambda image, points: turned(image, points, 60),
        "jpeg 20": lambda image, points: (jpeg(image, 20), points),
        "small": lambda image, points: _placed(image, points, 120, 1200),
        "filling": lambda image, points: _filling(image, points),
        "half profile": lambda image, points: _aside(image, points, 40),
        "dark glasses": lambda image, points: (_glasses(image, points), points),
        "surgical mask": lambda image, points: (_masked(image, points), points),
    }


def recall(finder: Finder, photos: list) -> dict:
    """Return recall and landmark error by change, recall by group, and ms a picture."""
    found: dict[str, list[bool]] = defaultdict(list)
    off: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, list[bool]] = defaultdict(list)
    seconds = 0.0
    for image, points, subgroup in photos:
        for name, change in changes().items():
            picture, truth = change(image, points)
            start = perf_counter()
            error = _error(finder(picture), truth)
            seconds += perf_counter() - start
            found[name].append(error is not None)
            off[name] += [] if error is None else [error]
            for kind, value in subgroup.items():
                groups[f"{kind}: {value}"].append(error is not None)
    return {
        "recall": {name: _share(hits) for name, hits in found.items()},
        "landmark_error": {name: round(float(np.mean(e)), 3) for name, e in off.items() if e},
        "recall_by_group": {name: _share(hits) for name, hits in sorted(groups.items())},
        "ms": round(1000 * seconds / (len(photos) * len(found))),
    }


def false_alarms(finder: Finder, empty: list[tuple[str, Image]]) -> dict:
    """Return the share of pictures without a face on which one is seen, and what they are."""
    seen = Counter(name for name, image in empty if finder(image))
    return {"false_alarms": round(seen.total() / len(empty), 3), "seen_on": dict(seen)}


def real(finder: Finder, folder: Path) -> dict:
    """Return recall on crops of faces, and the share of distinct landmark sets among them.

    Two faces have the same set if it agrees within a hundredth of the face after alignment.
    """
    shapes, total = [], 0
    for path in sorted(folder.glob("*.jpg")):
        total += 1
        if faces := finder(open_photo(path)):
            shapes.append(move(faces[0], frame(faces[0], 1)).round(2).tobytes())
    return {
        "real_pictures": total,
        "real_recall": round(len(shapes) / total, 4),
        "real_distinct": round(len(set(shapes)) / max(len(shapes), 1), 4),
    }


def without_face() -> Iterator[tuple[str, Image]]:
    """Yield (kind, picture) without a face: scenes and textures, crops of them, and noise."""
    names = ("brick", "page", "text", "chelsea", "coffee", "rocket", "grass", "gravel", "coins")
    names += ("moon", "clock", "horse", "checkerboard", "colorwheel", "hubble_deep_field")
    names += ("immunohistochemistry", "cell", "retina")
    rng = np.random.default_rng(0)
    for name in names:
        try:
            image = _rgb(getattr(data, name)())
        except Exception:  # a few pictures of scikit-image are downloads
            continue
        yield name, image
        for _ in range(15):
            side = int(rng.integers(100, max(101, min(image.shape[:2]))))
            y, x = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
            yield name, np.ascontiguousarray(image[y : y + side, x : x + side])
    for _ in range(20):
        yield "noise", rng.integers(0, 256, (256, 256, 3), np.uint8)
        coarse = rng.integers(0, 256, (int(rng.integers(3, 40)),) * 2 + (3,), np.uint8)
        yield "clouds", cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)


def _rgb(image: NDArray) -> Image:
    levels = image if image.dtype == np.uint8 else (255 * (image / image.max())).astype(np.uint8)
    colours = levels[..., :3] if levels.ndim == 3 else np.stack([levels] * 3, axis=-1)
    return np.ascontiguousarray(colours)


def _error(faces: list[Points], truth: Points) -> float | None:
    """Return the error of the face at the place of the true one; None if it was not found."""
    matrix = frame(truth, 1)
    for points in faces[:1]:
        if np.hypot(*(move(points, matrix).mean(axis=0) - move(truth, matrix).mean(axis=0))) < 0.25:
            unit = np.linalg.norm(truth[EYE_LEFT].mean(axis=0) - truth[EYE_RIGHT].mean(axis=0))
            return float(np.linalg.norm(points - truth, axis=1).mean() / unit)
    return None


def _share(hits: list[bool]) -> float:
    return round(float(np.mean(hits)), 3)


def turned(image: Image, points: Points, degrees: float) -> tuple[Image, Points]:
    """Turn a photograph and its landmarks about the middle; what was outside is mirrored."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.8)
    turned = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return turned, move(points, matrix)


def _placed(image: Image, points: Points, side: int, whole: int) -> tuple[Image, Points]:
    """Set the photograph, ``side`` pixels high, into a plain picture of ``whole`` pixels."""
    scale = side / image.shape[0]
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    sheet = np.full((whole, whole, 3), 150, np.uint8)
    sheet[700 : 700 + small.shape[0], 300 : 300 + small.shape[1]] = small
    return sheet, (points * scale + np.float32([300, 700])).astype(np.float32)


def _aside(image: Image, points: Points, degrees: float) -> tuple[Image, Points]:
    """Turn the head aside as if the picture were wrapped round an upright cylinder."""
    middle, radius = float(points[:, 0].mean()), 0.75 * float(np.ptp(points[:17, 0]))
    angle, x = np.deg2rad(degrees), np.arange(image.shape[1], dtype=np.float32)
    seen = np.arcsin(np.clip((x - middle) / radius, -0.999, 0.999)) - angle
    back = middle + radius * np.sin(np.clip(seen, -np.pi / 2, np.pi / 2))
    rows = np.arange(image.shape[0], dtype=np.float32)
    columns, lines = np.meshgrid(back.astype(np.float32), rows)
    turned = cv2.remap(image, columns, lines, cv2.INTER_LINEAR)
    there = np.arcsin(np.clip((points[:, 0] - middle) / radius, -1, 1)) + angle
    x = middle + radius * np.sin(np.clip(there, -np.pi / 2, np.pi / 2))
    return turned, np.column_stack([x, points[:, 1]]).astype(np.float32)


def _glasses(image: Image, points: Points) -> Image:
    worn = image.copy()
    for eye in (points[EYE_LEFT], points[EYE_RIGHT]):
        centre, width = eye.mean(axis=0).astype(int).tolist(), np.ptp(eye, axis=0)[0]
        cv2.circle(worn, centre, int(0.8 * width), (20, 20, 25), -1, cv2.LINE_AA)
    return worn


def _masked(image: Image, points: Points) -> Image:
    hull = np.concatenate([points[2:15], points[[28]]]).astype(np.int32)
    return cv2.fillConvexPoly(image.copy(), hull, (170, 200, 215), cv2.LINE_AA)


def _filling(image: Image, points: Points) -> tuple[Image, Points]:
    """Crop the photograph to the landmarks: hair, ears and neck are cut off."""
    low, high = (getattr(points, end)(axis=0).astype(int) for end in ("min", "max"))
    low = np.maximum(low, 0)
    return np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), points - low


if __name__ == "__main__":
    main()
