"""The lessons and their solutions, for the tests that read or run them."""

import re
import subprocess
from pathlib import Path

import nbformat

from tools.assignments import solutions, solve

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
NAMES = [lesson.stem for lesson in LESSONS]
COURSE = LESSONS[:5]
"""What `make tutorial` runs; 05 and 06 are optional."""


def files(*patterns: str) -> list[Path]:
    """The files of the repository, those about to be added included, that fit a pattern."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return sorted({ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()})


def read(lesson: Path) -> nbformat.NotebookNode:
    return nbformat.read(lesson, as_version=4)


def python(source: str) -> str:
    """A cell without its magics, which are no Python."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)


def exercises(notebook: nbformat.NotebookNode) -> list[str]:
    """The numbers of the exercises, in the order of their cells."""
    return [c.id.removeprefix("exercise-") for c in notebook.cells if c.id.startswith("exercise-")]


def solved(lesson: Path, folder: Path) -> Path:
    """Write a copy of the lesson in which every exercise holds its solution."""
    nbformat.write(solve(read(lesson), solutions(lesson)), folder / lesson.name)
    return folder / lesson.name


def unsolved(notebook: nbformat.NotebookNode) -> list[str]:
    """The exercises of an executed lesson whose check did not print its ✓."""
    said = {
        cell.id: "".join(o.get("text", "") for o in cell.get("outputs", ()))
        for cell in notebook.cells
    }
    return [number for number in exercises(notebook) if "✓" not in said.get(f"check-{number}", "")]
