"""Figures of lesson 01: what differs, what was said of it, whether it holds, what came of it."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import cv2
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfa_lib.face.geometry import Image, region_masks
from dfa_lib.figures import (
    ARTIFACT_COLOURS,
    COLOURS,
    GREY,
    INK,
    ORANGE,
    PALE,
    SOFT,
    canvas,
    heat,
    listed,
    show,
)
from dfa_lib.instruct.evidence import Figures, difference
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.naming import LEAST_CHANGE
from dfa_lib.records import Annotation, Face, Finding, InstructRecord
from dfa_lib.taxonomy import Artifact, Category, Region, Task

_HOLDS = {
    True: (COLOURS[Category.BONA_FIDE], "✓", "holds"),
    False: (ORANGE, "✗", "does not hold"),
    None: (SOFT, "?", "unchecked"),
}
"""How a finding is marked by what its audit says: colour, mark, words."""


def pair(faces: FaceSet, face: Face, note: Annotation) -> Figure:
    """Show a forged face beside its counterpart, the difference of the two, and the findings.

    Without a counterpart the face and the findings alone.
    """
    after = faces.image(face)
    before = faces.image(faces[face.source]) if face.source else None
    colours = {one.region: ARTIFACT_COLOURS[one.artifact] for one in note.findings}
    panels = {
        "bona fide": before,
        f"forged: {face.category}, {face.method or 'unknown'}".replace("_", " "): after,
        "difference": None if before is None else heat(difference(before, after)),
        "findings": painted(after, face, colours),
    }
    found = listed((f"{one.region} ({one.artifact})" for one in note.findings), 12)
    beside = "" if before is None else "the bona fide picture, the forged one, their difference, "
    made = f"{face.category.phrase} by {face.method or 'an unknown method'}"
    alt = f"Face {face.id}, {made}: {beside}and its findings in colour: {found}."
    title = f"{face.id}: what was done, and what was found"
    sheet, axes = canvas(title, alt, (13, 3.15), 1, 5, width_ratios=[1, 1, 1, 1, 0.75])
    _panels(axes, panels)
    _legend(axes[4], [(ARTIFACT_COLOURS[one.artifact], "■", one) for one in note.findings])
    return sheet


def painted(image: Image, face: Face, colours: Mapping[Region, str]) -> Image:
    """Lay a colour over regions of a face, (3 H, 3 W, 3); skin, which has no outline, stays."""
    picture = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    masks = region_masks(np.float32(face.landmarks) * 3, len(picture))
    for region in colours.keys() & masks.keys():
        mask, paint = masks[region], np.array(matplotlib.colors.to_rgb(colours[region])) * 255
        picture[mask] = 0.6 * picture[mask] + 0.4 * paint
        mode = cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        outline, _ = cv2.findContours(mask.astype(np.uint8), *mode)
        cv2.drawContours(picture, outline, -1, paint.tolist(), 2, cv2.LINE_AA)
    return picture


def audited(faces: FaceSet, face: Face, notes: Mapping[str, Annotation]) -> Figure:
    """Show one face with the findings of several annotators, each in the colour of its audit."""
    title = f"{face.id}: does it hold?"
    told = (
        f"{name}: {listed((f'{f.region} {_HOLDS[f.supported][2]}' for f in note.findings), 12)}"
        for name, note in notes.items()
    )
    alt = f"{title} Findings on one face, marked by the audit. {'. '.join(told)}"
    size, ratios = (6.2 * len(notes), 3.3), [1, 0.85] * len(notes)
    sheet, axes = canvas(title, alt, size, 1, 2 * len(notes), width_ratios=ratios)
    for (name, note), left, right in zip(notes.items(), axes[::2], axes[1::2], strict=True):
        colours = {one.region: _HOLDS[one.supported][0] for one in note.findings}
        _panels([left], {name: painted(faces.image(face), face, colours)})
        _legend(right, [(*_HOLDS[one.supported][:2], one) for one in note.findings])
    return sheet


def traced(faces: FaceSet, record: InstructRecord) -> Figure:
    """Follow one finding from the pixels of a pair to the answers a model will learn."""
    face, findings = record.face, record.annotation.findings
    fc = [qa for qa in record.qa if qa.task is Task.FC]
    told = [(one, qa) for one in findings for qa in fc if one.region in qa.answer]
    told.sort(key=lambda pair: not pair[1].answer.startswith("Yes"))  # the plainest trace first
    finding, asked = (told or [(findings[0], fc[0])])[0]
    (ad,) = (qa.answer.split(". ") for qa in record.qa if qa.task is Task.AD)
    said = next((part for part in ad if finding.region in part.lower()), "")
    steps = {
        "measured": finding.evidence,
        "named": f"{finding.region}: {finding.artifact}",
        "described (AD)": f"… {said.rstrip('.')}. …",
        "asked (FC)": f"{asked.question} {asked.answer}",
    }
    before, after = faces.image(faces[face.source]), faces.image(face)
    pictures = {"bona fide": before, "forged": after, "difference": heat(difference(before, after))}
    words = listed(f"{name}: {text}" for name, text in steps.items())
    title = f"{face.id}, {finding.region}: from pixels to an answer"
    alt = f"{title}. The {finding.region} in both pictures and their difference, then {words}"
    sheet, axes = canvas(title, alt, (13, 3.4), 1, 4, width_ratios=[1, 1, 1, 2.6])
    masks = region_masks(np.float32(face.landmarks), len(after))
    mask = masks.get(finding.region, np.ones(after.shape[:2], bool))
    _panels(axes, {name: _around(picture, mask) for name, picture in pictures.items()})
    _boxes(axes[3], steps)
    return sheet


def measured(regions: Mapping[Region, Figures], note: Annotation) -> Figure:
    """Draw how far every region differs from the counterpart, and what that was called."""
    said = {finding.region: finding.artifact for finding in note.findings}
    order = sorted(regions, key=lambda region: regions[region]["change"])
    change = [max(regions[region]["change"], 0) for region in order]
    bars = [f"{region} {value:.0f}" for region, value in zip(order, change, strict=True)][::-1]
    alt = f"Change by region, in grey levels: {listed(bars, 20)}; named: {listed(said, 20)}."
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
    """Draw what a data set holds: images by method, and the length of the descriptions."""
    count = Counter((record.face.category, record.face.method or "") for record in records)
    keys = sorted(count, key=lambda key: (list(Category).index(key[0]), key[1]), reverse=True)
    names = [method.replace("_", " ") or kind.phrase for kind, method in keys]
    said = (f"{name} {count[key]}" for name, key in zip(names, keys, strict=True))
    alt = f"Images by method: {listed(said, 20)}. Words in each description, by category."
    title = f"{len(records):,} images: how they were made, and what is said"
    sheet, (methods, words) = canvas(title, alt, (11, 3.8), 1, 2)
    methods.barh(names, [count[key] for key in keys], color=[COLOURS[key[0]] for key in keys])
    methods.set_xlabel("images")
    if forged := _kinds(records):
        lengths = [
            [len(r.annotation.text.split()) for r in records if r.face.category is category]
            for category in forged
        ]
        paint = [COLOURS[category] for category in forged]
        bins = np.arange(0, max(map(max, lengths)) + 5, 5)
        words.hist(lengths, bins, stacked=True, color=paint, label=forged, rwidth=0.9)
        words.legend(frameon=False)
    words.set(xlabel="words in the artifact description", ylabel="images")
    return sheet


def findings_map(records: Iterable[InstructRecord]) -> Figure:
    """Tabulate in what share of a category's faces a region, and an artifact, is named."""
    forged = [record for record in records if record.face.category.forged]
    kinds = _kinds(forged)
    title = "What the annotator names: share of the faces of each category"
    alt = f"{title}. Two tables of per cents, regions and artifacts by {listed(kinds)}."
    sheet, axes = canvas(title, alt, (10.5, 4.1), 1, 2)
    total = Counter(record.face.category for record in forged)
    for axis, names, field in zip(axes, (Region, Artifact), ("region", "artifact"), strict=True):
        named = Counter(
            (name, record.face.category)
            for record in forged
            for name in {getattr(finding, field) for finding in record.annotation.findings}
        )
        shares = [[named[name, kind] / total[kind] for kind in kinds] for name in names]
        _table(axis, np.array(shares), [name.value for name in names], kinds)
    return sheet


def _kinds(records: Iterable[InstructRecord]) -> list[Category]:
    """Return the forgery categories that occur, in their order."""
    there = {record.face.category for record in records}
    return [category for category in Category if category.forged and category in there]


def _panels(axes: Iterable[Axes], pictures: Mapping[str, Image | None]) -> None:
    for axis, (name, picture) in zip(axes, pictures.items(), strict=False):
        show(axis, picture)
        axis.set_title(name, fontsize=11, color=INK)


def _around(picture: Image, mask: np.ndarray, least: int = 24) -> Image:
    """Cut out the square about a region, with a margin."""
    rows, columns = np.nonzero(mask)
    half = max(np.ptp(rows), np.ptp(columns), least) // 2 + 6
    y, x = (int(np.clip(at.mean(), half, len(mask) - half)) for at in (rows, columns))
    return picture[max(y - half, 0) : y + half, max(x - half, 0) : x + half]


def _boxes(axis: Axes, steps: Mapping[str, str]) -> None:
    """Write texts one below the other, each with its name, joined by arrows."""
    axis.set_axis_off()
    axis.set(xlim=(0, 1), ylim=(-len(steps), 0))
    box = {"boxstyle": "round,pad=0.4", "facecolor": PALE, "edgecolor": "none"}
    for row, (name, text) in enumerate(steps.items()):
        height, words = -row - 0.45, textwrap.fill(text, 62)
        axis.text(0.22, height, name, ha="right", va="center", fontsize=11, color=SOFT)
        axis.text(0.26, height, words, va="center", fontsize=10, color=INK, bbox=box)
        if row:
            arrow = {"arrowstyle": "-|>", "color": SOFT}
            axis.annotate("", (0.12, -row - 0.28), (0.12, -row + 0.38), arrowprops=arrow)


def _legend(axis: Axes, lines: Iterable[tuple[str, str, Finding]]) -> None:
    """List findings, each behind its mark in its colour."""
    axis.set_axis_off()
    for row, (colour, mark, finding) in enumerate(lines):
        height, text = 0.97 - 0.09 * row, f"{finding.region}: {finding.artifact}"
        axis.text(0, height, mark, color=colour, va="top", fontsize=12, fontweight="bold")
        axis.text(0.14, height, text, color=INK, va="top", fontsize=10)


def _table(axis: Axes, shares: np.ndarray, names: Sequence[str], kinds: Sequence[str]) -> None:
    """Draw shares (names, kinds) as tinted cells with their per cent."""
    if not shares.size:
        return
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1.1, aspect="auto")
    axis.set_xticks(range(len(kinds)), kinds, fontsize=11)
    axis.set_yticks(range(len(names)), names, fontsize=10)
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axis.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        style = {"color": "white" if share > 0.55 else INK, "fontsize": 9}
        axis.text(column, row, f"{share:.0%}" if share else "·", ha="center", va="center", **style)
