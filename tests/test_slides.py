"""Slides hold what is said and shown in a lesson, and a browser without network shows them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, needs_chromium
from lessons import LESSONS, read

from tools.slides import LEFT_OUT, slides

SHOWN = """() => ({
  wider: [...document.querySelectorAll("section")].filter(one => one.scrollWidth > innerWidth)
    .map(one => one.id),
  pictures: [...document.images].filter(one => one.naturalWidth > 0).length,
  formulas: [...document.querySelectorAll("math")].map(one => one.getBoundingClientRect().width),
  first: document.querySelector("h1").getBoundingClientRect().height,
  top: Math.round(document.querySelectorAll("section")[1].getBoundingClientRect().top),
})"""


@pytest.mark.parametrize("lesson", [LESSONS[0], LESSONS[4]], ids=lambda lesson: lesson.stem)
def test_slides_follow_the_lesson(lesson: Path) -> None:
    page, cells = slides(lesson), read(lesson).cells
    headings = re.findall(r"<h[12]>(.*?)</h", page)
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert headings == re.findall(r"^##? (.+)$", prose, re.M)
    pictures = [o for c in cells for o in c.get("outputs", ()) if "image/jpeg" in o.get("data", {})]
    assert page.count("data:image/jpeg") == len(pictures) > 0
    left_out = [c for c in cells if c.cell_type == "code" and c.id.startswith(LEFT_OUT)]
    assert re.findall(r'<section id="(.*?)">', page) == [c.id for c in cells if c not in left_out]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        yield play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@needs_chromium
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lecture_hall_without_network_sees_everything(
    lesson: Path, browser: Any, tmp_path: Path
) -> None:
    """Prevents the blank page on the day when the hall's network is down."""
    (tmp_path / "page.html").write_text(slides(lesson), "utf-8")
    prose = "\n".join(c.source for c in read(lesson).cells if c.cell_type == "markdown")
    tab = browser.new_page(viewport={"width": 1280, "height": 800}, offline=True)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((tmp_path / "page.html").as_uri())
    tab.keyboard.press("ArrowRight")
    shown = tab.evaluate(SHOWN)
    tab.close()
    assert [url for url in asked if not url.startswith("data:")] == asked[:1], "it loads something"
    assert shown["wider"] == [], "a slide is wider than the screen"
    assert shown["first"] > 20 and shown["top"] == 0, "the key did not turn to the second slide"
    assert shown["pictures"] >= 1
    assert len(shown["formulas"]) == len(re.findall(r"(\$\$?)[^$`]+\1", prose))
    assert all(width > 4 for width in shown["formulas"])
