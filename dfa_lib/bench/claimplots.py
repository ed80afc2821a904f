"""What lesson 05 shows: scores and paired differences over seeds, for one source or several."""

import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfa_lib.bench.claims import METRICS, RESULT
from dfa_lib.figures import INK, SERIES, SOFT, TEXT, canvas, listed, spelled
from dfa_lib.instruct.card import markdown_table

_ENDS = ("value", "low", "high")
Found = Mapping[str, Mapping]
"""By source, the content of its claims.json."""


def results(folder: Path) -> Found:
    """All that was found so far, by source: the contents of ``folder``/SOURCE/claims.json."""
    files = sorted(folder.glob(f"*/{RESULT}"), reverse=True)
    return {file.parent.name: json.loads(file.read_text("utf-8")) for file in files}


def table(found: Found, begins: str = "") -> str:
    """The differences of the claims that begin with ``begins``, as Markdown.

    A difference smaller than the last column could not be told from none.
    """
    rows = [["source", "claim", "score", "difference, 95 %", "holds", "resolves"]]
    for source, data in found.items():
        for metric, by_claim in data["gaps"].items():
            for claim, one in by_claim.items():
                if claim.startswith(begins):
                    value, low, high = one["value"], one["low"], one["high"]
                    gap = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
                    rows.append([source, claim, metric, gap, _holds(one), f"{high - value:.3f}"])
    return markdown_table(rows)


def levels(found: Found) -> Figure:
    """Every analyst's scores: seeds as dots, their mean with its interval, a panel a metric."""
    title, rows = "What each analyst scores", _rows(found, "levels")
    alt = _told(title, found, "levels", rows)
    figure, panels = canvas(title, alt, _size(found, rows), 1, len(METRICS), sharey=True)
    _draw(figure, panels, found, "levels", rows)
    for axis, chance in zip(panels, (0.5, 0.2), strict=True):
        axis.axvline(chance, color=SOFT, linestyle="--")
        axis.set_xlim(None, min(axis.get_xlim()[1], 1.02))
    return figure


def gaps(found: Found, claim: str = "") -> Figure:
    """Paired differences of the claims that begin with ``claim``; right of zero, the paper's way.

    Seeds are dots, the mean has its interval; a panel a metric.
    """
    title = f"Claim {claim}: paired differences" if claim else "Paired differences, all claims"
    rows = _rows(found, "gaps", claim)
    alt = _told(title, found, "gaps", rows)
    figure, panels = canvas(title, alt, _size(found, rows), 1, len(METRICS), sharey=True)
    _draw(figure, panels, found, "gaps", rows)
    for axis in panels:
        axis.axvline(0.0, color=SOFT, linestyle="--")
    return figure


def _rows(found: Found, kind: str, begins: str = "") -> list[str]:
    every = [name for data in found.values() for name in data[kind][METRICS[0]]]
    return [name for name in dict.fromkeys(every) if name.startswith(begins)]


def _size(found: Found, rows: list[str]) -> tuple[float, float]:
    return 9, 0.36 * len(rows) * max(2, len(found)) + 1.8


def _told(title: str, found: Found, kind: str, rows: list[str]) -> str:
    said = [
        spelled(f"{source} {metric} {name}", [data[kind][metric][name][end] for end in _ENDS])
        for metric in METRICS
        for source, data in found.items()
        for name in rows
        if name in data[kind][metric]
    ]
    return f"{title}, mean over seeds and 95 % interval: {listed(said, 60)}."


def _draw(figure: Figure, panels: list[Axes], found: Found, kind: str, rows: list[str]) -> None:
    for axis, metric in zip(panels, METRICS, strict=True):
        for at, (source, data) in enumerate(found.items()):
            shift = 0.3 * (at - (len(found) - 1) / 2)
            _dots(axis, rows, data[kind][metric], SERIES[at], shift, source)
        axis.set(
            xlabel=metric if kind == "levels" else f"{metric}, difference",
            yticks=range(len(rows)),
            yticklabels=rows,
        )
        axis.set_ylim(len(rows) - 0.4, -0.6)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower right", ncols=2, frameon=False, fontsize=TEXT)


def _dots(
    axis: Axes, rows: list[str], values: Mapping, colour: str, shift: float, label: str
) -> None:
    for place, name in enumerate(rows):
        if one := values.get(name):
            at = place + shift
            axis.plot([one["low"], one["high"]], [at, at], color=colour, linewidth=4, alpha=0.35)
            axis.plot(one["runs"], [at] * len(one["runs"]), "o", color=colour, markersize=4)
            axis.plot(one["value"], at, "|", color=INK, markersize=13, markeredgewidth=2)
    axis.plot([], [], "o-", color=colour, label=label)


def _holds(gap: Mapping) -> str:
    if gap["low"] > 0:
        return "yes"
    return "no, the reverse" if gap["high"] < 0 else "open"
