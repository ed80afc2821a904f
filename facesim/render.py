"""Procedural bona fide faces: a portrait drawn and lit in NumPy from exact landmarks."""

import cv2
import numpy as np

from dfa_lib.face.geometry import BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, JAW, Portrait
from facesim import hair
from facesim.canvas import Array, Canvas, at, ellipse, smooth
from facesim.features import Sitting, paint_features
from facesim.identity import (
    Identity,
    Pose,
    describe,
    expression_name,
    sample_identity,
    sample_pose,
)
from facesim.light import Light
from facesim.scenery import paint_backdrop, paint_body
from facesim.shape import landmarks

__all__ = [
    "Identity",
    "Pose",
    "describe",
    "expression_name",
    "render",
    "sample_identity",
    "sample_pose",
]


def render(identity: Identity, pose: Pose, size: int = 160) -> Portrait:
    """Draw a person in a pose as a ``size`` x ``size`` portrait, not yet aligned.

    The same arguments give the same pixels. Drawn at twice the size and averaged down.
    """
    canvas = Canvas.blank(2 * size)
    own, shot = np.random.default_rng(identity.seed), np.random.default_rng(pose.seed)
    sitting = Sitting(identity, pose, landmarks(identity, pose), own, shot)
    light, scalp = Light.of(pose), hair.window(canvas, sitting)
    strands = hair.texture(scalp, sitting)
    paint_backdrop(canvas, sitting)
    hair.paint_back(scalp, sitting, strands)
    paint_body(canvas, sitting, light)
    if identity.hair_style not in hair.HANGING:
        _paint_ears(canvas, sitting, light)
    _paint_head(canvas.window(sitting.points[28] + at(0, 0.15), (1.5, 2.0)), sitting, light)
    hair.paint_front(scalp, sitting, strands, light)
    return _develop(canvas, sitting, size)


def _develop(canvas: Canvas, sitting: Sitting, size: int) -> Portrait:
    """Tone curve, roll, zoom and shift, and the way down to ``size`` pixels."""
    pose, side = sitting.pose, 2 * size
    film = 1 - np.exp(-1.25 * np.maximum(canvas.image, 0))
    film = np.sqrt(film * np.float32(255**2 / (1 - np.exp(-1.25))))
    pixels = cv2.merge([np.minimum(plane, 255).astype(np.uint8) for plane in film])
    c, s = pose.zoom * np.cos(pose.roll), pose.zoom * np.sin(pose.roll)
    turn, centre = np.float32([[c, -s], [s, c]]), at(side / 2, side / 2)
    moved = centre - turn @ centre + np.float32(pose.shift) * side
    matrix = np.column_stack([turn, moved + turn @ at(0.5, 0.5) - 0.5])
    turned = cv2.warpAffine(
        pixels, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    points = (sitting.points * canvas.unit + np.float32(canvas.origin)) @ turn.T + moved
    image = cv2.resize(turned, (size, size), interpolation=cv2.INTER_AREA)
    return Portrait(image, (points / 2 - 0.5).astype(np.float32))


def _paint_ears(canvas: Canvas, sitting: Sitting, light: Light) -> None:
    size = 1 + 0.08 * sitting.who.ear_size
    for side, joint in ((-1, sitting.points[0]), (1, sitting.points[16])):
        across = 0.14 * size * (1 - side * 1.2 * sitting.pose.yaw)
        centre, tilt = joint + at(side * 0.05, 0.16), -side * 0.16
        view = canvas.window(centre, (0.35, 0.5))
        rim = ellipse(centre, (across, 0.31 * size), tilt) - at(side * 0.05, 0)
        rim += at(side, 0) * 0.05 * (rim[:, 1:] < centre[1])
        skin = view.copy(sitting.skin * np.float32([[[0.97]], [[0.84]], [[0.82]]]))
        hollow = ellipse(centre + at(-side * 0.03, 0.03), (0.4 * across, 0.15 * size), tilt)
        skin.tint(skin.fill(hollow, 0.04), (0.55, 0.40, 0.38))
        fold = (rim - centre) * at(0.72, 0.78) + centre
        skin.tint(skin.strokes([np.roll(fold, 6, axis=0)[:18]], 0.02, 0.02), (0.72, 0.6, 0.58))
        mask = view.fill(rim, 0.008)
        height = 0.2 * view.soften(mask, 0.06) + 0.003 * view.noise(sitting.shot, 0.02)
        view.paint(mask, light.on(skin.image, height, view.unit, 0.5))


def _paint_head(view: Canvas, sitting: Sitting, light: Light) -> None:
    """The skin of face and skull with everything painted on it, lit as one relief."""
    p = sitting.points
    mask = view.fill(np.concatenate([smooth(p[JAW], 4), hair.cranium(p, 0.03)]), 0.012)
    face = view.copy(sitting.skin)
    pores = _paint_skin(face, sitting)
    beard = hair.paint_beard(face, sitting)
    paint_features(face, sitting)
    height = _relief(face, sitting, mask) + (0.0016 + 0.004 * beard) * pores
    shine = [(*p[30], 0.2, 0.5, 0.5), (*p[57], 0.3, 0.06, 0.3)]
    shine += [(*p[eye].mean(0), 0.17, 0.07, -0.6) for eye in (EYE_LEFT, EYE_RIGHT)]
    gloss = np.maximum(0.5 + face.blobs(np.float32(shine)), 0) * (1 - 0.8 * beard)
    view.paint(mask, light.on(face.image, height, face.unit, gloss))


def _paint_skin(face: Canvas, sitting: Sitting) -> Array:
    """Blood, mottling, freckles and pores on the bare skin; return the pore noise (H, W)."""
    p, who, own = sitting.points, sitting.who, sitting.own
    flush = 0.12 + 0.04 * who.ruddiness + 0.1 * who.lipstick
    for place in (p[[31, 36]].mean(0) + at(-0.2, 0.1), p[[35, 45]].mean(0) + at(0.2, 0.1)):
        face.tint(face.blob(place, (0.3, 0.22)), (1, 1 - flush, 1 - flush))
    face.tint(face.blob(p[30] + at(0, 0.08), (0.2, 0.16)), (1, 0.9, 0.88))
    face.tint(face.blob(p[8] - at(0, 0.1), (0.5, 0.2)), (0.98, 0.94, 0.93))
    mottle = face.noise(own, 0.35) + 0.8 * face.noise(own, 0.12) + 0.6 * face.noise(own, 0.05)
    face.image *= 1 + mottle * np.float32([[[0.018]], [[0.03]], [[0.032]]])
    if who.freckles > 0:
        spots = np.clip(face.noise(own, 0.024) - 1.45 + 0.5 * who.freckles, 0, 1)
        spots *= face.blob((p[30] + p[28]) / 2, (0.75, 0.3))
        face.tint(np.clip(1.8 * spots, 0, 1), (0.74, 0.60, 0.52))
    fine = face.noise(own, 0.013) + 0.7 * face.noise(own, 0.025)
    face.image *= 1 + 0.028 * fine
    return fine


def _relief(face: Canvas, sitting: Sitting, mask: Array) -> Array:
    """Height (H, W) of the face in units: an ellipsoid and the bumps of its anatomy."""
    p = sitting.points
    middle = (p[0, 0] + p[16, 0]) / 2
    dome = 1 - np.square((face.u - middle) / 1.27) - np.square((face.v - 0.1) / 2.3)
    height = 1.1 * np.sqrt(np.maximum(dome, 0.06)) + 0.32 * face.soften(mask, 0.20)
    return height + face.blobs(_bumps(sitting)) - _folds(face, sitting)


def _bumps(sitting: Sitting) -> Array:
    """Rows (x, y, sigma x, sigma y, height) of nose, mouth, chin and the two sides, in units."""
    p, who = sitting.points, sitting.who
    nose, wide = 1 + 0.12 * who.nose_relief, (p[35, 0] - p[31, 0]) / 0.44
    slim = 0.8 + 0.2 * wide
    tip, mouth = 0.6 * p[30] + 0.4 * p[33], (p[48] + p[54]) / 2
    rows = [
        (*p[27], 0.10 * slim, 0.14, 0.05 * nose),
        (*p[28], 0.10 * slim, 0.14, 0.09 * nose),
        (*p[29], 0.11 * slim, 0.14, 0.13 * nose),
        (*p[30], 0.13 * slim, 0.14, 0.15 * nose),
        (*tip, 0.12 * wide, 0.09, 0.21 * nose),
        (*(p[31] - at(-0.03, 0.04)), 0.08 * wide, 0.08, 0.13),
        (*(p[35] - at(0.03, 0.04)), 0.08 * wide, 0.08, 0.13),
        (*(p[33] + at(0, 0.02)), 0.07, 0.05, 0.06),
        (*mouth, 0.42, 0.30, 0.10),
        (*((p[51] + p[62]) / 2), 0.24, 0.05, 0.04),
        (*((p[57] + p[66]) / 2), 0.22, 0.06, 0.07),
        (p[57, 0], p[57, 1] + 0.12, 0.24, 0.06, -0.06),
        (p[8, 0], p[8, 1] - 0.20, 0.24, 0.16, 0.11),
        (p[33, 0], (p[33, 1] + p[51, 1]) / 2, 0.045, 0.09, -0.03),
    ]
    for eye, brow, side in ((EYE_LEFT, BROW_LEFT, -1), (EYE_RIGHT, BROW_RIGHT, 1)):
        rows += _side_bumps(p[eye].mean(0), p[brow].mean(0), side, sitting)
    return np.float32(rows)


def _side_bumps(
    eye: Array, brow: Array, side: int, sitting: Sitting
) -> list[tuple[float, float, float, float, float]]:
    """Brow ridge, socket, eyeball, inner corner, cheekbone, hollow and temple of one side."""
    who, smile, (x, y) = sitting.who, sitting.pose.smile, eye
    cheek = 0.11 + 0.03 * who.cheekbones + 0.06 * smile
    return [
        (*brow, 0.34, 0.11, 0.06 + 0.05 * (who.masculine - 0.5)),
        (x - side * 0.06, y - 0.05, 0.26, 0.17, -0.14),
        (x, y, 0.18, 0.10, 0.08),
        (x - side * 0.24, y + 0.02, 0.09, 0.12, -0.06),
        (x + side * 0.12, y + 0.50 - 0.06 * smile, 0.26, 0.20, cheek),
        (x + side * 0.22, y + 1.0, 0.2, 0.25, -0.05 - 0.02 * who.cheekbones),
        (x + side * 0.42, y - 0.55, 0.2, 0.3, -0.05),
    ]


def _folds(face: Canvas, sitting: Sitting) -> Array:
    """Depth (H, W) of nose-to-mouth lines, forehead lines and crow's feet."""
    p, who, pose = sitting.points, sitting.who, sitting.pose
    old = max(who.age - 0.35, 0)
    laugh, feet = [], []
    for side, wing, corner, eye in ((-1, p[31], p[48], p[36]), (1, p[35], p[54], p[45])):
        way = at(side, 1)
        between = (wing + corner) / 2 + way * at(0.16, -0.04)
        laugh.append(smooth([wing + way * at(0.08, -0.04), between, corner + way * at(0.12, 0.02)]))
        feet += [[eye + way * at(0.06, 0), eye + way * at(0.2, dy)] for dy in (-0.1, 0.0, 0.1)]
    x = np.linspace(-0.55, 0.55, 12) + p[27, 0]
    low, top = p[17:27, 1].min(), p[74, 1]
    levels = [low + f * (top - low) + 0.03 * np.cos(5 * x + 9 * f) for f in (0.25, 0.42, 0.6)]
    brow_lines = [np.stack([x, level], axis=1) for level in levels]
    depth = (0.012 + 0.03 * old + 0.03 * pose.smile) * face.strokes(laugh, 0.03, 0.03)
    furrow = 0.5 * old + 0.6 * pose.brow_raise * (0.3 + who.age)
    depth += 0.03 * furrow * face.strokes(brow_lines, 0.016, 0.012)
    crinkle = old + 0.4 * pose.smile * who.age
    return depth + 0.035 * crinkle * face.strokes(feet, 0.014, 0.010)
