"""Nothing that a model, a file or a person wrote runs in the page or in the exported report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Site, chromium, needs_chromium, open_chat, serve, shot, widgets_7
from xss import STRINGS

CELL = """
from pathlib import Path
from xss import said_by_all
said_by_all(Path("."))
"""
HOOK = """window.fired = [];
for (const name of ["alert", "confirm", "prompt"]) window[name] = said => fired.push(String(said));
"""
PLAIN = {"DIV", "B", "BR", "IMG", "P", "SPAN", "I", "H2", "H3", "UL", "LI", "STYLE", "LABEL",
         "BUTTON", "INPUT", "SELECT", "OPTION"}  # fmt: skip

pytestmark = [
    pytest.mark.browser, pytest.mark.full, pytest.mark.timeout(600), needs_chromium
]  # fmt: skip


@pytest.fixture(scope="module", params=[("voila", 8), ("lab", 7)], ids=["voila-8", "lab-7"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, forked: Path
) -> Iterator[Site]:
    front, widgets = request.param
    overlay = widgets_7(request.config.cache.mkdir("ipywidgets")) if widgets == 7 else None
    with serve(front, CELL, tmp_path_factory.mktemp("xss"), forked, overlay) as served:
        yield served


def executed(page: Any) -> list:
    return page.evaluate("[...fired, ...(window.hacked ? ['hacked'] : [])]")


def elements(page: Any, root: str) -> tuple[set[str], set[str]]:
    """The kinds of elements below ``root``, and attributes that could run something."""
    found = page.evaluate(
        """root => [...document.querySelectorAll(root + ' *')].map(one => [one.tagName,
             [...one.attributes].filter(a => /^on|^(href|srcdoc|action)$/i.test(a.name)
               || (a.name == 'src' && !a.value.startsWith('data:image/')))
               .map(a => one.tagName + ' ' + a.name)])""",
        root,
    )
    return {tag for tag, _ in found}, {risk for _, risks in found for risk in risks}


def test_nothing_runs_in_the_notebook(site: Site) -> None:
    assert len(set(STRINGS)) == 30
    with chromium() as page:
        page.add_init_script(HOOK)
        open_chat(page, site)
        log = page.get_by_role("log")
        log.get_by_text(STRINGS[0]).first.wait_for()
        box = page.get_by_label("Question")
        for text in STRINGS[:6]:  # typed as well
            box.fill(text)
            box.press("Enter")
            log.get_by_text(text).last.wait_for()
        page.get_by_label("Name").fill(STRINGS[3])
        page.get_by_role("button", name="Keep my verdict").click()
        log.get_by_text(f"{STRINGS[3]} says").last.wait_for()
        for part in (".dfa-log", ".dfa-verdict", ".dfa-figure", ".dfa-form"):
            page.locator(part).first.hover()
        assert log.locator(".dfa-turn").count() >= 6 * len(STRINGS)
        tags, risks = elements(page, ".dfa-root")
        shot(page, f"xss-{site.front}")
        assert executed(page) == [] and risks == set() and tags <= PLAIN
        page.evaluate("text => document.querySelector('.dfa-log').innerHTML += text", STRINGS[3])
        page.wait_for_function("fired.length")  # what would have happened without escaping


def test_nothing_runs_in_the_report_and_nothing_is_requested(site: Site) -> None:
    requests: list[str] = []
    with chromium() as page:
        page.add_init_script(HOOK)
        page.on("request", lambda request: requests.append(request.url))
        page.goto((site.folder / "report.html").as_uri())
        page.get_by_text(STRINGS[0]).first.wait_for()
        page.wait_for_timeout(500)
        tags, risks = elements(page, "body")
        assert executed(page) == [] and risks == set() and tags <= PLAIN | {"H1"}
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        page.evaluate("fetch('http://127.0.0.1:9/').catch(() => fired.push('refused'))")
        page.wait_for_function("fired.length")
        assert requests[-1].startswith(("file:", "data:")), "the page's own policy refuses it"
