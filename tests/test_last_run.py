"""What cards and pages say of time and memory is what the recorded run took.

Prevents the lesson that promises two minutes, written before it grew, to a class of forty.
"""

import json
import re
from pathlib import Path

import pytest
from lessons import LESSONS, NAMES, ROOT, read

from tools.run_notebooks import tell_pages

RECORD = json.loads((ROOT / "notebooks" / "last_run.json").read_text(encoding="utf-8"))
NEAR = 1.5
"""How far a stated figure may be from the recorded one, as a factor."""
ROUNDED = 0.1
"""What rounding may add to either."""


def near(stated: str, measured: float) -> bool:
    low, high = sorted((float(stated), measured))
    return high <= NEAR * low + ROUNDED


def recorded(lesson: Path) -> dict:
    if "not part of `make tutorial`" in read(lesson).cells[1].source:
        pytest.skip("has a run of its own, of which its card tells")
    return RECORD[lesson.stem]


@pytest.mark.parametrize("lesson", LESSONS, ids=NAMES)
def test_cards(lesson: Path) -> None:
    run = recorded(lesson)
    card = read(lesson).cells[1].source
    minutes, gigabytes = re.search(r"nano: ([\d.]+) minutes, ([\d.]+) GB", card).groups()
    assert near(minutes, run["minutes"]) and near(gigabytes, run["gigabytes"])
    assert re.search(r"\*\*Last verified\*\* ([\d-]+)", card)[1] == run["date"]


@pytest.mark.parametrize("lesson", LESSONS, ids=NAMES)
def test_the_front_page(lesson: Path) -> None:
    run = recorded(lesson)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"^\|.*{lesson.name}\).*\| ([\d.]+) \|$", readme, re.MULTILINE)
    assert row, "a row of the table of lessons ends with its minutes"
    assert near(row[1], run["minutes"])


@pytest.mark.parametrize("lesson", LESSONS, ids=NAMES)
def test_the_table_of_those_who_teach(lesson: Path) -> None:
    run = recorded(lesson)
    page = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| {lesson.stem[:2]} \| ([\d.]+) \| ([\d.]+) \| ([\d-]+) \|$", page, re.M)
    assert row, "a row: lesson, minutes, GB, last verified"
    assert near(row[1], run["minutes"]) and near(row[2], run["gigabytes"])
    assert row[3] == run["date"]


def test_a_refresh_writes_both_tables() -> None:
    name, run = next(iter(RECORD.items()))
    front, row = (
        f"| [a](notebooks/{name}.ipynb) | b | 99 |",
        f"| {name[:2]} | 99 | 9 | 2020-01-01 |",
    )
    readme, teaching = tell_pages(f"x\n{front}\ny", f"{row}\n| 90 | 91 |")
    assert readme == f"x\n{front.replace('99', format(run['minutes'], '.1f'))}\ny"
    assert teaching.splitlines()[0].endswith(f"| {run['date']} |") and "99" not in teaching
    assert teaching.endswith("| 90 | 91 |")


@pytest.mark.parametrize(
    ("stated", "is_near"), [("1", False), ("1.4", True), ("3.1", True), ("4", False)]
)
def test_half_as_much_again_is_far_enough(stated: str, is_near: bool) -> None:
    assert near(stated, 2.0) == is_near
