"""Brows, eyes, nose and mouth of a procedural face, painted as surface colour."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from dfa_lib.face.geometry import BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, LIP_OUTER
from facesim.canvas import Array, Canvas, at, ellipse, linear, rgb, smooth
from facesim.identity import EYES, HAIR, SKIN, Identity, Pose

_IRIS = 0.108  # radius in units
_INK = linear([0.10, 0.07, 0.06])


@dataclass(frozen=True)
class Sitting:
    """One person before the camera: landmarks ``points`` (81, 2) in face units.

    ``own`` draws what belongs to the person, ``shot`` what belongs to the picture.
    """

    who: Identity
    pose: Pose
    points: Array
    own: Generator
    shot: Generator

    @property
    def skin(self) -> Array:
        """Linear skin colour (3, 1, 1)."""
        place = self.who.melanin * (len(SKIN) - 1)
        tone = [np.interp(place, range(len(SKIN)), SKIN[:, k]) for k in range(3)]
        blood = self.who.ruddiness
        return linear(tone) * rgb([1, 1 - 0.03 * blood, 1 - 0.06 * blood])

    @property
    def hair(self) -> Array:
        """Linear hair colour (3, 1, 1)."""
        return linear(HAIR[self.who.hair_colour])


def lips_outline(p: Array) -> Array:
    """Outer contour (n, 2) of the lips, sharp at the corners."""
    return np.concatenate([smooth(p[48:55]), smooth(p[[54, 55, 56, 57, 58, 59, 48]])])


def paint_features(face: Canvas, sitting: Sitting) -> None:
    """Paint everything inside the outline of the face, in the order it overlaps."""
    p = sitting.points
    _nose(face.window(p[33], (0.5, 0.4)), sitting)
    _mouth(face.window(p[LIP_OUTER].mean(0), (0.75, 0.55)), sitting)
    for eye, brow, side in ((EYE_LEFT, BROW_LEFT, -1), (EYE_RIGHT, BROW_RIGHT, 1)):
        _eye(face.window(p[eye].mean(0), (0.42, 0.36)), sitting, p[eye], side)
        _brow(face.window(p[brow].mean(0), (0.6, 0.4)), sitting, p[brow], side)


def _eye(view: Canvas, sitting: Sitting, points: Array, side: int) -> None:
    """Lids, eyeball and lashes from the six ``points`` (6, 2) of one eye."""
    centre = points.mean(0)
    upper, lower = smooth(points[[0, 1, 2, 3]]), smooth(points[[0, 5, 4, 3]])
    outline = np.concatenate([upper, lower[::-1]])
    _lids(view, sitting, upper, lower, centre)
    opening = view.fill(outline, 0.006)
    shade = 0.42 + 0.58 * view.fill(outline + at(0, 0.05), 0.03)
    shade *= np.float32(1 - 0.8 * sitting.pose.eyes_closed)
    inner = points[3 if side < 0 else 0]
    view.paint(opening, _eyeball(view, sitting, centre, inner) * shade)
    _catchlight(view, sitting, centre, opening)
    _lashes(view, sitting, upper, lower, side)


def _lids(view: Canvas, sitting: Sitting, upper: Array, lower: Array, centre: Array) -> None:
    """Shade the socket, the crease of the upper lid and the bag under the lower one."""
    age = sitting.who.age
    view.tint(view.blob(centre - at(0, 0.06), (0.24, 0.11)), (0.72, 0.61, 0.60))
    arc = np.sin(np.linspace(0.15, np.pi - 0.1, len(upper), dtype=np.float32))[:, None]
    lid = 0.08 + 0.03 * sitting.pose.brow_raise - 0.02 * age
    view.tint(view.strokes([upper - arc * at(0, lid)], 0.02, 0.012), (0.52, 0.44, 0.42))
    bag = 0.16 + 0.4 * age
    under = view.strokes([lower + arc * at(0, 0.1)], 0.03, 0.025)
    view.tint(under, (1 - 0.5 * bag, 1 - 0.62 * bag, 1 - 0.5 * bag))
    view.tint(view.strokes([lower + at(0, 0.01)], 0.022, 0.01), (0.68, 0.55, 0.53))


def _eyeball(view: Canvas, sitting: Sitting, centre: Array, inner: Array) -> Array:
    """Sclera, iris and pupil (3, H, W) in linear light."""
    dx, dy = view.u - centre[0], view.v - centre[1]
    ball = np.clip(1 - 6 * np.square(dx) - 8 * np.square(dy), 0.2, 1) * linear([0.80, 0.77, 0.75])
    pink = view.blob(inner, (0.035, 0.03))
    ball += pink * (linear([0.70, 0.40, 0.38]) - ball)
    gaze = _gaze(sitting.pose)
    dx, dy = dx - gaze[0], dy - gaze[1] + 0.01
    radius = np.sqrt(dx * dx + dy * dy) / np.float32(_IRIS)
    cover = np.clip((1 - radius) * (_IRIS * view.unit) + 0.5, 0, 1)
    return ball + cover * (_iris(sitting, radius, np.arctan2(dy, dx)) - ball)


def _gaze(pose: Pose) -> Array:
    """How far the irises stand from the middle of the eye openings, in units."""
    return at(pose.gaze[0] * _IRIS + 0.13 * np.sin(pose.yaw), pose.gaze[1] * _IRIS)


def _iris(sitting: Sitting, radius: Array, angle: Array) -> Array:
    """Radial fibres, a darker rim and the pupil (3, H, W) in polar coordinates."""
    fibres = np.random.default_rng(sitting.who.seed).random((4, 90), dtype=np.float32)
    ring = np.clip(radius * 4, 0, 3).astype(np.int32)
    tone = fibres[ring, ((angle / (2 * np.pi) + 0.5) * 89.9).astype(np.int32)]
    tone = (0.4 + 0.75 * tone) * (1.35 - 0.5 * radius)
    tone *= 1 - 0.75 * np.clip((radius - 0.76) * 5, 0, 1)
    tone *= np.clip((radius - 0.36) * 10, 0, 1)
    return tone * linear(EYES[sitting.who.eye_colour]) + np.float32(0.002)


def _catchlight(view: Canvas, sitting: Sitting, centre: Array, opening: Array) -> None:
    """The key light mirrored in the cornea, and a faint glow of the fill opposite."""
    pose, middle = sitting.pose, centre + _gaze(sitting.pose)
    spot = middle + at(0.045 * np.sin(pose.light_side), -0.05 * np.sin(pose.light_height) - 0.01)
    view.image += 1.4 * opening * view.blob(spot, (0.018, 0.018))
    view.image += 0.04 * opening * view.blob(middle + at(0, 0.05), (0.05, 0.02))


def _lashes(view: Canvas, sitting: Sitting, upper: Array, lower: Array, side: int) -> None:
    """Dark rim of the upper lid, thicker outwards, and single lashes on both lids."""
    lavish = 1 - sitting.who.masculine
    outward = np.linspace(1, 0.35, len(upper), dtype=np.float32)[::-side, None]
    thick = at(0, 0.022 + 0.022 * lavish) * outward
    rim = view.fill(np.concatenate([upper - thick, upper[::-1] + at(0, 0.008)]), 0.004)
    view.paint(0.9 * rim, _INK)
    spread = np.linspace(-1, 1, len(upper), dtype=np.float32)
    fan = np.stack([0.05 * spread + 0.03 * side, -0.05 - 0.05 * outward[:, 0]], axis=1)
    fan = (0.5 + 0.7 * lavish) * fan
    above = np.stack([upper, upper + fan * at(0.5, 0.8), upper + fan], axis=1)
    view.paint(0.7 * view.strokes(above, 0.008), _INK)
    below = np.stack([lower, lower + fan * at(0.6, -0.35)], axis=1)[::2]
    view.paint(0.3 * view.strokes(below, 0.006), _INK)


def _brow(view: Canvas, sitting: Sitting, points: Array, side: int) -> None:
    """A soft undercoat and strands along the five ``points`` (5, 2) of one brow."""
    who, line = sitting.who, smooth(points if side > 0 else points[::-1], 12)
    half = 0.030 + 0.009 * who.brow_weight + 0.018 * who.masculine
    fair = who.hair_colour in ("blonde", "auburn", "white")
    colour = sitting.hair * np.float32(0.4 if fair else 0.7)
    edge = np.linspace(1, 0.25, len(line))[:, None] * at(0, half)
    under = np.concatenate([line - edge * 0.6, line[::-1] + edge[::-1]]) + at(0, 0.02)
    view.paint((0.82 + 0.05 * who.brow_weight) * view.fill(under, 0.016), colour)
    strands = _brow_strands(sitting.own, line, half, side)
    view.paint(0.8 * view.strokes(strands, 0.012), colour)


def _brow_strands(own: Generator, line: Array, half: float, side: int) -> Array:
    """Strands (n, 3, 2) that rise at the inner end of ``line`` and lie down outwards."""
    n = 130
    along = own.random(n)
    places = along * (len(line) - 1)
    root = np.stack([np.interp(places, range(len(line)), line[:, k]) for k in (0, 1)], axis=1)
    root[:, 1] += 0.02 + half * (1 - 0.75 * along**2) * own.uniform(-1, 1, n)
    rise = np.interp(along, [0, 0.25, 0.7, 1], [0.9, 0.5, 0.12, -0.25]) + 0.15 * own.normal(size=n)
    way = np.stack([side * np.cos(rise), -np.sin(rise)], axis=1) * own.uniform(0.06, 0.12, (n, 1))
    return np.stack([root, root + 0.5 * way - at(0, 0.015), root + way], axis=1)


def _nose(view: Canvas, sitting: Sitting) -> None:
    """Nostrils, the crease round the wings, the shadowed underside and the side off the light."""
    p, away = sitting.points, -np.sin(sitting.pose.light_side - sitting.pose.yaw)
    cast = min(abs(away), 0.7) * sitting.pose.light_key
    shadow = view.blob(p[30] + at(0.24 * np.sign(away), -0.02), (0.10, 0.20))
    view.tint(cast * shadow, (0.55, 0.42, 0.40))
    view.tint(view.blob(p[33] - at(0, 0.01), (0.15, 0.035)), (0.74, 0.62, 0.60))
    around = np.linspace(-1.2, 1.3, 9)
    arc = np.stack([0.06 * np.cos(around), 0.085 * np.sin(around)], axis=1)
    for wing, hole, side in ((p[31], p[32], -1), (p[35], p[34], 1)):
        crease = wing + at(0.02 * side, -0.06) + arc * at(side, 1)
        view.tint(view.strokes([crease], 0.018, 0.014), (0.55, 0.42, 0.40))
        nostril = ellipse((wing + 2 * hole) / 3 - at(0, 0.02), (0.056, 0.024), side * 0.35)
        view.paint(0.9 * view.fill(nostril, 0.010), sitting.skin * rgb([0.12, 0.07, 0.06]))


def _mouth(view: Canvas, sitting: Sitting) -> None:
    """Lips with fine upright creases, what opens between them, and the corners."""
    p, who = sitting.points, sitting.who
    top, bottom = smooth(p[60:65]), smooth(p[[64, 65, 66, 67, 60]])
    red = sitting.skin * rgb([0.82, 0.50, 0.50])
    red = red + np.float32(0.7 * who.lipstick) * (linear([0.66, 0.16, 0.23]) - red)
    upper = view.fill(np.concatenate([smooth(p[48:55]), top[::-1]]), 0.01)
    creases = sitting.own.standard_normal((4, 60), dtype=np.float32)
    creases = cv2.resize(creases, view.shape[::-1], interpolation=cv2.INTER_CUBIC)
    view.paint(0.92 * view.fill(lips_outline(p), 0.014), (1 + 0.08 * creases - 0.25 * upper) * red)
    if (bottom[::-1] - top)[:, 1].max() > 0.03:
        _open_mouth(view, top, bottom)
    view.paint(0.8 * view.strokes([top, bottom], 0.014, 0.008), red * np.float32(0.10))
    for corner in (p[48], p[54]):
        view.tint(view.blob(corner, (0.035, 0.03)), (0.58, 0.48, 0.48))


def _open_mouth(view: Canvas, top: Array, bottom: Array) -> None:
    """The dark inside with tongue and upper teeth, where the lips part."""
    inside = view.fill(np.concatenate([top, bottom]), 0.006)
    view.paint(inside, linear([0.20, 0.07, 0.07]))
    middle, low = top.mean(0), bottom[:, 1].max()
    tongue = view.blob(at(middle[0], low + 0.01), (0.2, 0.07))
    view.paint(0.8 * inside * tongue, linear([0.62, 0.27, 0.27]))
    x = (top[:, 0] - middle[0]) / np.abs(top[:, 0] - middle[0]).max()
    edge = top + np.stack([0 * x, 0.11 * (1 - 0.7 * x * x)], axis=1)
    teeth = inside * view.fill(np.concatenate([top - at(0, 0.02), edge[::-1]]), 0.008)
    shade = np.clip(1 - 5 * np.square(view.u - middle[0]), 0.12, 1)
    view.paint(teeth, shade * linear([0.88, 0.85, 0.78]))
    gaps = middle[0] + at(-0.29, -0.215, -0.125, 0, 0.125, 0.215, 0.29)
    ends = np.broadcast_to(at(top[:, 1].min(), edge[:, 1].max()), (len(gaps), 2))
    lines = np.stack([np.stack([gaps, gaps], axis=1), ends], axis=2)
    view.tint(teeth * view.strokes(lines, 0.010, 0.006), (0.75, 0.68, 0.62))
