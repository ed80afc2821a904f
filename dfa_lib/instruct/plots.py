"""Figures of lesson 01: what differs, what was said of it, and whether it holds."""

from collections.abc import Iterable, Mapping

import cv2
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dfa_lib import look
from dfa_lib.face.geometry import Image, region_masks
from dfa_lib.instruct.evidence import difference
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Annotation, Face, Finding
from dfa_lib.taxonomy import Region

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


def _panels(axes: Iterable[Axes], pictures: Mapping[str, Image | None]) -> None:
    for axis, (name, picture) in zip(axes, pictures.items(), strict=False):
        look.show(axis, picture)
        axis.set_title(name, fontsize=look.LABEL, color=look.INK)


def _list(axis: Axes, lines: Iterable[tuple[str, str, Finding]], columns: int = 1) -> None:
    """List findings, each behind its mark in its colour."""
    axis.set_axis_off()
    marks = []
    for colour, mark, finding in lines:
        style = {"linestyle": "", "marker": mark, "color": colour, "markersize": 9}
        marks.append(Line2D([], [], label=f"{finding.region}: {finding.artifact}", **style))
    axis.legend(handles=marks, loc="upper left", ncols=columns, frameon=False, fontsize=look.TEXT)
