"""The chat in JupyterLab in a real browser: what a student sees and clicks."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import red_patch

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVIL = "<img src=x onerror=\"document.title='hacked'\">"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine (apt install chromium)"
    ),
]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CELL = """
from pathlib import Path
from stand_in import RedEye, gallery
from dfa_lib.chat import ChatSession, ChatView
session = ChatSession(RedEye(), gallery(Path("faces")), Path("reviews.jsonl"))
ChatView(session, samples=6, report=Path("report.html"))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve a folder with one chat notebook; yield its address and the folder."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "chat.ipynb").write_text(notebook(CELL), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
               "--IdentityProvider.token=", "--ServerApp.root_dir=.",
               "--LabApp.news_url=None", "--LabApp.check_for_updates_class="
               "jupyterlab.NeverCheckForUpdate"]  # fmt: skip
    env = os.environ | {"PYTHONPATH": paths, "JUPYTER_CONFIG_DIR": str(folder / "config"),
                        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
                        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}  # fmt: skip
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        try:
            wait_for(port, folder / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/tree/chat.ipynb", folder
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def notebook(source: str) -> str:
    cell = {"cell_type": "code", "id": "chat", "execution_count": None, "metadata": {},
            "outputs": [], "source": source.strip()}  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": [cell], "metadata": {"kernelspec": kernel},
                       "nbformat": 4, "nbformat_minor": 5})  # fmt: skip


def wait_for(port: int, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def wall(path: Path) -> None:
    """Write a photograph with no face on it."""
    cv2.imwrite(str(path), np.ascontiguousarray(red_patch(300)[..., ::-1]))


def test_a_visit(lab: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = lab
    expect = playwright.expect
    expect.set_options(timeout=30_000)
    with playwright.sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(45_000)
        page.goto(address)
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

        page.get_by_role("button", name="Face 2").click()
        log = page.get_by_role("log")
        expect(page.get_by_text("P(forged)")).to_be_visible()
        for label in ("Forged?", "Which kind?", "Which artifacts?"):
            page.get_by_role("button", name=label).click()
        expect(log.get_by_text("After 2 questions")).to_be_visible()

        box = page.get_by_placeholder("Ask about this face")
        box.fill(EVIL)
        box.press("Enter")
        expect(log.get_by_text("After 3 questions")).to_be_visible()
        expect(log.get_by_text("onerror").first).to_be_visible()

        page.get_by_role("button", name="Show evidence").click()
        expect(page.get_by_text("not a map of what was altered")).to_be_visible()
        wall(tmp_path / "wall.png")
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Your photo").click()
        chooser.value.set_files(tmp_path / "wall.png")
        expect(log.get_by_text("wall.png: no face was found")).to_be_visible()

        page.get_by_placeholder("Your name").fill("Ada")
        page.get_by_role("button", name="Keep my verdict").click()
        expect(log.get_by_text("Ada says")).to_be_visible()
        page.get_by_role("button", name="Export report").click()
        expect(log.get_by_text("The report lies in")).to_be_visible()
        if shots := os.environ.get("DFA_SCREENSHOTS"):
            page.screenshot(path=Path(shots) / "chat.png")
        assert page.title() != "hacked"

        report = browser.new_page()
        requests: list[str] = []
        report.on("request", lambda request: requests.append(request.url))
        report.goto((folder / "report.html").as_uri())
        expect(report.get_by_text("After 3 questions")).to_be_visible()
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert report.title() == "Deepfake analysis"
        browser.close()
    assert json.loads((folder / "reviews.jsonl").read_text())["person"] == "Ada"
