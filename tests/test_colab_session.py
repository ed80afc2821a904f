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
from collections.abc import Container, Iterable, Iterator
from importlib.metadata import distribution, distributions, requires, version
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

import pytest
from lessons import LESSONS, NAMES, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
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
LINKED = ("jupyterlab", "nltk", "notebook", "opencv-python-headless", "scikit-learn", "torch")
"""Colab has these in versions that the pins do not name: they and what they need come from here."""
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
    pinned = {Requirement(line).name for line in pins.splitlines() if line[:1] not in "#"}
    # a new environment has a setuptools of its own
    linked = {one: version(one) for one in with_needs(LINKED, pinned - {"torch"} | {"setuptools"})}
    content = f"{sys.version} {pins} {sorted(linked.items())}"
    name = hashlib.sha256(content.encode()).hexdigest()[:12]
    folder = pytestconfig.cache.mkdir(f"colab-{name}")
    if not (folder / "complete").exists():
        venv.create(folder / "venv", clear=True, symlinks=True, with_pip=True)
        (folder / "pins.txt").write_text(pins)
        python = folder / "venv" / "bin" / "python"
        (packages,) = folder.glob("venv/lib/python*/site-packages")
        for one in linked:
            link(one, packages)
        shell(python, "-m", "pip", "install", "-q", "--no-compile", "-r", folder / "pins.txt")
        # compiles what is used alone
        compiling = "import sys; sys.dont_write_bytecode = False"
        shell(python, "-c", f"{compiling}; import {', '.join(BROUGHT[1:])}")
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


def with_needs(names: Iterable[str], others: Container[str]) -> set[str]:
    """Distributions of this environment and all that they need, but for ``others``."""
    found, rest = set(), list(names)
    while rest:
        name = canonicalize_name(rest.pop())
        if name not in found and name not in others:
            found.add(name)
            needs = map(Requirement, requires(name) or ())
            rest += [one.name for one in needs if not one.marker or one.marker.evaluate()]
    return found


def link(name: str, packages: Path) -> None:
    """Install a distribution of this environment in another, without unpacking it once more.

    What pip did not compile itself, it does not list.
    """
    one = distribution(name)
    listed = {Path(file) for file in one.files if file.parts[0] != ".."}  # not its scripts
    compiled = {Path(cache_from_source(file)) for file in listed if file.suffix == ".py"}
    for file in listed | compiled:
        here, place = Path(one.locate_file(file)), packages / file
        if here.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(here, place)
            except OSError:  # of another disk
                shutil.copy(here, place)


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
