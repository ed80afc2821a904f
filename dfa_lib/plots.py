"""Figures several lessons share: faces in rows, the loss of a run, a verdict."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dfa_lib.chat.verdict import Verdict
from dfa_lib.faces.geometry import Image
from dfa_lib.figures import BLUE, COLOURS, GREY, INK, canvas, heat, listed, show
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
             (("rows", filter(None, rows)), ("columns", columns)) if any(names)]  # fmt: skip
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
    names = [f"{face.category}\n{face.method}".replace("_", " ") for face in shown]
    return picture_grid(rows, title, names, side)


def loss_curve(log: Sequence[Step]) -> Figure:
    """Loss at every step, and its running mean over an eighth of the run."""
    loss = np.array([step.loss for step in log])
    wide = max(len(loss) // 8, 1)
    means = f"from {loss[:wide].mean():.2f} in the first eighth to {loss[-wide:].mean():.2f}"
    alt = f"Loss at each of {len(loss)} steps and its running mean, {means} in the last."
    chart, (axis,) = canvas("Loss while tuning", alt, (8, 3))
    steps = np.arange(1, len(loss) + 1)
    axis.plot(steps, loss, color=GREY, linewidth=1.2)
    mean = np.convolve(loss, np.ones(wide) / wide, "valid")
    axis.plot(steps[wide - 1 :], mean, color=BLUE, linewidth=2.5)
    axis.set_ylim(0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set(xlabel="step", ylabel="loss")
    return chart


def verdict_card(image: Image, verdict: Verdict) -> Figure:
    """A face, and the analyst's own probability of each category."""
    said = (f"{kind.phrase} {share:.0%}" for kind, share in verdict.categories.items())
    alt = f"A face, and the analyst's probabilities as bars: {listed(said)}. {verdict.sentence}."
    title = f"The analyst's verdict: {verdict.sentence}"
    card, (face, bars) = canvas(title, alt, (8, 2.8), 1, 2, width_ratios=[1, 1.6])
    show(face, image)
    kinds = list(verdict.categories)[::-1]
    shares = [verdict.categories[kind] for kind in kinds]
    bars.barh([kind.phrase for kind in kinds], shares, color=[COLOURS[kind] for kind in kinds])
    for row, share in enumerate(shares):
        bars.text(share + 0.02, row, f"{share:.0%}", va="center", fontsize=10, color=INK)
    bars.set(xlim=(0, 1.12), xticks=[])
    bars.spines["bottom"].set_visible(False)
    return card


def _named(name: str) -> str:
    """The colour of a category given by its value; ink for any other name."""
    return COLOURS[Category(name)] if name in set(Category) else INK
