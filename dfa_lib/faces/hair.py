"""Scalp hair and beards: masks with strand texture that follows the direction of growth."""

import cv2
import numpy as np
from numpy.random import Generator

from dfa_lib.faces.canvas import Array, Canvas, linear, smooth
from dfa_lib.faces.features import Sitting
from dfa_lib.faces.geometry import HAIRLINE, JAW
from dfa_lib.faces.light import Light

LONG = ("long", "wavy", "bob")
# How far hair stands off the skull, in units.
_VOLUME = {
    "cropped": 0.05, "short": 0.13, "swept": 0.20, "curly": 0.30, "tied": 0.08,
    "bob": 0.20, "long": 0.18, "wavy": 0.24,
}  # fmt: skip


def cranium(points: Array, lift: float = 0.0) -> Array:
    """Outline (n, 2) of the skull from the right ear over the top to the left, ``lift`` outside."""
    left, right = points[JAW][0], points[JAW][16]
    base = (left + right) / 2
    half = (right[0] - left[0]) / 2 + lift
    top = points[HAIRLINE][5:8, 1].mean() - 0.42 - lift
    angle = np.linspace(0, np.pi, 40)
    bulge = 1 + 0.03 * np.sin(angle) ** 2
    x = base[0] + half * bulge * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.85
    y = base[1] - (base[1] - top) * np.sin(angle) ** 0.9
    return np.stack([x, y], axis=1).astype(np.float32)


def strands(rng: Generator, across: Array, along: Array, fine: float, long: float) -> Array:
    """Noise (H, W) drawn out along the hair: ``across`` and ``along`` are coordinates (H, W)."""
    tile = rng.standard_normal((256, 256), dtype=np.float32)
    tile = cv2.blur(tile, (1, 9), borderType=cv2.BORDER_REFLECT) * 3
    x, y = (np.mod(a * s, 256).astype(np.float32) for a, s in ((across, fine), (along, long)))
    return cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def paint_back(canvas: Canvas, sitting: Sitting) -> None:
    """Hair that falls behind the neck, for styles long enough."""
    who = sitting.who
    if who.hair_style not in LONG:
        return
    end = 1.55 if who.hair_style == "bob" else 2.9
    lift = _lift(sitting)
    top = cranium(sitting.points, lift)
    right, left = top[0] + (0.06, 0), top[-1] - (0.06, 0)
    drop = np.float32([0, end])
    sides = [left, left * (1, 0) + (-0.05, 0.8), left * (0.85, 0) + drop]
    outline = np.concatenate([top, smooth(np.float32(sides)), smooth(np.float32(
        [right * (0.85, 0) + drop, right * (1, 0) + (0.05, 0.8), right]))])
    texture = _texture(canvas, sitting)
    mask = _ragged(canvas, outline, texture, 0.05)
    tone = 0.42 + 0.16 * texture
    canvas.paint(mask, np.clip(tone, 0.1, None)[..., None] * sitting.hair)


def paint_front(canvas: Canvas, sitting: Sitting, light: Light) -> None:
    """Hair on top of the head and beside the face, with its shadow on the skin."""
    who = sitting.who
    if who.hair_style == "bald":
        return
    texture = _texture(canvas, sitting)
    mask = np.zeros(texture.shape, np.float32)
    for outline in _front_outlines(sitting):
        mask = np.maximum(mask, _ragged(canvas, outline, texture, 0.035))
    shadow = canvas.soften(np.roll(mask, round(0.07 * canvas.unit), axis=0), 0.07)
    canvas.tint(shadow * (1 - mask), (0.62, 0.55, 0.53))
    dome = canvas.soften(mask, 0.22) * 0.45 + 0.05 * canvas.soften(mask, 0.05)
    top = cranium(sitting.points, _lift(sitting))
    centre = np.float32([top[:, 0].mean(), top[0, 1]])
    dome += 0.9 * np.exp(-np.square((canvas.u - centre[0]) / 1.25) - np.square((canvas.v - centre[1] + 0.5) / 1.5))
    albedo = np.clip(0.72 + 0.24 * texture, 0.12, None)[..., None] * sitting.hair
    lit = light.on(albedo, dome + 0.005 * texture, canvas.unit, np.clip(0.5 + 0.5 * texture, 0, None))
    canvas.paint(mask, lit)


def paint_beard(face: Canvas, sitting: Sitting) -> Array:
    """Paint stubble or a beard on the lower face; return its coverage (H, W)."""
    style, p = sitting.who.beard, sitting.points
    if style == "none":
        return np.zeros(face.image.shape[:2], np.float32)
    mask = np.maximum.reduce([face.fill(a, 0.05) for a in _beard_outlines(style, p)])
    lips = face.fill(np.concatenate([smooth(p[48:55]), smooth(p[[54, 55, 56, 57, 58, 59, 48]])]), 0.02)
    mask *= 1 - lips
    angle = np.arctan2(face.u - p[33, 0], face.v - p[33, 1] + 0.5)
    radius = np.hypot(face.u - p[33, 0], face.v - p[33, 1] + 0.5)
    length = 60.0 if style == "stubble" else 16.0
    texture = strands(sitting.own, angle, radius, 130, length)
    base = 0.30 if style == "stubble" else 0.9
    cover = np.clip(mask * (base + (0.35 if style == "stubble" else 0.3) * texture), 0, 1)
    colour = sitting.hair * np.float32(0.9)
    face.paint(cover, np.clip(0.8 + 0.3 * texture, 0.1, None)[..., None] * colour)
    return cover


def _beard_outlines(style: str, p: Array) -> list[Array]:
    """Where hair grows: below the cheeks, above the lip, on the chin."""
    lip_top = p[48:55] - (0, 0.01)
    moustache = np.concatenate([lip_top, [p[54] + (0.09, 0.06), p[35] + (0.02, 0.09), p[33] + (0, 0.05),
                                          p[31] + (-0.02, 0.09), p[48] + (-0.09, 0.06)]])
    if style == "moustache":
        return [moustache]
    if style == "goatee":
        chin = np.concatenate([[p[48] - (0.06, 0)], p[6:11] * (0.8, 1), [p[54] + (0.06, 0)]])
        return [moustache, chin]
    cheek = [p[54] + (0.22, -0.12), p[35] + (0.1, 0.12), p[31] + (-0.1, 0.12), p[48] + (-0.22, -0.12)]
    return [moustache, np.concatenate([p[1:16] * (0.99, 1), cheek])]


def _lift(sitting: Sitting) -> float:
    return _VOLUME[sitting.who.hair_style] * (1 + 0.2 * sitting.who.hair_volume)


def _ragged(canvas: Canvas, outline: Array, texture: Array, soft: float) -> Array:
    """Fill an outline whose edge follows the strands."""
    mask = canvas.fill(outline, soft)
    return np.clip((mask - 0.5 + 0.14 * texture * (mask > 0.02)) * 5 + 0.5, 0, 1)


def _front_outlines(sitting: Sitting) -> list[Array]:
    p, style = sitting.points, sitting.who.hair_style
    top = cranium(p, _lift(sitting))
    line = smooth(p[HAIRLINE], 4)
    cap = np.concatenate([top, [p[0] + (0.02, 0.1)], line, [p[16] + (-0.02, 0.1)]])
    if style not in LONG:
        return [cap]
    end = 1.5 if style == "bob" else 2.9
    curtains = []
    for side, ear, temple in ((-1, 0, line[:12]), (1, 16, line[-12:][::-1])):
        x = p[ear, 0]
        inner = np.float32([p[ear] + (-side * 0.08, 0.1), (x - side * 0.02, 0.8), (x * 0.9, end)])
        outer = np.float32([(x * 1.05 + side * 0.05, end), (x + side * (_lift(sitting) + 0.08), 0.8),
                            (x + side * _lift(sitting), 0.0)])
        curtains.append(np.concatenate([temple[::-1], smooth(inner), smooth(outer)]))
    return [cap, *curtains]


def _texture(canvas: Canvas, sitting: Sitting) -> Array:
    """Strand noise (H, W) in the direction the style is combed."""
    who, p = sitting.who, sitting.points
    own = np.random.default_rng(who.seed + 1)
    top = p[HAIRLINE][6] - (0, 0.3)
    if who.hair_style in LONG:
        dx = canvas.u - top[0] - 0.8 * who.parting
        down = canvas.v - top[1]
        across = np.hypot(dx / 1.2, np.minimum(down - 1.2, 0) / 1.3)
        if who.hair_style == "wavy":
            across = across + 0.05 * np.sin(down * 6 + 3 * np.sin(dx * 2))
        return strands(own, across, down + 0 * dx, 70, 10) + 0.4 * strands(own, across, down + 0 * dx, 25, 4)
    if who.hair_style == "curly":
        curl = canvas.noise(own, 0.09) * 0.06
        return canvas.noise(own, 0.05) * 0.7 + strands(own, canvas.u + curl, canvas.v + curl, 40, 40)
    centre = np.float32([p[HAIRLINE][6, 0] + 0.9 * who.parting, top[1] + 0.55])
    if who.hair_style in ("cropped", "tied"):
        centre = np.float32([p[27, 0], 0.2])
    dx, dy = canvas.u - centre[0], canvas.v - centre[1]
    across, along = np.arctan2(dx, -dy), np.hypot(dx, dy)
    fine, long = {"cropped": (60, 50), "short": (55, 22)}.get(who.hair_style, (60, 8))
    return strands(own, across, along, fine, long) + 0.3 * strands(own, across, along, 20, long / 3)
