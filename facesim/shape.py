"""The 81 landmarks of a procedural face: mean face, then identity, expression and view.

Everything is in face units (see canvas); the picture is drawn from these points, so
they are exact.
"""

import numpy as np

from dfa_lib.face.geometry import (
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    HAIRLINE,
    JAW,
    LIP_INNER,
    LIP_OUTER,
    NOSE_BASE,
    NOSE_BRIDGE,
)
from facesim.canvas import Array
from facesim.identity import Identity, Pose

# The image-left half of the mean face and the points on its midline. Proportions are
# averages over adults: iris 0.19, palpebral fissure 0.44 x 0.15, head 2.3 x 3.4 units.
_JAW = [
    (-1.10, 0.02), (-1.09, 0.33), (-1.06, 0.63), (-0.98, 0.92), (-0.87, 1.19), (-0.71, 1.43),
    (-0.50, 1.63), (-0.26, 1.77), (0.0, 1.81),
]  # fmt: skip
_BROW = [(-0.93, -0.18), (-0.79, -0.31), (-0.59, -0.36), (-0.39, -0.335), (-0.22, -0.29)]
_NOSE = [(0.0, -0.10), (0.0, 0.08), (0.0, 0.26), (0.0, 0.46)]
_BASE = [(-0.22, 0.66), (-0.12, 0.70), (0.0, 0.72), (0.12, 0.70), (0.22, 0.66)]
_EYE = [(-0.73, 0.0), (-0.61, -0.09), (-0.41, -0.095), (-0.27, 0.03), (-0.40, 0.075), (-0.60, 0.07)]
_LIP_UP = [(-0.40, 1.08), (-0.26, 1.00), (-0.11, 0.945), (0.0, 0.965)]
_LIP_LOW = [(0.0, 1.235), (-0.16, 1.22), (-0.29, 1.165)]
_INNER = [(-0.36, 1.08), (-0.14, 1.07), (0.0, 1.08)]
_HAIRLINE = [(-1.04, -0.28), (-1.0, -0.55), (-0.92, -0.82), (-0.76, -1.04), (-0.53, -1.17),
             (-0.27, -1.22), (0.0, -1.23)]  # fmt: skip


def _mirrored(half: list[tuple[float, float]], middle: bool) -> list[tuple[float, float]]:
    """Continue a left-to-right line of points on the other side of the midline."""
    return half + [(-x, y) for x, y in reversed(half[:-1] if middle else half)]


def _mean_face() -> Array:
    eye = [(-x, y) for x, y in _EYE]
    eye = [eye[k] for k in (3, 2, 1, 0, 5, 4)]
    lip = _mirrored(_LIP_UP, middle=True)
    lip += [(-x, y) for x, y in reversed(_LIP_LOW[1:])] + _LIP_LOW
    inner = _mirrored(_INNER, middle=True)
    inner += [(0.14, 1.075), (0.0, 1.085), (-0.14, 1.075)]
    parts = [_mirrored(_JAW, True), _mirrored(_BROW, False), _NOSE, _BASE, _EYE, eye, lip, inner]
    return np.float32([point for part in [*parts, _mirrored(_HAIRLINE, True)] for point in part])


MEAN = _mean_face()


def landmarks(identity: Identity, pose: Pose) -> Array:
    """The landmarks (81, 2) in face units, turned by yaw and pitch but not yet rolled."""
    points = MEAN.copy()
    _shape_head(points, identity)
    _shape_features(points, identity)
    depth = _depth(points, identity)
    _express(points, pose)
    return turn(points, depth, pose)


def turn(points: Array, depth: Array, pose: Pose) -> Array:
    """Rotate points (n, 2) with ``depth`` (n,) by yaw and pitch and project them in parallel."""
    x = points[:, 0] * np.cos(pose.yaw) + depth * np.sin(pose.yaw)
    away = depth * np.cos(pose.yaw) - points[:, 0] * np.sin(pose.yaw)
    y = (points[:, 1] - 0.4) * np.cos(pose.pitch) + away * np.sin(pose.pitch) + 0.4
    return np.stack([x, y], axis=1).astype(np.float32)


def _shape_head(p: Array, who: Identity) -> None:
    """Widen, lengthen and square the outline in place."""
    male = who.masculine - 0.5
    lower = np.clip((p[JAW, 1] - 0.5) / 1.3, 0, 1)
    broad = 1 + 0.035 * who.face_width
    p[JAW, 0] *= broad * (1 + lower * (1.4 - lower) * (0.045 * who.jaw_width + 0.06 * male))
    p[JAW, 1] += lower * (0.06 * who.chin + 0.06 * male) - 0.02 * who.jaw_width * lower**2
    p[6:11, 0] *= 1 + 0.08 * male
    taper = np.sin(np.pi * np.clip(lower * 0.9, 0, 1))
    p[JAW, 0] *= 1 + taper * (0.13 * male - 0.04 + 0.02 * who.jaw_width)
    p[HAIRLINE, 0] *= broad
    _shape_hairline(p[HAIRLINE], who)


def _shape_hairline(line: Array, who: Identity) -> None:
    """Raise, recede or cover the forehead in place, as age, sex and haircut have it."""
    free = np.clip(-(line[:, 1] + 0.28) / 0.95, 0, 1)
    thin = who.masculine * max(who.age - 0.4, 0)
    line[:, 1] -= free * (0.05 * who.forehead + 0.12 * thin - 0.08)
    corners = np.exp(-np.square((np.abs(line[:, 0]) - 0.6) / 0.2))
    line[:, 1] -= corners * (0.10 * (who.masculine - 0.5) + 0.12 * thin)
    if who.hair_style not in ("bald", "cropped", "tied", "bun", "curly"):
        side = np.clip(0.75 - 0.8 * np.sign(who.parting) * line[:, 0], 0, 1)
        line[:, 1] += 0.26 * who.fringe * side * free**2


def _shape_features(p: Array, who: Identity) -> None:
    """Move brows, eyes, nose and lips to where this person has them."""
    male, tilt = who.masculine - 0.5, 0.03 * who.eye_tilt
    for eye, brow, side in ((EYE_LEFT, BROW_LEFT, -1), (EYE_RIGHT, BROW_RIGHT, 1)):
        middle = np.float32([side * 0.5, 0.0])
        span = p[eye] - middle
        height = 1.04 + 0.10 * who.eye_size - 0.26 * male - 0.14 * who.age
        span *= (1 + 0.035 * who.eye_size, height)
        span[:, 1] -= tilt * side * span[:, 0] / 0.22
        p[eye] = middle + span + (side * 0.02 * who.eye_spacing, 0)
        p[brow, 1] -= 0.022 * who.brow_height - 0.10 * male
        rise = np.float32([0, 0.7, 1, 0.5, 0])[::-side]
        p[brow, 1] -= rise * (0.018 * who.brow_arch - 0.035 * male)
        p[eye, 1] += side * 0.008 * who.asymmetry
        p[brow, 1] += side * 0.012 * who.asymmetry
    long = 1 + 0.05 * who.nose_length + 0.04 * male + 0.05 * who.age
    p[NOSE_BRIDGE.start + 1 : NOSE_BASE.stop, 1] *= long
    p[NOSE_BASE, 0] *= 1 + 0.10 * who.nose_width + 0.18 * male + 0.25 * (who.melanin - 0.4)
    lips = slice(LIP_OUTER.start, LIP_INNER.stop)
    p[lips, 0] *= 1 + 0.05 * who.mouth_width
    p[lips, 1] += 0.35 * 0.71 * (long - 1) + 0.02 * who.chin
    full = 0.08 + 0.25 * (who.melanin - 0.4) - 0.35 * male - 0.25 * who.age
    p[49:54, 1] -= (1.08 - MEAN[49:54, 1]) * (0.16 * who.upper_lip + full)
    p[55:60, 1] += (MEAN[55:60, 1] - 1.08) * (0.14 * who.lower_lip + full)
    p[LIP_OUTER.start : LIP_INNER.stop, 1] += 0.015 * who.asymmetry * p[lips, 0]


def _depth(p: Array, who: Identity) -> Array:
    """How far each point (81,) lies before the axis of the neck."""
    x, y = p[:, 0] / 1.2, (p[:, 1] - 0.3) / 2.2
    depth = 1.05 * np.sqrt(np.clip(1 - x * x - y * y, 0.02, 1)) - 0.75
    depth[NOSE_BRIDGE] += np.float32([0.05, 0.14, 0.25, 0.42]) * (1 + 0.1 * who.nose_relief)
    depth[NOSE_BASE] += np.float32([0.12, 0.2, 0.28, 0.2, 0.12])
    depth[LIP_OUTER.start : LIP_INNER.stop] += 0.08
    depth[JAW][6:11] += 0.12
    return depth.astype(np.float32)


def _express(p: Array, pose: Pose) -> None:
    """Bend the face in place: smile, open mouth, closed eyes, raised brows."""
    lips = slice(LIP_OUTER.start, LIP_INNER.stop)
    x = p[lips, 0] / 0.4
    p[lips, 0] *= 1 + 0.2 * pose.smile
    p[lips, 1] += pose.smile * (0.03 - 0.11 * x * x)
    p[61:64, 1] -= 0.05 * max(pose.smile - 0.35, 0)
    p[65:68, 1] += 0.13 * max(pose.smile - 0.35, 0)
    p[49:54, 1] += 0.05 * pose.smile * (1 - x[1:6] ** 2)
    p[55:60, 1] += 0.05 * pose.smile
    p[NOSE_BASE, 0] *= 1 + 0.06 * pose.smile
    gape = pose.mouth_open
    p[lips, 0] *= 1 - 0.12 * gape
    p[61:64, 1] -= 0.03 * gape
    p[49:54, 1] -= 0.03 * gape
    p[65:68, 1] += 0.26 * gape
    p[55:60, 1] += 0.25 * gape
    p[[48, 54, 60, 64], 1] += 0.09 * gape
    low = np.clip((p[JAW, 1] - 0.8) / 1.0, 0, 1)
    p[JAW, 1] += 0.22 * gape * low
    for eye, brow in ((EYE_LEFT, BROW_LEFT), (EYE_RIGHT, BROW_RIGHT)):
        upper, lower = (eye.start + 1, eye.start + 2), (eye.start + 5, eye.start + 4)
        p[brow, 1] -= 0.13 * pose.brow_raise
        p[upper, 1] -= 0.025 * pose.brow_raise
        p[lower, 1] -= 0.03 * pose.smile
        gap = p[lower, 1] - p[upper, 1]
        p[upper, 1] += 0.92 * pose.eyes_closed * gap
