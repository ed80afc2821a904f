"""Fast tests first: a mistake shows in seconds. On several processes the long files start."""

import os
import sys

# Tests run on several processes at once (pytest -n): more threads in each would only wait for
# each other. Before torch is imported, and for every kernel and server that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import served  # noqa: F401  a fixture of several files
from warm import warm_kernels

LATE = ("slow", "browser", "colab", "notebook")


def _lateness(item: pytest.Item) -> int:
    return max((LATE.index(m.name) + 1 for m in item.iter_markers() if m.name in LATE), default=0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_lateness)
    if hasattr(config, "workerinput"):  # one of several: they end together if long files go first
        lessons = Counter(item.path for item in items if _lateness(item) > 2)
        latest = {item.path: _lateness(item) for item in items}  # sorted: the last one counts
        items.sort(key=lambda item: (-max(0, lessons[item.path] - 2), -latest[item.path]))


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with warm_kernels(tmp_path_factory.mktemp("forked")) as folder:
        yield folder


@pytest.fixture(scope="module")
def warm(forked: Path) -> Iterator[None]:
    """Kernels and ``sys.executable -m`` of this module start at once.

    Not for what a test kills: it lives on for an instant.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(forked))
        if (forked / "python").exists():
            patch.setattr(sys, "executable", str(forked / "python"))
        yield
