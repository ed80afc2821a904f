"""The page for a Hugging Face Space, asked through its real server."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from lessons import ROOT
from PIL import Image
from served import wait_for
from skimage.data import chelsea

from dfa_lib.runtime import RESCUE
from tools.record_chat import free_port

SPACE = ROOT / "examples" / "space"
pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(600)]


def with_gradio(folder: Path) -> Path:
    """A Python that has gradio: it wants an older Pillow, so it is laid over this environment."""
    python = folder / "bin" / "python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = folder / "lib" / f"python{version}" / "site-packages"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    here = {path for path in sys.path if path.endswith("site-packages")}
    (own / "around.pth").write_text("\n".join(here))
    header = (SPACE / "README.md").read_text("utf-8")
    pinned = header.partition("sdk_version: ")[2].split()[0]
    command = [python, "-m", "pip", "install", "--quiet", "--no-compile", f"gradio=={pinned}"]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"gradio cannot be installed here: {made.stderr[-200:]}")
    return python


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("space")
    python, port = with_gradio(folder / "venv"), free_port()
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [python, SPACE / "app.py"], cwd=folder, env=env, stdout=log, stderr=log
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}/gradio_api"
            wait_for(f"{url}/info", process, folder / "log")
            yield url
        finally:
            process.kill()


def asked(url: str, picture: Path, framed: bool) -> tuple[str, dict | None]:
    """What the page answers on a picture: the text and the probabilities."""
    edge = uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{picture.name}"'
    body = f"{head}\r\n\r\n".encode() + picture.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    (path,) = _post(f"{url}/upload", body, f"multipart/form-data; boundary={edge}")
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = json.dumps({"data": [file, "Has this face been forged?", framed]}).encode()
    event = _post(f"{url}/call/look", data, "application/json")["event_id"]
    with urllib.request.urlopen(f"{url}/call/look/{event}", timeout=120) as stream:
        *_, last = (line for line in stream.read().decode().splitlines() if line[:5] == "data:")
    return tuple(json.loads(last[5:]))


def _post(url: str, body: bytes, kind: str) -> dict | list:
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_a_face_gets_a_verdict_and_anything_else_a_sentence(page: str, tmp_path: Path) -> None:
    face = RESCUE / "01_instruct" / "images" / "fs_0438.webp"
    text, shares = asked(page, face, framed=True)
    assert "P(forged) is calibrated" in text and "This face is" in text
    assert np.isclose(sum(one["confidence"] for one in shares["confidences"]), 1, atol=1e-3)
    Image.fromarray(chelsea()).save(tmp_path / "cat.png")
    text, shares = asked(page, tmp_path / "cat.png", framed=False)
    assert text.startswith("No face was found") and "%" not in text and not shares
