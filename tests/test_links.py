"""Every link and picture of the pages and lessons leads somewhere in this repository.

Prevents the dead end after a file is renamed or a heading reworded. Addresses on the web are
not asked: a test must not depend on somebody else's server.
"""

import re
from pathlib import Path

import pytest
from lessons import files, read

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
PICTURE = re.compile(r"!\[([^\]]*)\]|<img\b([^>]*)>")
PAGES = files("*.md", "*.ipynb")


def text(page: Path) -> str:
    """The prose of a page, without blocks of code."""
    if page.suffix == ".ipynb":
        whole = "\n\n".join(c.source for c in read(page).cells if c.cell_type == "markdown")
    else:
        whole = page.read_text(encoding="utf-8")
    return re.sub(r"```.*?```", "", whole, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(page: Path) -> list[str]:
    """Links of a page that lead to no file or to no heading."""
    found = []
    for link in ("".join(groups) for groups in LINK.findall(text(page))):
        if re.match(r"https?:|mailto:|data:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_are_told_in_words(page: Path) -> None:
    """Prevents the picture that a screen reader announces as its file name."""
    for markdown, html in PICTURE.findall(text(page)):
        said = re.search(r'alt="([^"]*)"', html)
        words = said[1] if said else markdown
        assert len(words.split()) >= 3, f"{page.name}: {markdown or html}"


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading: here\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[1](there.md) [2](gone.md) [3](there.md#a-heading-here) [4](there.md#b) [5](#c)\n"
        '<img src="gone.svg" alt="x"> [6](https://example.org) `[7](x)`\n'
    )
    assert dead(page)[:4] == ["gone.md", "there.md#b", "#c", "gone.svg"]


@pytest.mark.parametrize("drawing", files("*.svg"), ids=lambda drawing: drawing.name)
def test_drawings_say_what_they_show_on_a_ground_of_their_own(drawing: Path) -> None:
    """Prevents black lines on the black page of a reader with dark mode."""
    source = drawing.read_text(encoding="utf-8")
    assert re.search(r"<title .*?>.+</title>\s*<desc .*?>.{80,}</desc>", source)
    assert re.search(r'<rect width="\d+" height="\d+" rx="\d+" fill="#ffffff"/>', source)


def test_the_tests_that_pages_name_are_there() -> None:
    root = Path(__file__).parents[1]
    named = {
        found
        for page in PAGES
        if page.suffix == ".md"
        for found in re.findall(r"(tests/\w+\.py)(?:::(\w+))?", page.read_text(encoding="utf-8"))
    }
    gone = [
        f"{file}::{name}"
        for file, name in named
        if not (root / file).exists() or (name and f"def {name}(" not in (root / file).read_text())
    ]
    assert len(named) > 30 and gone == []
