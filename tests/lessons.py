"""The lessons and their solutions, for the tests that read or run them."""

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
NAMES = [lesson.stem for lesson in LESSONS]


def read(lesson: Path) -> nbformat.NotebookNode:
    return nbformat.read(lesson, as_version=4)


def exercises(notebook: nbformat.NotebookNode) -> list[str]:
    """The numbers of the exercises, in the order of their cells."""
    return [c.id.removeprefix("exercise-") for c in notebook.cells if c.id.startswith("exercise-")]


def solutions(lesson: Path) -> dict[str, str]:
    """The Python block below each heading ``## Exercise N`` of the solutions page."""
    page = lesson.parent / "solutions" / f"{lesson.stem}.md"
    parts = re.split(r"^## Exercise (\w+).*$", page.read_text(encoding="utf-8"), flags=re.M)
    blocks = (re.search(r"```python\n(.*?)```", text, re.S) for text in parts[2::2])
    return {n: block[1] for n, block in zip(parts[1::2], blocks, strict=True) if block}


def solved(lesson: Path, folder: Path) -> Path:
    """Write a copy of the lesson in which every exercise holds its solution."""
    notebook = read(lesson)
    answers = solutions(lesson)
    for cell in notebook.cells:
        if cell.id.startswith("exercise-"):
            cell.source = answers[cell.id.removeprefix("exercise-")]
    nbformat.write(notebook, folder / lesson.name)
    return folder / lesson.name
