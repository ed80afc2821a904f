"""What surrounds a procedural face: backgrounds, neck, shoulders and a garment."""

import cv2
import numpy as np
from numpy.random import Generator

from dfa_lib.face.geometry import JAW
from facesim.canvas import Array, Canvas, at, ellipse, linear, smooth
from facesim.features import Sitting
from facesim.light import Light


def paint_backdrop(canvas: Canvas, sitting: Sitting) -> None:
    """What is behind, drawn at half the size: cloth, a wall, blurred lights, a window or leaves."""
    rng, kind, full = sitting.shot, sitting.pose.background, canvas
    canvas = Canvas.blank(full.shape[0] // 2)
    u, v = canvas.u, canvas.v
    hue = 0.33 if kind == "foliage" else rng.random()
    first, second = (_muted(rng, hue, value) for value in rng.uniform(0.12, 0.65, 2))
    way = rng.uniform(0, 2 * np.pi)
    mix = np.clip(0.5 + 0.25 * (np.cos(way) * u + np.sin(way) * v), 0, 1).astype(np.float32)
    if kind == "studio":
        mix = canvas.blob(rng.normal(0, 0.6, 2), (1.6, 1.6))
    canvas.image[:] = first + mix * (second - first)
    if kind in ("bokeh", "foliage"):
        _paint_spots(canvas, rng, hue, leaves=kind == "foliage")
    if kind == "window":
        edge, half = rng.uniform(-2.4, 2.4), rng.uniform(0.5, 0.9)
        pane = (np.abs(u - edge) < half) & (np.abs(u - edge) > 0.05) & (v < 1.3)
        canvas.paint(0.7 * canvas.soften(pane.astype(np.float32), 0.05), linear([0.82, 0.87, 0.92]))
    grain = canvas.noise(rng, 0.03) + 0.7 * canvas.noise(rng, 0.1) + 0.6 * canvas.noise(rng, 0.7)
    canvas.image *= 1 + (0.06 if kind == "wall" else 0.03) * grain
    for plane, coarse in zip(full.image, canvas.image, strict=True):
        cv2.resize(coarse, full.shape[::-1], dst=plane)
    full.image *= 1 + 0.02 * full.noise(rng, 0.013)


def _muted(rng: Generator, hue: float, value: float) -> Array:
    """A subdued linear colour (3, 1, 1) near ``hue`` (in turns) of display value ``value``."""
    angle = 2 * np.pi * (hue + 0.05 * rng.normal() - np.float32([0, 1 / 3, 2 / 3]))
    return linear(np.clip(value * (1 + rng.uniform(0.0, 0.2) * np.cos(angle)), 0.03, 1))


def _paint_spots(canvas: Canvas, rng: Generator, hue: float, leaves: bool) -> None:
    """Discs out of focus: lamps of related colours, or overlapping leaves."""
    for _ in range(30 if leaves else 14):
        centre, radius = rng.uniform(-2.4, 2.4, 2), rng.uniform(0.1, 0.4)
        shape = (radius, radius * (0.5 if leaves else 1))
        colour = _muted(rng, hue, rng.uniform(0.15, 0.6) if leaves else rng.uniform(0.3, 0.9))
        view = canvas.window(centre, (radius + 0.2, radius + 0.2))
        if min(view.shape) > 8:
            disc = view.fill(ellipse(centre, shape, rng.uniform(0, np.pi)), 0.05)
            view.paint((0.6 if leaves else 0.4) * disc, colour)


def paint_body(canvas: Canvas, sitting: Sitting, light: Light) -> None:
    """Neck and shoulders, the shadow of the jaw on them, and a garment."""
    p, who, rng = sitting.points, sitting.who, sitting.shot
    x, chin = 0.35 * p[8, 0], min(p[8, 1], 1.95)
    view = canvas.window((0, 2.0), (3, 1.2))
    wide = 0.56 + 0.14 * who.masculine
    right = [(wide + 0.06, 0.8), (wide, chin - 0.05), (wide + 0.1, chin + 0.2), (1.25, chin + 0.36)]
    right = smooth([*right, (2.2, chin + 0.62), (2.8, 3.4)])
    mask = view.fill(np.concatenate([right, right[::-1] * at(-1, 1)]) + at(x, 0), 0.01)
    pipe = 0.8 * np.exp(-0.9 * np.square((view.u - x) / wide))
    cords = view.blobs(np.float32([[x + s * 0.2, chin + 0.35, 0.09, 0.3, 0.05] for s in (-1, 1)]))
    height = pipe + cords + 0.3 * view.soften(mask, 0.15)
    grain = view.noise(rng, 0.013) + 0.7 * view.noise(rng, 0.025)
    neck = light.on((1 + 0.028 * grain) * sitting.skin, height + 0.0016 * grain, view.unit, 0.3)
    slope = at(-0.12 * np.sin(sitting.pose.light_side), 0.16)
    shadow = view.fill(smooth(p[JAW], 4) + slope, 0.10)
    view.paint(mask, neck * (1 - 0.6 * shadow))
    _paint_garment(view, sitting, light, mask, height, at(x, chin))


def _paint_garment(
    view: Canvas, sitting: Sitting, light: Light, mask: Array, height: Array, chin: Array
) -> None:
    """A woven or striped top with a round, wide or pointed neckline."""
    rng = sitting.shot
    depth, width, point = rng.uniform(0.3, 0.6), rng.uniform(0.6, 0.95), rng.uniform(1.2, 2.2)
    across = np.linspace(-2.9, 2.9, 61)
    line = 0.30 + depth * np.maximum(1 - np.abs(across / width) ** point, -0.12)
    line += 0.12 * np.maximum(np.abs(across) - 1, 0)
    neckline = np.stack([across, line], axis=1) + chin
    worn = mask * view.fill(np.concatenate([neckline, [(3, 3.6), (-3, 3.6)]]), 0.006)
    weave = view.noise(rng, 0.013) + np.sin(110 * view.u) * np.sin(110 * view.v)
    weave += 0.8 * view.noise(rng, 0.25)
    if rng.random() < 0.25:
        run = view.v if rng.random() < 0.6 else view.u
        weave += 3 * np.sign(np.sin(rng.uniform(12, 30) * run))
    colour = _muted(rng, rng.random(), rng.uniform(0.12, 0.85))
    raised = height + 0.04 * view.soften(worn, 0.02) + 0.003 * weave
    cloth = light.on((1 + 0.07 * weave) * colour, raised, view.unit)
    seam = view.strokes([neckline + at(0, 0.07)], 0.015, 0.01)
    view.paint(worn, cloth * (1 - 0.3 * seam))
