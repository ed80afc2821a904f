"""What lesson 05 shows: scores and paired differences over seeds, for one source or several."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dfa_lib.bench.claims import METRICS, RESULT
from dfa_lib.instruct.card import markdown_table
from dfa_lib.look import INK, SERIES, SOFT, TEXT, canvas, listed, spelled

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
    for source, metric, claim, one in _each(found, "gaps", begins):
        value, low, high = one["value"], one["low"], one["high"]
        holds = "yes" if low > 0 else "no, the reverse" if high < 0 else "open"
        gap = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows.append([source, claim, metric, gap, holds, f"{high - value:.3f}"])
    return markdown_table(rows)


def levels(found: Found) -> Figure:
    """Every analyst's scores: seeds as dots, their mean with its interval, a panel a metric."""
    figure = _draw(found, "levels", "What each analyst scores")
    for axis, metric, chance in zip(figure.axes, METRICS, (0.5, 0.2), strict=True):
        axis.axvline(chance, color=SOFT, linestyle="--")
        axis.set(xlabel=metric, xlim=(None, min(axis.get_xlim()[1], 1.02)))
    return figure


def gaps(found: Found, claim: str = "") -> Figure:
    """Paired differences of the claims that begin with ``claim``; right of zero, the paper's way.

    Seeds are dots, the mean has its interval; a panel a metric.
    """
    title = f"Claim {claim}: paired differences" if claim else "Paired differences, all claims"
    figure = _draw(found, "gaps", title, claim)
    for axis, metric in zip(figure.axes, METRICS, strict=True):
        axis.axvline(0.0, color=SOFT, linestyle="--")
        axis.set_xlabel(f"{metric}, difference")
    return figure


def _each(found: Found, kind: str, begins: str) -> Iterator[tuple[str, str, str, Mapping]]:
    """Yield source, metric, name and result of all whose name begins with ``begins``."""
    for source, data in found.items():
        for metric, rows in data[kind].items():
            for name, one in rows.items():
                if name.startswith(begins):
                    yield source, metric, name, one


def _draw(found: Found, kind: str, title: str, begins: str = "") -> Figure:
    every, sources = [*_each(found, kind, begins)], list(found)
    rows = list(dict.fromkeys(name for _, _, name, _ in every))
    said = [
        spelled(f"{source} {metric} {name}", (one["value"], one["low"], one["high"]))
        for source, metric, name, one in every
    ]
    alt = f"{title}, mean over seeds and 95 % interval: {listed(said, 60)}."
    size = 9, 0.36 * len(rows) * max(2, len(found)) + 1.8
    figure, panels = canvas(title, alt, size, 1, len(METRICS), sharey=True)
    for source, metric, name, one in every:
        axis, at = panels[METRICS.index(metric)], sources.index(source)
        place, colour = rows.index(name) + 0.3 * (at - (len(sources) - 1) / 2), SERIES[at]
        axis.plot([one["low"], one["high"]], [place] * 2, color=colour, linewidth=4, alpha=0.35)
        axis.plot(one["runs"], [place] * len(one["runs"]), "o", color=colour, markersize=4)
        axis.plot(one["value"], place, "|", color=INK, markersize=13, markeredgewidth=2)
    panels[0].set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.4, -0.6))
    handles = [
        Line2D([], [], marker="o", color=colour, label=source)
        for colour, source in zip(SERIES, sources, strict=False)
    ]
    style = {"loc": "outside lower right", "ncols": 2, "frameon": False, "fontsize": TEXT}
    figure.legend(handles=handles, **style)
    return figure
