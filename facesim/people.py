"""People who do not exist, put together from blends of faces.

The model (people.npz, see MODEL_CARD.md) holds heads of people of the Face Research Lab London Set
with faces blended of three. A person has the head of one and the features of another, in a shape
of their own; a take adds expression, a turn of the head, light and background.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import Points, Portrait, frame, hull, mirrored, move, warp
from facesim import scene

MODEL = Path(__file__).with_name("people.npz")
SIDE = 224
"""Side of the model's own picture in pixels; portraits are resized from it."""
_OWN = 0.8  # standard deviations that a person's shape differs from those it is mixed of
_SMILING = 0.45  # of the takes
Floats = NDArray[np.float32]
Rng = np.random.Generator
Part = tuple[float, float]
WHOLE: Part = (0, 1)


@dataclass(frozen=True)
class Model:
    """The fitted model, S = SIDE, m shape components, A anchors.

    ``files`` (bytes) are JPEG files one after the other that end at ``ends`` (2 A,): of each
    anchor the colours and the opacity, see ``drawn``. ``women`` (A,) is its sex, ``traits``
    (A, 2) are the luma of its skin in 0..1 and how many pixels its lips are apart when it smiles,
    ``strangers`` (A, A) are the anchors that have no training person in common with it,
    ``points`` (A, 2, 81, 2) its landmarks in pixels, neutral and
    smiling. ``means`` (2, 81, 2) are the shapes that neutral and smiling pictures are in; ``axes``
    (m, 81, 2) the components of shape, as long as their standard deviation. ``colours`` (2, S / 4,
    S / 4, 3) and ``moves`` (2, 81, 2) are what ten years and a tenth of the skin's luma add.
    """

    files: NDArray[np.uint8]
    ends: NDArray[np.int64]
    women: NDArray[np.uint8]
    traits: Floats
    strangers: NDArray[np.uint8]
    points: Floats
    means: Points
    axes: Floats
    colours: Floats
    moves: Floats

    @property
    def mean_shape(self) -> Points:
        """The mean landmarks (81, 2) of neutral faces."""
        return self.means[0]


@cache
def model() -> Model:
    """Read the model; it holds arrays alone, no pickle."""
    with np.load(MODEL, allow_pickle=False) as file:
        return Model(**{name: file[name] for name in file.files})


@dataclass(frozen=True)
class Person:
    """One person in the mean shapes, each field with a neutral and a smiling face first.

    ``colours`` (2, S, S, 3) RGB and ``opacity`` (2, S, S) in 0..1; ``points`` (2, 81, 2) in pixels.
    """

    colours: Floats
    opacity: Floats
    points: Floats


def generator(name: str, number: int = 0) -> Rng:
    """Return a random generator of its own for a named thing, equal on every machine."""
    return np.random.default_rng([int(sha256(name.encode()).hexdigest()[:12], 16), number])


def drawn(anchor: int) -> Floats:
    """Return an anchor, neutral and smiling: RGB and opacity (2, S, S, 4) in 0..1."""
    known = model()
    first, *ends = (int(end) for end in (0, *known.ends)[2 * anchor : 2 * anchor + 3])
    colours, opacity = (
        cv2.imdecode(known.files[start:end], cv2.IMREAD_UNCHANGED).astype(np.float32) / 255
        for start, end in zip([first, ends[0]], ends, strict=True)
    )
    return np.dstack([colours[..., ::-1], opacity]).reshape(2, SIDE, SIDE, 4)


@lru_cache(maxsize=64)
def person(name: str, *, years: float = 0, fairness: float = 0, part: Part = WHOLE) -> Person:
    """Draw the person of a name; the same name always gives the same person.

    ``part`` is the share of the anchors, from 0 to 1, of which the person is made: people of parts
    that do not meet have no anchor in common.

    ``years`` makes the person look older or younger by about as much, ``fairness`` the skin
    lighter or darker by that share of white, each as in the photographs of the London Set:
    what goes along with them there, such as hair, changes as well.
    """
    rng, known = generator(name), model()
    within = np.arange(*(round(end * len(known.women)) for end in part))
    within = within[known.women[within] == (rng.random() < 0.48)]
    head = rng.choice(within)
    features = rng.choice(_partners(known, within, head))
    layers, others = drawn(head), drawn(features)
    colours, given = layers[..., :3], others[..., :3]
    colours = colours + _inner() * (_detail(given) - _detail(colours))
    push = np.float32([years / 10, 10 * fairness])
    tint = np.einsum("c,cyxk->yxk", push, known.colours.astype(np.float32))
    colours = np.clip(colours + cv2.resize(tint, (SIDE, SIDE)), 0, 1)
    own = np.float32(_OWN) * rng.standard_normal(len(known.axes), np.float32)
    points = known.points[[head, features]].mean(axis=0)
    points += np.einsum("k,kpx->px", own, known.axes) + np.einsum("c,cpx->px", push, known.moves)
    layers = np.concatenate([colours, layers[..., 3:]], axis=3)
    faces = [Portrait(*one) for one in zip(layers, points, strict=True)]
    if rng.random() < 0.5:
        faces = [mirrored(one) for one in faces]
    layers = np.stack([one.image for one in faces])
    return Person(layers[..., :3], layers[..., 3], np.stack([one.landmarks for one in faces]))


def _partners(known: Model, within: NDArray[np.int64], head: int) -> NDArray[np.int64]:
    """Choose anchors that suit a head in skin and smile, but have none of its people."""
    unlike = np.abs(known.traits[within] - known.traits[head]) @ np.float32([30, 1])
    unlike[known.strangers[head, within] == 0] = np.inf
    return within[np.argsort(unlike)[: 1 + len(within) // 5]]


def _detail(colours: Floats) -> Floats:
    """What is finer than the tone of the skin: (n, S, S, 3)."""
    return np.stack([one - coarse(one, 9) for one in colours])


def coarse(image: Floats, sigma: float) -> Floats:
    """Blur by many pixels, at a quarter of the size, where it costs a twentieth."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), (width, height))


@cache
def _inner() -> Floats:
    """How much of the features' detail replaces the head's, (2, S, S, 1) in 0..1."""
    masks = [hull(mean[17:68], SIDE, 1.1).astype(np.float32) for mean in model().means]
    return np.stack([cv2.GaussianBlur(mask, (0, 0), 6) for mask in masks])[..., None]


def portrait(
    name: str,
    take: int,
    size: int = 128,
    *,
    years: float = 0,
    fairness: float = 0,
    lamp: float | None = None,
    part: Part = WHOLE,
) -> Portrait:
    """Photograph a person: picture (size, size, 3) uint8 RGB with exact landmarks (81, 2).

    Takes of a person differ in expression, turn of the head, light and background. For
    ``years``, ``fairness`` and ``part`` see ``person``; ``lamp`` is the angle in degrees from
    which a strong light falls, -90 to 90 from the left to the right of the picture.
    """
    rng, known = generator(name, take + 1), model()
    who = person(name, years=years, fairness=fairness, part=part)
    smiles = int(rng.random() < _SMILING)
    mean, points = known.means[smiles], who.points[smiles]
    points = points + np.float32(rng.uniform(-0.15, 0.1)) * (who.points[1] - who.points[0])
    colours = who.colours[smiles] * scene.shading(mean, SIDE, rng, lamp)
    points = _turned(points, rng)
    points = move(points, frame(points, SIDE))
    layers = np.dstack([colours, who.opacity[smiles]]).astype(np.float32)
    moved = warp(layers, mean, points)
    alpha = np.clip(moved[..., 3:], 0, 1)
    behind = scene.background(SIDE, rng)
    picture = np.clip(255 * (behind + alpha * (moved[..., :3] - behind)) + 0.5, 0, 255)
    return _resized(Portrait(picture.astype(np.uint8), points), size)


def _turned(points: Points, rng: Rng) -> Points:
    """Turn the head a little to the side and up or down; depth is that of an ellipsoid."""
    centre = points[[*range(17), *range(68, 81)]].mean(axis=0)
    half = np.ptp(points, axis=0) / 2
    away = ((points - centre) / half) ** 2
    depth = np.sqrt(np.clip(1.15 - away.sum(axis=1), 0.02, None)) * half[0]
    depth[27:36] += np.float32([0.05, 0.12, 0.2, 0.28, 0.1, 0.14, 0.18, 0.14, 0.1]) * half[0]
    yaw, pitch = rng.normal(0, [0.09, 0.06])
    shift = np.stack([np.sin(yaw) * depth, np.sin(pitch) * depth], axis=1)
    scale = np.float32([np.cos(yaw), np.cos(pitch)])
    return (centre + (points - centre) * scale + shift).astype(np.float32)


def _resized(portrait: Portrait, size: int) -> Portrait:
    if size == SIDE:
        return portrait
    way = cv2.INTER_AREA if size < SIDE else cv2.INTER_CUBIC
    picture = cv2.resize(portrait.image, (size, size), interpolation=way)
    return Portrait(picture, (portrait.landmarks + 0.5) * np.float32(size / SIDE) - 0.5)
