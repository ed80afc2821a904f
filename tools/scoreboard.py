"""Print the scoreboard of a benchmark report as a Markdown table.

Usage: python -m tools.scoreboard work/03_bench/report.json
"""

import json
import sys
from pathlib import Path


def scoreboard(report: dict) -> str:
    """One row per analyst, one column per metric: value [low, high] of a 95 % interval."""
    analysts = report["analysts"]
    columns = list(
        dict.fromkeys(
            (task, metric)
            for scores in analysts.values()
            for task, metrics in scores.items()
            for metric in metrics
        )
    )
    rows = [
        [name, *(_cell(scores.get(task, {}).get(metric)) for task, metric in columns)]
        for name, scores in analysts.items()
    ]
    header = ["analyst", *(f"{task} {metric}" for task, metric in columns)]
    caption = f"{report['n']} held-out images, preset {report['preset']}, source {report['source']}"
    return "\n".join([_row(header), _row(["---"] * len(header)), *map(_row, rows), "", caption])


def _cell(score: list[float] | None) -> str:
    return "" if score is None else "{:.3f} [{:.3f}, {:.3f}]".format(*score)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(scoreboard(json.loads(Path(sys.argv[1]).read_text())))
