"""Every lesson in Colab's situation: its versions, an empty folder, nothing but the notebook.

The environment is built once, from ``tests/colab/pins.txt``, and kept in pytest's cache; each
run works on a copy of hard links. What cannot be had here is Colab's own Python, its front end
and its other packages.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from lessons import LESSONS, NAMES, ROOT

from tools.colab import address
from tools.run_notebooks import run_notebook

PINS = ROOT / "tests" / "colab" / "pins.txt"
REPOSITORY = "a-school/dfa-course"
LAUNCH = "import google.colab, runpy; runpy.run_module('ipykernel_launcher', run_name='__main__')"

pytestmark = [pytest.mark.colab, pytest.mark.timeout(2400)]


def shell(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command printed; its last words, where it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert not done.returncode, f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}"
    return done.stdout


def installed(python: Path) -> dict[str, str]:
    """Distribution -> version, or where it was had from."""
    lines = shell(python, "-m", "pip", "freeze", "--all").splitlines()
    return dict(line.replace(" @ ", "==", 1).split("==", 1) for line in lines if "-e " not in line)


@pytest.fixture(scope="module")
def pristine(pytestconfig: pytest.Config) -> Path:
    """An environment with what Colab brings and nothing else."""
    # Colab's torch is a CUDA build of several GB; the verified one stands in for it
    pins = PINS.read_text().replace("torch==2.11.0", f"torch=={version('torch').split('+')[0]}")
    name = hashlib.sha256(f"{sys.version} {pins}".encode()).hexdigest()[:12]
    folder = pytestconfig.cache.mkdir(f"colab-{name}")
    if not (folder / "complete").exists():
        venv.create(folder / "venv", clear=True, symlinks=True, with_pip=True)
        (folder / "pins.txt").write_text(pins)
        shell(folder / "venv" / "bin" / "python", "-m", "pip", "install", "-q", "-r",
              folder / "pins.txt")  # fmt: skip
        (folder / "complete").touch()
    return folder / "venv"


@pytest.fixture(scope="module")
def colab(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Python of a fresh session, whose kernels take the place of this environment's."""
    session = pristine.with_name("session")
    shutil.rmtree(session, ignore_errors=True)
    shutil.copytree(pristine, session, symlinks=True, copy_function=os.link)
    kernels = tmp_path_factory.mktemp("kernels")
    environment = {"PYTHONPATH": str(ROOT / "tests" / "colab"), **served_by_git(kernels)}
    start = [str(session / "bin" / "python"), "-c", LAUNCH, "-f", "{connection_file}"]
    spec = {"argv": start, "display_name": "Colab", "language": "python", "env": environment}
    place = kernels / "kernels" / "python3"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(kernels))
        yield session / "bin" / "python"
    shutil.rmtree(session)


def served_by_git(folder: Path) -> dict[str, str]:
    """Settings by which git finds this tree, uncommitted changes included, at its address."""
    bare = folder / "repository.git"
    shell("git", "init", "-q", "--bare", bare)
    commit = shell("git", "stash", "create").strip() or "HEAD"
    shell("git", "push", "-q", bare, f"{commit}:refs/heads/main")
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{bare.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": f"https://github.com/{REPOSITORY}"}  # fmt: skip


@pytest.mark.parametrize("lesson", LESSONS, ids=NAMES)
def test_a_lesson_opened_from_its_badge(lesson: Path, colab: Path, tmp_path: Path) -> None:
    """Fails when a lesson needs a file beside it, a newer version than Colab has, or a file
    that is not packaged; and when setting it up replaces what the session has loaded."""
    before = installed(colab)
    notebook = Path(shutil.copy(lesson, tmp_path))
    address([notebook], REPOSITORY)
    run_notebook(notebook, tmp_path, {"FAST": True})
    after = installed(colab)
    assert f"git+https://github.com/{REPOSITORY}@" in after.pop("dfa_lib")
    before.pop("dfa_lib", None)
    assert {name: after.get(name) for name in before} == before
