"""Brows, eyes, nose and mouth of a procedural face, painted as surface colour."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from dfa_lib.faces.canvas import Array, Canvas, linear, smooth
from dfa_lib.faces.geometry import BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT
from dfa_lib.faces.identity import EYES, HAIR, SKIN, Identity, Pose

_IRIS = 0.1  # radius in units


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
        """Linear skin colour (3,)."""
        at = self.who.melanin * (len(SKIN) - 1)
        tone = [np.interp(at, range(len(SKIN)), SKIN[:, k]) for k in range(3)]
        return linear(tone) * np.float32([1, 1 - 0.04 * self.who.ruddiness, 1 - 0.05 * self.who.ruddiness])

    @property
    def hair(self) -> Array:
        """Linear hair colour (3,)."""
        return linear(HAIR[self.who.hair_colour])


def paint_features(face: Canvas, sitting: Sitting) -> None:
    """Paint everything inside the outline of the face, in the order it overlaps."""
    _nose(face, sitting)
    _mouth(face, sitting)
    for eye, brow, side in ((EYE_LEFT, BROW_LEFT, -1), (EYE_RIGHT, BROW_RIGHT, 1)):
        _eye(face, sitting, sitting.points[eye][:: 1 if side < 0 else 1], side)
        _brow(face, sitting, sitting.points[brow], side)


def lid_curves(points: Array) -> tuple[Array, Array]:
    """Upper and lower lid (n, 2) of the six points of an eye, both from image left to right."""
    return smooth(points[[0, 1, 2, 3]]), smooth(points[[0, 5, 4, 3]])


def _eye(face: Canvas, sitting: Sitting, points: Array, side: int) -> None:
    centre = points.mean(0)
    view = face.window(centre, (0.42, 0.36))
    upper, lower = lid_curves(points)
    _lids(view, sitting, upper, lower, centre)
    opening = view.fill(np.concatenate([upper, lower[::-1]]), 0.006)
    shade = 0.5 + 0.5 * view.fill(np.concatenate([upper, lower[::-1]]) + (0, 0.045), 0.025)
    ball = _eyeball(view, sitting, centre, points[3 if side < 0 else 0])
    view.paint(opening, ball * shade[..., None])
    _catchlight(view, sitting, centre, opening)
    _lashes(view, sitting, upper, lower, side)


def _lids(view: Canvas, sitting: Sitting, upper: Array, lower: Array, centre: Array) -> None:
    """Shade the socket, the crease of the upper lid and the bag under the lower one."""
    who = sitting.who
    view.tint(view.blob(centre - np.float32([0, 0.05]), (0.24, 0.12)), (0.86, 0.78, 0.77))
    arc = np.sin(np.linspace(0.15, np.pi - 0.1, len(upper), dtype=np.float32))[:, None]
    open_lid = np.float32(0.075 + 0.03 * sitting.pose.brow_raise - 0.02 * who.age)
    crease = upper - arc * np.stack([0 * open_lid, open_lid])[None, :]
    view.tint(view.strokes([crease], 0.02, 0.012), (0.55, 0.48, 0.46))
    bag = lower + arc * np.float32([0, 0.09])
    view.tint(view.strokes([bag], 0.03, 0.025), [1 - c * (0.15 + 0.45 * who.age) for c in (0.5, 0.6, 0.5)])
    rim = lower + np.float32([0, 0.008])
    view.tint(view.strokes([rim], 0.022, 0.01), (0.72, 0.6, 0.58))


def _eyeball(view: Canvas, sitting: Sitting, centre: Array, inner: Array) -> Array:
    """Sclera, iris and pupil (H, W, 3) in linear light."""
    dx, dy = view.u - centre[0], view.v - centre[1]
    round_off = 1 - 0.45 * np.square(dx / 0.26) - 0.3 * np.square(dy / 0.2)
    ball = np.clip(round_off, 0.2, 1)[..., None] * linear((0.88, 0.85, 0.83))
    pink = view.blob(inner, (0.035, 0.03))[..., None]
    ball += pink * (linear((0.72, 0.42, 0.40)) - ball)
    gaze = np.float32(sitting.pose.gaze) + (1.6 * np.sin(sitting.pose.yaw), 0)
    dx, dy = dx - gaze[0] * _IRIS, dy - gaze[1] * _IRIS + 0.01
    radius = np.sqrt(dx * dx + dy * dy) / np.float32(_IRIS)
    cover = np.clip((1 - radius) * _IRIS * view.unit + 0.5, 0, 1)[..., None]
    return ball + cover * (_iris(sitting, radius, np.arctan2(dy, dx)) - ball)


def _iris(sitting: Sitting, radius: Array, angle: Array) -> Array:
    """Radial fibres, a darker rim and the pupil (H, W, 3) in polar coordinates."""
    fibres = np.random.default_rng(sitting.who.seed).random((4, 90), dtype=np.float32)
    ring = np.clip(radius * 4, 0, 3).astype(np.int32)
    tone = fibres[ring, ((angle / (2 * np.pi) + 0.5) * 89.9).astype(np.int32)]
    tone = (0.55 + 0.9 * tone) * (1.35 - 0.5 * radius)
    rim = 1 - 0.75 * np.clip((radius - 0.78) / 0.2, 0, 1)
    pupil = np.clip((radius - 0.36) * 10, 0, 1)
    return (tone * rim * pupil)[..., None] * linear(EYES[sitting.who.eye_colour]) + np.float32(0.002)


def _catchlight(view: Canvas, sitting: Sitting, centre: Array, opening: Array) -> None:
    pose = sitting.pose
    gaze = np.float32([pose.gaze[0] + 1.6 * np.sin(pose.yaw), pose.gaze[1]]) * _IRIS
    spot = centre + gaze + np.float32([0.04 * np.sin(pose.light_side), -0.05 * np.sin(pose.light_height) - 0.01])
    view.image += (opening * view.blob(spot, (0.017, 0.017)))[..., None] * np.float32(1.3)
    view.image += (opening * view.blob(centre + gaze + (0, 0.05), (0.05, 0.02)))[..., None] * np.float32(0.04)


def _lashes(view: Canvas, sitting: Sitting, upper: Array, lower: Array, side: int) -> None:
    """Dark rim of the upper lid, thicker outwards, and single lashes on both lids."""
    female = 1 - sitting.who.masculine
    outward = np.linspace(1, 0.35, len(upper), dtype=np.float32)[:: -side, None]
    thick = np.float32([0, 0.022 + 0.022 * female]) * outward
    rim = view.fill(np.concatenate([upper - thick, upper[::-1] + (0, 0.008)]), 0.004)
    ink = linear((0.10, 0.07, 0.06))
    view.paint(0.9 * rim, ink)
    spread = np.linspace(-1, 1, len(upper), dtype=np.float32)
    fan = np.stack([0.05 * spread + 0.03 * side, -0.05 - 0.05 * outward[:, 0]], axis=1)
    fan *= 0.6 + 0.6 * female
    tips = [np.stack([a, a + b * (0.5, 0.8), a + b]) for a, b in zip(upper, fan, strict=True)]
    view.paint(0.7 * view.strokes(tips, 0.008), ink)
    down = [np.stack([a, a + b * (0.6, -0.35)]) for a, b in zip(lower[::2], fan[::2], strict=True)]
    view.paint(0.3 * view.strokes(down, 0.006), ink)


def _brow(face: Canvas, sitting: Sitting, points: Array, side: int) -> None:
    """A soft undercoat and strands that rise at the inner end and lie down outwards."""
    who, own = sitting.who, sitting.own
    line = smooth(points if side > 0 else points[::-1], 12)
    n = 90
    at = own.random(n) ** 0.9
    root = np.stack([np.interp(at * (len(line) - 1), range(len(line)), line[:, k]) for k in (0, 1)], 1)
    half = (0.045 + 0.010 * who.brow_weight + 0.02 * who.masculine) * (1 - 0.75 * at**2)
    root[:, 1] += 0.02 + half * own.uniform(-1, 1, n)
    rise = np.interp(at, [0, 0.25, 0.7, 1], [1.4, 0.7, 0.15, -0.25]) + 0.15 * own.normal(size=n)
    length = own.uniform(0.06, 0.12, n)[:, None]
    way = np.stack([side * np.cos(rise), -np.sin(rise)], axis=1) * length
    bend = np.float32([0, 0.015])
    strands = [np.stack([a, a + 0.5 * b - bend, a + b]) for a, b in zip(root, way, strict=True)]
    view = face.window(points.mean(0), (0.6, 0.4))
    colour = sitting.hair * np.float32(0.6 if who.hair_colour in ("blonde", "auburn") else 0.8)
    edge = np.linspace(1, 0.25, len(line))[:, None] * np.float32([0, 0.05 + 0.012 * who.brow_weight])
    under = view.fill(np.concatenate([line - edge * 0.6, line[::-1] + edge[::-1]]) + (0, 0.02), 0.03)
    view.paint((0.45 + 0.08 * who.brow_weight) * under, colour)
    view.paint(0.65 * view.strokes(strands, 0.012), colour)


def _nose(face: Canvas, sitting: Sitting) -> None:
    """Nostrils, the crease round the wings and the shadowed underside."""
    p = sitting.points
    view = face.window(p[33], (0.5, 0.4))
    dark = sitting.skin * np.float32([0.16, 0.10, 0.09])
    view.tint(view.blob(p[33] + np.float32([0, 0.0]), (0.16, 0.04)), (0.72, 0.6, 0.58))
    for wing, hole, side in ((31, 32, -1), (35, 34, 1)):
        around = np.linspace(-1.2, 1.3, 9)[:, None]
        crease = p[wing] + np.float32([0.02 * side, -0.06]) + 0.085 * np.concatenate(
            [side * np.cos(around) * 0.7, np.sin(around)], axis=1
        )
        view.tint(view.strokes([crease], 0.018, 0.016), (0.62, 0.5, 0.48))
        middle = (p[wing] + 2 * p[hole]) / 3 - np.float32([0, 0.02])
        axes, angle = (0.062, 0.028), -side * 0.35
        turn = np.linspace(0, 2 * np.pi, 16)
        c, s = np.cos(angle) * 1.0, np.sin(angle)
        x, y = axes[0] * np.cos(turn), axes[1] * np.sin(turn)
        hole_line = middle + np.stack([c * x - s * y * -1, -s * x * -1 + c * y], axis=1)
        view.paint(0.85 * view.fill(hole_line, 0.012), dark)


def _mouth(face: Canvas, sitting: Sitting) -> None:
    p, who = sitting.points, sitting.who
    view = face.window(p[48:60].mean(0), (0.75, 0.55))
    top, bottom = smooth(p[48:55]), smooth(p[[54, 55, 56, 57, 58, 59, 48]])
    inner_top, inner_bottom = smooth(p[60:65]), smooth(p[[64, 65, 66, 67, 60]])
    red = sitting.skin * np.float32([0.82, 0.52, 0.52])
    red += np.float32(0.75 * who.lipstick) * (linear((0.70, 0.16, 0.24)) - red)
    lips = view.fill(np.concatenate([top, bottom]), 0.014)
    streaks = cv2.resize(
        sitting.own.standard_normal((4, 60), dtype=np.float32), view.image.shape[1::-1], interpolation=cv2.INTER_CUBIC
    )
    upper = view.fill(np.concatenate([top, inner_top[::-1]]), 0.01)
    tone = 1 + 0.07 * streaks - 0.22 * upper
    view.paint(0.92 * lips, tone[..., None] * red)
    _open_mouth(view, sitting, inner_top, inner_bottom)
    line = view.strokes([inner_top, inner_bottom], 0.014, 0.008)
    view.paint(0.75 * line, red * np.float32(0.12))
    for corner in (p[48], p[54]):
        view.tint(view.blob(corner, (0.035, 0.03)), (0.6, 0.5, 0.5))


def _open_mouth(view: Canvas, sitting: Sitting, top: Array, bottom: Array) -> None:
    """The dark inside with tongue and upper teeth, where the lips part."""
    gap = float((bottom[::-1] - top)[:, 1].max())
    if gap < 0.03:
        return
    inside = view.fill(np.concatenate([top, bottom]), 0.006)
    view.paint(inside, linear((0.20, 0.07, 0.07)))
    middle = top.mean(0)
    tongue = inside * view.blob(middle + np.float32([0, gap * 1.05]), (0.2, 0.07))
    view.paint(0.8 * tongue, linear((0.62, 0.27, 0.27)))
    width = np.abs(top[:, 0] - middle[0]).max()
    x = (top[:, 0] - middle[0]) / width
    edge = top + np.stack([0 * x, 0.115 * (1 - 0.55 * x * x)], axis=1)
    teeth = inside * view.fill(np.concatenate([top - (0, 0.02), edge[::-1]]), 0.006)
    shade = np.clip(1 - 0.6 * np.square((view.u - middle[0]) / width), 0.15, 1)
    ivory = linear((0.90, 0.87, 0.80))
    view.paint(teeth, shade[..., None] * ivory * np.ones_like(view.v)[..., None])
    gaps = middle[0] + np.float32([-0.29, -0.215, -0.125, 0, 0.125, 0.215, 0.29])
    lines = [np.float32([[g, top[:, 1].min()], [g, edge[:, 1].max()]]) for g in gaps]
    view.tint(teeth * view.strokes(lines, 0.012, 0.005), (0.62, 0.55, 0.5))
