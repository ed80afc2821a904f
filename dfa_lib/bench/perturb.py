"""What pictures go through on their way to an analyst: five perturbations in five severities."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from dfa_lib import conditions
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Face

LEVELS = MappingProxyType(
    {
        "JPEG": (80, 60, 40, 25, 10),  # quality
        "blur": (0.6, 1.0, 1.5, 2.2, 3.0),  # standard deviation, in 128ths of the width
        "scaling": (0.8, 0.6, 0.4, 0.25, 0.15),  # down to this share of the width, and up
        "noise": (3, 6, 10, 16, 25),  # standard deviation, in grey levels
        "brightness": (0.85, 0.7, 0.55, 0.4, 0.25),  # factor
    }
)
"""The level of each kind at severities 1 to 5; part of the benchmark's version."""

SEVERITIES = range(1, 6)


def perturb(image: np.ndarray, kind: str, severity: int) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB after one of ``LEVELS``; noise is seeded by the picture."""
    return _WAYS[kind](image, LEVELS[kind][severity - 1])


def version_name(kind: str, severity: int) -> str:
    """The name of a perturbed version, which is also that of its predictions file."""
    return f"{kind}-{severity}"


@dataclass(frozen=True)
class Perturbed(FaceSet):
    """Faces whose pictures went through one ``kind`` of perturbation in one ``severity``."""

    kind: str
    severity: int

    def image(self, face: Face) -> np.ndarray:
        """Return the perturbed picture of a face, (H, W, 3) uint8."""
        return perturb(super().image(face), self.kind, self.severity)


def versions(faces: FaceSet) -> dict[str, FaceSet]:
    """Return the faces under each kind of perturbation in each severity, by name."""
    return {
        version_name(kind, severity): Perturbed(faces.root, faces.faces, kind, severity)
        for kind in LEVELS
        for severity in SEVERITIES
    }


def _scaling(image: np.ndarray, share: float) -> np.ndarray:
    height, width = image.shape[:2]
    small = (max(1, round(width * share)), max(1, round(height * share)))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def _noise(image: np.ndarray, deviation: float) -> np.ndarray:
    rng = np.random.default_rng(list(hashlib.sha256(image.tobytes()).digest()))
    return conditions.noise(image, deviation, rng)


_WAYS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "JPEG": conditions.jpeg,
    "blur": conditions.blur,
    "scaling": _scaling,
    "noise": _noise,
    "brightness": conditions.brightness,
}
