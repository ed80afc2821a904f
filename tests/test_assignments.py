"""Lessons as assignments: nbgrader grades a solved and an unsolved copy right."""

import csv
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from lessons import LESSONS, ROOT, exercises, read
from nbgrader.api import Gradebook

from tools.assignments import hand_in, make_course, with_parameters
from tools.run_notebooks import Refused

pytestmark = pytest.mark.usefixtures("warm")
*FULL, FAST = LESSONS
TINY = {
    "parameters": 'WORK = "work"',
    "begin": "from pathlib import Path\nmade = Path(WORK) / 'made'\nassert not made.exists()",
    "work": "made.touch()",
    "exercise-1": "answer = None",
    "check-1": "if answer is None:\n    print('waits')\nelse:\n    assert answer == 42",
    "recap": "made.stat()",
}
"""A lesson that fails in any work folder but an empty one, or where somebody renames ``made``."""


UNTOUCHED = """try:
    exec({exercise!r})
    exec({check!r})
except AssertionError as error:
    assert str(error) == "not solved yet"
else:
    raise RuntimeError("an untouched exercise passes")
"""
"""After a check: what an unsolved copy would come to, without a run of its own."""


def nbgrader(course: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run nbgrader's own command in the course folder, as a teacher does."""
    command = [sys.executable, "-m", "nbgrader", *arguments]
    return subprocess.run(command, cwd=course, capture_output=True, text=True)


def scores(course: Path) -> dict[tuple[str, str], float]:
    """What stands in the exported table: points by lesson and student."""
    assert nbgrader(course, "export").returncode == 0
    with (course / "grades.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["raw_score"]]
    return {(row["assignment"], row["student_id"]): float(row["score"]) for row in rows}


def repository(folder: Path) -> Path:
    """What work_path takes for a repository, whose work/ holds other faces; the course in it."""
    (folder / "dfa_lib").mkdir()
    (folder / "dfa_lib" / "taxonomy.py").touch()
    for lesson in ("00_quickstart", "01_instruct"):
        (folder / "work" / lesson).mkdir(parents=True)
        (folder / "work" / lesson / "recipe.json").write_text('{"n": 500}')
    (folder / "work" / "made").touch()
    return folder / "build" / "course"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course made by the documented command, with a teacher's work folder in the way."""
    course = repository(tmp_path_factory.mktemp("repository"))
    command = [sys.executable, "-m", "tools.assignments", str(course), "-p", "FAST=True"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return course


def test_the_text_stays_as_it_is(course: Path) -> None:
    """Prevents a second set of lessons that somebody has to keep equal to the first."""
    for lesson in LESSONS:
        released = nbformat.read(course / "release" / lesson.stem / lesson.name, as_version=4)
        asked = with_parameters(read(lesson), {"FAST": True})
        for ours, theirs in zip(asked.cells, released.cells, strict=True):
            assert (ours.id, ours.source) == (theirs.id, theirs.source)
        points = [c.metadata.nbgrader.points for c in released.cells if c.id.startswith("check-")]
        assert points == [1] * len(exercises(released)) != []
    with pytest.raises(Refused, match="name a new folder"):
        make_course(LESSONS, course, {})


def tiny(folder: Path) -> Path:
    """Write ``TINY`` as a lesson with its page of solutions; return the lesson."""
    (folder / "assets").mkdir(parents=True)
    (folder / "solutions").mkdir()
    (folder / "solutions" / "tiny.md").write_text("## Exercise 1\n\n```python\nanswer = 42\n```\n")
    cells = [nbformat.v4.new_code_cell(source, id=name) for name, source in TINY.items()]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "tiny.ipynb")
    return folder / "tiny.ipynb"


def test_a_lesson_that_fails_is_named_and_never_graded(tmp_path: Path) -> None:
    """Prevents the zero that a right answer got because another's faces were in the way."""
    course, lesson = repository(tmp_path), tiny(tmp_path / "notebooks")
    make_course([lesson], course, {})
    handed_in = {"nobody": "answer = None", "wrong": "answer = 41",
                 "breaks": "answer = 42\nmade = None"}  # fmt: skip
    for student, answer in handed_in.items():
        notebook = read(course / "release" / "tiny" / "tiny.ipynb")
        notebook.cells[3].source = answer
        hand_in(notebook, course, student, "tiny")
    told = nbgrader(course, "autograde", "tiny")
    assert told.returncode != 0
    assert "breaks is not graded: the cell 'recap' of the lesson itself failed" in told.stderr
    points = {"solutions": 1, "nobody": 0, "wrong": 0, "breaks": 0}
    assert scores(course) == {("tiny", student): score for student, score in points.items()}
    assert not (course / "autograded" / "breaks" / "tiny").exists()


@pytest.mark.notebook
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "lesson",
    [FAST, *(pytest.param(lesson, marks=pytest.mark.full) for lesson in FULL)],
    ids=lambda lesson: lesson.stem,
)
def test_solved_gets_all_points_and_unsolved_none(lesson: Path, course: Path) -> None:
    """Alone as well: in an empty work folder, and no cell of the lesson may fail."""
    name = lesson.stem
    graded = {cell.id: cell for cell in read(course / "source" / name / lesson.name).cells}
    (handed_in,) = (course / "submitted" / "solutions" / name).glob("*.ipynb")
    notebook = read(handed_in)
    for number in exercises(notebook):
        at = 1 + [cell.id for cell in notebook.cells].index(f"check-{number}")
        unsolved = {kind: graded[f"{kind}-{number}"].source for kind in ("exercise", "check")}
        notebook.cells.insert(at, nbformat.v4.new_code_cell(UNTOUCHED.format(**unsolved)))
    nbformat.write(notebook, handed_in)
    done = nbgrader(course, "autograde", name)
    assert done.returncode == 0, done.stderr[-2000:]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        solved = book.find_submission(name, "solutions")
        assert solved.score == solved.max_score == len(exercises(notebook)) > 0
