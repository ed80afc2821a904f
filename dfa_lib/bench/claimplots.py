"""What lesson 05 shows: scores and paired differences over seeds, for one source or several."""

import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfa_lib.bench.claims import RESULT
from dfa_lib.figures import INK, SERIES, SOFT, canvas, listed

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
    lines = ["| source | claim | score | difference, 95 % | holds | resolves |", "|" + "---|" * 6]
    for source, data in found.items():
        for metric, rows in data["gaps"].items():
            lines += [
                f"| {source} | {claim} | {metric} | {one['value']:+.3f} [{one['low']:+.3f}, "
                f"{one['high']:+.3f}] | {_holds(one)} | {one['high'] - one['value']:.3f} |"
                for claim, one in rows.items()
                if claim.startswith(begins)
            ]
    return "\n".join(lines)


def levels(found: Found) -> Figure:
    """Every analyst's scores: seeds as dots, their mean with its interval, a panel a metric."""
    return _forests(found, "levels", "What each analyst scores", "score")


def gaps(found: Found, claim: str = "") -> Figure:
    """Paired differences of the claims that begin with ``claim``; right of zero, the paper's way.

    Seeds are dots, the mean has its interval; a panel a metric.
    """
    title = f"Claim {claim}: paired differences" if claim else "Paired differences, all claims"
    return _forests(found, "gaps", title, "difference", claim)


def _forests(found: Found, kind: str, title: str, what: str, begins: str = "") -> Figure:
    metrics = list(next(iter(found.values()))[kind])
    every = [name for data in found.values() for name in data[kind][metrics[0]]]
    rows = [name for name in dict.fromkeys(every) if name.startswith(begins)]
    said = [
        f"{source} {metric} {name} {_spelled(data[kind][metric][name])}"
        for metric in metrics
        for source, data in found.items()
        for name in rows
        if name in data[kind][metric]
    ]
    alt = f"{title}, mean over seeds and 95 % interval: {listed(said, 60)}."
    size = 10, 0.34 * len(rows) * max(2, len(found)) + 1.6
    figure, panels = canvas(title, alt, size, 1, len(metrics), sharey=True)
    for axis, metric in zip(panels, metrics, strict=True):
        for at, (source, data) in enumerate(found.items()):
            shift = 0.3 * (at - (len(found) - 1) / 2)
            _dots(axis, rows, data[kind][metric], SERIES[at], shift, source)
        axis.set(xlabel=f"{metric}, {what}", yticks=range(len(rows)), yticklabels=rows)
        axis.axvline(0.0 if kind == "gaps" else _chance(metric), color=SOFT, linestyle="--")
        axis.set_ylim(len(rows) - 0.4, -0.6)
        if kind == "levels":
            axis.set_xlim(max(axis.get_xlim()[0], 0.0), min(axis.get_xlim()[1], 1.02))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center",
                  ncols=len(found), frameon=False, fontsize=10)  # fmt: skip
    return figure


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


def _chance(metric: str) -> float:
    return 0.5 if metric == "DF-D AUC" else 0.2


def _spelled(one: Mapping) -> str:
    return f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def _holds(gap: Mapping) -> str:
    if gap["low"] > 0:
        return "yes"
    return "no, the reverse" if gap["high"] < 0 else "open"
