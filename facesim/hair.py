"""Scalp hair and beards: masks with strand texture that follows the direction of growth."""

import cv2
import numpy as np
from numpy.random import Generator

from dfa_lib.face.geometry import HAIRLINE, JAW
from facesim.canvas import Array, Canvas, at, ellipse, smooth
from facesim.features import Sitting, lips_outline
from facesim.light import Light

# How far hair stands off the skull, in units.
_VOLUME = {
    "bald": 0.07, "cropped": 0.05, "short": 0.16, "swept": 0.24, "curly": 0.34, "tied": 0.10,
    "bun": 0.10, "bob": 0.20, "long": 0.19, "wavy": 0.26,
}  # fmt: skip
# How far below the eyes hair hangs beside the face, in units.
HANGING = {"bob": 1.5, "long": 2.9, "wavy": 2.9}


def cranium(points: Array, lift: float = 0.0) -> Array:
    """Outline (n, 2) of the skull from the right ear over the top to the left, ``lift`` outside."""
    left, right = points[JAW][0], points[JAW][16]
    base, half = (left + right) / 2, (right[0] - left[0]) / 2 + 0.6 * lift
    height = base[1] - (points[27, 1] - 1.55) + 1.1 * lift
    angle = np.linspace(0, np.pi, 40)
    cos, sin = np.cos(angle), np.sin(angle)
    x = base[0] + half * (1 + 0.03 * sin**2) * np.sign(cos) * np.abs(cos) ** 0.78
    return np.stack([x, base[1] - height * np.abs(sin) ** 0.82], axis=1).astype(np.float32)


def strands(rng: Generator, across: Array, along: Array, fine: float, long: float) -> Array:
    """Noise (H, W) drawn out along the hair: ``across`` and ``along`` are coordinates (H, W)."""
    tile = rng.standard_normal((256, 256), dtype=np.float32)
    tile = cv2.blur(tile, (1, 9), borderType=cv2.BORDER_REFLECT) * 3
    x, y = (across * fine).astype(np.float32), (along * long).astype(np.float32)
    return cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def window(canvas: Canvas, sitting: Sitting) -> Canvas:
    """The part of the canvas that this person's hair can reach."""
    if sitting.who.hair_style in HANGING:
        return canvas.window((sitting.points[27, 0], 0.5), (1.8, 3.0))
    return canvas.window((sitting.points[27, 0], -0.75), (1.75, 1.6))


def texture(canvas: Canvas, sitting: Sitting) -> Array:
    """Strand noise (H, W) in the direction the style is combed."""
    who, line = sitting.who, sitting.points[HAIRLINE]
    own = np.random.default_rng(who.seed + 1)
    top = sitting.points[27, 1] - 1.45
    if who.hair_style in HANGING:
        return _falling(canvas, sitting, own, top)
    if who.hair_style == "curly":
        loops = 0.9 * canvas.noise(own, 0.22) + 0.4 * canvas.noise(own, 0.1)
        return strands(own, loops, canvas.u + canvas.v, 22, 8) + 0.4 * canvas.noise(own, 0.2)
    combed_back = who.fringe < 0.3
    x, y = line[6, 0] + 0.8 * who.parting, line[6, 1] + (0.3 if combed_back else -0.85)
    if who.hair_style in ("cropped", "tied", "bun"):
        x, y = sitting.points[27, 0], 0.1
    dx, dy = canvas.u - x, canvas.v - y
    across, along = np.arctan2(dx, -dy if combed_back else dy), np.hypot(dx, dy)
    fine, long = {"cropped": (70, 60), "short": (65, 20)}.get(who.hair_style, (75, 7))
    clumps = 0.2 if who.hair_style == "cropped" else 0.5
    fibres = strands(own, across, along, fine, long)
    return fibres + clumps * strands(own, across, along, 14, long / 4)


def _falling(canvas: Canvas, sitting: Sitting, own: Generator, top: float) -> Array:
    """Strands that leave the parting sideways and then hang down."""
    dx = canvas.u - sitting.points[27, 0] - 0.6 * sitting.who.parting
    down = canvas.v - top + 0 * dx
    across = np.hypot(dx / 1.15, np.minimum(down - 1.2, 0) / 1.3)
    if sitting.who.hair_style == "wavy":
        across = across + 0.05 * np.sin(4.2 * down + 3 * np.sin(1.7 * dx))
    return 0.9 * strands(own, across, down, 70, 5) + 0.6 * strands(own, across, down, 16, 2)


def paint_back(canvas: Canvas, sitting: Sitting, noise: Array) -> None:
    """Hair that falls behind the neck, for styles long enough."""
    end = HANGING.get(sitting.who.hair_style)
    if end is None:
        return
    top = cranium(sitting.points, _lift(sitting))
    right, left = top[0] + at(0.08, 0), top[-1] - at(0.08, 0)
    tips = left * at(0.9, 0) + at(0, end), right * at(0.9, 0) + at(0, end)
    down = smooth([left, left + at(-0.06, 0.8), tips[0]])
    up = smooth([tips[1], right + at(0.06, 0.8), right])
    outline = np.concatenate([top, down, up])
    mask = _ragged(canvas, outline, noise, 0.06)
    canvas.paint(mask, np.maximum(0.40 + 0.12 * noise, 0.1) * sitting.hair)


def paint_front(canvas: Canvas, sitting: Sitting, noise: Array, light: Light) -> None:
    """Hair on top of the head and beside the face, with its shadow on the skin."""
    if sitting.who.hair_style == "bald":
        return
    masks = [_ragged(canvas, outline, noise, 0.06) for outline in _outlines(sitting)]
    mask = np.maximum.reduce(masks)
    shadow = canvas.soften(np.roll(mask, round(0.07 * canvas.unit), axis=0), 0.07)
    canvas.tint(shadow * (1 - mask), (0.58, 0.50, 0.48))
    skull = cranium(sitting.points, _lift(sitting))
    x, y = skull[:, 0].mean(), skull[0, 1] - 0.5
    dome = 0.4 * canvas.soften(mask, 0.2) + 0.05 * canvas.soften(mask, 0.05)
    dome += 0.9 * canvas.blob((x, y), (0.9, 1.05)) + 0.006 * noise
    albedo = np.maximum(0.75 + 0.17 * noise, 0.15) * sitting.hair
    gloss = np.maximum(0.45 + 0.4 * noise, 0) * (0.4 + 0.6 * (sitting.who.hair_style != "curly"))
    canvas.paint(mask, light.on(albedo, dome, canvas.unit, gloss))


def _lift(sitting: Sitting) -> float:
    return _VOLUME[sitting.who.hair_style] * (1 + 0.2 * sitting.who.hair_volume)


def _ragged(canvas: Canvas, outline: Array, noise: Array, soft: float) -> Array:
    """Fill an outline whose edge follows the strands."""
    mask = canvas.fill(outline, soft)
    return np.clip((mask - 0.5 + 0.09 * noise * (mask > 0.05)) * 3.5 + 0.5, 0, 1)


def _outlines(sitting: Sitting) -> list[Array]:
    """The cap on the skull and, by style, a bun or the hair beside the cheeks."""
    p, style = sitting.points, sitting.who.hair_style
    lift, line = _lift(sitting), smooth(p[HAIRLINE], 4)
    skull = cranium(p, lift)
    cap = np.concatenate([skull, [p[0] + at(0.03, 0.22)], line, [p[16] + at(-0.03, 0.22)]])
    if style == "bun":
        return [cap, ellipse((skull[:, 0].mean(), skull[:, 1].min() - 0.02), (0.40, 0.24))]
    if style not in HANGING:
        return [cap]
    end, outlines = HANGING[style], [cap]
    for side, ear, temple in ((-1, p[0], line[11::-1]), (1, p[16], line[-12:])):
        x, hang = ear[0], side * (0.6 * lift + 0.1)
        inner = smooth([ear - at(side * 0.10, -0.1), at(x - side * 0.03, 0.85), at(0.93 * x, end)])
        outer = smooth([at(x + hang, end), at(x + hang * 1.2, 0.8), at(x + 0.8 * hang, -0.1)])
        outlines.append(np.concatenate([temple, inner, outer]))
    return outlines


def paint_beard(face: Canvas, sitting: Sitting) -> Array:
    """Paint stubble or a beard on the lower face; return its coverage (H, W)."""
    style, p = sitting.who.beard, sitting.points
    if style == "none":
        return np.zeros(face.shape, np.float32)
    mask = np.maximum.reduce([face.fill(a, 0.07) for a in _beard_outlines(style, p)])
    mask *= 1 - face.fill(lips_outline(p), 0.02)
    dx, dy = face.u - p[33, 0], face.v - p[33, 1] + 0.5
    across, along = np.arctan2(dx, dy), np.hypot(dx, dy)
    if style == "stubble":
        noise = face.noise(sitting.own, 0.012) + 0.5 * strands(sitting.own, across, along, 120, 60)
        cover = np.clip(mask * (0.28 + 0.25 * noise), 0, 1)
    else:
        noise = strands(sitting.own, across, along, 110, 26) + face.noise(sitting.own, 0.012)
        cover = np.clip((mask - 0.5 + 0.16 * noise * (mask > 0.05)) * 2.6 + 0.5, 0, 0.97)
    face.paint(cover, np.maximum(0.75 + 0.25 * noise, 0.1) * sitting.hair)
    return cover


def _beard_outlines(style: str, p: Array) -> list[Array]:
    """Where hair grows: above the lip, on the chin, below the cheeks."""
    over = [p[54] + at(0.09, 0.06), p[35] + at(0.02, 0.09), p[33] + at(0, 0.05)]
    over += [p[31] + at(-0.02, 0.09), p[48] + at(-0.09, 0.06)]
    moustache = np.concatenate([p[48:55] + at(0, 0.02), over])
    if style == "moustache":
        return [moustache]
    if style == "goatee":
        corners = p[48] - at(0.07, 0.02), p[54] + at(0.07, -0.02)
        return [moustache, np.concatenate([corners[:1], p[6:11] * at(0.8, 1), corners[1:]])]
    line = [p[54] + at(0.25, -0.02), p[35] + at(0.1, 0.14)]
    line += [p[31] + at(-0.1, 0.14), p[48] - at(0.25, 0.02)]
    return [moustache, np.concatenate([p[1:16] * at(0.99, 1), smooth(line, 4)])]
