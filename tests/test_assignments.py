"""Lessons as assignments: nbgrader grades a solved and an unsolved copy right."""

from pathlib import Path

import nbformat
import pytest
from lessons import LESSONS, exercises, read

from tools.assignments import hand_in, make_course, nbgrader
from tools.run_notebooks import Refused

FAST, *FULL = sorted(LESSONS, key=lambda lesson: "04" not in lesson.stem)


def test_the_text_stays_as_it_is(tmp_path: Path) -> None:
    """Prevents a second set of lessons that somebody has to keep equal to the first."""
    make_course(LESSONS, tmp_path, {})
    for lesson in LESSONS:
        released = nbformat.read(tmp_path / "release" / lesson.stem / lesson.name, as_version=4)
        for ours, theirs in zip(read(lesson).cells, released.cells, strict=True):
            assert (ours.id, ours.source) == (theirs.id, theirs.source)
        points = [c.metadata.nbgrader.points for c in released.cells if c.id.startswith("check-")]
        assert points == [1] * len(exercises(released)) != []
    with pytest.raises(Refused, match="name a new folder"):
        make_course(LESSONS, tmp_path, {})


@pytest.mark.notebook
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "lesson",
    [FAST, *(pytest.param(lesson, marks=pytest.mark.full) for lesson in FULL)],
    ids=lambda lesson: lesson.stem,
)
def test_solved_gets_all_points_and_unsolved_none(lesson: Path, tmp_path: Path) -> None:
    course, name = tmp_path / "course", lesson.stem
    make_course([lesson], course, {"FAST": True, "WORK": str(tmp_path / "work")})
    released = nbformat.read(course / "release" / name / lesson.name, as_version=4)
    hand_in(released, course, "nobody", name)
    api = nbgrader(course)
    for student, share in (("solutions", 1), ("nobody", 0)):
        graded = api.autograde(name, student)
        assert graded["success"], graded["log"][-2000:]
        with api.gradebook as book:
            handed_in = book.find_submission(name, student)
            assert handed_in.max_score == len(exercises(released))
            assert handed_in.score == share * handed_in.max_score
