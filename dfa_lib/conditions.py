"""How everyday pictures are taken: dark, grey, tilted, blurred ...

Bona fide and forged faces meet the same conditions while a model is tuned, so that none of
them is a sign of forgery.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Protocol

import cv2
import numpy as np

from dfa_lib.records import Face
from dfa_lib.taxonomy import Split

Image = np.ndarray
Rng = np.random.Generator

SHARE = 0.7
"""The share of training pictures that are taken under a condition."""

ODDS = {"tilt": 2, "blur": 3, "noise": 2}
"""How often a condition is drawn, beside 1 for all others: those that hide more come more often."""


class Images(Protocol):
    """Where face pictures come from, for instance a FaceSet."""

    def image(self, face: Face) -> Image:
        """Return the picture of a face: RGB uint8 (H, W, 3)."""
        ...


class Everyday:
    """The pictures of ``images``, those of training faces as if taken anew each time.

    Half of them are mirrored and ``SHARE`` of them meet one of ``CONDITIONS``, at random: torch's
    generator decides, so that tuning, which seeds it at every step, can be taken up again.
    """

    def __init__(self, images: Images) -> None:
        self.images = images

    def image(self, face: Face) -> Image:
        """Return the picture of a face, (H, W, 3) uint8; as it is outside the training split."""
        image = self.images.image(face)
        if face.split is not Split.TRAIN:
            return image
        import torch  # here, because cameras and benchmarks need only the operations

        rng = np.random.default_rng(torch.randint(2**31, ()).item())
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
        if rng.random() < SHARE:
            image = under(rng.choice(_NAMES, p=_SHARES), image, rng)
        return image


def under(condition: str, image: Image, rng: Rng) -> Image:
    """Return a picture (H, W, 3) uint8 as if taken under one of ``CONDITIONS``."""
    return CONDITIONS[condition](image, rng)


def brightness(image: Image, factor: float | Image) -> Image:
    """Return the picture with every grey level, or each of three channels, times ``factor``."""
    return _grey_levels(image * factor)


def blur(image: Image, deviation: float) -> Image:
    """Return the picture out of focus; ``deviation`` of the Gaussian in 128ths of the width."""
    return cv2.GaussianBlur(image, (0, 0), deviation * image.shape[1] / 128)


def jpeg(image: Image, quality: float) -> Image:
    """Return the picture after JPEG compression of a ``quality`` in 0..100."""
    _, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.ascontiguousarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1])


def film(image: Image, share: float, quality: float) -> Image:
    """Return the picture as from a film ``share`` times as wide, compressed as by ``jpeg``."""
    small = jpeg(cv2.resize(image, None, fx=share, fy=share), quality)
    return cv2.resize(small, image.shape[1::-1])


def noise(image: Image, deviation: float, rng: Rng) -> Image:
    """Return the picture with independent noise of ``deviation`` grey levels."""
    return _grey_levels(image + rng.normal(0, deviation, image.shape))


def tilt(image: Image, degrees: float) -> Image:
    """Return the picture turned about its centre, mirrored where it would show nothing."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def grey(image: Image) -> Image:
    """Return the picture without its colours, still of three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


CONDITIONS: MappingProxyType[str, Callable[[Image, Rng], Image]] = MappingProxyType(
    {
        "grey": lambda image, _: grey(image),
        "dark": lambda image, rng: brightness(image, rng.uniform(0.35, 0.7)),
        "bright": lambda image, rng: brightness(image, rng.uniform(1.2, 1.6)),
        "white balance": lambda image, rng: brightness(image, rng.uniform(0.8, 1.2, 3)),
        "tilt": lambda image, rng: tilt(image, rng.uniform(-30, 30)),
        "blur": lambda image, rng: blur(image, rng.uniform(0.5, 1.5)),
        "noise": lambda image, rng: noise(image, rng.uniform(3, 10), rng),
        "JPEG": lambda image, rng: jpeg(image, rng.uniform(35, 80)),
    }
)
"""Name -> a function of a picture (H, W, 3) uint8 and a generator, which draws the degree."""

_NAMES = list(CONDITIONS)
_ODDS = np.array([ODDS.get(name, 1) for name in _NAMES])
_SHARES = _ODDS / _ODDS.sum()


def _grey_levels(image: Image) -> Image:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
