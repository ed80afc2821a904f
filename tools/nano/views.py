"""Generic views for pre-training: a bona fide face, altered here and there in a known way.

No forgery operator and no forgery label is used. Each view takes one or more everyday
alterations (blur, tint, noise, a shifted copy of the face blended into itself after
Shiohara and Yamasaki, CVPR 2022 ...) inside a random mask, then the same camera that
DFA-Instruct uses, and remembers what was altered where. One view in two is then taken under an
everyday condition (dark, grey, tilted, soft ...), which is told of no cell: no such condition
is a sign of alteration.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np

from dfa_lib.face.geometry import Portrait, region_masks
from dfa_lib.taxonomy import Artifact, Region
from facesim import camera

GRID = 8
# Dense and mostly strong: with few and faint alterations a small tower learns next to nothing.
ALTERATIONS_PER_VIEW = (0.12, 0.18, 0.2, 0.2, 0.15, 0.15)
WEAK, STRONG = (0.15, 0.4), (0.4, 1.0)
TILTED, CONDITIONS_PER_VIEW = 0.08, (0.55, 0.3, 0.15)
ARTIFACTS = (
    Artifact.BLUR,
    Artifact.OVER_SMOOTHING,
    Artifact.TEXTURE_LOSS,
    Artifact.BLENDING_BOUNDARY,
    Artifact.COLOUR_MISMATCH,
    Artifact.LIGHTING_MISMATCH,
    Artifact.NOISE_MISMATCH,
    Artifact.MISALIGNMENT,
    Artifact.STRUCTURAL_DISTORTION,
    Artifact.GRID_PATTERN,
)
REGIONS = tuple(region for region in Region if region is not Region.SKIN)
_HULLS = (
    *(slice(0, 68), slice(0, 81), slice(17, 68)),  # the face: all but the forehead, all, inside
    *(slice(17, 22), slice(22, 27), slice(36, 42), slice(42, 48), slice(36, 48)),  # brows, eyes
    *(slice(27, 36), slice(48, 68), slice(60, 68)),  # nose, mouth, between the lips
)
Image = np.ndarray
Rng = np.random.Generator


@dataclass(frozen=True)
class View:
    """A picture and the truth about it.

    ``image`` (S, S, 3) uint8; ``altered`` (GRID, GRID, len(ARTIFACTS)) float32 in 0..1, how much
    of each cell shows each artifact; ``regions`` (GRID, GRID) index into REGIONS;
    ``named`` the altered regions with the artifact each shows; ``conditions`` how the whole
    picture was taken, for instance "dark".
    """

    image: Image
    altered: np.ndarray
    regions: np.ndarray
    named: tuple[tuple[Region, Artifact], ...]
    conditions: tuple[str, ...]

    def without_picture(self) -> Self:
        """Return what is known of the view in words."""
        nothing = np.empty(0)
        return replace(self, image=nothing, altered=nothing, regions=nothing)


def make_view(portrait: Portrait, rng: Rng) -> View:
    """Alter a bona fide portrait (S, S, 3) in up to five ways and shoot it through the camera."""
    tilt = float(rng.uniform(10, 30) * rng.choice([-1, 1])) if rng.random() < TILTED else 0.0
    portrait = _reframe(portrait, tilt, rng)
    size = portrait.image.shape[0]
    masks = region_masks(portrait.landmarks, size)
    image = portrait.image.astype(np.float32)
    altered = np.zeros((size, size, len(ARTIFACTS)), np.float32)
    for _ in range(rng.choice(6, p=ALTERATIONS_PER_VIEW)):
        image = _alter(image, portrait, masks, altered, rng)
    cells = altered.reshape(GRID, size // GRID, GRID, size // GRID, -1).mean((1, 3))
    shot = camera.shoot(np.clip(image, 0, 255).astype(np.uint8), rng, rng.uniform(0.1, 0.8))
    names = rng.choice(list(CONDITIONS), rng.choice(3, p=CONDITIONS_PER_VIEW), replace=False)
    for name in names:
        shot = np.clip(CONDITIONS[name](shot.astype(np.float32), rng), 0, 255).astype(np.uint8)
    told = (*(["tilted"] if tilt else []), *map(str, names))
    return View(shot, np.minimum(cells, 1), _region_grid(masks), _name(altered, masks), told)


def _alter(image: Image, portrait: Portrait, masks: dict, altered: np.ndarray, rng: Rng) -> Image:
    mask = _random_mask(portrait, masks, rng)
    artifact = ARTIFACTS[rng.integers(len(ARTIFACTS))]
    strength = rng.uniform(*(WEAK if rng.random() < 0.3 else STRONG))
    names = [artifact]
    changed = ALTERATIONS[artifact](image, strength, rng)
    if artifact is Artifact.BLENDING_BOUNDARY:
        extra = rng.choice([Artifact.BLUR, Artifact.COLOUR_MISMATCH, Artifact.OVER_SMOOTHING])
        changed = ALTERATIONS[extra](changed, rng.uniform(0.1, 0.6), rng)
        names.append(Artifact(extra))
    result = image + mask[..., None] * (changed - image)
    visible = np.minimum(cv2.blur(np.abs(result - image).mean(-1), (9, 9)) / 3, 1)
    for name in names:
        channel = altered[..., ARTIFACTS.index(name)]
        np.maximum(channel, visible * (mask > 0.3), out=channel)
    return result


def _reframe(portrait: Portrait, tilt: float, rng: Rng) -> Portrait:
    """Shift, turn (``tilt`` degrees, more or less) and scale: no detector crops twice the same."""
    size = portrait.image.shape[0]
    angle, scale = tilt + rng.normal(0, 3), rng.uniform(0.92, 1.12)
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), angle, scale)
    matrix[:, 2] += rng.normal(0, 0.025 * size, 2)
    image = cv2.warpAffine(
        portrait.image,
        matrix,
        (size, size),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    points = portrait.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return Portrait(image, points.astype(np.float32))


def _random_mask(portrait: Portrait, masks: dict[Region, Image], rng: Rng) -> Image:
    size = portrait.image.shape[0]
    kind = rng.choice(["regions", "hull", "ellipse", "whole"], p=[0.45, 0.33, 0.17, 0.05])
    if kind == "whole":
        return np.ones((size, size), np.float32)
    if kind == "regions":
        chosen = rng.choice(len(REGIONS), rng.integers(1, 4), replace=False)
        mask = np.any([masks[REGIONS[i]] for i in chosen], axis=0).astype(np.float32)
    elif kind == "hull":
        mask = _hull(portrait.landmarks, size, rng)
    else:
        mask = np.zeros((size, size), np.float32)
        centre = portrait.landmarks[rng.integers(81)] + rng.normal(0, 5, 2)
        axes = rng.uniform(0.05, 0.25, 2) * size
        cv2.ellipse(
            mask,
            (tuple(map(float, centre)), tuple(map(float, 2 * axes)), rng.uniform(0, 180)),
            1.0,
            -1,
        )
    return cv2.GaussianBlur(mask, (0, 0), rng.choice([rng.uniform(0.3, 0.8), rng.uniform(0.6, 4)]))


def _hull(landmarks: np.ndarray, size: int, rng: Rng) -> Image:
    """The convex hull of a random choice of landmarks: inner face, eyes, a brow, the mouth ..."""
    points = landmarks[_HULLS[rng.integers(len(_HULLS))]]
    points = points.mean(0) + (points - points.mean(0)) * rng.uniform(0.8, 1.25)
    points = points + rng.normal(0, 1.5, points.shape)
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.int32)), 1.0)
    return mask


def _blur(image: Image, strength: float, rng: Rng) -> Image:
    if rng.random() < 0.35:
        return cv2.GaussianBlur(image, (0, 0), 0.4 + 1.6 * strength)
    return _resample(image, 0.92 - 0.55 * strength, rng)


def _resample(image: Image, factor: float, rng: Rng) -> Image:
    size = image.shape[0]
    small = max(8, round(size * factor))
    down = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(
        down, (size, size), interpolation=rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])
    )


def _smooth(image: Image, strength: float, rng: Rng) -> Image:
    soft = cv2.bilateralFilter(image, 7, 20 + 50 * strength, 2 + 3 * strength)
    return image + (0.4 + 0.6 * strength) * (soft - image)


def _lose_texture(image: Image, strength: float, rng: Rng) -> Image:
    base = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 2.5))
    return base + (1 - strength) * 0.8 * (image - base)


def _self_blend(image: Image, strength: float, rng: Rng) -> Image:
    size = image.shape[0]
    scale = 1 + rng.normal(0, 0.03) * strength
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 2) * strength, scale)
    matrix[:, 2] += rng.normal(0, 2.0, 2) * strength
    moved = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    return _tint(moved, 0.7 * strength, rng)


def _recolour(image: Image, strength: float, rng: Rng) -> Image:
    if rng.random() < 0.5:
        return _tint(image, strength, rng)
    paint = image.mean((0, 1)) + rng.normal(0, 40) + rng.normal(0, 30, 3)
    return image + (0.2 + 0.6 * strength) * (paint.astype(np.float32) - image)


def _tint(image: Image, strength: float, rng: Rng) -> Image:
    shift = rng.normal(0, 1, 3).astype(np.float32)
    shift *= (4 + 22 * strength) / max(float(np.abs(shift).max()), 1e-6)
    return image + shift


def _light(image: Image, strength: float, rng: Rng) -> Image:
    size = image.shape[0]
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    ramp = np.cos(angle) * x + np.sin(angle) * y + rng.normal(0, 0.5)
    return image * (1 + (0.08 + 0.3 * strength) * ramp.astype(np.float32))[..., None]


def _noise(image: Image, strength: float, rng: Rng) -> Image:
    if rng.random() < 0.25:
        return _jpeg(image, round(80 - 60 * strength))
    grain = rng.normal(0, 2 + 9 * strength, (*image.shape[:2], rng.choice([1, 3]))).astype(
        np.float32
    )
    if rng.random() < 0.5:
        grain = 1.7 * cv2.GaussianBlur(grain, (0, 0), 0.7).reshape((*image.shape[:2], -1))
    return image + grain


def _shift(image: Image, strength: float, rng: Rng) -> Image:
    matrix = np.float32([[1, 0, 0], [0, 1, 0]])
    angle = rng.uniform(0, 2 * np.pi)
    matrix[:, 2] = (1.0 + 4 * strength) * np.array([np.cos(angle), np.sin(angle)])
    return cv2.warpAffine(image, matrix, image.shape[:2], borderMode=cv2.BORDER_REFLECT_101)


def _distort(image: Image, strength: float, rng: Rng) -> Image:
    size = image.shape[0]
    coarse = rng.normal(0, 1.5 + 4 * strength, (rng.integers(4, 9),) * 2 + (2,)).astype(np.float32)
    field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    maps = x + field[..., 0], y + field[..., 1]
    return cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _grid(image: Image, strength: float, rng: Rng) -> Image:
    size, period = image.shape[0], rng.choice([2, 4, 8])
    y, x = np.mgrid[:size, :size]
    pattern = np.where((x // (period // 2) + y // (period // 2)) % 2, 1.0, -1.0).astype(np.float32)
    return image * (1 + (0.01 + 0.06 * strength) * pattern)[..., None]


def _jpeg(image: Image, quality: int) -> Image:
    levels = np.clip(image, 0, 255).astype(np.uint8)
    _, code = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(code, cv2.IMREAD_COLOR).astype(np.float32)


ALTERATIONS: dict[Artifact, Callable[[Image, float, Rng], Image]] = {
    Artifact.BLUR: _blur,
    Artifact.OVER_SMOOTHING: _smooth,
    Artifact.TEXTURE_LOSS: _lose_texture,
    Artifact.BLENDING_BOUNDARY: _self_blend,
    Artifact.COLOUR_MISMATCH: _recolour,
    Artifact.LIGHTING_MISMATCH: _light,
    Artifact.NOISE_MISMATCH: _noise,
    Artifact.MISALIGNMENT: _shift,
    Artifact.STRUCTURAL_DISTORTION: _distort,
    Artifact.GRID_PATTERN: _grid,
}

CONDITIONS: dict[str, Callable[[Image, Rng], Image]] = {
    "dark": lambda image, rng: image * np.float32(rng.uniform(0.3, 0.65)),
    "bright": lambda image, rng: image * np.float32(rng.uniform(1.25, 1.6)),
    "flat": lambda image, rng: 128 + np.float32(rng.uniform(0.4, 0.7)) * (image - 128),
    "tinted": lambda image, rng: image * rng.uniform(0.75, 1.2, 3).astype(np.float32),
    "grey": lambda image, _: np.repeat(image.mean(-1, keepdims=True), 3, axis=-1),
    "soft": lambda image, rng: _resample(image, rng.uniform(0.45, 0.8), rng),
    "noisy": lambda image, rng: _noise(image, rng.uniform(0.2, 0.8), rng),
    "compressed": lambda image, rng: _jpeg(image, int(rng.integers(30, 70))),
}
"""What a whole picture may be like, one function (float32 in 0..255) for each word."""


def _region_grid(masks: dict[Region, Image]) -> np.ndarray:
    stack = np.stack([masks[region] for region in REGIONS], -1).astype(np.float32)
    size = stack.shape[0]
    return stack.reshape(GRID, size // GRID, GRID, size // GRID, -1).mean((1, 3)).argmax(-1)


def _name(altered: np.ndarray, masks: dict) -> tuple[tuple[Region, Artifact], ...]:
    """The regions altered over a third of their area, each with its strongest artifact."""
    named = []
    for region in REGIONS:
        if masks[region].sum() < 12:
            continue
        share = altered[masks[region]].mean(0)
        if share.max() > 0.33:
            named.append((region, ARTIFACTS[int(share.argmax())]))
    return tuple(named)
