"""What differs between a forged face and its bona fide counterpart, region by region.

The two pictures went through two shots of the camera. So one is first given the tones of
the other, by a gain and a gamma per channel fitted to the pixels that agree; what then is
left above the floor of the whole picture is the forgery. Figures are grey levels, CIE Lab
units, pixels, and natural logarithms of ratios.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_lib.conditions import grey
from dfa_lib.face.geometry import Image, Mask, Points, Portrait, mirrored, region_masks, warp
from dfa_lib.taxonomy import Region

Plane = NDArray[np.float32]
Figures = dict[str, float]

LEAST_PIXELS = 12
"""A region smaller than this is not measured."""
BARE_SKIN = {Region.FOREHEAD, Region.NOSE, Region.CHEEKS, Region.CHIN, Region.JAWLINE}
_CHANGED = 3.0  # grey levels above the floor


def in_tones_of(picture: Image, model: Image) -> Image:
    """Return ``picture`` with the gain and gamma of ``model``, the same scene (H, W, 3) uint8.

    A robust fit: after each of five rounds only the half of the pixels that agrees best stays.
    """
    dim, aim = (np.log(np.maximum(_soft(image, 1.5), 1)) for image in (picture, model))
    inside = (np.minimum(picture, model) > 8) & (np.maximum(picture, model) < 248)
    usable = inside.all(axis=2)
    x, y = dim[usable][::5], aim[usable][::5]
    if len(x) < 50:
        return picture
    keep = np.ones(len(x), bool)
    for _ in range(5):
        slope, offset = _lines(x[keep], y[keep])
        miss = np.abs(y - offset - slope * x).max(axis=1)
        keep = miss <= np.median(miss)
    levels = np.log(np.maximum(np.arange(256), 1))[:, None]
    curve = np.clip(np.rint(np.exp(offset + slope * levels)), 0, 255).astype(np.uint8)
    return cv2.LUT(picture, curve[None])


def _lines(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Fit y = offset + slope x per column; slopes stay between 1/2 and 2."""
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    slope = np.clip((dx * dy).sum(axis=0) / ((dx**2).sum(axis=0) + 1e-3), 0.5, 2)
    return slope, y.mean(axis=0) - slope * x.mean(axis=0)


def difference(bona_fide: Image, forged: Image) -> Plane:
    """Map how far two shots of one face differ: (H, W) grey levels, tones matched.

    Where the bona fide shot is burnt out, brighter is no difference; where it is black,
    darker is none. If one shot is grey, the other's colours count for nothing.
    """
    return _change(bona_fide, *_alike(bona_fide, forged))


def _alike(one: Image, two: Image) -> tuple[Image, Image]:
    """Give both pictures the tones of the brighter one, and none colours if one has none."""
    if min(float(np.ptp(picture[::4, ::4], axis=2).mean()) for picture in (one, two)) <= 1:
        one, two = grey(one), grey(two)
    if one.mean() > two.mean():
        return one, in_tones_of(two, one)
    return in_tones_of(one, two), two


def _change(bona_fide: Image, same: Image, forged: Image) -> Plane:
    gap = _soft(forged, 0.8) - _soft(same, 0.8)
    window = np.ones((3, 3), np.uint8)
    gap[cv2.dilate(bona_fide, window) >= 250] *= -1
    burnt_or_black = (cv2.dilate(bona_fide, window) >= 250) | (cv2.erode(bona_fide, window) <= 4)
    return np.where(burnt_or_black, np.maximum(gap, 0), np.abs(gap)).mean(axis=2)


def change_of_pair(bona_fide: Image, forged: Image, landmarks: Points) -> dict[Region, float]:
    """The figure ``change`` of ``measure_pair`` alone, which takes a fraction of the time."""
    change = difference(bona_fide, forged)
    change -= np.median(change)
    return {r: float(change[mask].mean()) for r, mask in _measurable(landmarks, len(forged))}


def measure_pair(bona_fide: Image, forged: Image, landmarks: Points) -> dict[Region, Figures]:
    """Measure every region of a forged face (S, S, 3) against its bona fide counterpart.

    ``change``: mean difference above the floor; ``colour``, ``light``: shift of Lab chroma and
    lightness; ``texture``: log ratio of fine detail, against the unchanged parts; ``edge``:
    log ratio of the steepest edges; ``move``: optical flow in pixels; ``differ``: one minus
    the correlation of structure; ``seam``: slope of the difference along its outline, times
    the part of the region's width that the outline crosses.
    """
    same, forged = _alike(bona_fide, forged)
    change = _change(bona_fide, same, forged)
    change -= np.median(change)
    lab = (cv2.cvtColor(shot, cv2.COLOR_RGB2LAB).astype(np.float32) for shot in (same, forged))
    planes = _planes(*lab, change)
    return {
        region: {"change": float(change[mask].mean())} | _region(planes, mask)
        for region, mask in _measurable(landmarks, len(forged))
    }


def _planes(one: Plane, two: Plane, change: Plane) -> dict[str, Plane]:
    """Prepare what the regions are measured on, from two pictures in Lab and their difference."""
    shift = _soft(two - one, 1.5)
    light = one[..., 0], two[..., 0]
    fine = [(plane - _soft(plane, 1.0)) ** 2 for plane in light]
    steep = [_slope(_soft(plane, 0.8)) for plane in light]
    band = [_soft(plane, 0.8) - _soft(plane, 3.0) for plane in light]
    calm = _soft(change, 1.0) < _CHANGED
    gain = np.log((fine[1][calm].mean() + 0.5) / (fine[0][calm].mean() + 0.5)) if calm.any() else 0
    far = (_soft(change, 2.5) < _CHANGED).astype(np.uint8)  # patches of one area join
    outline = (far ^ cv2.erode(far, np.ones((3, 3), np.uint8))).astype(bool)
    return {
        "shift": shift,
        "fine": np.stack(fine, axis=2),
        "gain": np.float32(gain),
        "steep": np.stack(steep, axis=2),
        "band": np.stack(band, axis=2),
        "move": _flow(*light),
        "seam": _slope(np.linalg.norm(shift, axis=2)) * outline,
        "outline": outline,
    }


def _region(planes: dict[str, Plane], mask: Mask) -> Figures:
    light, *chroma = planes["shift"][mask].mean(axis=0)
    fine = planes["fine"][mask].mean(axis=0) + 0.5
    steep = np.quantile(planes["steep"][mask], 0.95, axis=0) + 2
    crossed = planes["outline"][mask].sum()
    seam = planes["seam"][mask].sum() / max(crossed, 1)
    figures = {
        "colour": np.hypot(*chroma),
        "light": abs(light),
        "texture": np.log(fine[1] / fine[0]) - planes["gain"],
        "edge": np.log(steep[1] / steep[0]),
        "move": np.median(planes["move"][mask]),
        "differ": 1 - _correlation(planes["band"][mask]),
        "seam": seam * min(1.0, crossed / np.sqrt(mask.sum())),
    }
    return {name: float(value) for name, value in figures.items()}


def measure_single(image: Image, landmarks: Points) -> dict[Region, Figures]:
    """Measure every region of one face (S, S, 3) that has no counterpart.

    ``grid``: strength of a pattern with a period of four pixels, in standard errors of noise;
    ``detail``: log of fine detail over coarser detail, which generators leave too low;
    ``uneven``: one minus the correlation of structure with the mirrored face.
    """
    light = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    fine = light - _soft(light, 1.0)
    coarse = _soft(light, 1.0) - _soft(light, 2.0)
    coarser = _soft(light, 1.0) - _soft(light, 5.0)
    grain = light - _soft(light, 1.5)
    grain /= np.sqrt(_soft(grain**2, 4.0)) + 1
    y, x = np.indices(light.shape)
    waves = [grain * np.exp(-0.5j * np.pi * way) for way in (x + y, x - y)]
    halves = np.stack([coarser, _mirrored(coarser, landmarks)], axis=2)
    return {
        region: {
            "grid": float(sum(abs(wave[mask].sum()) for wave in waves) / np.sqrt(mask.sum())),
            "detail": float(np.log((fine[mask].var() + 0.3) / (coarse[mask].var() + 0.3))),
            "uneven": 1 - _correlation(halves[mask]),
        }
        for region, mask in _measurable(landmarks, len(image))
    }


def _mirrored(plane: Plane, landmarks: Points) -> Plane:
    """Lay the mirror image of a plane (S, S) over it, landmark on landmark."""
    flipped = mirrored(Portrait(plane, np.asarray(landmarks, np.float32)))
    return warp(flipped.image, flipped.landmarks, np.asarray(landmarks, np.float32))


def _measurable(landmarks: Points, size: int) -> Iterator[tuple[Region, Mask]]:
    for region, mask in region_masks(np.asarray(landmarks, np.float32), size).items():
        if mask.sum() >= LEAST_PIXELS:
            yield region, mask


def _soft(plane: NDArray, sigma: float) -> Plane:
    return cv2.GaussianBlur(plane.astype(np.float32), (0, 0), sigma)


def _slope(plane: Plane) -> Plane:
    """The steepness of a plane in units per pixel."""
    across, down = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    return np.hypot(across, down) / 8


def _flow(one: Plane, two: Plane) -> Plane:
    """How far every point has moved, (H, W) pixels."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow.setFinestScale(0)
    soft = [np.rint(_soft(plane, 0.7)).astype(np.uint8) for plane in (one, two)]
    return np.linalg.norm(flow.calc(*soft, None), axis=2)


def _correlation(pairs: Plane) -> float:
    """The correlation of two columns (n, 2); 1 where there is nothing to correlate."""
    centred = pairs - pairs.mean(axis=0)
    power = np.sqrt((centred**2).sum(axis=0).prod())
    return float((centred[:, 0] * centred[:, 1]).sum() / power) if power > 1e-6 else 1.0
