"""The look of every figure: one canvas, one palette, and words for readers who cannot see it.

A colour has one meaning in every lesson. The categories are after Okabe and Ito, so that
colour-blind readers can tell them apart. No text is smaller than ``TEXT`` points on a figure at
most ``WIDEST`` inches wide, so that a lecture hall can read it; the ground is opaque white, also
on a dark page.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from dfa_lib.face.geometry import Image
from dfa_lib.taxonomy import Artifact, Category

INK, SOFT, GREY, PALE = "#1d2330", "#667085", "#b4bbc6", "#e6e9ee"
TRAINED, FROZEN, IMAGE, HELD_OUT = "#0b6e69", "#8a8f98", "#56b4e9", "#7b5ea7"
"""Weights that are trained (and the model they make), weights that are not, tokens of a picture,
people never trained on."""
HOLDS, FAILS = "#2f6bff", "#e0218a"
"""A claim that the pixels support, and one that they do not."""
SERIES = (TRAINED, "#b07d00", INK, "#5b8def", "#c2185b", FROZEN, HELD_OUT, "#a0522d")
"""Several analysts or sources in one figure; the tuned model is the first."""
COLOURS: dict[Category, str] = {
    Category.BONA_FIDE: "#009E73",
    Category.FS: "#D55E00",
    Category.FR: "#0072B2",
    Category.FE: "#CC79A7",
    Category.EFS: "#E69F00",
    Category.FORGED: "#A3173A",
}
ARTIFACT_COLOURS: dict[Artifact, str] = {
    Artifact.BLUR: "#56B4E9",
    Artifact.OVER_SMOOTHING: "#0072B2",
    Artifact.BLENDING_BOUNDARY: "#D55E00",
    Artifact.COLOUR_MISMATCH: "#CC79A7",
    Artifact.LIGHTING_MISMATCH: "#D4B400",
    Artifact.TEXTURE_LOSS: "#009E73",
    Artifact.NOISE_MISMATCH: "#777777",
    Artifact.MISALIGNMENT: "#E69F00",
    Artifact.ASYMMETRY: "#882255",
    Artifact.GRID_PATTERN: "#44AA99",
    Artifact.STRUCTURAL_DISTORTION: "#7B3FA0",
}

TEXT, LABEL, TITLE = 12, 13, 16
"""Sizes of text in points."""
WIDEST = 9.0  # inches
BRIGHTEST = 40.0
"""Grey levels of difference that are drawn brightest."""


def canvas(
    title: str,
    alt: str,
    size: tuple[float, float] = (9, 4),
    rows: int = 1,
    columns: int = 1,
    **grid: object,
) -> tuple[Figure, list[Axes]]:
    """A titled figure of ``size`` inches and its axes, row by row.

    ``alt`` says in a sentence or two what the figure shows; it is the figure's label. The
    figure is closed, so that a notebook shows it once, as the result of its cell.
    """
    figure, axes = plt.subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False, **grid
    )
    plt.close(figure)
    figure.suptitle(title, fontsize=TITLE, fontweight="bold", color=INK)
    figure.set_label(alt)
    for axis in axes.flat:
        plain(axis)
    return figure, list(axes.flat)


def plain(axis: Axes) -> None:
    """Give an axis the look of all: no frame above and right, and text in two sizes."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=TEXT)
    for text in (axis.xaxis.label, axis.yaxis.label, axis.title):
        text.set(color=INK, fontsize=LABEL)


def last_row(figure: Figure, cells: Sequence[Axes], columns: int) -> Axes:
    """Put one axis in place of the last ``columns`` of a canvas, as wide as all of them."""
    for cell in cells[-columns:]:
        cell.remove()
    axis = figure.add_subplot(cells[0].get_gridspec()[-1, :])
    plain(axis)
    return axis


def intervals(
    axis: Axes,
    metric: str,
    series: Mapping[str, Mapping[str, Sequence[float | None]]],
    colours: Sequence[str | Sequence[str]] = SERIES,
) -> None:
    """Draw scores (value, low, high) as dots on their intervals, and add them to the alt text.

    Each of the ``series`` has a score for some of the rows; those of one row lie side by side. A
    series has one colour, or one for each of its rows. Further values of a score, such as those
    of single runs, are small dots.
    """
    rows = list(dict.fromkeys(row for scores in series.values() for row in scores))
    said = []
    for at, ((name, scores), colour) in enumerate(zip(series.items(), colours, strict=False)):
        shift = 0.5 / len(series) * (at - (len(series) - 1) / 2)
        height = [rows.index(row) + shift for row in scores]
        value, *ends = np.array([one[:3] for one in scores.values()], float).reshape(-1, 3).T
        low, high = (np.where(np.isnan(end), value, end) for end in ends)
        axis.hlines(height, low, high, color=colour, linewidth=3, alpha=0.5)
        axis.scatter(value, height, 64, color=colour, label=name, zorder=2)
        for place, (row, score) in zip(height, scores.items(), strict=True):
            axis.plot(score[3:], [place] * len(score[3:]), "o", color=INK, markersize=3)
            said.append(spelled(f"{name} {row}" if len(series) > 1 else row, score[:3]))
    axis.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.6))
    axis.set_xlabel(metric)
    axis.figure.set_label(f"{axis.figure.get_label()} {metric}, 95 %: {listed(said, 60)}.")


def bars(axis: Axes, rows: Mapping[str, Sequence[float]], middle: Sequence[float]) -> None:
    """Draw the ``middle`` of each row, such as its mean, as a bar, and its values as dots."""
    axis.barh([*rows], middle, color=TRAINED, height=0.55)
    for row, values in rows.items():
        axis.plot(values, [row] * len(values), "o", color=INK, markersize=7, alpha=0.6)
    axis.invert_yaxis()


def write(axis: Axes, x: float, y: float, text: str, **style: object) -> None:
    """Write a text that is centred at the height ``y``, in ink unless ``style`` says otherwise."""
    axis.text(x, y, text, **{"color": INK, "fontsize": TEXT, "va": "center"} | style)


def tint(labels: Iterable[Text]) -> None:
    """Give the names of categories their colours, and others that of ink."""
    for label in labels:
        label.set(color=colour_of(label.get_text()))


def colour_of(name: str) -> str:
    """Return the colour of the category whose value begins a text; ink for any other."""
    kinds = (kind for kind in Category if re.match(rf"{kind}\b", name))
    return next((COLOURS[kind] for kind in kinds), INK)


def show(axis: Axes, picture: np.ndarray | None) -> None:
    """Draw a picture without a frame; grey if it has no colours, and nothing for None."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    if picture is not None:
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")


def spelled(name: str, score: Sequence[float | None]) -> str:
    """A score (value, low, high) in words, for an alt text: "AUC 0.91 (0.88 to 0.94)"."""
    value, low, high = score
    between = "" if low is None else f" ({low:.2f} to {high:.2f})"
    return f"{name} {value:.2f}{between}"


def heat(change: np.ndarray) -> Image:
    """A difference in grey levels (H, W) as colours, black where there is none."""
    return (plt.get_cmap("inferno")(change / BRIGHTEST)[..., :3] * 255).astype(np.uint8)


def listed(items: Iterable[object], most: int = 8) -> str:
    """Items in words, for an alt text: "a, b, c and 4 more"."""
    names = [str(item).replace("\n", " ").replace("_", " ") for item in items]
    rest = [f"{len(names) - most + 1} more"] if len(names) > most else names[-1:]
    shown = names[: most - 1] if len(names) > most else names[:-1]
    return " and ".join([", ".join(shown), *rest] if shown else rest)


def jpeg_figures() -> None:
    """Let a notebook keep figures as JPEG of 144 dpi with their alt text, much smaller than PNG.

    nbconvert and screen readers take the text from the image's metadata, and whatever shows no
    pictures (a diff, a terminal) from the plain text beside it.
    """
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    options = {"quality": 50, "optimize": True}
    set_matplotlib_formats("jpeg", dpi=144, pil_kwargs=options)
    formatters = get_ipython().display_formatter.formatters
    draw = formatters["image/jpeg"].lookup_by_type(Figure)
    formatters["image/jpeg"].for_type(Figure, lambda one: (draw(one), {"alt": one.get_label()}))
    formatters["text/plain"].for_type(
        Figure, lambda one, printer, cycle: printer.text(one.get_label())
    )
