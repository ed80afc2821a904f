"""Fast tests first: a mistake shows in seconds, notebooks run last or on a process of their own."""

import os

# Tests run on several processes at once (pytest -n): more threads in each would only wait for
# each other. Before torch is imported, and for every kernel and server that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from served import served  # noqa: F401  a fixture of several files

LATE = ("slow", "browser", "notebook", "colab")


def _lateness(item: pytest.Item) -> int:
    return max((LATE.index(m.name) + 1 for m in item.iter_markers() if m.name in LATE), default=0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_lateness)
    if hasattr(config, "workerinput"):  # one of several: the longest file starts at once
        items.sort(key=lambda item: item.path.name != "test_notebooks.py")
