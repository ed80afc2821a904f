"""What lesson 05 shows: scores and paired differences over seeds, for one source or several."""

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure

from dfa_lib.bench.claims import METRICS, RESULT
from dfa_lib.instruct.card import markdown_table
from dfa_lib.look import SOFT, TEXT, canvas, intervals

Found = Mapping[str, Mapping]
"""By source, the content of its claims.json."""


def results(folder: Path) -> Found:
    """All that was found so far, by source: the contents of ``folder``/SOURCE/claims.json."""
    files = sorted(folder.glob(f"*/{RESULT}"), reverse=True)
    return {file.parent.name: json.loads(file.read_text("utf-8")) for file in files}


def table(found: Found, begins: str) -> str:
    """The differences of the claims that begin with ``begins``, as Markdown.

    A difference smaller than the last column could not be told from none.
    """
    rows = [["source", "claim", "score", "difference, 95 %", "holds", "resolves"]]
    for (source, data), metric in product(found.items(), METRICS):
        for claim, one in _each(data, "gaps", metric, begins).items():
            value, low, high = one["value"], one["low"], one["high"]
            holds = "yes" if low > 0 else "no, the reverse" if high < 0 else "open"
            gap = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
            rows.append([source, claim, metric, gap, holds, f"{high - value:.3f}"])
    return markdown_table(rows)


def levels(found: Found) -> Figure:
    """Every analyst's scores: seeds as dots, their mean with its interval, a panel a metric."""
    figure = _draw(found, "levels", "What each analyst scores")
    for axis, chance in zip(figure.axes, (0.5, 0.2), strict=True):
        axis.axvline(chance, color=SOFT, linestyle="--")
        axis.set_xlim(None, min(axis.get_xlim()[1], 1.02))
    return figure


def gaps(found: Found, claim: str) -> Figure:
    """Paired differences of the claims that begin with ``claim``; right of zero, the paper's way.

    Seeds are dots, the mean has its interval; a panel a metric.
    """
    figure = _draw(found, "gaps", f"Claim {claim}: paired differences", claim, ", difference")
    for axis in figure.axes:
        axis.axvline(0.0, color=SOFT, linestyle="--")
    return figure


def _draw(found: Found, kind: str, title: str, begins: str = "", what: str = "") -> Figure:
    rows = max(len(_each(data, kind, METRICS[0], begins)) for data in found.values())
    size = 9, 0.36 * rows * max(2, len(found)) + 1.8
    alt = f"{title}, mean over seeds."
    figure, panels = canvas(title, alt, size, 1, len(METRICS), sharey=True)
    for axis, metric in zip(panels, METRICS, strict=True):
        series = {
            source: {
                name: (one["value"], one["low"], one["high"], *one["runs"])
                for name, one in _each(data, kind, metric, begins).items()
            }
            for source, data in found.items()
        }
        intervals(axis, f"{metric}{what}", series)
    handles, names = panels[0].get_legend_handles_labels()
    style = {"loc": "outside lower right", "ncols": 2, "frameon": False, "fontsize": TEXT}
    figure.legend(handles, names, **style)
    return figure


def _each(data: Mapping, kind: str, metric: str, begins: str) -> dict[str, Mapping]:
    """Return what was found by name, for all whose name begins with ``begins``."""
    return {name: one for name, one in data[kind][metric].items() if name.startswith(begins)}
