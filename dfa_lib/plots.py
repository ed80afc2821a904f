"""Figures several lessons share: faces, findings in colour, the loss of a run, a verdict."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import cv2
import matplotlib.colors
import numpy as np
from IPython.display import DisplayHandle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dfa_lib import look
from dfa_lib.chat.verdict import Verdict, percent
from dfa_lib.face.geometry import Image, region_masks
from dfa_lib.gpt.train import Step
from dfa_lib.instruct.evidence import difference
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Annotation, Face
from dfa_lib.taxonomy import Region


def picture_grid(
    rows: Mapping[str, Sequence[Image | None]],
    title: str,
    columns: Sequence[str] = (),
    side: float = 1.05,
) -> Figure:
    """Rows of pictures, at most ``side`` inches wide, each row with its name; None leaves a gap."""
    wide = max(map(len, rows.values()))
    lines = max((name.count("\n") + 1 for name in columns), default=0)
    beside = 0.12 * max(len(line) for name in rows for line in name.split("\n")) + 0.1
    side = min(side, (look.WIDEST - beside) / wide)
    size = max(side * wide + beside, 4.8), side * 1.03 * len(rows) + 0.2 * lines + 0.5
    named = ""
    for kind, names in {"rows": [*filter(None, rows)], "columns": columns}.items():
        if any(names):
            named += f"; {kind}: {look.listed(names)}"
    alt = f"{title}. {len(rows)} x {wide} pictures of faces{named}."
    sheet, cells = look.canvas(title, alt, size, len(rows), wide)
    axes = np.reshape(cells, (len(rows), wide))
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        style = {"color": look.colour_of(name), "fontsize": look.LABEL}
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", **style)
        for place, axis in enumerate(line):
            look.show(axis, pictures[place] if place < len(pictures) else None)
    for axis, name in zip(axes[0], columns, strict=False):
        axis.set_title(name, fontsize=look.TEXT, color=look.colour_of(name))
    return sheet


def panels(pictures: Mapping[str, np.ndarray], title: str) -> Figure:
    """Pictures (H, W) or (H, W, 3), four in a row, each under its name."""
    columns = min(4, len(pictures))
    rows = -(-len(pictures) // columns)
    size = max(look.WIDEST / 4 * columns, 4.8), 2.6 * rows + 0.5
    alt = f"{title}. Pictures: {look.listed(pictures)}."
    figure, axes = look.canvas(title, alt, size, rows, columns)
    for ax, (name, picture) in zip_longest(axes, pictures.items(), fillvalue=("", None)):
        look.show(ax, picture)
        ax.set_title(name, fontsize=look.TEXT, color=look.INK)
    return figure


def forgeries(faces: FaceSet, shown: Sequence[Face], title: str, side: float = 1.05) -> Figure:
    """One column per forged face: its bona fide counterpart, itself, its mask, the difference."""
    pairs = [faces[face.source] if face.source else None for face in shown]
    before = [source and faces.image(source) for source in pairs]
    after = [faces.image(face) for face in shown]
    change = [
        None if one is None else look.heat(difference(one, two))
        for one, two in zip(before, after, strict=True)
    ]
    masks = [faces.mask(face) for face in shown]
    rows = {"bona fide": before, "forged": after, "mask": masks, "difference": change}
    names = [f"{face.category}\n{face.method or ''}".replace("_", "\n") for face in shown]
    return picture_grid(rows, title, names, side)


def pair(faces: FaceSet, face: Face, note: Annotation) -> Figure:
    """Show a forged face beside its counterpart, the difference of the two, and the findings.

    Without a counterpart the face and the findings alone.
    """
    after = faces.image(face)
    before = faces.image(faces[face.source]) if face.source else None
    colours = {one.region: look.ARTIFACT_COLOURS[one.artifact] for one in note.findings}
    panels = {
        "bona fide": before,
        f"forged ({face.category})": after,
        "difference": None if before is None else look.heat(difference(before, after)),
        "findings": painted(after, face, colours),
    }
    found = look.listed((f"{one.region} ({one.artifact})" for one in note.findings), 12) or "none"
    beside = "" if before is None else "the bona fide picture, the forged one, their difference, "
    made = f"{face.category.phrase} by {face.method or 'an unknown method'}"
    alt = f"Face {face.id}, {made}: {beside}and its findings in colour: {found}."
    title = f"{face.category}, {face.method or 'unknown'}: what the annotator found"
    title = title.replace("_", " ")
    sheet, axes = look.canvas(title, alt, (9, 4.3), 2, 4, height_ratios=[2.4, 1.2])
    for axis, (name, picture) in zip(axes, panels.items(), strict=False):
        look.show(axis, picture)
        axis.set_title(name, fontsize=look.LABEL, color=look.INK)
    marks = [
        Patch(color=look.ARTIFACT_COLOURS[one.artifact], label=f"{one.region}: {one.artifact}")
        for one in note.findings
    ]
    words = look.last_row(sheet, axes, 4)
    words.set_axis_off()
    words.legend(handles=marks, loc="upper left", ncols=2, frameon=False, fontsize=look.TEXT)
    return sheet


def painted(image: Image, face: Face, colours: Mapping[Region, str]) -> Image:
    """Lay a colour over regions of a face, (3 H, 3 W, 3); skin, which has no outline, stays."""
    picture = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    masks = region_masks(np.float32(face.landmarks) * 3, len(picture))
    for region in colours.keys() & masks.keys():
        mask = masks[region]
        paint = np.array(matplotlib.colors.to_rgb(colours[region])) * 255
        picture[mask] = 0.6 * picture[mask] + 0.4 * paint
        mode = cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        outline, _ = cv2.findContours(mask.astype(np.uint8), *mode)
        cv2.drawContours(picture, outline, -1, paint.tolist(), 2, cv2.LINE_AA)
    return picture


def loss_curve(log: Sequence[Step]) -> Figure:
    """Loss at every step with its running mean, and the scores on held-out faces where taken."""
    loss = np.array([step.loss for step in log])
    scored = [step for step in log if step.val_loss is not None]
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
    size = 9 if scored else 7, 3.8
    chart, (axis, *beside) = look.canvas("Loss while tuning", alt, size, **panels)
    axis.plot(range(1, len(loss) + 1), loss, color=look.GREY, linewidth=1.2, label="each step")
    line = {"color": look.TRAINED, "linewidth": 2.5, "label": "running mean"}
    axis.plot(range(wide, len(loss) + 1), mean, **line)
    axis.set(xlabel="step", ylabel="loss (log scale)", yscale="log")
    if scored:
        _held_out(axis, beside[0], scored)
    axis.legend(frameon=False, fontsize=look.TEXT)
    low, high = axis.get_ylim()
    marks = [mark for mark in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low <= mark <= high]
    axis.set_yticks(marks, [f"{mark:g}" for mark in marks])
    axis.minorticks_off()
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
        title = f"No verdict. {verdict.abstained}".removesuffix(".")
        return picture_grid({"": [image]}, title, side=2.4)
    said = (f"{kind.phrase} {percent(share)}" for kind, share in verdict.categories.items())
    alt = f"A face and the analyst's probabilities: {look.listed(said)}. {verdict.sentence}."
    title = f"The analyst's verdict: {verdict.sentence}"
    card, (face, bars) = look.canvas(title, alt, (8.5, 3.2), 1, 2, width_ratios=[1, 1.6])
    look.show(face, image)
    kinds = list(verdict.categories)[::-1]
    shares = [verdict.categories[kind] for kind in kinds]
    bars.barh([kind.phrase for kind in kinds], shares, color=[look.COLOURS[kind] for kind in kinds])
    for row, share in enumerate(shares):
        look.write(bars, share + 0.02, row, percent(share))
    bars.set(xlim=(0, 1.12), xticks=[])
    bars.spines["bottom"].set_visible(False)
    return card


def _held_out(losses: Axes, answers: Axes, scored: Sequence[Step]) -> None:
    """The loss on held-out faces beside that of training, and the share of right answers."""
    steps = [step.step for step in scored]
    line = {"color": look.HELD_OUT, "linewidth": 2, "marker": "o"}
    losses.plot(steps, [step.val_loss for step in scored], label="held-out faces", **line)
    answers.plot(steps, [100 * step.val_right for step in scored], **line)
    answers.set(xlabel="step", ylabel="answers right, %", ylim=(0, 100))
    answers.set_xlim(losses.get_xlim())
