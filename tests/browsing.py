"""A notebook in a real browser: JupyterLab or Voila, with ipywidgets 8 or 7.7.1 (Colab's)."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.record_chat import free_port, notebook, wait_for

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
WIDGETS_7 = (
    "ipywidgets==7.7.1",
    "widgetsnbextension==3.6.10",
    "jupyterlab_widgets==1.1.11",
    "ipython_genutils==0.2.0",
)
"""What belongs together: these front ends work in JupyterLab 4 and in Voila 0.5, too."""

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine (apt install chromium)"
)


@dataclass(frozen=True)
class Site:
    """A served notebook: its address, the folder it lies in, and what serves it."""

    url: str
    folder: Path
    front: str


def widgets_7(cache: Path) -> Path:
    """A folder with ipywidgets 7.7.1 that goes before what is installed; made once."""
    folder, done = cache / "7.7.1", cache / "7.7.1" / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        made = subprocess.run([*command, folder, *WIDGETS_7], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"ipywidgets 7.7.1 cannot be installed here: {made.stderr[-200:]}")
        done.touch()
    return folder


@contextmanager
def serve(
    front: str, cell: str, folder: Path, forked: Path, overlay: Path | None = None
) -> Iterator[Site]:
    """Serve a notebook of one cell by "lab" or "voila".

    ``forked`` holds kernels and a Python that start at once; with ``overlay``, which is what
    ``widgets_7`` returns, everything starts from nothing.
    """
    (folder / "chat.ipynb").write_text(notebook(cell), encoding="utf-8")
    paths = [*([overlay] if overlay else []), ROOT, ROOT / "tests"]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_PATH": str(overlay / "share" / "jupyter" if overlay else forked),
    }
    port, python = free_port(), forked / "python"
    if overlay or not python.exists():
        python = sys.executable
    command = [python, "-m", *_COMMANDS[front], "--no-browser", f"--port={port}"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        try:
            wait_for(port, folder / "server.log")
            path = "lab/tree/chat.ipynb" if front == "lab" else ""
            yield Site(f"http://127.0.0.1:{port}/{path}", folder, front)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


@contextmanager
def chromium(width: int = 1280, height: int = 1500) -> Iterator[Any]:
    """A fresh page of a real browser."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    api.expect.set_options(timeout=60_000)
    with api.sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(60_000)
        try:
            yield page
        except BaseException:
            shot(page, f"failed-{time.strftime('%H%M%S')}")
            raise
        finally:
            browser.close()


def open_chat(page: Any, site: Site) -> None:
    """Open the notebook, and run it where that is not done by itself.

    Beside other work the kernel may take minutes to import all it needs.
    """
    page.goto(site.url, timeout=_PATIENCE)
    if site.front == "lab":
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.locator(".dfa-root").wait_for(timeout=_PATIENCE)


def shot(page: Any, name: str) -> None:
    """Keep a picture of the page where $DFA_SCREENSHOTS says."""
    if folder := os.environ.get("DFA_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


_PATIENCE = 240_000  # milliseconds
_COMMANDS = {
    "lab": [
        "jupyterlab", "--allow-root", "--IdentityProvider.token=", "--ServerApp.root_dir=.",
        "--LabApp.news_url=None", "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ],
    "voila": ["voila", "chat.ipynb", "--Voila.ip=127.0.0.1"],
}  # fmt: skip
