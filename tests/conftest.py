"""Fast tests first: a mistake shows in seconds, the notebooks run last."""

import pytest
from served import served  # noqa: F401  a fixture of several files

LATE = ("slow", "browser", "notebook", "colab")


def _lateness(item: pytest.Item) -> int:
    return max((LATE.index(m.name) + 1 for m in item.iter_markers() if m.name in LATE), default=0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_lateness)
