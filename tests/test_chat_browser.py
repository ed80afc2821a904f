"""The chat in a real browser: what a student sees, clicks, types and hears read aloud."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browsing import Site, chromium, needs_chromium, open_chat, serve, shot
from stand_in import portrait, wall

EVIL = "<img src=x onerror=\"document.title='hacked'\">"
CELL = """
from pathlib import Path
from stand_in import Blunt, RedEye, gallery
from dfa_lib.chat.session import ChatSession
from dfa_lib.chat.view import ChatView
here = Path(".")
analysts = {"tuned": RedEye(), "untuned": Blunt()}
session = ChatSession(analysts, gallery(here / "faces"), here / "reviews.jsonl")
ChatView(session, samples=6, report=here / "report.html")
"""
FRONTS = ["voila", pytest.param("lab", marks=pytest.mark.full)]
"""With ipywidgets 8; ``test_chat_xss.py`` goes through a visit with 7, too."""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), needs_chromium]


@pytest.fixture(scope="module", params=FRONTS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, forked: Path
) -> Iterator[Site]:
    with serve(request.param, CELL, tmp_path_factory.mktemp(request.param), forked) as served:
        yield served


def expect(found: Any) -> Any:
    from playwright.sync_api import expect

    return expect(found)


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def save(image: np.ndarray, path: Path) -> Path:
    cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]))
    return path


def upload(page: Any, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Your photo").click()
    chooser.value.set_files(path)


def test_a_visit(site: Site, tmp_path: Path) -> None:
    """Each step of a visit, in less than a minute once the page is there."""
    with chromium() as page:
        open_chat(page, site)
        expect(page.get_by_role("button", name="Face 2")).to_be_visible()
        begin = time.monotonic()
        log = page.get_by_role("log")
        press(page, "Face 2")
        expect(page.get_by_text("P(forged)", exact=True)).to_be_visible()
        for asked, label in enumerate(("Forged?", "Which kind?", "Which artifacts?")):
            press(page, label)  # the answer comes first: a click while buttons are barred is lost
            expect(log.get_by_text(f"After {asked} questions")).to_be_visible()

        box = page.get_by_label("Question")
        box.fill(EVIL)
        box.press("Enter")
        expect(log.get_by_text("After 3 questions")).to_be_visible()
        expect(log.get_by_text("onerror").first).to_be_visible()

        upload(page, save(wall(300), tmp_path / "wall.png"))
        expect(page.locator(".dfa-refused")).to_contain_text("No face was found")
        expect(page.locator(".dfa-bar")).to_have_count(0)
        shot(page, f"refused-{site.folder.name}")
        press(page, "Forged?")
        expect(log.locator(".dfa-note").last).to_contain_text("No face was found")
        upload(page, save(portrait(), tmp_path / "me.png"))
        expect(log.get_by_text("me.png.")).to_be_visible()
        press(page, "Show evidence")
        expect(page.get_by_text("not a map of what was altered")).to_be_visible()

        page.get_by_label("Analyst").select_option("untuned")
        expect(page.get_by_text("tuned: P(forged)")).to_be_visible()
        press(page, "Forged?")
        expect(log.locator(".dfa-analyst b").last).to_have_text("untuned")

        page.get_by_label("Region").select_option("nose")
        page.get_by_label("Artifact").select_option("texture loss")
        page.get_by_label("What you see").fill("too smooth")
        press(page, "Add finding")
        expect(page.get_by_role("list", name="Findings")).to_contain_text("nose: texture loss")
        page.get_by_label("Name").fill("Ada")
        page.get_by_label("My verdict").select_option("face editing")
        press(page, "Keep my verdict")
        expect(log.get_by_text("Ada says: face editing. nose: texture loss")).to_be_visible()
        press(page, "Export report")
        expect(log.get_by_text("The report lies in")).to_be_visible()
        seconds = time.monotonic() - begin
        shot(page, f"visit-{site.folder.name}")
        assert page.title() != "hacked"
    _check_report(site.folder / "report.html")
    review = json.loads((site.folder / "reviews.jsonl").read_text())
    assert (review["person"], review["analyst"]) == ("Ada", "untuned")
    assert review["findings"][0]["region"] == "nose"
    beside = max(1.0, os.getloadavg()[0] / os.cpu_count())
    print(f"{site.folder.name}: {seconds:.0f} s, load {beside:.1f} per core")
    assert seconds < 60 * beside


def _check_report(path: Path) -> None:
    requests: list[str] = []
    with chromium() as page:
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        expect(page.get_by_text("After 3 questions")).to_be_visible()
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert page.title() == "Deepfake analysis"


@pytest.mark.full
def test_everything_is_reached_by_keyboard_and_has_a_name(site: Site) -> None:
    with chromium() as page:
        open_chat(page, site)
        page.get_by_role("button", name="Face 1").wait_for()
        controls = page.evaluate(_CONTROLS)
        assert len(controls) >= 22
        assert [control for control in controls if not control["name"]] == []
        page.locator(".dfa-root select").first.focus()
        reached = set()
        for _ in range(2 * len(controls)):
            reached.add(page.evaluate("document.activeElement.dataset.number"))
            page.keyboard.press("Tab")
        assert {control["number"] for control in controls} <= reached

        page.get_by_role("button", name="Face 1").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("P(forged)", exact=True)).to_be_visible()
        page.get_by_role("button", name="Forged?").focus()
        page.keyboard.press("Space")
        expect(page.get_by_text("After 0 questions")).to_be_visible()
        following = page.get_by_role("button", name="Which kind?")
        expect(following).to_be_enabled()  # barred until the whole answer is there
        page.keyboard.press("Tab")  # the place was kept, though the button was barred meanwhile
        expect(following).to_be_focused()


_CONTROLS = """() => [...document.querySelectorAll(
    '.dfa-root button, .dfa-root input:not([type=file]), .dfa-root select')]
  .filter(one => one.offsetParent)
  .map((one, at) => {
    one.dataset.number = String(at);
    const label = one.labels && one.labels[0] ? one.labels[0].textContent : '';
    return {number: String(at), name: (one.tagName == 'BUTTON' ? one.textContent : label).trim()};
  })"""


@pytest.mark.full
def test_everything_can_be_read_in_light_and_dark(site: Site) -> None:
    """Contrast of text to its background is 4.5 or more (WCAG AA), in both themes."""
    with chromium() as page:
        open_chat(page, site)
        press(page, "Face 2")  # each is waited for: a click while buttons are barred is lost
        expect(page.get_by_text("P(forged)", exact=True)).to_be_visible()
        press(page, "Forged?")
        expect(page.get_by_role("log").get_by_text("After 0 questions")).to_be_visible()
        press(page, "Show evidence")
        expect(page.get_by_text("not a map of what was altered")).to_be_visible()
        press(page, "Add finding")
        expect(page.get_by_role("list", name="Findings")).to_contain_text(":")
        press(page, "Keep my verdict")  # without a name: an error in the transcript
        expect(page.get_by_text("A review needs")).to_be_visible()
        press(page, "Reveal the truth")
        expect(page.get_by_text("The truth:")).to_be_visible()
        for theme in ("light", "dark"):
            _put_on(page, site, theme)
            checked = page.evaluate(_CONTRAST)
            shot(page, f"{theme}-{site.folder.name}")
            assert len(checked) > 40
            assert [one for one in checked if one["ratio"] < 4.5] == [], theme
        assert {one["ink"] for one in checked} != {"rgb(27, 31, 36)"}, "dark is another palette"


def _put_on(page: Any, site: Site, theme: str) -> None:
    if site.front == "lab":
        name = f"JupyterLab {theme.title()}"
        page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: '{name}'}})")
        light = json.dumps(str(theme == "light").lower())
        page.wait_for_function(f"document.body.dataset.jpThemeLight == {light}")
    else:
        page.evaluate(f"document.body.dataset.jpThemeLight = '{str(theme == 'light').lower()}'")
    page.wait_for_timeout(300)


_CONTRAST = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = one => {
    for (; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length == 3 || colour[3] == 1) return colour;
    }
    return [255, 255, 255];
  };
  const rows = [];
  const check = (one, ink, text) => {
    const pair = [light(parse(ink)), light(ground(one))].sort((a, b) => b - a);
    rows.push({text: text.trim().slice(0, 40), ink, ground: String(ground(one)),
               ratio: Math.round(100 * (pair[0] + .05) / (pair[1] + .05)) / 100});
  };
  for (const one of document.querySelectorAll('.dfa-root *')) {
    if (!one.offsetParent || ['STYLE', 'OPTION'].includes(one.tagName)) continue;
    const own = [...one.childNodes].filter(n => n.nodeType == 3).map(n => n.data).join('');
    if (own.trim()) check(one, getComputedStyle(one).color, own);
    if (one.tagName == 'SELECT') check(one, getComputedStyle(one).color, 'a choice');
    if (one.placeholder) check(one, getComputedStyle(one, '::placeholder').color, one.placeholder);
  }
  return rows;
}"""
