"""Procedural bona fide faces: a portrait drawn and lit in NumPy from exact landmarks."""

import cv2
import numpy as np
from numpy.random import Generator

from dfa_lib.faces import hair
from dfa_lib.faces.canvas import Array, Canvas, linear, smooth
from dfa_lib.faces.features import Sitting, paint_features
from dfa_lib.faces.geometry import BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, JAW, Portrait
from dfa_lib.faces.identity import (
    Identity,
    Pose,
    describe,
    expression_name,
    sample_identity,
    sample_pose,
)
from dfa_lib.faces.light import Light
from dfa_lib.faces.shape import landmarks

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
    light = Light.of(pose)
    _backdrop(canvas, sitting)
    hair.paint_back(canvas, sitting)
    _body(canvas, sitting, light)
    _ears(canvas, sitting, light)
    _head(canvas, sitting, light)
    hair.paint_front(canvas, sitting, light)
    return _develop(canvas, sitting, size)


def _develop(canvas: Canvas, sitting: Sitting, size: int) -> Portrait:
    """Tone curve, roll, zoom and shift, and the way down to ``size`` pixels."""
    pose, side = sitting.pose, 2 * size
    print_ = np.sqrt(1 - np.exp(-1.25 * np.maximum(canvas.image, 0)))
    pixels = (print_ * np.float32(255 / np.sqrt(1 - np.exp(-1.25)))).clip(0, 255).astype(np.uint8)
    centre = np.float32([side / 2, side / 2])
    c, s = pose.zoom * np.cos(pose.roll), pose.zoom * np.sin(pose.roll)
    turn = np.float32([[c, -s], [s, c]])
    moved = centre - turn @ centre + np.float32(pose.shift) * side
    matrix = np.column_stack([turn, moved + turn @ np.float32([0.5, 0.5]) - 0.5])
    turned = cv2.warpAffine(
        pixels, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    points = (sitting.points * canvas.unit + np.float32(canvas.origin)) @ turn.T + moved
    image = cv2.resize(turned, (size, size), interpolation=cv2.INTER_AREA)
    return Portrait(image, (points / 2 - 0.5).astype(np.float32))


def _backdrop(canvas: Canvas, sitting: Sitting) -> None:
    """What is behind: a lit studio cloth, a wall, blurred lights, a window or leaves."""
    rng, kind = sitting.shot, sitting.pose.background
    u, v = canvas.u, canvas.v
    hue = rng.random()
    first, second = (_muted(rng, hue, value) for value in rng.uniform(0.25, 0.75, 2))
    mix = np.clip(0.5 + 0.25 * (rng.normal() * u + v * rng.normal()) / 2, 0, 1)
    if kind == "studio":
        mix = canvas.blob(rng.normal(0, 0.6, 2), (1.6, 1.6)) * np.float32(0.9)
    canvas.image[:] = first + mix[..., None] * (second - first)
    if kind in ("bokeh", "foliage"):
        _spots(canvas, rng, leaves=kind == "foliage")
    if kind == "window":
        edge = rng.uniform(-2.4, 2.4)
        pane = canvas.soften((np.abs(u - edge) < 0.9).astype(np.float32) * (v < 1.2), 0.08)
        canvas.paint(0.8 * pane, linear((0.86, 0.90, 0.95)))
    grain = 0.05 if kind == "wall" else 0.025
    texture = canvas.noise(rng, 0.03) + 0.7 * canvas.noise(rng, 0.1) + 0.5 * canvas.noise(rng, 0.6)
    canvas.image *= (1 + grain * texture)[..., None]


def _muted(rng: Generator, hue: float, value: float) -> Array:
    """A subdued linear colour (3,) near ``hue`` in turns."""
    angle = 2 * np.pi * (hue + 0.05 * rng.normal() + np.float32([0, 1 / 3, 2 / 3]))
    return linear(np.clip(value * (1 + rng.uniform(0.05, 0.35) * np.cos(angle)), 0.03, 1))


def _spots(canvas: Canvas, rng: Generator, leaves: bool) -> None:
    for _ in range(14):
        centre, radius = rng.uniform(-2.3, 2.3, 2), rng.uniform(0.12, 0.45)
        turn = np.linspace(0, 2 * np.pi, 24)
        outline = centre + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        hue = rng.normal(0.33, 0.04) if leaves else rng.random()
        colour = _muted(rng, hue, rng.uniform(0.2, 0.6) if leaves else rng.uniform(0.4, 0.95))
        view = canvas.window(centre, (radius + 0.2, radius + 0.2))
        if min(view.image.shape[:2]) > 4:
            view.paint(0.55 * view.fill(outline, 0.06), colour)


def _body(canvas: Canvas, sitting: Sitting, light: Light) -> None:
    """Neck, shoulders and a garment."""
    p, who, rng = sitting.points, sitting.who, sitting.shot
    x, chin = p[33, 0] * 0.3, p[8, 1]
    wide = 0.62 + 0.13 * who.masculine
    right = [(x + wide, 0.9), (x + wide, chin + 0.15), (x + wide + 0.25, chin + 0.42), (2.0, chin + 0.62), (2.8, 3.2)]
    line = smooth(np.float32(right))
    outline = np.concatenate([line, line[::-1] * np.float32([-1, 1]) + np.float32([2 * x, 0])])
    mask = canvas.fill(outline, 0.01)
    round_off = 1.0 * np.sqrt(np.clip(1 - np.square((canvas.u - x) / (wide + 0.25)), 0.05, 1))
    height = (round_off + 0 * canvas.v + 0.3 * canvas.soften(mask, 0.15)).astype(np.float32)
    grain = canvas.noise(rng, 0.02)
    neck = light.on((1 + 0.03 * grain)[..., None] * sitting.skin, height + 0.002 * grain, canvas.unit, 0.3)
    jaw = canvas.fill(smooth(p[JAW], 4) + (0, 0.14), 0.12)
    canvas.paint(mask, neck * (1 - 0.62 * jaw[..., None]))
    dip = rng.uniform(0.28, 0.6)
    collar = [(x - wide - 0.3, chin + 0.36), (x - 0.5, chin + 0.3 + dip / 2), (x, chin + 0.25 + dip),
              (x + 0.5, chin + 0.3 + dip / 2), (x + wide + 0.3, chin + 0.36)]
    cloth = np.concatenate([smooth(np.float32(collar)), [(2.6, chin + 0.5), (3, 3.4), (-3, 3.4), (-2.6, chin + 0.5)]])
    worn = mask * canvas.fill(cloth, 0.006)
    weave = np.sin(canvas.u * 150) * np.sin(canvas.v * 150) + canvas.noise(rng, 0.03) + canvas.noise(rng, 0.3)
    colour = _muted(rng, rng.random(), rng.uniform(0.15, 0.8))
    shirt = light.on((1 + 0.08 * weave)[..., None] * colour, height + 0.004 * weave, canvas.unit)
    seam = canvas.strokes([smooth(np.float32(collar)) + (0, 0.05)], 0.02, 0.01)
    canvas.paint(worn, shirt * (1 - 0.3 * seam[..., None]))


def _ears(canvas: Canvas, sitting: Sitting, light: Light) -> None:
    who, p = sitting.who, sitting.points
    size = 1 + 0.08 * who.ear_size
    turn = np.linspace(0, 2 * np.pi, 28)
    for side, joint in ((-1, p[0]), (1, p[16])):
        across = 0.13 * size * (1 - side * 1.2 * sitting.pose.yaw)
        centre = joint + np.float32([side * 0.07, 0.14])
        ring = np.stack([np.cos(turn) * across + 0.05 * side * -np.sin(turn), 0.31 * size * np.sin(turn)], axis=1)
        ring[:, 0] *= 1 - 0.35 * (np.sin(turn) > 0) * np.sin(turn)
        view = canvas.window(centre, (0.3, 0.5))
        skin = Canvas(np.broadcast_to(sitting.skin * np.float32([0.95, 0.82, 0.8]), view.image.shape).copy(),
                      view.unit, view.origin)
        skin.tint(skin.fill(centre + ring * 0.45, 0.05), (0.6, 0.45, 0.42))
        skin.tint(skin.strokes([centre + ring[16:27] * 0.72], 0.03, 0.02), (0.7, 0.58, 0.55))
        mask = view.fill(centre + ring, 0.008)
        height = 0.2 * view.soften(mask, 0.06) + 0.004 * view.noise(sitting.shot, 0.02)
        view.paint(mask, light.on(skin.image, height, view.unit, 0.5))


def _head(canvas: Canvas, sitting: Sitting, light: Light) -> None:
    """The skin of face and skull with everything painted on it, lit as one relief."""
    p = sitting.points
    outline = np.concatenate([smooth(p[JAW], 4), hair.cranium(p)])
    mask = canvas.fill(outline, 0.012)
    face = Canvas(np.broadcast_to(sitting.skin, canvas.image.shape).copy(), canvas.unit, canvas.origin)
    pores = _skin(face, sitting)
    beard = hair.paint_beard(face, sitting)
    paint_features(face, sitting)
    height = _relief(face, sitting, mask) + (0.0030 + 0.004 * beard) * pores
    gloss = (1 - 0.8 * beard) * (0.55 + 0.5 * face.blob(p[30], (0.3, 0.5)) + 0.25 * (face.v < -0.3))
    canvas.paint(mask, light.on(face.image, height, canvas.unit, gloss))


def _skin(face: Canvas, sitting: Sitting) -> Array:
    """Blood, mottling, freckles and pores on the bare skin; return the pore noise (H, W)."""
    p, who, own = sitting.points, sitting.who, sitting.own
    for place in (p[[31, 36]].mean(0) - (0.2, -0.08), p[[35, 45]].mean(0) + (0.2, 0.08)):
        flush = 0.10 + 0.05 * max(who.ruddiness, -1) + 0.1 * who.lipstick
        face.tint(face.blob(place, (0.3, 0.22)), (1, 1 - flush, 1 - flush))
    face.tint(face.blob(p[30] + (0, 0.08), (0.2, 0.16)), (1, 0.9, 0.88))
    mottle = face.noise(own, 0.35) + 0.8 * face.noise(own, 0.12) + 0.6 * face.noise(own, 0.05)
    face.image *= 1 + mottle[..., None] * np.float32([0.012, 0.02, 0.022])
    if who.freckles > 0:
        spots = np.clip(face.noise(own, 0.035) - 1.6 + 0.6 * who.freckles, 0, 1)
        spots *= face.blob((p[30] + p[28]) / 2, (0.75, 0.3))
        face.tint(np.clip(1.6 * spots, 0, 1), (0.62, 0.48, 0.40))
    fine = face.noise(own, 0.018) + 0.6 * face.noise(own, 0.03)
    face.image *= (1 + 0.022 * fine)[..., None]
    return fine


def _relief(face: Canvas, sitting: Sitting, mask: Array) -> Array:
    """Height (H, W) of the face in units: an ellipsoid and the bumps of its anatomy."""
    p, who = sitting.points, sitting.who
    middle = (p[0, 0] + p[16, 0]) / 2
    dome = 1 - np.square((face.u - middle) / 1.35) - np.square((face.v - 0.1) / 2.3)
    height = 1.1 * np.sqrt(np.clip(dome, 0.06, 1)) + 0.22 * face.soften(mask, 0.16)
    return height + face.blobs(_bumps(p, who, sitting.pose)) - _wrinkles(face, sitting)


def _bumps(p: Array, who: Identity, pose: Pose) -> Array:
    """Rows (x, y, sigma x, sigma y, height), in units, of nose, brows, sockets, cheeks, lips, chin."""
    male = who.masculine - 0.5
    nose = 1 + 0.12 * who.nose_relief
    wide = abs(p[35, 0] - p[31, 0]) / 0.44
    rows = []
    for k, (sigma, rise) in enumerate(((0.10, 0.05), (0.10, 0.09), (0.11, 0.13), (0.13, 0.15))):
        rows.append((*p[27 + k], sigma * (0.8 + 0.2 * wide), 0.14, rise * nose))
    rows.append((*(p[30] * 0.6 + p[33] * 0.4), 0.13 * wide, 0.10, 0.20 * nose))
    rows += [(*(p[k] + (s * -0.03, -0.05)), 0.085 * wide, 0.075, 0.10) for k, s in ((31, -1), (35, 1))]
    for eye, brow, side in ((EYE_LEFT, BROW_LEFT, -1), (EYE_RIGHT, BROW_RIGHT, 1)):
        e, b = p[eye].mean(0), p[brow].mean(0)
        rows.append((*b, 0.34, 0.11, 0.06 + 0.04 * male))
        rows.append((e[0] - side * 0.06, e[1] - 0.05, 0.26, 0.17, -0.13))
        rows.append((e[0], e[1], 0.18, 0.10, 0.075))
        rows.append((e[0] - side * 0.24, e[1] + 0.02, 0.09, 0.12, -0.05))
        cheek = 0.10 + 0.02 * who.cheekbones + 0.06 * pose.smile
        rows.append((e[0] + side * 0.10, e[1] + 0.52 - 0.06 * pose.smile, 0.26, 0.22, cheek))
        rows.append((e[0] + side * 0.42, e[1] - 0.55, 0.2, 0.3, -0.05))
    mouth = (p[48] + p[54]) / 2
    rows.append((*mouth, 0.42, 0.30, 0.10))
    rows.append((*((p[51] + p[62]) / 2), 0.24, 0.05, 0.035))
    rows.append((*((p[57] + p[66]) / 2), 0.22, 0.06, 0.06))
    rows.append((p[57, 0], p[57, 1] + 0.12, 0.24, 0.06, -0.055))
    rows.append((p[8, 0], p[8, 1] - 0.20, 0.24, 0.16, 0.10))
    rows.append((p[33, 0], (p[33, 1] + p[51, 1]) / 2, 0.045, 0.09, -0.025))
    return np.float32(rows)


def _wrinkles(face: Canvas, sitting: Sitting) -> Array:
    """Depth (H, W) of folds: brow lines, crow's feet and the lines from nose to mouth."""
    p, who, pose = sitting.points, sitting.who, sitting.pose
    old = max(who.age - 0.35, 0)
    depth = np.zeros(face.image.shape[:2], np.float32)
    lines = []
    for side, wing, corner in ((-1, 31, 48), (1, 35, 54)):
        path = [p[wing] + (side * 0.08, -0.04), (p[wing] + p[corner]) / 2 + (side * 0.16, -0.04), p[corner] + (side * 0.12, 0.02)]
        lines.append(smooth(np.float32(path)))
    depth += (0.012 + 0.03 * old + 0.03 * pose.smile) * face.strokes(lines, 0.03, 0.03)
    furrow = 0.5 * old + 0.6 * pose.brow_raise * (0.4 + who.age)
    top, low = p[74, 1], p[17:27, 1].min()
    x = np.linspace(-0.55, 0.55, 12) + p[27, 0]
    rows = [np.stack([x, low + (top - low) * f + 0.03 * np.cos(5 * x + f)], axis=1) for f in (0.2, 0.38, 0.56)]
    depth += 0.03 * furrow * face.strokes(rows, 0.016, 0.012)
    feet = []
    for side, eye in ((-1, p[36]), (1, p[45])):
        feet += [np.float32([eye + (side * 0.06, 0), eye + (side * 0.2, dy)]) for dy in (-0.1, 0, 0.1)]
    depth += 0.035 * (old + 0.4 * pose.smile * who.age) * face.strokes(feet, 0.014, 0.010)
    return depth
