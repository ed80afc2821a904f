"""Figures several lessons share: faces in rows, the loss of a run, a verdict."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from IPython.display import DisplayHandle
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfa_lib.chat.verdict import Verdict, percent
from dfa_lib.face.geometry import Image
from dfa_lib.figures import BLUE, COLOURS, GREY, INK, ORANGE, canvas, heat, listed, show
from dfa_lib.gpt.train import Step
from dfa_lib.instruct.evidence import difference
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Face
from dfa_lib.taxonomy import Category


def picture_grid(
    rows: Mapping[str, Sequence[Image | None]],
    title: str,
    columns: Sequence[str] = (),
    side: float = 1.05,
) -> Figure:
    """Rows of pictures ``side`` inches wide, each row with its name; None leaves a gap."""
    wide = max(map(len, rows.values()))
    size = side * wide + (1.2 if any(rows) else 0.2), side * 1.03 * len(rows) + 0.7
    named = [f"; {kind}: {listed(names)}" for kind, names in
             (("rows", [*filter(None, rows)]), ("columns", columns)) if any(names)]  # fmt: skip
    alt = f"{title}. {len(rows)} x {wide} pictures of faces{''.join(named)}."
    sheet, cells = canvas(title, alt, size, len(rows), wide)
    axes = np.reshape(cells, (len(rows), wide))
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", color=_named(name))
        for place, axis in enumerate(line):
            show(axis, pictures[place] if place < len(pictures) else None)
    for axis, name in zip(axes[0], columns, strict=False):
        axis.set_title(name, fontsize=9, color=_named(name.partition("\n")[0]))
    return sheet


def panels(pictures: Mapping[str, np.ndarray], title: str, columns: int = 4) -> Figure:
    """Pictures (H, W) or (H, W, 3) side by side, each under its name."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = max(2.6 * columns, 4.5), 2.9 * rows + 0.5
    figure, axes = canvas(title, f"{title}. Pictures: {listed(pictures)}.", size, rows, columns)
    for ax in axes:
        ax.axis("off")
    for ax, (name, picture) in zip(axes, pictures.items(), strict=False):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
        ax.set_title(name, fontsize=11, color=INK)
    return figure


def forgeries(faces: FaceSet, shown: Sequence[Face], title: str, side: float = 1.05) -> Figure:
    """One column per forged face: its bona fide counterpart, itself, its mask, the difference."""
    pairs = [faces[face.source] if face.source else None for face in shown]
    before = [source and faces.image(source) for source in pairs]
    after = [faces.image(face) for face in shown]
    change = [
        None if one is None else heat(difference(one, two))
        for one, two in zip(before, after, strict=True)
    ]
    masks = [faces.mask(face) for face in shown]
    rows = {"bona fide": before, "forged": after, "mask": masks, "difference": change}
    names = [f"{face.category}\n{face.method or ''}".replace("_", " ") for face in shown]
    return picture_grid(rows, title, names, side)


def loss_curve(log: Sequence[Step]) -> Figure:
    """Loss at every step with its running mean, and the scores on held-out faces where taken."""
    loss, scored = np.array([step.loss for step in log]), [s for s in log if s.val_loss is not None]
    wide = max(len(loss) // 8, 1)
    mean = np.convolve(loss, np.ones(wide) / wide, "valid")
    alt = (
        f"Loss at each of {len(loss)} steps and its running mean,"
        f" from {mean[0]:.2f} in the first eighth to {mean[-1]:.2f} in the last."
    )
    if scored:
        first, last = scored[0], scored[-1]
        alt += (
            f" On held-out faces the loss goes from {first.val_loss:.2f} to {last.val_loss:.2f}"
            f" and the share of right answers from {first.val_right:.0%} to {last.val_right:.0%}."
        )
    panels = {"columns": 2, "width_ratios": (5, 3)} if scored else {}
    chart, (axis, *beside) = canvas("Loss while tuning", alt, (11 if scored else 8, 3), **panels)
    axis.plot(range(1, len(loss) + 1), loss, color=GREY, linewidth=1.2, label="each step")
    axis.plot(range(wide, len(loss) + 1), mean, color=BLUE, linewidth=2.5, label="running mean")
    axis.set(xlabel="step", ylabel="loss")
    if scored:
        _held_out(axis, beside[0], scored)
    axis.set_ylim(0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    return chart


def live_curve(seconds: float = 15) -> Callable[[Sequence[Step]], None]:
    """What ``train`` may call after each step: a loss curve below the cell, which grows.

    It is drawn anew with every held-out score, and otherwise every few ``seconds``.
    """
    handle, drawn = DisplayHandle(), -math.inf
    handle.display({"text/plain": ""}, raw=True)  # its place, above the progress bars

    def watch(log: Sequence[Step]) -> None:
        nonlocal drawn
        if log[-1].val_loss is None and time.monotonic() < drawn + seconds:
            return
        handle.update(loss_curve(log))
        drawn = time.monotonic()

    return watch


def verdict_card(image: Image, verdict: Verdict) -> Figure:
    """A face, and the analyst's probability of each category, or why it gives none."""
    if verdict.abstained:
        return picture_grid({"": [image]}, f"No verdict. {verdict.abstained}", side=2.4)
    said = (f"{kind.phrase} {percent(share)}" for kind, share in verdict.categories.items())
    alt = f"A face, and the analyst's probabilities as bars: {listed(said)}. {verdict.sentence}."
    title = f"The analyst's verdict: {verdict.sentence}"
    card, (face, bars) = canvas(title, alt, (8, 2.8), 1, 2, width_ratios=[1, 1.6])
    show(face, image)
    kinds = list(verdict.categories)[::-1]
    shares = [verdict.categories[kind] for kind in kinds]
    bars.barh([kind.phrase for kind in kinds], shares, color=[COLOURS[kind] for kind in kinds])
    for row, share in enumerate(shares):
        bars.text(share + 0.02, row, percent(share), va="center", fontsize=10, color=INK)
    bars.set(xlim=(0, 1.12), xticks=[])
    bars.spines["bottom"].set_visible(False)
    return card


def _held_out(losses: Axes, answers: Axes, scored: Sequence[Step]) -> None:
    """The loss on held-out faces beside that of training, and the share of right answers."""
    steps = [step.step for step in scored]
    line = {"color": ORANGE, "linewidth": 2, "marker": "o"}
    losses.plot(steps, [step.val_loss for step in scored], label="held-out faces", **line)
    losses.legend(frameon=False)
    answers.plot(steps, [100 * step.val_right for step in scored], **line)
    answers.set(xlabel="step", ylabel="% right, word for word", ylim=(0, 100))
    answers.set_xlim(losses.get_xlim())


def _named(name: str) -> str:
    """The colour of a category given by its value; ink for any other name."""
    return COLOURS[Category(name)] if name in set(Category) else INK
