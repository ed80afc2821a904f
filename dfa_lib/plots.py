"""Figures of faces, of data sets and of a run; each function returns a Figure with alt text."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import cv2
import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfa_lib.chat.verdict import Verdict
from dfa_lib.faces.geometry import Image, region_masks
from dfa_lib.figures import (
    ARTIFACT_COLOURS,
    BLUE,
    COLOURS,
    GREY,
    INK,
    canvas,
    listed,
)
from dfa_lib.gpt.train import Step
from dfa_lib.instruct.evidence import Figures, difference
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.naming import LEAST_CHANGE
from dfa_lib.records import Annotation, Face, Finding, InstructRecord
from dfa_lib.taxonomy import Artifact, Category, Region

_FORGED = tuple(category for category in Category if category.forged)
_BRIGHTEST = 40.0  # grey levels of difference that are drawn brightest


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
            _show(axis, pictures[place] if place < len(pictures) else None)
    for axis, name in zip(axes[0], columns, strict=False):
        axis.set_title(name, fontsize=9, color=_named(name.partition("\n")[0]))
    return sheet


def forgeries(faces: FaceSet, shown: Sequence[Face], title: str, side: float = 1.05) -> Figure:
    """One column per forged face: its bona fide counterpart, itself, its mask, the difference."""
    pairs = [faces[face.source] if face.source else None for face in shown]
    before = [source and faces.image(source) for source in pairs]
    after = [faces.image(face) for face in shown]
    change = [
        None if one is None else _heat(difference(one, two))
        for one, two in zip(before, after, strict=True)
    ]
    masks = [faces.mask(face) for face in shown]
    rows = {"bona fide": before, "forged": after, "mask": masks, "difference": change}
    names = [f"{face.category}\n{face.method}".replace("_", " ") for face in shown]
    return picture_grid(rows, title, names, side)


def pair(faces: FaceSet, face: Face, note: Annotation) -> Figure:
    """A forged face beside its counterpart, the difference of the two, and the findings on it."""
    before, after = faces.image(faces[face.source]), faces.image(face)
    panels = {
        "bona fide": before,
        f"forged: {face.category}, {face.method}".replace("_", " "): after,
        "difference": _heat(difference(before, after)),
        "findings": painted(after, face, note.findings),
    }
    found = [f"{one.region} ({one.artifact})" for one in note.findings]
    alt = (
        f"Face {face.id}, {face.category.phrase} by {face.method}: the bona fide picture, the"
        " forged one, their difference, and the forged one again with its findings in colour:"
        f" {listed(found, 12)}."
    )
    title = f"{face.id}: what was done, and what was found"
    sheet, axes = canvas(title, alt, (13, 3.15), 1, 5, width_ratios=[1, 1, 1, 1, 0.75])
    for axis, (name, picture) in zip(axes, panels.items(), strict=False):
        _show(axis, picture)
        axis.set_title(name, fontsize=11, color=INK)
    _legend(axes[4], note.findings)
    return sheet


def painted(image: Image, face: Face, findings: Iterable[Finding]) -> Image:
    """Lay the colour of its artifact over every region with a finding, (3 H, 3 W, 3)."""
    picture = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    masks = region_masks(np.float32(face.landmarks) * 3, len(picture))
    for finding in findings:
        mask, colour = masks[finding.region], _rgb(ARTIFACT_COLOURS[finding.artifact])
        picture[mask] = 0.6 * picture[mask] + 0.4 * colour
        outline, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, outline, -1, colour.tolist(), 2, cv2.LINE_AA)
    return picture


def measured(regions: Mapping[Region, Figures], note: Annotation) -> Figure:
    """How far every region differs from the counterpart, and the artifact that it was called."""
    said = {finding.region: finding.artifact for finding in note.findings}
    order = sorted(regions, key=lambda region: regions[region]["change"])
    change = [max(regions[region]["change"], 0) for region in order]
    bars = [f"{region} {value:.0f}" for region, value in zip(order, change, strict=True)][::-1]
    alt = (
        f"Bars of change by region, in grey levels: {listed(bars, 20)}; named: {listed(said, 20)}."
    )
    size = 7.5, 0.3 * len(order) + 1.2
    chart, (axis,) = canvas(f"{note.face}: change in every region", alt, size)
    colours = [ARTIFACT_COLOURS[said[r]] if r in said else GREY for r in order]
    axis.barh([region.value for region in order], change, color=colours)
    axis.axvline(LEAST_CHANGE, color=INK, linewidth=1, linestyle=":")
    for row, (region, value) in enumerate(zip(order, change, strict=True)):
        axis.text(value + 0.4, row, said.get(region, ""), va="center", fontsize=10, color=INK)
    axis.set_xlim(0, max(change) * 1.3)
    axis.set_xlabel("grey levels beyond what two shots of one face differ by")
    return chart


def composition(records: Sequence[InstructRecord]) -> Figure:
    """What a data set holds: images by method, and the length of the descriptions."""
    count = Counter((record.face.category, record.face.method or "-") for record in records)
    keys = sorted(count, key=lambda key: (list(Category).index(key[0]), key[1]), reverse=True)
    names = [method.replace("_", " ") if method != "-" else "bona fide" for _, method in keys]
    said = (f"{name} {count[key]}" for name, key in zip(names, keys, strict=True))
    alt = (
        f"Left, bars of images by method: {listed(said, 20)}."
        " Right, a histogram of the words in each description, stacked by category."
    )
    title = f"{len(records):,} images: how they were made, and what is said"
    sheet, (methods, words) = canvas(title, alt, (11, 3.8), 1, 2)
    methods.barh(names, [count[key] for key in keys], color=[COLOURS[key[0]] for key in keys])
    methods.set_xlabel("images")
    lengths = [
        [len(r.annotation.text.split()) for r in records if r.face.category is category]
        for category in _FORGED
    ]
    bins = np.arange(0, max(map(max, lengths)) + 5, 5)
    paint = [COLOURS[category] for category in _FORGED]
    words.hist(lengths, bins, stacked=True, color=paint, label=_FORGED, rwidth=0.9)
    words.legend(frameon=False)
    words.set(xlabel="words in the artifact description", ylabel="images")
    return sheet


def findings_map(records: Iterable[InstructRecord]) -> Figure:
    """In how many of a category's faces a region, and an artifact, is named: two tables."""
    forged = [record for record in records if record.face.category.forged]
    title = "What the annotator names: share of the faces of each category"
    alt = f"{title}. Two tables of per cents, regions and artifacts by {listed(_FORGED)}."
    sheet, (regions, artifacts) = canvas(title, alt, (10.5, 4.1), 1, 2)
    for axis, kind, field in ((regions, Region, "region"), (artifacts, Artifact, "artifact")):
        table = np.zeros((len(kind), len(_FORGED)))
        for record in forged:
            named = {getattr(finding, field) for finding in record.annotation.findings}
            column = _FORGED.index(record.face.category)
            table[[list(kind).index(name) for name in named], column] += 1
        total = Counter(record.face.category for record in forged)
        _table(axis, table / [max(total[c], 1) for c in _FORGED], [k.value for k in kind])
    return sheet


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
    _show(face, image)
    kinds = list(verdict.categories)[::-1]
    shares = [verdict.categories[kind] for kind in kinds]
    bars.barh([kind.phrase for kind in kinds], shares, color=[COLOURS[kind] for kind in kinds])
    for row, share in enumerate(shares):
        bars.text(share + 0.02, row, f"{share:.0%}", va="center", fontsize=10, color=INK)
    bars.set(xlim=(0, 1.12), xticks=[])
    bars.spines["bottom"].set_visible(False)
    return card


def _show(axis: Axes, picture: np.ndarray | None) -> None:
    """Draw a picture without a frame; grey if it has no colours, and nothing for None."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    if picture is not None:
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")


def _heat(change: np.ndarray) -> Image:
    """A difference in grey levels (H, W) as colours, black where there is none."""
    return (plt.get_cmap("inferno")(change / _BRIGHTEST)[..., :3] * 255).astype(np.uint8)


def _rgb(colour: str) -> np.ndarray:
    return np.array(matplotlib.colors.to_rgb(colour)) * 255


def _legend(axis: Axes, findings: Sequence[Finding]) -> None:
    """List findings, each in the colour of its artifact."""
    axis.set_axis_off()
    for row, finding in enumerate(findings):
        height, colour = 0.97 - 0.09 * row, ARTIFACT_COLOURS[finding.artifact]
        text = f"{finding.region}: {finding.artifact}"
        axis.text(0, height, "■", color=colour, va="top", fontsize=12)
        axis.text(0.14, height, text, color=INK, va="top", fontsize=10)


def _table(axis: Axes, shares: np.ndarray, names: Sequence[str]) -> None:
    """Shares (names, forged categories) as tinted cells with their per cent."""
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1.1, aspect="auto")
    axis.set_xticks(range(len(_FORGED)), _FORGED, fontsize=11)
    axis.set_yticks(range(len(names)), names, fontsize=10)
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axis.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.55 else INK
        text = f"{share:.0%}" if share else "·"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)


def _named(name: str) -> str:
    """The colour of a category given by its value; ink for any other name."""
    return COLOURS[Category(name)] if name in set(Category) else INK
