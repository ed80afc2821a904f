"""Which pictures an analyst may judge: a sharp face, large enough, and like those it learnt.

Likeness is the Mahalanobis distance in the features of the analyst's own encoder (Lee et al.
2018, arXiv 1807.03888). It is fitted on training faces under everyday changes, because one
fitted on clean faces refuses every grey or dark copy. The threshold keeps 95 % of the
validation faces as they are, so that of those under hard conditions it refuses more.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dfa_lib.analysts import Analyst
from dfa_lib.conditions import CONDITIONS, under
from dfa_lib.face.detect import FaceCrop, shows_face
from dfa_lib.face.geometry import Image
from dfa_lib.files import write_atomic
from dfa_lib.records import DataError

if TYPE_CHECKING:
    from dfa_lib.gpt.analyst import LocalAnalyst

KEPT = 0.95  # of the validation faces
LEAST_SIDE = 64  # pixels a framed face must have in the photograph
MOST_BLUR = 0.85  # a face of 128 pixels blurred by 1 pixel has .56 to .75, by 5 pixels .87 or more
_FLOOR = 1e-4  # of the mean variance, so that no direction counts for infinitely much

Picture = Image | FaceCrop
"""A face as the detector found it on a photograph, or a picture that is framed already."""


@dataclass(frozen=True)
class Scope:
    """What faces look like to one analyst, and how far from that they may lie.

    ``mean`` (D,) and ``whiten`` (D, D) make unit variance of its features; ``limit`` is the
    largest distance it may judge; ``faces`` is how many pictures fixed the limit.
    """

    fingerprint: str
    mean: NDArray[np.float32]
    whiten: NDArray[np.float32]
    limit: float
    faces: int

    @classmethod
    def fit(
        cls, analyst: "LocalAnalyst", train: Iterable[Image], val: Iterable[Image], seed: int = 0
    ) -> "Scope":
        """Fit the scope of ``analyst`` on faces it was tuned on and on people it never saw.

        Pictures are (H, W, 3) uint8. Raises DataError where either holds no picture.
        """
        rng = np.random.default_rng(seed)
        train = [under(rng.choice(list(CONDITIONS)), image, rng) for image in train]
        val = list(val)
        if not train or not val:
            raise DataError("scope: needs training and validation faces; load faces of all splits")
        seen = analyst.features(train).astype(np.float64)
        spread = np.cov(seen.T)
        spread += _FLOOR * np.trace(spread) / len(spread) * np.eye(len(spread))
        whiten = np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32)
        scope = cls(analyst.fingerprint, seen.mean(0).astype(np.float32), whiten, 0.0, 0)
        limit = float(np.quantile(scope.distances(analyst, val), KEPT))
        return cls(scope.fingerprint, scope.mean, whiten, limit, len(val))

    def distances(self, analyst: "LocalAnalyst", images: Sequence[Image]) -> NDArray[np.float32]:
        """Return how far framed faces lie from those the analyst learnt, (N,)."""
        return np.linalg.norm((analyst.features(images) - self.mean) @ self.whiten, axis=1)

    def save(self, folder: Path) -> Path:
        """Write ``scope.safetensors`` into ``folder``; return its path."""
        about = {"fingerprint": self.fingerprint, "limit": self.limit, "faces": self.faces}
        path = folder / "scope.safetensors"
        arrays = {"mean": self.mean, "whiten": np.ascontiguousarray(self.whiten)}
        write_atomic(path, save(arrays, {"scope": json.dumps(about)}))
        return path

    @classmethod
    def read(cls, folder: Path, fingerprint: str) -> "Scope | None":
        """Open what ``save`` wrote; None without a file, or if it is another analyst's.

        Raises DataError if the file cannot be read.
        """
        path = folder / "scope.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, "numpy") as file:
                scope = cls(
                    mean=file.get_tensor("mean"),
                    whiten=file.get_tensor("whiten"),
                    **json.loads(file.metadata()["scope"]),
                )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DataError(f"{path}: {error!r}; run lesson 03 again to write it anew") from None
        return scope if scope.fingerprint == fingerprint else None


def refusals(analyst: Analyst, pictures: Sequence[Picture], scope: Scope | None) -> list[str]:
    """Return why each picture cannot be judged, as a sentence; "" where it can.

    Without a ``scope`` only face, size and sharpness are checked.
    """
    reasons = [flaw(picture) for picture in pictures]
    rest = [at for at, reason in enumerate(reasons) if not reason]
    if scope and rest:
        far = scope.distances(analyst, [framed(pictures[at]) for at in rest])
        for at in np.array(rest)[far > scope.limit]:
            reasons[at] = _UNLIKE
    return reasons


def framed(picture: Picture) -> Image:
    """Return the framed face (size, size, 3) that the analyst looks at."""
    return picture.image if isinstance(picture, FaceCrop) else picture


def flaw(picture: Picture) -> str:
    """Return what keeps any analyst from judging a picture, as a sentence; "" if nothing does."""
    image, found = framed(picture), isinstance(picture, FaceCrop)
    if not found and not shows_face(image):
        return NO_FACE
    side = picture.box[2] - picture.box[0] if found else image.shape[1]
    if side < LEAST_SIDE:
        return f"The face is {side:.0f} pixels wide; use a picture with {LEAST_SIDE} or more."
    if blurriness(image) > MOST_BLUR:
        return "The face is too blurred; use a sharper picture."
    return ""


NO_FACE = (
    "No face was found; use an upright, frontal, well-lit portrait or crop the picture closer."
)
_UNLIKE = (
    "The face looks unlike those this analyst was tuned and calibrated on;"
    " tune it on faces from the same kind of camera."
)


def blurriness(image: Image) -> float:
    """Return how little a further blur takes from a framed face (H, W, 3): 0 sharp, 1 smooth.

    After Crété et al. (2007, "The blur effect"); contrast does not matter.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.8)  # noise is no sharpness
    kept = []
    for axis, kernel in ((1, (9, 1)), (0, (1, 9))):
        own, after = (np.abs(np.diff(one, axis=axis)) for one in (grey, cv2.blur(grey, kernel)))
        kept.append(1 - np.maximum(own - after, 0).sum() / max(own.sum(), 1e-6))
    return float(max(kept))
