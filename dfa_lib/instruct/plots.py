"""Figures of lesson 01: what differs, what was said of it, whether it holds, what came of it."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import cv2
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dfa_lib import look
from dfa_lib.face.geometry import Image, region_masks
from dfa_lib.instruct.artifact_rules import LEAST_CHANGE
from dfa_lib.instruct.evidence import Figures, difference
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Annotation, Face, Finding, InstructRecord
from dfa_lib.taxonomy import Artifact, Category, Region, Task

_HOLDS = {
    True: (look.HOLDS, "$✓$", "holds"),
    False: (look.FAILS, "$✗$", "does not hold"),
    None: (look.SOFT, "$?$", "unchecked"),
}
"""How a finding is marked by what its audit says: colour, marker, words."""


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
    found = look.listed((f"{one.region} ({one.artifact})" for one in note.findings), 12)
    beside = "" if before is None else "the bona fide picture, the forged one, their difference, "
    made = f"{face.category.phrase} by {face.method or 'an unknown method'}"
    alt = f"Face {face.id}, {made}: {beside}and its findings in colour: {found}."
    title = f"{face.category}, {face.method or 'unknown'}: what the annotator found"
    title = title.replace("_", " ")
    sheet, axes = look.canvas(title, alt, (9, 4.3), 2, 4, height_ratios=[2.4, 1.2])
    _panels(axes, panels)
    marked = [(look.ARTIFACT_COLOURS[one.artifact], "s", one) for one in note.findings]
    _list(look.last_row(sheet, axes, 4), marked, columns=2)
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
        f"{name}: "
        + look.listed((f"{one.region} {_HOLDS[one.supported][2]}" for one in note.findings), 12)
        for name, note in notes.items()
    )
    alt = f"{title} Findings on one face, marked by the audit. {'. '.join(told)}"
    most, n = max(1, *(len(note.findings) for note in notes.values())), len(notes)
    size, ratios = (max(4.4 * n, 5), 3.4 + 0.25 * most), [2.7, 0.25 * most]
    sheet, axes = look.canvas(title, alt, size, 2, n, height_ratios=ratios)
    for (name, note), above, below in zip(notes.items(), axes[:n], axes[n:], strict=True):
        colours = {one.region: _HOLDS[one.supported][0] for one in note.findings}
        _panels([above], {name: painted(faces.image(face), face, colours)})
        _list(below, [(*_HOLDS[one.supported][:2], one) for one in note.findings])
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
    changed = look.heat(difference(before, after))
    pictures = {"bona fide": before, "forged": after, "difference": changed}
    words = look.listed(f"{name}: {text}" for name, text in steps.items())
    title = f"{face.id}, {finding.region}: from pixels to an answer"
    alt = f"{title}. The {finding.region} in both pictures and their difference, then {words}"
    sheet, axes = look.canvas(title, alt, (9, 6), 2, 3, height_ratios=[1, 1.25])
    masks = region_masks(np.float32(face.landmarks), len(after))
    mask = masks.get(finding.region, np.ones(after.shape[:2], bool))
    _panels(axes, {name: _around(picture, mask) for name, picture in pictures.items()})
    _boxes(look.last_row(sheet, axes, 3), steps)
    return sheet


def measured(regions: Mapping[Region, Figures], note: Annotation) -> Figure:
    """Draw how far every region differs from the counterpart, and what that was called."""
    said = {finding.region: finding.artifact for finding in note.findings}
    order = sorted(regions, key=lambda region: regions[region]["change"])
    change = [max(regions[region]["change"], 0) for region in order]
    bars = [f"{region} {value:.0f}" for region, value in zip(order, change, strict=True)][::-1]
    named = look.listed(said, 20)
    alt = f"Grey levels of change by region: {look.listed(bars, 20)}; named: {named}."
    size = 8.5, 0.32 * len(order) + 1.4
    chart, (axis,) = look.canvas("How much each region changed", alt, size)
    colours = [look.ARTIFACT_COLOURS[said[r]] if r in said else look.GREY for r in order]
    axis.barh([region.value for region in order], change, color=colours)
    axis.axvline(LEAST_CHANGE, color=look.INK, linewidth=1, linestyle=":")
    for row, (region, value) in enumerate(zip(order, change, strict=True)):
        look.write(axis, value + 0.4, row, said.get(region, ""))
    axis.set_xlim(0, max(change) * 1.35)
    axis.set_xlabel("grey levels, beyond the difference of two shots of one face")
    return chart


def findings_map(records: Iterable[InstructRecord]) -> Figure:
    """Tabulate in what share of a category's faces a region, and an artifact, is named."""
    forged = [record for record in records if record.face.category.forged]
    total = Counter(record.face.category for record in forged)
    kinds = [category for category in Category if category in total]
    title = "Share of the faces in which it is named"
    alt = f"{title}. Two tables of per cents, regions and artifacts by {look.listed(kinds)}."
    sheet, axes = look.canvas(title, alt, (9, 5), 1, 2)
    for axis, names, field in zip(axes, (Region, Artifact), ("region", "artifact"), strict=True):
        named = Counter(
            (name, record.face.category)
            for record in forged
            for name in {getattr(finding, field) for finding in record.annotation.findings}
        )
        shares = [[named[name, kind] / total[kind] for kind in kinds] for name in names]
        _table(axis, np.array(shares), [name.value for name in names], kinds)
    return sheet


def _panels(axes: Iterable[Axes], pictures: Mapping[str, Image | None]) -> None:
    for axis, (name, picture) in zip(axes, pictures.items(), strict=False):
        look.show(axis, picture)
        axis.set_title(name, fontsize=look.LABEL, color=look.INK)


def _around(picture: Image, mask: np.ndarray) -> Image:
    """Cut out the square about a region, with a margin."""
    rows, columns = np.nonzero(mask)
    half = max(np.ptp(rows), np.ptp(columns), 24) // 2 + 6
    y, x = (int(np.clip(at.mean(), half, len(mask) - half)) for at in (rows, columns))
    return picture[max(y - half, 0) : y + half, max(x - half, 0) : x + half]


def _boxes(axis: Axes, steps: Mapping[str, str]) -> None:
    """Write texts one below the other, each with its name, joined by arrows."""
    axis.set_axis_off()
    axis.set(xlim=(0, 1), ylim=(-len(steps), 0))
    box = {"boxstyle": "round,pad=0.4", "facecolor": look.PALE, "edgecolor": "none"}
    for row, (name, text) in enumerate(steps.items()):
        height, words = -row - 0.45, textwrap.fill(text, 72)
        look.write(axis, 0.18, height, name, ha="right", color=look.SOFT)
        look.write(axis, 0.21, height, words, bbox=box)
        if row:
            arrow = {"arrowstyle": "-|>", "color": look.SOFT}
            axis.annotate("", (0.12, -row - 0.28), (0.12, -row + 0.38), arrowprops=arrow)


def _list(axis: Axes, lines: Iterable[tuple[str, str, Finding]], columns: int = 1) -> None:
    """List findings, each behind its mark in its colour."""
    axis.set_axis_off()
    marks = []
    for colour, mark, finding in lines:
        style = {"linestyle": "", "marker": mark, "color": colour, "markersize": 9}
        marks.append(Line2D([], [], label=f"{finding.region}: {finding.artifact}", **style))
    axis.legend(handles=marks, loc="upper left", ncols=columns, frameon=False, fontsize=look.TEXT)


def _table(axis: Axes, shares: np.ndarray, names: Sequence[str], kinds: Sequence[Category]) -> None:
    """Draw shares (names, kinds) as tinted cells with their per cent."""
    if not shares.size:
        return
    axis.imshow(shares, cmap="Greys", vmin=0, vmax=1.1, aspect="auto")
    axis.set_xticks(range(len(kinds)), kinds, fontsize=look.LABEL)
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    look.tint(axis.get_xticklabels())
    axis.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        ink = "white" if share > 0.55 else look.INK
        look.write(axis, column, row, f"{share:.0%}" if share else "·", ha="center", color=ink)
