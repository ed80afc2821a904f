"""People who do not exist, drawn from a statistical model of faces.

The model (people.npz, see MODEL_CARD.md) describes shape, colours, outline and grain of the
training people of the Face Research Lab London Set. A person is a mix of two of its anchors plus
noise; a take adds expression, a turn of the head, light and background.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import Points, Portrait, frame, hull, move, warp
from facesim import hair, scene
from facesim.skin import Skin, coarse

MODEL = Path(__file__).with_name("people.npz")
SIDE = 224
"""Side of the model's own picture in pixels; portraits are resized from it."""
_BOLD = np.float32(1.5)  # mixing also makes people alike; this sets them apart again
_SHARP = np.float32(0.6)  # of the finest detail of eyes, brows, nose and mouth alike
_OWN = np.float32(0.45)  # how far a person is from every anchor, in standard deviations
_LENT = np.float32(0.7)  # of the shape of the mouth, which comes with its detail
_APART = 0.42  # of the way between the sexes, which mixing brings together
_CRISP = 1.15  # mixing people averages their detail out; this gives back its contrast
Floats = NDArray[np.float32]
Rng = np.random.Generator
Part = tuple[float, float]
WHOLE: Part = (0, 1)


@dataclass(frozen=True)
class Model:
    """The fitted model, S = SIDE, k texture and m shape components, A anchors.

    ``luma`` (1 + k, S, S), ``chroma`` (1 + k, S/2, S/2, 2), ``outline`` (1 + k, S/2, S/2)
    hold the mean and the components; colours are YCrCb in 0..1, the outline is the distance in
    pixels to the silhouette; ``lean`` (S, S) is that of people without long hair. ``flow``
    (1 + k, S/4, S/4, 3) says how hair lies. ``shape`` (1 + m, 162) is in pixels. ``anchors``
    (A, 2, k + m) are scores with a neutral and a smiling face; ``spread`` (k + m,) is their
    standard deviation over people, ``grain`` (2, S, S) that of fine and middle detail.
    ``controls`` (3, k + m) is what ten years, a tenth of the skin's luma and a woman's sex
    instead of a man's add to the scores.
    """

    luma: Floats
    chroma: Floats
    outline: Floats
    flow: Floats
    lean: Floats
    shape: Floats
    anchors: Floats
    spread: Floats
    controls: Floats
    grain: Floats

    @property
    def mean_shape(self) -> Points:
        """The mean landmarks (81, 2)."""
        return self.shape[0].reshape(-1, 2)


@cache
def model() -> Model:
    """Read the model; it holds arrays alone, no pickle."""
    with np.load(MODEL, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    whole = {}
    for name in ("luma", "chroma", "outline", "flow"):
        mean, axes, step = (stored[f"{name}_{what}"] for what in ("mean", "axes", "step"))
        scaled = axes * step.reshape(-1, *[1] * mean.ndim)
        whole[name] = np.concatenate([mean[None], scaled]).astype(np.float32)
    shape = np.concatenate([stored["shape_mean"][None], stored["shape_axes"]]).astype(np.float32)
    rest = {
        name: stored[name].astype(np.float32) for name in ("anchors", "spread", "controls", "grain")
    }
    lean = cv2.resize(stored["lean"].astype(np.float32), (SIDE, SIDE))
    return Model(**whole, lean=lean, shape=shape, **rest)


@dataclass(frozen=True)
class Person:
    """One person in the mean shape, each field with a neutral and a smiling face first.

    ``colours`` (2, S, S, 3) RGB in 0..1, ``opacity`` (2, S, S) in 0..1, ``points`` (2, 81, 2) px.
    """

    colours: Floats
    opacity: Floats
    points: Floats


def generator(name: str, number: int = 0) -> Rng:
    """Return a random generator of its own for a named thing, equal on every machine."""
    return np.random.default_rng([int(sha256(name.encode()).hexdigest()[:12], 16), number])


@lru_cache(maxsize=64)
def person(name: str, *, years: float = 0, fairness: float = 0, part: Part = WHOLE) -> Person:
    """Draw the person of a name; the same name always gives the same person.

    ``part`` is the share of the anchors, from 0 to 1, between which the person is mixed: people
    of parts that do not meet have no anchor in common.

    ``years`` makes the person look older or younger by about as much, ``fairness`` the skin
    lighter or darker by that share of white, each as in the photographs of the London Set:
    what goes along with them there, such as hair, changes as well.
    """
    rng, known = generator(name), model()
    anchors = known.anchors[slice(*(round(end * len(known.anchors)) for end in part))]
    female, woman = _female(known, anchors), rng.random() < 0.48
    order = np.argsort(female)
    first = rng.choice(order[-len(order) // 3 :] if woman else order[: -len(order) // 3])
    like = np.argsort(np.abs(female - female[first]))[1 : len(female) // 3]
    noise = rng.normal(0, 1, len(known.spread)).astype(np.float32) * known.spread
    push = (
        np.float32(years / 10) * known.controls[0] + np.float32(fairness * 10) * known.controls[1]
    )
    usual = known.anchors.mean(axis=0)  # of each expression: neutral people are not stern
    skin, features = (
        _sexed(known, usual + _BOLD * (anchors[at] - usual) + _OWN * noise, woman) + push
        for at in (first, rng.choice(like))
    )
    k = len(known.luma) - 1
    scores = skin.copy()
    scores[:, k:] = 0.5 * (skin + features)[:, k:] + 0.28 * noise[k:]
    colours = np.stack([_colours(known, one[:k]) for one in scores])
    others = np.stack([_colours(known, one[:k]) for one in features])
    own = _detail(colours)
    colours += _CRISP * (own + _inner() * (_detail(others) - own)) - own
    blurred = np.stack([cv2.GaussianBlur(one, (0, 0), 1.2) for one in colours])
    colours += _SHARP * _inner() * (colours - blurred)
    colours = np.stack([_skin().mended(one) for one in colours])
    calm, hairy = scores - 0.7 * _OWN * noise, _hair(colours[0])
    shoulders = rng.uniform(0, 24)
    outline = np.stack([_outline(known, one[:k], hairy, shoulders) for one in calm])
    flow = cv2.resize(_weighted(known.flow, calm[0, :k]), (SIDE, SIDE))
    colours, opacity = hair.haired(colours, outline, hairy, flow, known.mean_shape, woman, rng)
    pairs = zip(scores[:, k:], features[:, k:], strict=True)
    points = np.stack([_formed(known, *pair) for pair in pairs])
    return Person(colours, opacity, points)


def _female(known: Model, scores: Floats) -> Floats:
    """Read from scores (..., 2, k + m) which sex they are nearer to: women have more."""
    neutral, weights = scores[..., 0, :], known.controls[2] / known.spread**2
    total = np.einsum("k,k->", weights, known.controls[2])
    return np.einsum("...k,k->...", neutral, weights) / total


def _sexed(known: Model, scores: Floats, woman: bool) -> Floats:
    """Move scores (2, k + m) to where the sexes are, as mixing people brings them together."""
    goal = _APART if woman else -_APART
    return scores + np.float32(goal - _female(known, scores)) * known.controls[2]


def _outline(known: Model, scores: Floats, hairy: Floats, shoulders: float) -> Floats:
    """Distance to the silhouette (S, S) in pixels, without the wobble of few components on skin.

    Beside face and neck it is that of lean people, and ``shoulders`` pixels wider at the bottom.
    """
    rough = cv2.resize(_weighted(known.outline, scores), (SIDE, SIDE))
    low = np.clip(np.arange(SIDE, dtype=np.float32)[:, None] / 24 - 8.3, 0, 1)
    lean = np.minimum(rough, known.lean + shoulders * low)
    rough += (lean - rough) * _beside() * (1 - hairy)
    return rough + (1 - _scalp()) * (coarse(rough, 6) - rough)


def _hair(colours: Floats) -> Floats:
    """How much of a pixel is hair rather than skin, (S, S) in 0..1: unlike the cheeks, outside."""
    soft = np.clip(cv2.GaussianBlur(colours, (0, 0), 2), 0, 1)
    red, green, blue = cv2.split(np.abs(np.log((soft + 0.03) / (_skin().tone(soft) + 0.03))))
    unlike = np.clip((np.maximum(np.maximum(red, green), blue) - 0.3) / 0.4, 0, 1)
    whole = cv2.morphologyEx(unlike, cv2.MORPH_CLOSE, np.ones((31, 31), np.uint8))
    return _scalp() * cv2.GaussianBlur(whole, (0, 0), 2)


def _formed(known: Model, scores: Floats, features: Floats) -> Points:
    """Return landmarks (81, 2): the mouth as in ``features``, as its detail is."""
    points, other = (_weighted(known.shape, one).reshape(-1, 2) for one in (scores, features))
    mouth, lent = points[48:68], other[48:68]
    mouth += _LENT * (lent - lent.mean(axis=0) - mouth + mouth.mean(axis=0))
    return points


@cache
def _skin() -> Skin:
    return Skin.of(model().mean_shape, SIDE)


@cache
def _scalp() -> Floats:
    """Where hair may be, (S, S) in 0..1: outside face and ears, above them."""
    points = model().mean_shape
    skin = hull(points, SIDE, 0.98).astype(np.float32)
    for side in (slice(0, 4), slice(13, 17)):
        skin += hull(points[side], SIDE, (4, 1.1))
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    aside = np.abs(x - points[8, 0]) - np.ptp(points[[0, 16], 0]) / 2
    low = np.clip((points[0, 1] - 6 + 34 * np.clip(aside / 10 - 0.8, 0, 1) - y) / 8, 0, 1)
    return low * (1 - cv2.GaussianBlur(np.minimum(skin, 1), (0, 0), 2))


@cache
def _beside() -> Floats:
    """Where only long hair hangs, (S, S) in 0..1: beside face and neck, down to the shoulders."""
    points, beside = model().mean_shape, np.zeros((SIDE, SIDE), np.float32)
    ear, jaw = int(points[1, 1]), int(points[3, 1])
    beside[ear:jaw] = 1
    beside[ear:jaw, int(points[3, 0]) - 8 : int(points[13, 0]) + 9] = 0
    beside[jaw:] = ~hull(points[:68], SIDE, 1.02)[jaw:]
    return cv2.GaussianBlur(beside, (0, 0), 3)


def _weighted(stack: Floats, scores: Floats) -> Floats:
    """Mean plus weighted components; not by BLAS, whose last bits depend on its threads."""
    return stack[0] + np.einsum("k,k...->...", scores, stack[1:])


def _colours(known: Model, scores: Floats) -> Floats:
    chroma = cv2.resize(_weighted(known.chroma, scores), (SIDE, SIDE))
    ycc = np.dstack([_weighted(known.luma, scores), chroma + 0.5])
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)


def _detail(colours: Floats) -> Floats:
    """What is finer than the tone of the skin: (n, S, S, 3)."""
    return np.stack([one - coarse(one, 9) for one in colours])


@cache
def _inner() -> Floats:
    """How much of the features' detail replaces the skin's, (S, S, 1) in 0..1."""
    mask = hull(model().mean_shape[17:68], SIDE, 1.1).astype(np.float32)
    return cv2.GaussianBlur(mask, (0, 0), 6)[..., None]


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
    smile = float(rng.uniform(0.35, 0.8) if rng.random() < 0.33 else rng.uniform(-0.1, 0.15))
    colours, opacity, points = (
        one[0] + np.float32(smile) * (one[1] - one[0])
        for one in (who.colours, who.opacity, who.points)
    )
    colours = colours + _grain(known, rng)
    colours = scene.clothed(colours, known.mean_shape, rng)
    colours = colours * scene.shading(known.mean_shape, SIDE, rng, lamp)
    points = _turned(points, rng)
    points = move(points, frame(points, SIDE))
    layers = np.dstack([colours, opacity]).astype(np.float32)
    moved = warp(layers, known.mean_shape, points)
    alpha = np.clip(moved[..., 3:], 0, 1)
    behind = scene.background(SIDE, rng)
    picture = np.clip(255 * (behind + alpha * (moved[..., :3] - behind)) + 0.5, 0, 255)
    return _resized(Portrait(picture.astype(np.uint8), points), size)


def _grain(known: Model, rng: Rng) -> Floats:
    """Skin as fine as the photographs', which components blur; hair has strands: (S, S, 1)."""
    noise = rng.normal(0, 1, (2, SIDE, SIDE)).astype(np.float32)
    fine = cv2.GaussianBlur(noise[0], (0, 0), 0.7) * 2.4 * known.grain[0]
    middle = cv2.GaussianBlur(noise[1], (0, 0), 1.4) * 5 * known.grain[1]
    return (0.9 * (1 - 0.8 * _scalp()) * (fine + middle))[..., None]


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
