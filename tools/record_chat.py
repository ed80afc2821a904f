"""Record the pictures of the README from the chat of lesson 04 and the report of lesson 03.

    python -m tools.record_chat work

Serves the chat of a finished ``work`` folder by Voila, visits it in Chromium as a person would,
and photographs the page after each step. Writes ``notebooks/assets/chat.webp`` (moving),
``chat.png`` (still) and ``report.png``. Answers and probabilities are the model's own; only the
time for which a frame is held is chosen, so that it can be read.
"""

import argparse
import io
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "notebooks" / "assets"
SIZE = {"width": 1000, "height": 1300}  # of the window, in pixels: nothing has to be scrolled
BUTTONS = 812  # pixels from the top of the chat to below its last row of buttons
REPORT = {"width": 1000, "height": 806}
LARGEST = 2_000_000  # bytes of the moving picture
CELL = """
from pathlib import Path
from dfa_lib.chat.session import ChatSession
from dfa_lib.chat.view import ChatView
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.instruct.faceset import FaceSet
from transformers.utils import logging
logging.disable_progress_bar()
work = Path({work!r})
analyst = LocalAnalyst(work / "02_gpt")
gallery = FaceSet.read(work / "01_instruct").split("test")
session = ChatSession(analyst, gallery, Path("reviews.jsonl"), report=work / "03_bench")
ChatView(session, samples=8, report=Path("report.html"))
"""


@dataclass
class Film:
    """Frames of a page, each with the milliseconds for which it is shown."""

    page: "Page"
    frames: list[Image.Image] = field(default_factory=list)
    held: list[int] = field(default_factory=list)

    def take(self, hold: float) -> None:
        """Photograph the chat down to its buttons and show it for ``hold`` seconds."""
        top = self.page.locator(".dfa-root").bounding_box()["y"]
        clip = {"x": 0, "y": top, "width": SIZE["width"], "height": BUTTONS}
        self.frames.append(Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB"))
        self.held.append(round(1000 * hold))

    def press(self, button: str, hold: float) -> None:
        """Press a button, wait until the controls are free again, and take the result."""
        self.page.get_by_role("button", name=button, exact=True).click()
        self.settle(hold)

    def settle(self, hold: float) -> None:
        """Wait until the analyst has answered, and take the result."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_selector(".dfa-root button:not([disabled]) >> text=Forged?")
        self.page.wait_for_timeout(300)
        self.take(hold)

    def ask(self, question: str, hold: float) -> None:
        """Type a question in a few frames, send it, and take the answer."""
        box = self.page.get_by_label("Question")
        for end in range(6, len(question) + 6, 6):
            box.fill(question[:end])
            self.take(0.25)
        box.press("Enter")
        self.settle(hold)

    def save(self, path: Path) -> None:
        """Write an animated WebP that plays without end."""
        first, *rest = self.frames
        first.save(path, save_all=True, append_images=rest, duration=self.held, loop=0,
                   quality=72, method=6)  # fmt: skip


def visit(film: Film, stranger: Path) -> Image.Image:
    """Ask about a moved mouth, untouched eyes, a swapped face and a cat; return a still."""
    film.take(1.5)
    film.press("Face 8", 2.0)
    film.press("Forged?", 1.6)
    film.press("Which kind?", 1.6)
    film.press("Which artifacts?", 2.5)
    film.ask("Is anything wrong with the eyes?", 2.0)
    film.press("Reveal the truth", 3.0)
    still = film.frames[-1]
    film.press("Face 1", 2.0)
    film.press("Forged?", 1.8)
    film.press("Reveal the truth", 3.0)
    with film.page.expect_file_chooser() as chooser:
        film.page.get_by_role("button", name="Your photo").click()
    chooser.value.set_files(stranger)
    film.page.wait_for_selector(".dfa-refused")
    film.settle(3.5)
    return still


@contextmanager
def served(work: Path) -> Iterator[str]:
    """Serve the chat from a process of its own; yield the address of its page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "chat.ipynb").write_text(notebook(CELL.format(work=str(work.resolve()))))
        port = free_port()
        command = ["voila", "chat.ipynb", "--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}"]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stdout=log,
                                      stderr=log)  # fmt: skip
            try:
                wait_for(port, folder / "log")
                yield f"http://127.0.0.1:{port}/"
            finally:
                server.terminate()
                server.wait()


def record(work: Path, stranger: Path) -> Path:
    """Record chat and report of ``work``; return the moving picture."""
    from playwright.sync_api import sync_playwright

    ASSETS.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with served(work) as address, sync_playwright() as api:
        browser = api.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(120_000)
        page.goto(address)
        page.get_by_role("button", name="Face 8").wait_for()
        film = Film(page)
        visit(film, stranger).save(ASSETS / "chat.png")
        film.save(ASSETS / "chat.webp")
        page.set_viewport_size(REPORT)
        page.goto((work / "03_bench" / "report.html").resolve().as_uri())
        page.screenshot(path=ASSETS / "report.png")
        browser.close()
    return ASSETS / "chat.webp"


def notebook(source: str) -> str:
    """Return a notebook of one cell as it lies in a file."""
    cell = {"cell_type": "code", "id": "chat", "execution_count": None, "metadata": {},
            "outputs": [], "source": source.strip()}  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": [cell], "metadata": {"kernelspec": kernel},
                       "nbformat": 4, "nbformat_minor": 5})  # fmt: skip


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return free.getsockname()[1]


def wait_for(port: int, log: Path, seconds: float = 120) -> None:
    """Wait until a server listens; raise TimeoutError with the end of its ``log`` if none does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"the server did not start:\n{log.read_text()[-2000:]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="a folder in which lessons 01 to 03 have run")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = record(args.work, stranger(Path(folder)))
    size = path.stat().st_size
    print(f"{path}: {size / 1e6:.2f} MB")
    return 0 if size <= LARGEST else 1


def stranger(folder: Path) -> Path:
    """Write a picture that shows no human face: a cat in the public domain."""
    from skimage.data import chelsea

    path = folder / "cat.png"
    Image.fromarray(chelsea()).save(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
