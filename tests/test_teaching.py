"""The plans for a class add up: with the minutes per section, and those with the lessons.

Prevents the session that gives fifteen minutes to what takes an hour.
"""

import re
from collections import Counter

import pytest
from lessons import COURSE, ROOT, read

PAGE = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
PREDICTION = "**Predict before you run.**"


def rows(begins: str) -> list[list[str]]:
    """The cells of the first table below a line of TEACHING.md that begins so, its head first."""
    lines = PAGE.partition(f"\n{begins}")[2].splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|"))
    table = lines[first : next(at for at in range(first, len(lines)) if lines[at][:1] != "|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table if "---" not in line
    ]


HEAD, *LESSONS = rows("Minutes per section")
MINUTES = {
    (row[0], part): int(minutes)
    for row in LESSONS
    for part, minutes in zip(HEAD[1:-1], row[1:-1], strict=True)
    if minutes
}
"""What a section takes, by lesson and number; so do "opening" and "exercises"."""


def named(sections: str) -> list[tuple[str, str]]:
    """Sections as a plan names them: "03: exercises; 04: 3, 7–8"."""
    found = []
    for lesson, parts in (one.split(": ") for one in sections.split("; ") if one):
        for part in parts.split(", "):
            first, _, last = part.partition("–")
            between = range(int(first), int(last) + 1) if last else [part]
            found += [(lesson, str(number)) for number in between]
    return found


def computed(lesson: str) -> Counter[str]:
    """Minutes of a lesson's parts by the rule of the page."""
    (path,) = (one for one in COURSE if one.stem.startswith(lesson))
    minutes, part = Counter(), "opening"
    for cell in read(path).cells:
        if heading := re.search(r"^## (\w+)", cell.source, re.MULTILINE):
            part = heading[1].lower()
        if cell.id.startswith("exercise-"):
            minutes["exercises"] += 10
        elif part == "exercises":
            continue  # reading the task is part of the ten minutes
        elif cell.cell_type == "markdown":
            minutes[part] += len(cell.source.split()) / 110 + 2 * cell.source.count(PREDICTION)
        elif not cell.id.startswith(("bootstrap", "check")):
            minutes[part] += sum(map(bool, cell.source.splitlines())) / 5
    return minutes


@pytest.mark.parametrize("row", LESSONS, ids=lambda row: row[0])
def test_the_table_fits_the_lessons(row: list[str]) -> None:
    assert int(row[-1]) == sum(int(cell) for cell in row[1:-1] if cell)
    by_rule = computed(row[0])
    parts = {part: minutes for (lesson, part), minutes in MINUTES.items() if lesson == row[0]}
    numbered = {part for part in by_rule if part.isdecimal()}
    assert {part for part in parts if part.isdecimal()} == numbered
    for part in parts:
        assert abs(parts[part] - by_rule[part]) <= 3 + by_rule[part] / 5, f"{part}: {by_rule[part]}"


def test_the_single_session_lasts_90_minutes() -> None:
    _, *plan = rows("## 90 minutes")
    assert sum(int(minutes) for minutes, _, _ in plan) == 90
    for minutes, what, sections in plan:
        assert sum(MINUTES[one] for one in named(sections)) <= int(minutes), what


def test_five_sessions_last_90_minutes_and_leave_no_section_out() -> None:
    _, *plan = rows("## Five times")
    session, total, seen = "", Counter(), Counter()
    for name, minutes, what, sections in plan:
        session = name or session
        total[session] += int(minutes) if session != "*at home*" else 0
        assert sum(MINUTES[one] for one in named(sections)) <= int(minutes), (name, what)
        seen.update(named(sections))
    assert [minutes for name, minutes in total.items() if name != "*at home*"] == [90] * 5
    assert seen == Counter(dict.fromkeys(MINUTES, 1)), "each section once"
