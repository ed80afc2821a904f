"""Fit the model of people: ``python -m tools.fit_people LONDON_FOLDER`` writes facesim/people.npz.

Two photographs (neutral, smiling) of each training person of the Face Research Lab London Set
are cut from their plain background, brought to one shape and described by principal components.
No photograph and no single person's scores are kept: every anchor is a mix of five people that
resembles none of them.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dfa_lib.face.geometry import Image, Mask, Points, Portrait, align, hull, warp
from dfa_lib.instruct.people import London, photo_and_points
from dfa_lib.taxonomy import Split
from facesim.people import MODEL, SIDE, model

Floats = NDArray[np.float32]
TEXTURE, SHAPE, ANCHORS = 44, 24, 400
LIKENESS = 0.5  # greatest correlation of an anchor with a person, in standardised scores
REACH = 24  # pixels either side of the silhouette in which the distance to it is modelled
WEIGHTS = {"luma": 1.0, "chroma": 2.0, "outline": 0.5 / REACH, "flow": 0.5}


@dataclass(frozen=True)
class Example:
    """A training photograph in the mean shape: colours (S, S, 3) in 0..1, outline (S, S) in px."""

    person: str
    points: Points
    colours: Floats
    outline: Floats


def matte(photo: Image) -> Floats:
    """Return the opacity (H, W) in 0..1 of the person before the plain studio background."""
    height, width = photo.shape[:2]
    lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB).astype(np.float32)
    y, x = np.mgrid[: 1 : height * 1j, : 1 : width * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, y**3], axis=-1)
    plain = ((y < 0.45) & ((x < 0.08) | (x > 0.92))) | (y < 0.02)
    for _ in range(3):  # the background is a smooth surface; refit to all that lies near it
        surface = terms @ np.linalg.lstsq(terms[plain], lab[plain], rcond=None)[0]
        away = np.sqrt((((lab - surface) * np.float32([1, 1.6, 1.6])) ** 2).sum(axis=-1))
        plain = (away < 9) & (y < 0.6)
    alpha = np.clip((cv2.GaussianBlur(away, (0, 0), 0.6) - 8) / 10, 0, 1)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.5).astype(np.uint8))
    solid = labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
    closed = np.vstack([solid, np.ones((1, width), bool)])  # the shoulders leave at the bottom
    filled = ndimage.binary_fill_holes(closed)[:-1]
    near = cv2.dilate(filled.astype(np.uint8), np.ones((5, 5))) > 0
    return np.where(filled & ~solid, 1, alpha * near).astype(np.float32)


def extended(picture: Image, alpha: Floats) -> Floats:
    """Continue the person's colours outward, so that no background is learnt: (S, S, 3) 0..255."""
    inside = cv2.erode((alpha > 0.92).astype(np.uint8), np.ones((5, 5))) > 0
    distance, (rows, columns) = ndimage.distance_transform_edt(~inside, return_indices=True)
    nearest = picture[rows, columns].astype(np.float32)
    share = np.clip(distance / 6, 0, 1)[..., None].astype(np.float32)
    return nearest * (1 - share) + cv2.GaussianBlur(nearest, (0, 0), 3) * share


def shirt(portrait: Portrait, alpha: Floats) -> Mask:
    """Return where the white shirt of the studio is (S, S): bright and grey, below the head."""
    size, points = len(alpha), portrait.landmarks
    soft = cv2.GaussianBlur(portrait.image, (0, 0), 0.8).astype(np.float32) / 255
    row = np.arange(size)[:, None]
    neck = soft[min(int(points[8, 1]) + 4, size - 6) :, int(points[6, 0]) : int(points[10, 0])]
    bright, dull = soft.min(axis=2), np.ptp(soft, axis=2)
    grey = (bright > 0.5) & (dull < min(0.13, 0.6 * np.ptp(np.median(neck, axis=(0, 1)))))
    low = (row > points[[3, 13], 1].mean()) & ~hull(points[:68], size, 1.02)
    white = (grey & low & (alpha > 0.5)).astype(np.uint8)
    white = cv2.morphologyEx(white, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(white)
    ends = stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT]
    worn = np.flatnonzero((ends >= size - 1) & (stats[:, cv2.CC_STAT_AREA] > 30))
    whole = np.isin(labels, worn[worn > 0]).astype(np.uint8)
    closed = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return np.maximum.accumulate(closed, axis=0) > 0


def fringe(portrait: Portrait) -> Mask:
    """Return where hair hangs over the forehead (S, S), which mixing would make a dark patch."""
    points, size = portrait.landmarks, len(portrait.image)
    light = cv2.cvtColor(portrait.image, cv2.COLOR_RGB2LAB)[..., 0].astype(int)
    skin = np.median(light[hull(points[[31, 35, 3, 13, 40, 47]], size, 0.7)])
    forehead = hull(np.concatenate([points[69:80], points[[17, 26]]]), size, 0.9)
    forehead[int(points[[19, 24], 1].min()) - 3 :] = False
    return forehead & (light < skin - 45)


def flow(luma: Floats) -> Floats:
    """Return how hair lies (S / 4, S / 4, 3): twice its angle as a vector, and its contrast.

    The structure tensor of detail of 1 to 4 pixels; the vector is as long as the contrast where
    all strands are parallel and zero where they lie anyhow.
    """
    detail = luma - cv2.GaussianBlur(luma, (0, 0), 4)
    right, down = (cv2.Sobel(detail, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    tensor = np.dstack([down**2 - right**2, -2 * right * down, right**2 + down**2])
    coarse = cv2.resize(cv2.GaussianBlur(tensor, (0, 0), 3), (SIDE // 4, SIDE // 4))
    return coarse / np.sqrt(coarse[..., 2:] + 1e-6)


def signed_distance(alpha: Floats) -> Floats:
    """Return the distance (S, S) to the silhouette in pixels, positive inside, clipped."""
    inside = alpha > 0.5
    edt = ndimage.distance_transform_edt
    return np.clip(edt(inside) - edt(~inside), -REACH, REACH).astype(np.float32)


def cut_out(london: London, person: str, take: int) -> tuple[Portrait, Floats]:
    """Return an aligned photograph and the opacity (S, S) of the person in it."""
    photo, points = photo_and_points(london.root / london.frame(person, take))
    grey = np.repeat(np.uint8(255 * matte(photo))[..., None], 3, axis=2)
    alpha = align(grey, points, SIDE).image[..., 0] / np.float32(255)
    return align(photo, points, SIDE), alpha


def in_shape(person: str, portrait: Portrait, alpha: Floats, mean: Points) -> Example:
    """Bring a cut-out portrait into the shape ``mean`` (81, 2)."""
    covered = shirt(portrait, alpha) | fringe(portrait)
    skin = extended(portrait.image, np.where(covered, 0, alpha))
    layers = np.dstack([skin / 255, signed_distance(alpha)])
    moved = warp(layers.astype(np.float32), portrait.landmarks, mean)
    return Example(person, portrait.landmarks, moved[..., :3], moved[..., 3])


def examples(root: Path) -> list[Example]:
    """Return both photographs of every training person in the mean shape."""
    london = London(root, SIDE)
    people = london.people(Split.TRAIN, 102)
    cut = [(who, *cut_out(london, who, take)) for who in people for take in (0, 1)]
    mean = np.mean([portrait.landmarks for _, portrait, _ in cut], axis=0)
    return [in_shape(*one, mean) for one in cut]


def left_over(root: Path, person: str) -> float:
    """Return how far the model can come to a photograph: RMS of luma in 0..1, inside the face."""
    known = model()
    shown = in_shape(person, *cut_out(London(root, SIDE), person, 0), known.mean_shape)
    inside = hull(known.mean_shape, SIDE)
    luma = (cv2.cvtColor(np.clip(shown.colours, 0, 1), cv2.COLOR_RGB2GRAY) - known.luma[0])[inside]
    axes = known.luma[1:, inside].T
    return float(np.sqrt(np.mean((luma - axes @ np.linalg.lstsq(axes, luma, rcond=None)[0]) ** 2)))


def blocks(example: Example) -> dict[str, Floats]:
    """Split into luma (S, S), chroma (S/2, S/2, 2), outline (S/2, S/2) and flow."""
    ycc = cv2.cvtColor(np.clip(example.colours, 0, 1), cv2.COLOR_RGB2YCrCb)
    half = (SIDE // 2, SIDE // 2)
    return {
        "luma": ycc[..., 0],
        "chroma": cv2.resize(ycc[..., 1:] - 0.5, half, interpolation=cv2.INTER_AREA),
        "outline": cv2.resize(example.outline, half, interpolation=cv2.INTER_AREA),
        "flow": flow(ycc[..., 0]),
    }


def components(rows: Floats, k: int) -> tuple[Floats, Floats, Floats]:
    """Return mean (d,), ``k`` unit axes (k, d) and scores (n, k) of ``rows`` (n, d)."""
    mean = rows.mean(axis=0)
    power, turn = np.linalg.eigh(((rows - mean) @ (rows - mean).T).astype(np.float64))
    axes = turn[:, np.argsort(power)[::-1][:k]].T @ (rows - mean)
    axes = (axes / np.linalg.norm(axes, axis=1, keepdims=True)).astype(np.float32)
    return mean, axes, (rows - mean) @ axes.T


def anchors(scores: Floats, looks: Floats, rng: np.random.Generator) -> Floats:
    """Mix five people each, alike in hair so that no half-bald ghost comes out: (A, 2, k).

    ``scores`` (people, 2, k) hold the neutral and the smiling picture of each person. A mix
    that still resembles one of the people is drawn again.
    """
    mixed: list[Floats] = []
    apart = np.linalg.norm(looks[:, None] - looks, axis=2)
    lonely = np.sort(apart, axis=1)[:, 1:6].mean(axis=1)
    usual = np.flatnonzero(lonely < np.quantile(lonely, 0.9))  # hair that others have as well
    white = unit(scores[:, 0] / scores[:, 0].std(axis=0))
    while len(mixed) < ANCHORS:
        first = rng.choice(usual)
        order = np.argsort(apart[first])[1:]
        chosen = [first, *rng.choice(order[: len(order) // 8], 4, replace=False)]
        mix = np.tensordot(rng.dirichlet([4.0] * 5), scores[chosen], 1)
        if (white @ unit(mix[0] / scores[:, 0].std(axis=0))).max() < LIKENESS:
            mixed.append(mix)
    return np.stack(mixed).astype(np.float32)


def unit(rows: Floats) -> Floats:
    """Return ``rows`` (..., d) of length one."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def hair(shown: list[Example]) -> Floats:
    """Describe how hair falls and how light it is (n, d), from coarse colours and outline."""
    coarse = []
    for example in shown:
        luma = cv2.cvtColor(example.colours, cv2.COLOR_RGB2GRAY) * (example.outline > 0)
        small = cv2.resize(luma, (14, 14), interpolation=cv2.INTER_AREA)
        outline = cv2.resize(example.outline, (14, 14), interpolation=cv2.INTER_AREA) / REACH
        small[3:, 4:10] = 0  # the face itself
        coarse.append(np.concatenate([3 * small.ravel(), outline.ravel()]))
    return np.stack(coarse)


def controls(root: Path, people: list[str], scores: Floats, skin: Floats) -> Floats:
    """Return how scores (n, d) change with ten years, a tenth of skin's luma, and woman for man.

    Each row of (3, d) is the slope of the scores on one of the three alone.
    """
    rows = [London(root).row(who) for who in people]
    old = [float(row["face_age"].replace("NA", "nan")) / 10 for row in rows]
    told = np.array([old, 10 * skin, [row["face_gender"] == "female" for row in rows]])
    told = np.nan_to_num(told - np.nanmean(told, axis=1, keepdims=True))
    slopes = told @ (scores - scores.mean(axis=0)) / (told**2).sum(axis=1, keepdims=True)
    return slopes.astype(np.float32)


def grain(left: Floats) -> Floats:
    """Return the standard deviation (2, S, S) of fine and middle detail in luma ``left`` over."""
    soft, softer = (np.stack([cv2.GaussianBlur(r, (0, 0), s) for r in left]) for s in (1.0, 2.5))
    spread = [band.std(axis=0) for band in (left - soft, soft - softer)]
    return np.stack([cv2.GaussianBlur(band, (0, 0), 3) for band in spread])


def quantised(axes: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return int8 axes and the step (k,) of each."""
    step = np.abs(axes.reshape(len(axes), -1)).max(axis=1) / 127
    shape = (-1,) + (1,) * (axes.ndim - 1)
    return np.rint(axes / step.reshape(shape)).astype(np.int8), step.astype(np.float32)


def fit(root: Path) -> dict[str, NDArray]:
    """Fit the model to the training people of a London folder; see the arrays of facesim.people."""
    shown = examples(root)
    parts = [blocks(example) for example in shown]
    rows = {name: np.stack([part[name] for part in parts]) for name in WEIGHTS}
    flat = [rows[name].reshape(len(shown), -1) * weight for name, weight in WEIGHTS.items()]
    centre, axes, scores = components(np.concatenate(flat, axis=1), TEXTURE)
    shapes = np.stack([example.points.ravel() for example in shown])
    shape_mean, shape_axes, shape_scores = components(shapes, SHAPE)
    fitted: dict[str, NDArray] = {"shape_mean": shape_mean, "shape_axes": shape_axes}
    at = 0
    for (name, weight), part in zip(WEIGHTS.items(), flat, strict=True):
        form, width = rows[name].shape[1:], part.shape[1]
        fitted[f"{name}_mean"] = (centre[at : at + width] / weight).reshape(form).astype(np.float16)
        stored = (axes[:, at : at + width] / weight).reshape(-1, *form)
        fitted[f"{name}_axes"], fitted[f"{name}_step"] = quantised(stored)
        at += width
    both = np.concatenate([scores, shape_scores], axis=1).reshape(len(shown) // 2, 2, -1)
    fitted["anchors"] = anchors(both, hair(shown[::2]), np.random.default_rng(0))
    skin = np.array([np.median(part["luma"][130:150, 70:85]) for part in parts[::2]])
    people = [example.person for example in shown[::2]]
    fitted["controls"] = controls(root, people, both[:, 0], skin)
    fitted["spread"] = np.concatenate([scores, shape_scores], axis=1).std(axis=0)
    fitted["lean"] = np.quantile(rows["outline"], 0.25, axis=0).astype(np.float16)
    luma = rows["luma"].reshape(len(shown), -1)
    rebuilt = (centre + scores @ axes)[:, : luma.shape[1]]
    fitted["grain"] = grain((luma - rebuilt).reshape(-1, SIDE, SIDE)).astype(np.float16)
    return fitted


def main() -> None:
    """Read the command line, fit and save."""
    parser = argparse.ArgumentParser("tools.fit_people", description=__doc__)
    parser.add_argument("london", type=Path, help="folder of the Face Research Lab London Set")
    np.savez_compressed(MODEL, **fit(parser.parse_args().london))
    print(f"{MODEL}: {MODEL.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
