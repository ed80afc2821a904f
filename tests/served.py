"""``python -m dfa_lib.serve`` in a process of its own, once per session: a second, real engine."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.record_chat import free_port

ROOT = Path(__file__).resolve().parents[1]


class Served(NamedTuple):
    """What an Endpoint needs to know."""

    model: str
    url: str


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shipped tuned nano model behind ``transformers serve``, without a GPU or a hub."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    with serving(tmp_path_factory.mktemp("served")) as one:
        yield one


@contextmanager
def serving(folder: Path, *what: Path) -> Iterator[Served]:
    """Serve ``what``, by default the shipped tuned model, from a process in ``folder``."""
    port = free_port()
    command = [sys.executable, "-m", "dfa_lib.serve", *map(str, what)]
    command += ["--port", str(port), "--device", "cpu"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HOME": str(folder)}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
            model = what or [m.relative_to(folder) for m in (folder / "work" / "served").iterdir()]
            yield Served(str(model[0]), f"http://127.0.0.1:{port}/v1")
        finally:
            process.kill()


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    """Return when the server answers; fail with its log if it ends or takes two minutes."""
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text())
