"""The site builds without a warning, from committed outputs and without the network."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from lessons import NAMES, ROOT

pytest.importorskip("sphinx", reason="the site's packages are not installed (make site)")
pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(600)]


class Page(HTMLParser):
    """What a page links to, and the words of its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[name] for name in ("href", "src") if given.get(name)]
        self.pictures += [given] if tag == "img" else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the site was built; proxies that lead nowhere stand for a missing network."""
    folder = tmp_path_factory.mktemp("site")
    offline = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-c",
        "docs",
        "-W",
        "--keep-going",
        "-q",
        ".",
        folder,
    ]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | offline, capture_output=True, text=True
    )
    assert not built.returncode, built.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    files = (file for file in site.rglob("*.html") if "_static" not in file.parts)
    return {file: Page(file.read_text(encoding="utf-8")) for file in files}


def test_has_every_lesson(site: Path) -> None:
    assert [name for name in NAMES if not (site / "notebooks" / f"{name}.html").exists()] == []


def test_tables_in_outputs_are_tables(site: Path) -> None:
    page = (site / "notebooks" / "03_dfa_bench.html").read_text("utf-8")
    assert "<td><p>dfa-gpt</p></td>" in page and "| dfa-gpt |" not in page


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    dead = []
    for file, page in pages.items():
        for parts in map(urlsplit, page.links):
            target = file.parent / unquote(parts.path) if parts.path else file
            if not parts.scheme and not target.exists():
                dead.append(f"{file.name}: {parts.path}")
    assert dead == []


def test_every_picture_is_told_in_words(pages: dict[Path, Page]) -> None:
    """MyST puts the name of the file there unless the words of an output are handed on."""
    pictures = [(file, one) for file, page in pages.items() for one in page.pictures]
    assert len(pictures) > 20
    mute = [f"{file.name}: {one['src']}" for file, one in pictures
            if len((one.get("alt") or "").split()) < 3]  # fmt: skip
    assert mute == []
