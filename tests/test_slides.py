"""Slides hold what is said and shown in a lesson, and nothing that only sets it up."""

import re
from pathlib import Path

import pytest
from lessons import LESSONS, read

from tools.slides import LEFT_OUT, slides


@pytest.mark.parametrize("lesson", [LESSONS[0], LESSONS[4]], ids=lambda lesson: lesson.stem)
def test_slides_follow_the_lesson(lesson: Path) -> None:
    page, cells = slides(lesson), read(lesson).cells
    headings = re.findall(r'<h[12] id="[^"]*">(.*?)<a', page)
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert headings == re.findall(r"^##? (.+)$", prose, re.M)
    assert page.count("<section") > len(headings)
    pictures = [o for c in cells for o in c.get("outputs", ()) if "image/jpeg" in o.get("data", {})]
    assert page.count("data:image/jpeg") == len(pictures) > 0
    for cell in cells:
        if cell.id.startswith(LEFT_OUT) and cell.cell_type == "code":
            assert f'id="cell-id={cell.id}"' not in page
    assert 'src="assets/' not in page, "a page that needs no folder beside it"
