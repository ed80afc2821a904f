"""The anatomy every lesson shares, checked without running it."""

import ast
import importlib
import re
import statistics
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from lessons import LESSONS, NAMES, exercises, python, read
from nbformat import NotebookNode

from tools.assignments import solutions
from tools.run_notebooks import declared

REAL = {"PROFILE": "stand-in", "FAST": False, "WORK": "work"}
"""Lesson 06 names what is real in its parameters, and replaces it by one of them."""
COMMON = {"PRESET": "nano", "SOURCE": "procedural", "FAST": False, "WORK": "work"}
CARD = ("You will learn", "You need", "You will make", "Time and memory", "Last verified")
LAST = ["Exercises", "Recap"]
BADGE = "https://colab.research.google.com/github/{repo}/blob/main/notebooks/{name}"
KEY = re.compile(r"\b(sk|hf)[-_]\w{20,}|AKIA[0-9A-Z]{16}")
MACHINE = re.compile(r"(?<![\w.])/(home|root|tmp|Users)/|site-packages|Warning:")


@pytest.fixture(params=LESSONS, ids=NAMES, scope="module")
def lesson(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def notebook(lesson: Path) -> NotebookNode:
    return read(lesson)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in code(notebook) for output in cell.outputs]


def sections(notebook: NotebookNode) -> dict[str, list[NotebookNode]]:
    """The cells of each numbered section, its heading among them."""
    found: dict[str, list[NotebookNode]] = {}
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        if heading := re.search(r"^## (.+)$", cell.source, re.M):
            cells = found.setdefault(heading[1], []) if heading[1][0].isdigit() else []
        cells.append(cell)
    return found


def test_seven_lessons() -> None:
    assert [name[:2] for name in NAMES] == ["00", "01", "02", "03", "04", "05", "06"]


def test_is_valid_with_ids_of_its_own(notebook: NotebookNode) -> None:
    """Prevents “Invalid Notebook” on GitHub, and diffs full of renumbered cells."""
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", i) for i in ids), "speaking ids, they are stable"


def test_opens_with_title_badge_and_card(lesson: Path, notebook: NotebookNode) -> None:
    """Prevents the badge that opens another lesson, and the lesson that promises nothing."""
    title, card = (cell.source for cell in notebook.cells[:2])
    assert re.match(rf"# {lesson.stem[:2]} · \w", title)
    assert BADGE.format(repo=repository(notebook), name=lesson.name) in title
    assert [line for line in CARD if f"**{line}**" not in card] == []
    assert re.search(r"\*\*You will learn\*\* to \w+", card), "what somebody can do afterwards"


def repository(notebook: NotebookNode) -> str:
    found = re.search(r"colab\.research\.google\.com/github/(.+?)/blob/", notebook.cells[0].source)
    assert found, "the title cell has a Colab badge"
    return found[1]


def test_one_repository_and_one_set_up_cell_for_all() -> None:
    """Prevents the one lesson that installs another fork, or another version."""
    notebooks = [read(lesson) for lesson in LESSONS]
    (repo,) = {repository(notebook) for notebook in notebooks}
    (bootstrap,) = {code(notebook)[0].source for notebook in notebooks}
    assert f"git+https://github.com/{repo}@" in bootstrap


def test_parameters_follow_as_literals(lesson: Path, notebook: NotebookNode) -> None:
    """Prevents a value computed from a parameter, which goes stale when the parameter is set."""
    assert "parameters" in code(notebook)[1].metadata.get("tags", [])
    common = REAL if lesson.stem.startswith("06") else COMMON
    assert declared(lesson).items() >= common.items()


def test_sections_are_numbered(notebook: NotebookNode) -> None:
    """Prevents “see section 4” from leading to section 5."""
    headings = re.findall(r"^## (.+)$", prose(notebook), re.M)
    assert headings[-2:] == LAST
    assert [h.partition(".")[0] for h in headings[:-2]] == [
        str(number) for number in range(1, len(headings) - 1)
    ]


def test_cells_are_short(notebook: NotebookNode) -> None:
    """Prevents the cell that is scrolled past instead of read."""
    lines = {cell.id: len(cell.source.splitlines()) for cell in code(notebook)}
    assert {i: n for i, n in lines.items() if n > 25} == {}
    assert statistics.median(lines.values()) <= 8
    assert min(lines.values()) > 0


def test_defines_only_what_it_teaches(notebook: NotebookNode) -> None:
    """Prevents code in a lesson that belongs in the package, where tests see it."""
    trees = [ast.parse(python(cell.source)) for cell in code(notebook)]
    functions = [n for t in trees for n in ast.walk(t) if isinstance(n, ast.FunctionDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno >= 25] == []


def test_imports_exist(notebook: NotebookNode) -> None:
    """Prevents the lesson left behind when the package is renamed around it."""
    nodes = [n for cell in code(notebook) for n in ast.walk(ast.parse(python(cell.source)))]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dfa_lib"):
            module = importlib.import_module(node.module)
            assert [a.name for a in node.names if not hasattr(module, a.name)] == []
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)


def test_asks_before_it_shows_and_checks_after(notebook: NotebookNode) -> None:
    """Prevents output that is read without an expectation, and a run that is wrong unnoticed."""
    for title, cells in sections(notebook).items():
        shows = any(c.cell_type == "code" and c.id != "load" for c in cells)
        asks = any("**Predict before you run.**" in c.source for c in cells)
        assert asks or not shows, title
    checkpoints = [c for c in code(notebook) if c.id.startswith("checkpoint")]
    assert checkpoints
    assert all("assert" in cell.source for cell in checkpoints)


def test_exercises_check_themselves_and_have_solutions(
    lesson: Path, notebook: NotebookNode
) -> None:
    """Prevents the exercise nobody can tell to be solved, and the one nobody has solved."""
    numbers = exercises(notebook)
    assert numbers in (["1", "2"], ["1", "2", "3"])
    following = {a.id: b for a, b in pairwise(notebook.cells)}
    for number in numbers:
        check = following[f"exercise-{number}"]
        assert check.id == f"check-{number}"
        assert "assert" in check.source
        assert "✓" in check.source
    assert list(solutions(lesson)) == numbers


def test_has_the_length_of_a_lesson(lesson: Path, notebook: NotebookNode) -> None:
    """Prevents the lesson that grows into a book, or shrinks to a script."""
    words = len(re.sub(r"\(http\S+\)", "", prose(notebook)).split())
    shortest = 400 if lesson.stem.startswith("00") else 900
    assert shortest <= words <= 1600


def test_terms_are_in_the_glossary(lesson: Path, notebook: NotebookNode) -> None:
    """Prevents the word that is used before anybody has said what it means."""
    glossary = (lesson.parent / "GLOSSARY.md").read_text(encoding="utf-8").lower()
    bold = re.findall(r"\*\*([\w -]+)\*\*", prose(notebook))
    terms = [b for b in bold if b.count(" ") < 3 and (b[0].islower() or b[:2].isupper())]
    assert [term for term in terms if term.lower() not in glossary] == []


def test_nothing_is_left_to_be_filled_in(notebook: NotebookNode) -> None:
    """Prevents a gap that was to be filled later."""
    assert [cell.id for cell in notebook.cells if "TBD" in cell.source] == []


def test_outputs_come_from_one_clean_run(lesson: Path, notebook: NotebookNode) -> None:
    """Prevents outputs of cells run out of order, and pages too large for GitHub to show."""
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts in ([None] * len(counts), list(range(1, len(counts) + 1)))
    assert [o.ename for o in outputs(notebook) if o.output_type == "error"] == []
    assert not {"widgets", "papermill"} & set(notebook.metadata)
    assert lesson.stat().st_size <= 1_000_000


def test_holds_no_key_and_no_path_of_a_machine(lesson: Path, notebook: NotebookNode) -> None:
    """Prevents a key in the history for ever, and somebody's home directory in print."""
    assert not KEY.search(lesson.read_text(encoding="utf-8"))
    shown = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs(notebook)]
    assert [text for text in shown if MACHINE.search(text)] == []
