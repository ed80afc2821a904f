"""Run notebooks strictly, in order, and say how long each took.

    python -m tools.run_notebooks                            lessons 00 to 04, into work/
    python -m tools.run_notebooks -p SOURCE=london -p ROOT=/data/london
    python -m tools.run_notebooks notebooks/04_chat.ipynb    one lesson
    python -m tools.run_notebooks --refresh                  rewrite the committed outputs,
                                                             and what cards say of time and memory

Lessons 05 (longer than all others) and 06 (a server beside it) are optional: they are run and
refreshed only where they are named.

papermill only warns of a parameter that a notebook does not have, and then runs it with
the wrong settings. Here an unknown parameter is refused, and so is a notebook without a
``parameters`` cell of literals.
"""

import argparse
import ast
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from dfa_lib.bench.report import scoreboard
from dfa_lib.errors import DataError
from dfa_lib.runtime import work_path
from tools.measure import Measured, machine, measured

LESSONS = Path(__file__).resolve().parent.parent / "notebooks"
LAST_RUN = LESSONS / "last_run.json"
Parameters = dict[str, object]


class Refused(DataError):
    """A notebook or a parameter that must not run; the message is one line."""


@dataclass(frozen=True)
class Run:
    """An executed copy of a notebook, and what executing it took."""

    copy: Path
    cost: Measured


def declared(notebook: Path) -> Parameters:
    """Read the names and literals of the one cell that is tagged ``parameters``."""
    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    if len(tagged) != 1:
        raise Refused(f"{notebook.name}: {len(tagged)} cells are tagged 'parameters'; tag one")
    try:
        return dict(_literal(statement) for statement in ast.parse(tagged[0].source).body)
    except (AttributeError, ValueError):
        raise Refused(f"{notebook.name}: its parameters must be plain NAME = literal") from None


def share_out(notebooks: Sequence[Path], parameters: Parameters) -> list[Parameters]:
    """Give each notebook the parameters it declares; refuse one that none declares."""
    known = [declared(notebook) for notebook in notebooks]
    unknown = sorted(set(parameters).difference(*known))
    if unknown:
        names = ", ".join(sorted(set().union(*known)))
        raise Refused(f"unknown parameter: {', '.join(unknown)}; there are: {names}")
    return [{k: v for k, v in parameters.items() if k in names} for names in known]


def run_notebook(notebook: Path, folder: Path, parameters: Parameters, live: bool = False) -> Path:
    """Execute ``notebook`` with ``folder`` as working directory and return the executed copy.

    The copy lies beside what the notebook writes, in the work folder, once all cells have run or
    one has failed. ``live`` shows progress bars. Raises PapermillExecutionError for a failed cell.
    """
    (given,) = share_out([notebook], parameters)
    work = work_path(str(given.get("WORK") or declared(notebook).get("WORK", "work")), folder)
    work.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        notebook,
        work / notebook.name,
        given,
        cwd=folder,
        kernel_name="python3",
        language="python",
        request_save_on_cell_execute=False,  # twice for each cell: two seconds a lesson
        progress_bar=live,
        stderr_file=sys.stderr if live else None,
        execution_timeout=4 * 3600,  # of one cell: lesson 05 tunes many models in one
        extra_arguments=["--log-level=CRITICAL"],  # of the kernel about itself: noise
    )
    return work / notebook.name


def run_all(notebooks: Sequence[Path], folder: Path, parameters: Parameters) -> list[Run]:
    """Execute notebooks one after the other, telling how far it is and what each took."""
    runs = []
    shares = share_out(notebooks, parameters)
    for number, (notebook, given) in enumerate(zip(notebooks, shares, strict=True), start=1):
        place = f"[{number}/{len(notebooks)}] {notebook.stem}"
        print(place, flush=True)
        with measured() as cost:
            copy = run_notebook(notebook, folder, given, live=True)
        print(f"{place}: {cost.minutes:.1f} minutes, {cost.gigabytes:.1f} GB", flush=True)
        runs.append(Run(copy, cost))
    return runs


def refresh(notebooks: Sequence[Path], record: Path = LAST_RUN) -> None:
    """Execute notebooks as they stand in an empty folder; put the clean outputs in place.

    Their cards then say what this run took and when it was, and so does ``record``.
    """
    with tempfile.TemporaryDirectory() as folder:
        runs = run_all(notebooks, Path(folder), {})
        for source, run in zip(notebooks, runs, strict=True):
            executed = clean(nbformat.read(run.copy, as_version=4))
            tell(executed, run.cost)
            nbformat.write(executed, source)
    known = json.loads(record.read_text("utf-8")) if record.exists() else {}
    today = {"date": date.today().isoformat(), "machine": machine()}
    for source, run in zip(notebooks, runs, strict=True):
        known[source.stem] = asdict(run.cost) | today
    record.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


def tell(notebook: nbformat.NotebookNode, cost: Measured) -> None:
    """Write into the card of a lesson what running it took, and the date of today."""
    told = f"nano: {cost.minutes:.1f} minutes, {cost.gigabytes:.1f} GB"
    for cell in notebook.cells:
        if cell.id == "card":
            cell.source = re.sub(r"nano: [\d.]+ minutes, [\d.]+ GB", told, cell.source)
            day = rf"\g<1>{date.today().isoformat()}"
            cell.source = re.sub(r"(\*\*Last verified\*\* )[\d-]+", day, cell.source)


def tell_pages(readme: str, teaching: str) -> tuple[str, str]:
    """Both pages with the minutes, memory and dates of the recorded run in their tables."""
    for name, run in json.loads(LAST_RUN.read_text("utf-8")).items():
        minutes, memory = f"{run['minutes']:.1f}", f"{run['gigabytes']:.1f}"
        row = rf"^(\|.*{name}\.ipynb\).*\| )[\d.]+ \|$"
        readme = re.sub(row, rf"\g<1>{minutes} |", readme, flags=re.MULTILINE)
        row = f"| {name[:2]} | {minutes} | {memory} | {run['date']} |"
        dated = rf"^\| {name[:2]} \|.* [\d-]{{10}} \|$"  # not its minutes per section
        teaching = re.sub(dated, row, teaching, flags=re.MULTILINE)
    return readme, teaching


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what only the machine that ran it needs; keep outputs, cell ids and tags."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.outputs = _joined([o for o in cell.outputs if not _is_widget(o)])
    return notebook


def _literal(statement: ast.stmt) -> tuple[str, object]:
    return statement.targets[0].id, ast.literal_eval(statement.value)


def _is_widget(output: nbformat.NotebookNode) -> bool:
    # without the state, which GitHub cannot show, a widget view is an error message
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join neighbouring streams, and leave the last state of each progress bar."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if joined and output.get("name", "") == joined[-1].get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = "\n".join(_last_state(line) for line in output.text.split("\n"))
    return joined


def _last_state(line: str) -> str:
    return next((part for part in reversed(line.split("\r")) if part), "")


def assignment(text: str) -> tuple[str, object]:
    """Read NAME=VALUE; a value that is no literal is a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: takes NAME=VALUE, for instance {text}=True")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def _summary(runs: Sequence[Run]) -> str:
    """Say where to look: the scoreboard, and every page there is to open."""
    work = runs[-1].copy.parent
    report = work / "03_bench" / "report.json"
    lines = [scoreboard(json.loads(report.read_text()))] if report.exists() else []
    pages = [*(run.copy for run in runs), *sorted(work.glob("*/*.html"))]
    return "\n".join([*lines, "", "Open:", *(f"  {page}" for page in pages)])


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: lessons 00 to 04")
    parser.add_argument(
        "-p", "--parameter", type=assignment, action="append", default=[], metavar="NAME=VALUE"
    )
    parser.add_argument("--refresh", action="store_true", help="rewrite the committed outputs")
    given = parser.parse_args()
    if given.refresh and given.parameter:
        parser.error("committed outputs come from the parameters as committed: no -p here")
    notebooks = given.notebooks or sorted(LESSONS.glob("0[0-4]*.ipynb"))
    try:
        if given.refresh:
            refresh(notebooks)
            pages = [LESSONS.parent / name for name in ("README.md", "TEACHING.md")]
            for page, text in zip(pages, tell_pages(*map(Path.read_text, pages)), strict=True):
                page.write_text(text, "utf-8")
        else:
            print(_summary(run_all(notebooks, Path(), dict(given.parameter))))
    except (Refused, FileNotFoundError, PapermillExecutionError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
