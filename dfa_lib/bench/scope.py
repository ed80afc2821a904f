"""Which pictures an analyst may judge: a sharp face, large enough, and like those it learnt.

Likeness is the Mahalanobis distance in the features of the analyst's own encoder (Lee et al.
2018, arXiv 1807.03888). It is fitted on training faces under everyday changes, because one
fitted on clean faces refuses every grey or dark copy. The threshold keeps 95 % of the
validation faces as they are, so that of those under hard conditions it refuses more.

Blur, noise, filters and casts of colour hide what a verdict rests on without making a face
unlike others. So a score also has to exceed what bona fide faces reach on pictures as poor: the
margin is a linear quantile regression (Koenker and Bassett 1978) on validation people, over
traits of the whole picture that forgeries of a face hardly change.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dfa_lib.analysts import Analyst, Question
from dfa_lib.bench.exam import Exam, label_scores, some, too_few
from dfa_lib.conditions import CONDITIONS, blur, brightness, film, jpeg, under
from dfa_lib.face.detect import MOST_TILT, NO_FACE, FaceCrop, Picture, tilt
from dfa_lib.face.geometry import Image
from dfa_lib.files import write_atomic
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Task

if TYPE_CHECKING:
    from dfa_lib.gpt.analyst import LocalAnalyst

KEPT = 0.95  # of the validation faces; 99 % left half the frames of foreign films to be judged
LEAST_SIDE = 64  # pixels a framed face must have in the photograph
LEAST_DETAIL = 0.025  # a face of 128 pixels has about .13, blurred by 1.5 pixels .035
ALARMS = 0.3  # false alarms on poor pictures, as a share of those on the pictures as they are
_FACES = 1000  # that a scope is fitted on at most
_USUAL = (0.05, 0.95)  # between these shares of validation faces a trait is as usual
_FLOOR = 1e-4  # of the mean variance, so that no direction counts for infinitely much
POOR = {
    "median filter": lambda image, rng: cv2.medianBlur(image, int(rng.choice([3, 5]))),
    "cast of colour": lambda image, rng: brightness(image, rng.uniform(0.7, 1.3, 3)),
    "strong JPEG": lambda image, rng: jpeg(image, rng.uniform(8, 20)),
    "film": lambda image, rng: film(image, rng.uniform(0.55, 1), rng.uniform(10, 40)),
    "several": lambda image, rng: jpeg(
        brightness(blur(image, rng.uniform(0.3, 1.2)), rng.uniform(0.75, 1.25, 3)),
        rng.uniform(10, 40),
    ),
}
"""What happens to pictures beyond the everyday ``CONDITIONS``: the margin is fitted on both."""


@dataclass(frozen=True)
class Scope:
    """What faces look like to one analyst, and how far from that they may lie.

    ``mean`` (D,) and ``whiten`` (D, D) make unit variance of its features; ``limit`` is the
    largest distance it may judge; ``faces`` is how many pictures fixed the limit. ``bounds``
    (2, 4) hold each of the ``traits`` of nine in ten of them, and ``margin`` (8,) is what a score
    has to exceed for each unit by which a trait lies below or above.
    """

    fingerprint: str
    mean: NDArray[np.float32]
    whiten: NDArray[np.float32]
    limit: float
    faces: int
    bounds: NDArray[np.float32]
    margin: NDArray[np.float32]

    @classmethod
    def fit(
        cls,
        analyst: "LocalAnalyst",
        train: Sequence[Image],
        val: Sequence[Image],
        bona_fide: Sequence[Image] = (),
        questions: Sequence[Question] = (),
        seed: int = 0,
    ) -> "Scope":
        """Fit the scope of ``analyst`` on faces it was tuned on and on people it never saw.

        Pictures are (H, W, 3) uint8, at least one of either. ``bona_fide`` are those of ``val``
        that nobody changed, and ``questions`` the wordings of DF-D a verdict is averaged over;
        without them there is no margin.
        """
        rng = np.random.default_rng(seed)
        taken = [under(rng.choice(list(CONDITIONS)), image, rng) for image in train]
        seen = analyst.features(taken).astype(np.float64)
        spread = np.cov(seen.T)
        spread += _FLOOR * np.trace(spread) / len(spread) * np.eye(len(spread))
        whiten = np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32)
        bounds = np.quantile([traits(image) for image in val], _USUAL, axis=0).astype(np.float32)
        mean = seen.mean(0).astype(np.float32)
        none = np.zeros(bounds.size, np.float32)
        scope = cls(analyst.fingerprint, mean, whiten, np.inf, len(val), bounds, none)
        scope = replace(scope, limit=float(np.quantile(scope.distances(analyst, val), KEPT)))
        if not len(bona_fide) or not questions:
            return scope
        return replace(scope, margin=scope._fitted_margin(analyst, bona_fide, questions, rng))

    @classmethod
    def of(cls, analyst: "LocalAnalyst", exam: Exam) -> "Scope | None":
        """Fit the scope of ``analyst`` on the training and validation people of ``exam``.

        Return None without training people, or with too few validation faces.
        """
        if not exam.train or too_few(exam.val):
            return None
        train, val = (
            [exam.faces.image(face) for face in some(part, _FACES, exam.seed)]
            for part in (exam.train, exam.val)
        )
        calm = [exam.faces.image(face) for face in exam.val if not face.category.forged]
        return cls.fit(analyst, train, val, calm, exam.questions[Task.DF_D], exam.seed)

    def _fitted_margin(
        self,
        analyst: "LocalAnalyst",
        bona_fide: Sequence[Image],
        questions: Sequence[Question],
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Return the margin that leaves ``ALARMS`` of the false alarms under all conditions."""
        alarms = np.mean(forged_logits(analyst, bona_fide, questions) >= 0)
        taken = [way(one, rng) for way in (CONDITIONS | POOR).values() for one in bona_fide]
        refused = refusals(analyst, taken, self)
        taken = [image for image, why in zip(taken, refused, strict=True) if not why]
        if not taken:
            return self.margin
        quantile = 1 - ALARMS * max(alarms, 1 / len(bona_fide))
        from sklearn.linear_model import QuantileRegressor  # to answer, nobody has to wait for it

        line = QuantileRegressor(quantile=quantile, alpha=0, fit_intercept=False)
        line.fit(self._off(taken), forged_logits(analyst, taken, questions))
        return line.coef_.astype(np.float32)

    def close(self, images: Sequence[Image], logits: NDArray) -> NDArray[np.bool_]:
        """Return which pictures score as forged, but not higher than bona fide ones may, (N,).

        ``logits`` (N,) are log P(forged) - log P(bona fide) of the framed faces.
        """
        return (logits >= 0) & (logits < self._off(images) @ self.margin)

    def _off(self, images: Sequence[Image]) -> NDArray[np.float64]:
        """Return by how much each trait of each picture lies below and above the usual, (N, 8)."""
        seen = np.array([traits(image) for image in images])
        low, high = self.bounds
        return np.maximum(np.concatenate([low - seen, seen - high], axis=1), 0)

    def distances(self, analyst: "LocalAnalyst", images: Sequence[Image]) -> NDArray[np.float32]:
        """Return how far framed faces lie from those the analyst learnt, (N,)."""
        return np.linalg.norm((analyst.features(images) - self.mean) @ self.whiten, axis=1)

    def save(self, folder: Path) -> Path:
        """Write ``scope.safetensors`` into ``folder``; return its path."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        about = {name: value for name, value in vars(self).items() if name not in arrays}
        path = folder / "scope.safetensors"
        write_atomic(path, save(arrays, {"scope": json.dumps(about)}))
        return path

    @classmethod
    def read(cls, folder: Path, fingerprint: str) -> "Scope | None":
        """Open what ``save`` wrote; None without a file, or if it is another analyst's.

        Raises DataError if the file cannot be read, or is of an earlier version.
        """
        path = folder / "scope.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
                scope = cls(**arrays, **json.loads(file.metadata()["scope"]))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DataError(f"{path}: {error}; run lesson 03 again to write it") from None
        return scope if scope.fingerprint == fingerprint else None


_ARRAYS = ("mean", "whiten", "bounds", "margin")


def refusals(
    analyst: Analyst,
    pictures: Sequence[Picture],
    scope: Scope | None,
    logits: NDArray | None = None,
) -> list[str]:
    """Return why each picture cannot be judged, as a sentence; "" where it can.

    Without a ``scope`` only face, size, tilt and detail are checked. ``logits`` (N,) are
    DF-D scores, where they are known already: those too close to call are refused as well.
    """
    reasons = [flaw(picture) for picture in pictures]
    rest = np.array([at for at, reason in enumerate(reasons) if not reason], int)
    if scope and len(rest):
        images = [framed(pictures[at]) for at in rest]
        for at in rest[scope.distances(analyst, images) > scope.limit]:
            reasons[at] = _UNLIKE if isinstance(pictures[at], FaceCrop) else _UNFRAMED
        for at in rest[scope.close(images, logits[rest])] if logits is not None else ():
            reasons[at] = reasons[at] or CLOSE
    return reasons


def forged_logits(
    analyst: Analyst, images: Sequence[Image], questions: Sequence[Question]
) -> NDArray[np.float64]:
    """Return log P(forged) - log P(bona fide) of each image, averaged over ``questions``, (N,).

    Raises DataError for an analyst that gives no probabilities.
    """
    replies = analyst.reply(images, [questions] * len(images))
    if any(reply.logprobs is None for row in replies for reply in row):
        raise DataError(f"{analyst.name}: gives no probabilities, so nothing shows what moves it")
    scores = [label_scores(Task.DF_D, questions, row) for row in replies]
    return np.array([one["forged"] - one["bona fide"] for one in scores])


def framed(picture: Picture) -> Image:
    """Return the framed face (size, size, 3) that the analyst looks at."""
    return picture.image if isinstance(picture, FaceCrop) else picture


def flaw(picture: Picture) -> str:
    """Return what keeps any analyst from judging a picture, as a sentence; "" if nothing does."""
    image, found = framed(picture), isinstance(picture, FaceCrop)
    degrees = 0.0 if found else tilt(image)
    if degrees is None:
        return NO_FACE
    if abs(degrees) > MOST_TILT:
        return f"The face is tilted by {abs(degrees):.0f} degrees; use the whole photograph."
    side = picture.box[2] - picture.box[0] if found else image.shape[1]
    if side < LEAST_SIDE:
        return f"The face is {side:.0f} pixels wide; use a picture with {LEAST_SIDE} or more."
    if detail(_grey(image)) < LEAST_DETAIL:
        return "The face is too blurred; use a sharper picture."
    return picture.cut if found else ""


_UNLIKE = (
    "The face looks unlike those this analyst was tuned and calibrated on;"
    " tune it on faces from the same kind of camera."
)
_UNFRAMED = (
    "The picture looks unlike those this analyst was tuned and calibrated on; if it is a whole"
    " photograph, let the face be found on it instead of taking it as framed."
)
CLOSE = (
    "Too close to call: on pictures as soft, noisy, compressed or coloured as this one, faces that"
    " nobody changed often score as high; use a better one."
)


def traits(image: Image) -> NDArray[np.float64]:
    """Return what cameras and filters do to a whole picture (H, W, 3), in logarithms, (4,).

    ``detail``, the share of equal neighbours, mean red over green and mean blue over green.
    """
    grey = _grey(image)
    red, green, blue = np.log(image.reshape(-1, 3).mean(axis=0) + 1)
    flat = np.mean(grey[:, 1:] == grey[:, :-1])
    return np.array([np.log(detail(grey) + 1e-3), np.log(flat + 0.01), red - green, blue - green])


def detail(grey: NDArray[np.uint8]) -> float:
    """Return the mean that a 3 x 3 median filter changes (H, W), that of the gradients being 1.

    Blur and filters lower it, noise raises it; contrast and brightness do not matter.
    """
    fine = cv2.absdiff(grey, cv2.medianBlur(grey, 3)).mean()
    down, across = (np.diff(grey.astype(np.float32), axis=axis) for axis in (0, 1))
    return float(fine / max(np.hypot(down[:, 1:], across[1:]).mean(), 0.1))


def _grey(image: Image) -> NDArray[np.uint8]:
    """Return the grey levels of a picture (H, W, 3), on 128 pixels at most."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    large = max(grey.shape) > 128
    return cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA) if large else grey
