"""pyproject.toml, constraints.txt and environment.yml say the same, and say what is used."""

import ast
import fnmatch
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGE_DATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
COLAB_PINS = (ROOT / "tests" / "colab" / "pins.txt").read_text()
ENVIRONMENT = (ROOT / "environment.yml").read_text()

# opened by a person or started as a program, never imported
PROGRAMS = {"jupyterlab", "playwright", "pytest-timeout", "pytest-xdist", "ruff", "voila"}
PROGRAMS |= {"fastapi", "uvicorn"}  # or needed by what transformers serves
PROGRAMS |= {"ipykernel"}  # or started by its name
PROGRAMS |= {"gguf"}  # or imported by transformers
PROGRAMS |= {"myst-nb", "sphinx-book-theme"}  # or named in the settings of the site
OURS = {"dfa_lib", "facesim", "tools", "tests", "benchmarks", ""}
NOT_FROM_PYPI = OURS | {"google", "trl"}  # Colab only; compared with where it is installed


def named(requirements: list[str]) -> dict[str, Requirement]:
    found = map(Requirement, requirements)
    return {canonicalize_name(r.name): r for r in found if r.name != PROJECT["name"]}


BASE = named(PROJECT["dependencies"])
OPTIONAL = {k: v for k, v in PROJECT["optional-dependencies"].items() if k not in {"lab", "test"}}
ALL = named(sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"]))
PINS = named([line for line in CONSTRAINTS.splitlines() if not line.startswith("#")])
COLAB = named([line for line in COLAB_PINS.splitlines() if not line.startswith("#")])
REASONED = dict(re.findall(r"^ +- ([\w-]+>=[\w.]+)  # (.+)$", ENVIRONMENT, re.MULTILINE))


def imported(*folders: str) -> set[str]:
    """Names of the distributions that the Python files below ``folders`` import."""
    trees = (ast.parse(f.read_text()) for folder in folders for f in (ROOT / folder).rglob("*.py"))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    modules += [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
    own = {path.stem for folder in folders for path in (ROOT / folder).glob("*.py")}
    tops = {m.partition(".")[0] for m in modules} - sys.stdlib_module_names - own
    known = packages_distributions()
    return {canonicalize_name(known.get(top, [top])[0]) for top in tops - NOT_FROM_PYPI}


@pytest.mark.parametrize("name", sorted(ALL))
def test_lower_bound_pin_and_reason(name: str) -> None:
    requirement = ALL[name]
    assert [s.operator for s in requirement.specifier] == [">="], "lower bounds only"
    assert name in PINS, f"pin {name} in constraints.txt"
    (pin,) = PINS[name].specifier
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version)
    assert REASONED.get(str(requirement)), f"give {requirement} and a reason in environment.yml"


def test_the_conda_environment_has_nothing_else() -> None:
    assert set(named(list(REASONED))) == set(ALL)
    assert re.search(r"^name: dfa$", ENVIRONMENT, re.MULTILINE)
    assert f"python{PROJECT['requires-python']}" in ENVIRONMENT


@pytest.mark.parametrize("name", sorted(COLAB.keys() & ALL.keys()))
def test_colab_keeps_its_version(name: str) -> None:
    """Prevents the upgrade of what a session has loaded, after which nothing works there."""
    (pin,) = COLAB[name].specifier
    assert ALL[name].specifier.contains(pin.version)


def test_the_package_imports_only_what_it_declares() -> None:
    assert imported("dfa_lib", "facesim") <= set(BASE) | set(named([*chain(*OPTIONAL.values())]))


def test_tools_and_tests_import_only_what_is_declared() -> None:
    assert imported("dfa_lib", "facesim", "tools", "tests", "benchmarks", "docs") <= set(ALL)


def test_nothing_is_declared_that_nobody_imports() -> None:
    used = imported("dfa_lib", "facesim", "tools", "tests", "benchmarks", "docs") | PROGRAMS
    assert set(ALL) <= used


def test_package_data_ships() -> None:
    patterns = PACKAGE_DATA["package-data"]["dfa_lib"]
    files = [path for path in (ROOT / "dfa_lib").rglob("*") if path.is_file()]
    left_out = [
        str(path.relative_to(ROOT))
        for path in files
        if path.suffix not in {".py", ".pyc"}
        and not any(fnmatch.fnmatch(path.name, pattern.removeprefix("**/")) for pattern in patterns)
    ]
    assert not left_out, "add the pattern to [tool.setuptools.package-data]"
