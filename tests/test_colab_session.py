"""Every lesson in Colab's situation: its versions, an empty folder, nothing but the notebook.

The environment is built once, from ``tests/colab/pins.txt``, and kept in pytest's cache; each
run works on a copy of hard links. The first lesson's kernel starts from nothing, the others are
forked from a process that has loaded what Colab brings, and build the package with the setuptools
that is there. What cannot be had here is Colab's own
Python, its front end and its other packages.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import distribution, distributions, version
from pathlib import Path
from typing import NamedTuple

import pytest
from lessons import LESSONS, NAMES, ROOT
from warm import warm_kernels, write_kernel

from tools.colab import address
from tools.run_notebooks import run_notebook

PINS = ROOT / "tests" / "colab" / "pins.txt"
REPOSITORY = "a-school/dfa-course"
LAUNCH = "import google.colab, runpy; runpy.run_module('ipykernel_launcher', run_name='__main__')"
BROUGHT = (
    "google.colab", "ipykernel.kernelapp", "ipywidgets", "matplotlib.pyplot", "openai", "peft",
    "torch", "transformers.models.auto.modeling_auto",
)  # fmt: skip
"""What a forked kernel has loaded before its lesson installs the package."""
LINKED = ("torch",)
"""Large ones, taken from this environment."""
KERNELS = ["fresh"] + ["forked"] * (len(LESSONS) - 1)

pytestmark = [pytest.mark.colab, pytest.mark.timeout(2400)]


class Colab(NamedTuple):
    """A session's Python and what its kernels find in their environment."""

    python: Path
    settings: dict[str, str]


def shell(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command printed; its last words, where it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert not done.returncode, f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}"
    return done.stdout


def installed(python: Path) -> dict[str, str]:
    """Distribution -> version, or where it was had from."""
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    found = {}
    for one in distributions(path=[str(packages)]):
        origin = one.read_text("direct_url.json")
        found[one.name] = json.loads(origin)["url"] if origin else one.version
    return found


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
        python = folder / "venv" / "bin" / "python"
        (packages,) = folder.glob("venv/lib/python*/site-packages")
        for one in LINKED:
            link(one, packages)
        shell(python, "-m", "pip", "install", "-q", "--no-compile", "-r", folder / "pins.txt")
        shell(python, "-c", f"import {', '.join(BROUGHT[1:])}")  # compiles what is used alone
        (folder / "complete").touch()
    return folder / "venv"


@pytest.fixture(scope="module")
def colab(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Colab]:
    """The Python of a fresh session, and the settings of its kernels."""
    session = pristine.with_name("session")
    shutil.rmtree(session, ignore_errors=True)
    shutil.copytree(pristine, session, symlinks=True, copy_function=os.link)
    served = served_by_git(tmp_path_factory.mktemp("git"))
    settings = {"PYTHONPATH": str(ROOT / "tests" / "colab"), "PIP_NO_COMPILE": "1", **served}
    yield Colab(session / "bin" / "python", settings)
    shutil.rmtree(session)


@pytest.fixture(scope="module")
def forked(colab: Colab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the kernels lie that are forked from a process of the session's Python."""
    folder = tmp_path_factory.mktemp("forked")
    settings = colab.settings | {"PIP_NO_BUILD_ISOLATION": "0"}  # it is: pip turns that round
    with warm_kernels(folder, str(colab.python), BROUGHT, settings):
        yield folder


@pytest.fixture(scope="module")
def fresh(colab: Colab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the kernel lies that starts from nothing."""
    folder = tmp_path_factory.mktemp("fresh")
    start = [str(colab.python), "-c", LAUNCH, "-f", "{connection_file}"]
    write_kernel(folder, start, colab.settings)
    return folder


def link(name: str, packages: Path) -> None:
    """Install a distribution of this environment in another, without unpacking it once more."""
    for file in distribution(name).files:
        if file.parts[0] != "..":  # a script beside the packages
            place = packages / file
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file.locate(), place)
            except OSError:  # of another disk
                shutil.copy(file.locate(), place)


def served_by_git(folder: Path) -> dict[str, str]:
    """Settings by which git finds this tree, uncommitted changes included, at its address.

    Without its past, which only takes time to copy.
    """
    bare = folder / "repository.git"
    shell("git", "init", "-q", "--bare", bare)
    tree = shell("git", "stash", "create").strip() or "HEAD"
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    commit = shell("git", *who, "commit-tree", "-m", "as it is", f"{tree}^{{tree}}").strip()
    shell("git", "push", "-q", bare, f"{commit}:refs/heads/main")
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{bare.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": f"https://github.com/{REPOSITORY}"}  # fmt: skip


@pytest.mark.parametrize(("lesson", "kernel"), zip(LESSONS, KERNELS, strict=True), ids=NAMES)
def test_a_lesson_opened_from_its_badge(
    lesson: Path,
    kernel: str,
    colab: Colab,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails when a lesson needs a file beside it, a newer version than Colab has, or a file
    that is not packaged; and when setting it up replaces what the session has loaded."""
    monkeypatch.setenv("JUPYTER_PATH", str(request.getfixturevalue(kernel)))
    before = installed(colab.python)
    notebook = Path(shutil.copy(lesson, tmp_path))
    address([notebook], REPOSITORY)
    run_notebook(notebook, tmp_path, {"FAST": True})
    after = installed(colab.python)
    assert after.pop("dfa_lib") == f"https://github.com/{REPOSITORY}"
    before.pop("dfa_lib", None)
    assert {name: after.get(name) for name in before} == before
