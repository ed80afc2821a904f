"""Fit the model of people: ``python -m tools.fit_people LONDON_FOLDER`` writes facesim/people.npz.

Two photographs (neutral, smiling) of each training person of the Face Research Lab London Set
are cut from their plain background and brought to one shape. An anchor is the head of one of
them, with a face of three: they are registered densely, the coarse tones are a mean of theirs, and
the detail comes from one here and from another there, so that it is as sharp as a photograph.
Hair, ears, neck and collar stay one person's: blends of those look torn. No whole face is kept.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.face.geometry import (
    HAIRLINE,
    Mask,
    Points,
    Portrait,
    align,
    grown,
    hull,
    mirrored,
    warp,
)
from dfa_lib.taxonomy import Split
from facesim.people import MODEL, SIDE, drawn, model
from facesim.populations import London, photo_and_points
from tools.cut_people import extended, matte

Floats = NDArray[np.float32]
Rng = np.random.Generator
ANCHORS, ALIKE, SHAPE = 300, 8, 24
TRIES = 8  # at an anchor, before the blend least like a person is taken
LIKENESS = 0.6  # correlation with the detail of a person above which a blend is tried again
SHARES = np.float32([0.28, 0.36, 0.36])
"""How much each of the people gives to the tones and the form of a face; the first has the head."""
BANDS = 5  # of detail, each twice as coarse as the one before
FARTHEST = 14  # pixels that registration moves anything


@dataclass(frozen=True)
class Example:
    """A photograph in the mean shape: RGB and opacity in 0..1, (S, S, 4).

    ``points`` (81, 2) are the landmarks before.
    """

    person: str
    points: Points
    layers: Floats


def cut_out(london: London, person: str, take: int) -> tuple[Portrait, Floats]:
    """Return an aligned photograph and the opacity (S, S) of the person in it."""
    photo, points = photo_and_points(london.root / london.frame(person, take))
    grey = np.repeat(np.uint8(255 * matte(photo, points))[..., None], 3, axis=2)
    alpha = align(grey, points, SIDE).image[..., 0] / np.float32(255)
    return align(photo, points, SIDE), alpha


def in_shape(person: str, portrait: Portrait, alpha: Floats, mean: Points) -> Example:
    """Bring a cut-out portrait into the shape ``mean`` (81, 2)."""
    layers = np.dstack([extended(portrait.image, alpha) / 255, alpha]).astype(np.float32)
    moved = warp(layers, portrait.landmarks, mean)
    return Example(person, portrait.landmarks, np.clip(moved, 0, 1))


def examples(root: Path) -> tuple[list[list[Example]], Floats]:
    """Return neutral and smiling training people, each mirrored as well, and the mean shapes.

    The lists are in the same order; the shapes are (2, 81, 2).
    """
    london, shown, means = London(root, SIDE), [], []
    for take in (0, 1):
        people = london.people(Split.TRAIN, 102)
        cut = [(who, *cut_out(london, who, take)) for who in people]
        cut += [(who, mirrored(face), alpha[:, ::-1].copy()) for who, face, alpha in cut]
        means.append(np.mean([face.landmarks for _, face, _ in cut], axis=0))
        shown.append([in_shape(*one, means[-1]) for one in cut])
    return shown, np.stack(means)


def left_over(root: Path, people: Sequence[str]) -> Floats:
    """Return how far mixes of the anchors can come to photographs (n,): RMS of luma in the face."""
    london, mean = London(root, SIDE), model().mean_shape
    inside = hull(mean, SIDE)
    shown = [in_shape(who, *cut_out(london, who, 0), mean).layers for who in people]
    wanted = np.stack([luma(one)[inside] for one in shown], axis=1)
    known = [luma(drawn(at)[0])[inside] for at in range(len(model().women))]
    axes = np.stack([*known, np.ones_like(known[0])], axis=1)
    left = wanted - axes @ np.linalg.lstsq(axes, wanted)[0]
    return np.sqrt(np.mean(left**2, axis=0))


def luma(layers: Floats) -> Floats:
    """Return the luma (S, S) in 0..1 of layers (S, S, 4)."""
    return cv2.cvtColor(layers[..., :3].copy(), cv2.COLOR_RGB2GRAY)


def likeness(shown: Sequence[Sequence[Example]], women: NDArray[np.bool_], mean: Points) -> Floats:
    """Describe people (n, d): how light skin, brows and beard are, sex and smile.

    ``shown`` are their neutral and their smiling photographs.
    """
    side = SIDE // 8
    inside = cv2.resize(face_of(mean), (side, side), interpolation=cv2.INTER_AREA) > 0.5
    rows = []
    for neutral, smiling, woman in zip(*shown, women, strict=True):
        tone = cv2.resize(luma(neutral.layers), (side, side), interpolation=cv2.INTER_AREA)
        known = [100 * woman, 0.25 * opened(smiling)]
        rows.append(np.concatenate([2 * tone[inside], known]))
    return np.stack(rows)


def skin(example: Example) -> float:
    """Return the median luma of a cheek."""
    return float(np.median(luma(example.layers)[130:150, 70:85]))


def fringe(example: Example) -> float:
    """Return how much darker the forehead is than the cheek, as a share of it."""
    forehead = luma(example.layers)[52:78, 84:140]
    return float(np.mean(np.clip(1 - forehead / skin(example) - 0.1, 0, 1)))


def opened(example: Example) -> float:
    """Return how far the lips are apart in pixels."""
    return float(example.points[66, 1] - example.points[62, 1])


def flow(one: Example, other: Example) -> Floats:
    """Return by how many pixels (S, S, 2) what is in ``one`` lies elsewhere in ``other``."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    shown = []
    for layers in (one.layers, other.layers):
        alpha = layers[..., 3]
        shown.append(np.uint8(255 * (luma(layers) * alpha + 0.85 * (1 - alpha))))
    found = cv2.GaussianBlur(search.calc(*shown, None), (0, 0), 4)
    length = np.linalg.norm(found, axis=2, keepdims=True)
    return found * np.minimum(1, FARTHEST / np.maximum(length, 1e-6))


def registered(people: Sequence[Example], face: Floats) -> list[Floats]:
    """Bring people to the mean of their forms within ``face`` (S, S): RGB of each, (S, S, 3).

    Towards its edge the form becomes that of the first one, who has all that is outside.
    """
    grid = np.dstack(np.meshgrid(*[np.arange(SIDE, dtype=np.float32)] * 2))
    flows = [np.zeros_like(grid)] + [flow(people[0], other) for other in people[1:]]
    mean = face[..., None] * np.einsum("p,pyxc->yxc", SHARES, np.stack(flows))
    at = grid
    for _ in range(4):  # where the first person shows what the mean form has at each pixel
        at = grid - resampled(mean, at)
    moved = []
    for person, way in zip(people, flows, strict=True):
        there = at + resampled(way, at)
        moved.append(np.clip(resampled(person.layers[..., :3], there, cv2.INTER_CUBIC), 0, 1))
    return moved


def resampled(layers: Floats, at: Floats, way: int = cv2.INTER_LINEAR) -> Floats:
    """Look layers (S, S, ...) up at the pixels ``at`` (S, S, 2)."""
    return cv2.remap(layers, at.astype(np.float32), None, way, borderMode=cv2.BORDER_REFLECT_101)


def face_of(mean: Points) -> Floats:
    """Return where a face is blended, (S, S) in 0..1: within jaw, ears and most of the forehead."""
    middle = mean[36:48].mean(axis=0)
    forehead = middle + np.float32(0.85) * (mean[HAIRLINE] - middle)
    inside = hull(np.concatenate([mean[2:15], mean[17:27], forehead]), SIDE, 0.95)
    return cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 4)


def bands(picture: Floats) -> list[Floats]:
    """Split a picture (S, S, c) into bands of detail, the finest first, and the rest."""
    soft = [picture, *(cv2.GaussianBlur(picture, (0, 0), 2.0**k) for k in range(BANDS))]
    return [fine - coarse for fine, coarse in pairwise(soft)] + soft[-1:]


def blended(people: Sequence[Example], places: Floats, mean: Points) -> Floats:
    """Lay a face of all people, in the shape ``mean``, on the first one: (S, S, 4).

    ``places`` (people, S, S), which sum to one, say whose detail is where; what is coarser than
    some eight pixels is mixed evenly. Each band keeps the contrast of the people in it, and the
    face the mean colour of the first one's, whose neck and ears are beside it.
    """
    face, first = face_of(mean), people[0].layers
    coloured, split = 0.0, [bands(one) for one in registered(people, face)]
    for k, band in enumerate(zip(*split, strict=True)):
        own = max(0, 1 - k / 3)
        share = own * places + (1 - own) * SHARES[:, None, None]
        mix = np.einsum("pyx,pyxc->yxc", share, np.stack(band))
        if k < BANDS:
            power = [cv2.GaussianBlur((one**2).mean(axis=2), (0, 0), 6) for one in (*band, mix)]
            wanted = np.einsum("pyx,pyx->yx", share, np.stack(power[:-1]))
            mix *= np.clip(np.sqrt(wanted / (power[-1] + 1e-8)), 1, 1.5)[..., None]
        coloured = coloured + mix
    apart = first[..., :3] - coloured
    coloured += np.einsum("yx,yxc->c", face, apart) / face.sum()
    colours = first[..., :3] + face[..., None] * (coloured - first[..., :3])
    return np.clip(np.dstack([colours, first[..., 3]]), 0, 1)


def places(rng: Rng, mean: Points) -> Floats:
    """Draw who lends the detail where (people, S, S): areas some 30 pixels wide, softly bounded."""
    fine = areas(rng, 14)
    for feature in (np.r_[17:27, 36:48], np.r_[48:68]):  # both eyes, and the mouth, are of a piece
        mask = hull(grown(mean[feature], 1.15), SIDE)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3)
        fine += soft * (fine[:, mask].mean(axis=1)[:, None, None] - fine)
    share = np.exp(1.5 * fine) * SHARES[:, None, None]
    return share / share.sum(axis=0)


def areas(rng: Rng, sigma: float) -> Floats:
    """Draw smooth fields (people, S, S) of unit variance whose areas are some 2 sigma wide."""
    noise = rng.standard_normal((SIDE // 4, SIDE // 4, len(SHARES))).astype(np.float32)
    smooth = cv2.resize(cv2.GaussianBlur(noise, (0, 0), sigma / 4), (SIDE, SIDE))
    return np.moveaxis((smooth - smooth.mean()) / smooth.std(), 2, 0)


def chosen(apart: Floats, first: int, rng: Rng) -> list[int]:
    """Choose two others out of the most alike; ``apart`` (2n, 2n) has the mirrored people last."""
    n, alike = len(apart) // 2, {}
    for at in np.argsort(apart[first]):
        if at % n != first % n:
            alike.setdefault(int(at % n), int(at))
    return [first, *rng.choice(list(alike.values())[:ALIKE], len(SHARES) - 1, replace=False)]


def packed(faces: Sequence[Floats]) -> list[NDArray[np.uint8]]:
    """Encode two faces (S, S, 4), one above the other: colours, and opacity."""
    layers = np.uint8(255 * np.concatenate(faces) + 0.5)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    return [cv2.imencode(".jpg", part, quality)[1] for part in (layers[..., 2::-1], layers[..., 3])]


def controls(root: Path, shown: Sequence[Example]) -> tuple[Floats, ...]:
    """Return what ten years, and a tenth of the skin's luma, add to colours and to landmarks.

    (2, S / 4, S / 4, 3) and (2, 81, 2), each the slope on one of the two alone.
    """
    rows = [London(root).row(one.person) for one in shown]
    old = [float(row["face_age"].replace("NA", "nan")) / 10 for row in rows]
    told = np.array([old, [10 * skin(one) for one in shown]], np.float32)
    told = np.nan_to_num(told - np.nanmean(told, axis=1, keepdims=True))
    told /= (told**2).sum(axis=1, keepdims=True)
    side = (SIDE // 4, SIDE // 4)
    pictures = [one.layers[..., :3].copy() for one in shown]
    small = [cv2.resize(one, side, interpolation=cv2.INTER_AREA) for one in pictures]
    points = np.stack([one.points for one in shown])
    return tuple(np.einsum("cn,n...->c...", told, rows) for rows in (np.stack(small), points))


def mean_of(values: Sequence[Floats]) -> Floats:
    """Return the mean of values (...) of the people of an anchor, by their shares."""
    return np.einsum("p,p...->...", SHARES, np.stack(values))


def texture(layers: Floats, inside: Mask) -> Floats:
    """Return the fine and middle detail of a face (n,), by which a person is known."""
    grey = luma(layers)
    return (cv2.GaussianBlur(grey, (0, 0), 1.5) - cv2.GaussianBlur(grey, (0, 0), 16))[inside]


def unit(rows: Floats) -> Floats:
    """Return ``rows`` (..., d) of length one."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def leads(rng: Rng, usual: NDArray[np.int64], women: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Choose who leads each anchor (ANCHORS,): women and men in turn, and everybody alike often.

    As each sex comes in rounds, few of any part of the anchors are led by the same person.
    """
    sexes = [rng.permutation(usual[women[usual] == woman]) for woman in (True, False)]
    return np.stack([np.resize(one, ANCHORS // 2) for one in sexes], axis=1).ravel()


def anchors(
    shown: list[list[Example]], women: NDArray[np.bool_], means: Points
) -> dict[str, NDArray]:
    """Blend ANCHORS faces, each of three people who are alike; see ``facesim.people.Model``.

    ``means`` (2, 81, 2) are the shapes that neutral and smiling people are in. A blend that
    resembles one of the people is tried again with others, TRIES times at most.
    """
    rng, n, mean = np.random.default_rng(0), len(women) // 2, means[0]
    looks = likeness(shown, women, mean)
    apart = np.linalg.norm(looks[:, None] - looks, axis=2)
    covered = np.array([fringe(one) > 0.03 for one in shown[0]])
    apart[:, covered] = np.inf  # half a fringe is a dark patch
    inside = hull(mean[:68], SIDE, 0.95)
    textures = np.stack([texture(one.layers, inside) for one in shown[0]])
    usually, known = textures.mean(axis=0), unit(textures - textures.mean(axis=0))
    rows: dict[str, list] = {name: [] for name in ("files", "points", "traits", "members", "women")}
    for first in leads(rng, np.flatnonzero(~covered), women):
        least = np.inf
        for _ in range(TRIES):
            tried, there = chosen(apart, first, rng), places(rng, mean)
            blend = blended([shown[0][at] for at in tried], there, mean)
            like = (known @ unit(texture(blend, inside) - usually)).max()
            if like < least:
                least, who, where, neutral = like, tried, there, blend
            if least < LIKENESS:
                break
        takes = [[take[at] for at in who] for take in shown]
        told = [(skin(plain), opened(wide)) for plain, wide in zip(*takes, strict=True)]
        rows["files"] += packed([neutral, blended(takes[1], where, means[1])])
        rows["points"].append([mean_of([one.points for one in people]) for people in takes])
        rows["traits"].append(mean_of(told))
        rows["members"].append(np.isin(np.arange(n), np.array(who) % n))
        rows["women"].append(women[who[0]])
    common = np.einsum("ap,bp->ab", *[np.int32(rows["members"])] * 2)
    return {
        "files": np.concatenate(rows["files"]),
        "ends": np.cumsum([len(file) for file in rows["files"]]),
        "women": np.array(rows["women"], np.uint8),
        "traits": np.array(rows["traits"], np.float32),
        "strangers": (common == 0).astype(np.uint8),
        "points": np.array(rows["points"], np.float32),
    }


def fit(root: Path) -> dict[str, NDArray]:
    """Fit the model to the training people of a London folder; see ``facesim.people.Model``."""
    shown, means = examples(root)
    women = np.array([London(root).row(one.person)["face_gender"] == "female" for one in shown[0]])
    plain = shown[0][: len(shown[0]) // 2]
    shapes = np.stack([one.points.ravel() for one in plain])
    power, turn = np.linalg.eigh(np.cov(shapes.T))
    axes = (turn * np.sqrt(np.maximum(power, 0))).T[: -SHAPE - 1 : -1]
    colours, moves = controls(root, plain)
    return {
        **anchors(shown, women, means),
        "means": means.astype(np.float32),
        "axes": axes.reshape(SHAPE, -1, 2).astype(np.float32),
        "colours": colours.astype(np.float16),
        "moves": moves.astype(np.float32),
    }


def main() -> None:
    """Read the command line, fit and save."""
    parser = argparse.ArgumentParser("tools.fit_people", description=__doc__)
    parser.add_argument("london", type=Path, help="folder of the Face Research Lab London Set")
    np.savez_compressed(MODEL, **fit(parser.parse_args().london))
    print(f"{MODEL}: {MODEL.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
