"""Make assignments for nbgrader of the lessons, by metadata alone: no text of a lesson changes.

    python -m tools.assignments build/course                 every lesson
    python -m tools.assignments build/course -p FAST=True    graded on few faces, in minutes

An exercise cell is what students change; the check below it is worth a point, and it and the
parameters are restored before grading. A check that finds its exercise untouched says so and
passes, so grading adds a hidden line that fails there. ``release/`` goes to the students,
``submitted/NAME/LESSON/`` takes what comes back, and ``nbgrader autograde LESSON`` in the course
folder grades it; the solutions are there as the submission of a student called ``solutions``.
Every submission runs in an empty work folder of its own. Where a cell of the lesson itself fails
(a full disk, or a name that an exercise overwrote), nbgrader ends with an error that names the
cell, and the submission is not graded; ``nbgrader export`` writes 0 for it until it is.
"""

import argparse
import ast
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbformat import NotebookNode

from dfa_lib.errors import command
from tools.run_notebooks import LESSONS, Parameters, Refused, assignment, share_out

if TYPE_CHECKING:
    from nbgrader.apps import NbGraderAPI

CONFIG = '''"""How nbgrader makes and grades the assignments; written by tools.assignments."""

from tempfile import TemporaryDirectory

from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbgrader import preprocessors as pp


class ExecuteAlone(pp.Execute):
    """Run a submission in a work folder of its own; give no points where the lesson fails."""

    def preprocess(self, notebook, resources, *others):
        marks = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
        at = [mark.get("grade_id") for mark in marks].index("parameters")
        with TemporaryDirectory() as work:
            notebook.cells[at].source += f"\\nWORK = {work!r}  # of this submission alone"
            done = super().preprocess(notebook, resources, *others)
        for cell, mark in zip(notebook.cells, marks):
            faults = [one for one in cell.get("outputs", ()) if one.output_type == "error"]
            if faults and not mark.get("solution") and not mark.get("grade"):
                raise RuntimeError(
                    f"{resources['nbgrader']['student']} is not graded: the cell {cell.id!r} of"
                    f" the lesson itself failed: {faults[0].ename}: {faults[0].evalue}"
                )
        return done


c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "dfa"
c.Execute.timeout = 4 * 3600  # seconds for one cell
c.ClearSolutions.enforce_metadata = False
# without ClearSolutions: the exercises are unsolved as they stand in the lessons
c.GenerateAssignment.preprocessors = [
    pp.LockCells, pp.ClearOutput, pp.ComputeChecksums, pp.SaveCells,
    pp.ClearHiddenTests, pp.ComputeChecksums, pp.CheckCellMetadata,
]
c.Autograde.autograde_preprocessors = [
    ExecuteAlone, pp.IgnorePattern, ClearMetadataPreprocessor, pp.LimitOutput,
    pp.SaveAutoGrades, pp.AssignLatePenalties, pp.CheckCellMetadata,
]
'''
HIDDEN = "\n### BEGIN HIDDEN TESTS\nassert not ({}), 'not solved yet'\n### END HIDDEN TESTS"


def make_course(lessons: Sequence[Path], course: Path, parameters: Parameters) -> None:
    """Write a new course folder: source, release, and the solutions as a submission.

    Raises Refused for a folder in use, which may hold what students handed in, an unknown
    parameter, a check of another form, or if nbgrader refuses.
    """
    shares = share_out(lessons, parameters)
    if course.exists() and any(course.iterdir()):
        raise Refused(f"{course}: there is something in it; name a new folder")
    course.mkdir(parents=True, exist_ok=True)
    (course / "nbgrader_config.py").write_text(CONFIG, "utf-8")
    for lesson, given in zip(lessons, shares, strict=True):
        source = course / "source" / lesson.stem
        shutil.copytree(lesson.parent / "assets", source / "assets")
        notebook = with_parameters(nbformat.read(lesson, as_version=4), given)
        nbformat.write(gradable(notebook, lesson.name), source / lesson.name)
    for lesson in lessons:
        made = nbgrader(course).generate_assignment(lesson.stem)
        if not made["success"]:
            last = made["log"].strip().splitlines()[-1]
            raise Refused(f"{lesson.name}: nbgrader makes no assignment of it: {last}")
        solved = nbformat.read(course / "release" / lesson.stem / lesson.name, as_version=4)
        hand_in(solve(solved, solutions(lesson)), course, "solutions", lesson.stem)


def gradable(notebook: NotebookNode, name: str) -> NotebookNode:
    """Mark the cells that nbgrader has to know, and hide what fails an untouched exercise."""
    for cell in notebook.cells:
        kind = cell.id.partition("-")[0]
        if cell.cell_type == "code" and kind in {"exercise", "check", "parameters"}:
            cell.metadata["nbgrader"] = {
                "schema_version": 3, "grade_id": cell.id, "task": False,
                "solution": kind == "exercise", "grade": kind == "check",
                "locked": kind != "exercise", **({"points": 1} if kind == "check" else {}),
            }  # fmt: skip
        if kind == "check":
            cell.source += HIDDEN.format(_untouched(cell.source, f"{name}, {cell.id}"))
    return notebook


def with_parameters(notebook: NotebookNode, given: Parameters) -> NotebookNode:
    """Set literals of the parameters cell."""
    for cell in notebook.cells:
        for name, value in given.items() if cell.id == "parameters" else ():
            line = re.compile(rf"^{name} = .*?(?=  #|$)", re.MULTILINE)
            cell.source = line.sub(lambda _, n=name, v=value: f"{n} = {v!r}", cell.source)
    return notebook


def solutions(lesson: Path) -> dict[str, str]:
    """Return the Python block below each heading ``## Exercise N`` of the solutions page."""
    page = lesson.parent / "solutions" / f"{lesson.stem}.md"
    parts = re.split(r"^## Exercise (\w+).*$", page.read_text("utf-8"), flags=re.MULTILINE)
    blocks = (re.search(r"```python\n(.*?)```", text, re.DOTALL) for text in parts[2::2])
    return {n: block[1] for n, block in zip(parts[1::2], blocks, strict=True) if block}


def solve(notebook: NotebookNode, answers: Mapping[str, str]) -> NotebookNode:
    """Put the answers, by number of the exercise, into the exercise cells."""
    for cell in notebook.cells:
        if cell.id.startswith("exercise-"):
            cell.source = answers[cell.id.removeprefix("exercise-")]
    return notebook


def hand_in(notebook: NotebookNode, course: Path, student: str, lesson: str) -> None:
    """Put a notebook where nbgrader looks for what ``student`` submitted."""
    folder = course / "submitted" / student / lesson
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{lesson}.ipynb")


def nbgrader(course: Path) -> "NbGraderAPI":
    """Return nbgrader as the course folder configures it."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import PyFileConfigLoader

    # nbgrader calls alembic by its bare name
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    config.CourseDirectory.root = str(course.resolve())
    return NbGraderAPI(config=config)


def _untouched(source: str, where: str) -> str:
    """Return the condition under which a check says that its exercise waits."""
    asked = [one for one in ast.parse(source).body if isinstance(one, ast.If) and one.orelse]
    if len(asked) != 1:
        raise Refused(f"{where}: a check needs one 'if it is untouched: ... else: ...'")
    return ast.unparse(asked[0].test)


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("course", type=Path, help="a new folder")
    parser.add_argument(
        "-p", "--parameter", type=assignment, action="append", default=[], metavar="NAME=VALUE"
    )
    given = parser.parse_args()
    return command("tools.assignments", lambda: _made(given.course, dict(given.parameter)))


def _made(course: Path, given: Parameters) -> None:
    lessons = sorted(LESSONS.glob("[0-9]*.ipynb"))
    make_course(lessons, course, given)
    print(f"{len(lessons)} assignments in {course / 'release'}")
    print(f"To grade: cd {course}; nbgrader autograde {lessons[0].stem}; nbgrader export")


if __name__ == "__main__":
    sys.exit(main())
