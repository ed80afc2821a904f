"""Cut people out of photographs before a plain background, for ``tools.fit_people``."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dfa_lib.face.geometry import Image, Mask, Points, grown

Floats = NDArray[np.float32]


def matte(photo: Image, points: Points) -> Floats:
    """Return the opacity (H, W) in 0..1 of the person before the plain studio background.

    Gaps in the person of landmarks ``points`` (81, 2) are filled, as skin and shirt may be of
    the background's colour, but not those between hair and neck. Where a colour is dark and grey
    it may be the background behind strands of hair: the nearest sure colour tells.
    """
    height, width = photo.shape[:2]
    lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB).astype(np.float32)
    y, x = np.mgrid[: 1 : height * 1j, : 1 : width * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, y**3], axis=-1)
    plain = ((y < 0.45) & ((x < 0.08) | (x > 0.92))) | (y < 0.02)
    inner = cv2.convexHull(np.int32(grown(points, 0.97)))
    face = cv2.fillConvexPoly(np.zeros((height, width)), inner, 1) > 0
    eyes, chin = points[[28, 8], 1] / height
    low = y > chin + 0.18 * (chin - eyes)
    for _ in range(3):  # the background is a smooth surface; refit to all that lies near it
        surface = terms @ np.linalg.lstsq(terms[plain], lab[plain], rcond=None)[0]
        unlike = (lab - surface) * np.float32([1, 1.6, 1.6])
        shadow = (y > eyes) & ~low & ~face & (unlike[..., 0] < 0)
        unlike[shadow, 0] *= 0.4  # hair and neck cast it on the background
        away = np.sqrt((unlike**2).sum(axis=-1))
        plain = (away < 9) & (y < 0.6)
    alpha = np.clip((cv2.GaussianBlur(away, (0, 0), 0.6) - 8) / 10, 0, 1)
    solid, filled = whole(alpha > 0.5)
    deep = cv2.erode(np.uint8(filled), np.ones((25, 25))) > 0
    gap = filled & ~solid & (low | (deep & (y < eyes)))
    gap |= _shining((unlike[..., 0] > 12) & filled, solid) & (y < eyes)
    alpha = np.where(face | gap, 1, alpha * cv2.dilate(np.uint8(filled), np.ones((5, 5))))
    unlike[..., 0] = np.maximum(unlike[..., 0], 0)  # what is brighter is no hair
    other = np.clip(np.linalg.norm(unlike, axis=-1) / 8 - 1.2, 0, 1)
    thin = 1.3 * share_of(lab, surface, face | (deep & (away > 40))) + other + (low | gap)
    return np.minimum(alpha, thin).astype(np.float32)


def _shining(bright: Mask, solid: Mask) -> Mask:
    """Return where a scalp shines (H, W): round light as ``bright`` it has the wall's colour."""
    small, large = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (n, n)) for n in (9, 41))
    light = cv2.morphologyEx(np.uint8(bright), cv2.MORPH_OPEN, small)
    closed = cv2.morphologyEx(np.uint8(solid), cv2.MORPH_CLOSE, large)
    return (closed & cv2.dilate(light, large)) > 0


def whole(person: Mask) -> tuple[Mask, Mask]:
    """Return the largest part of a mask (H, W), and the same without holes."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(person.astype(np.uint8))
    solid = labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
    closed = np.vstack([solid, np.ones((1, len(solid[0])), bool)])  # shoulders leave at the bottom
    return solid, ndimage.binary_fill_holes(closed)[:-1]


def share_of(lab: Floats, surface: Floats, sure: Mask) -> Floats:
    """Return how far each pixel (H, W) is from the background towards the nearest sure colour."""
    _, (rows, columns) = ndimage.distance_transform_edt(~sure, return_indices=True)
    whole = cv2.blur(lab, (9, 9))[rows, columns] - surface
    share = ((lab - surface) * whole).sum(axis=-1) / ((whole**2).sum(axis=-1) + 1)
    return np.where(sure, 1, np.clip(share, 0, 1))


def extended(picture: Image, alpha: Floats) -> Floats:
    """Continue the person's colours outward, so that no background is learnt: (S, S, 3) 0..255."""
    inside = cv2.erode((alpha > 0.92).astype(np.uint8), np.ones((5, 5))) > 0
    distance, (rows, columns) = ndimage.distance_transform_edt(~inside, return_indices=True)
    nearest = picture[rows, columns].astype(np.float32)
    share = np.clip(distance / 6, 0, 1)[..., None].astype(np.float32)
    return nearest * (1 - share) + cv2.GaussianBlur(nearest, (0, 0), 3) * share
