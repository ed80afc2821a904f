"""One command points every badge and set-up cell at a repository, and nothing else."""

import re
import shutil
from pathlib import Path

import pytest
from lessons import LESSONS, ROOT, read

from tools.colab import address


@pytest.fixture
def copies(tmp_path: Path) -> list[Path]:
    return [Path(shutil.copy(lesson, tmp_path)) for lesson in LESSONS]


def test_badges_and_set_up_cells_follow(copies: list[Path]) -> None:
    assert address(copies, "a-school/dfa.course") == 2 * len(copies)
    assert address(copies, "another/place") == 2 * len(copies), "it can be moved again"
    for lesson, copy in zip(LESSONS, copies, strict=True):
        old, new = read(lesson).cells, read(copy).cells
        differ = [b for a, b in zip(old, new, strict=True) if a.source != b.source]
        assert [cell.id for cell in differ] == ["title", "bootstrap"]
        badge = f"google.com/github/another/place/blob/main/notebooks/{lesson.name}"
        assert badge in differ[0].source
        assert "git+https://github.com/another/place@main" in differ[1].source


def test_badges_of_the_front_page_follow_and_its_links_stay(tmp_path: Path) -> None:
    page = Path(shutil.copy(ROOT / "README.md", tmp_path))
    before = page.read_text("utf-8")
    assert address([page], "a-school/dfa.course") == 4
    repo = re.search(r"codespaces\.new/([\w./-]+)\?", before)[1]
    assert page.read_text("utf-8").replace("a-school/dfa.course", repo) == before


@pytest.mark.parametrize("wrong", ["", "dfa", "https://github.com/a/b", "a/b/c", "a b/c"])
def test_anything_but_owner_and_name_is_refused(copies: list[Path], wrong: str) -> None:
    before = [copy.read_bytes() for copy in copies]
    with pytest.raises(ValueError, match="owner/name"):
        address(copies, wrong)
    assert [copy.read_bytes() for copy in copies] == before
