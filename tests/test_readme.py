"""The front page tells the truth about the tree behind it."""

import json
import re

import pytest
from lessons import LESSONS, ROOT, files
from PIL import Image

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINE = re.compile(r"(?P<indent> *)(?P<name>\S+)(  +(?P<comment>\S.+))?")


def tree() -> dict[str, str | None]:
    """Path -> comment, from the indented block of the README."""
    block = re.search(r"```text\n(.*?)```", README, re.S)
    assert block, "the README has a file tree"
    entries: dict[str, str | None] = {}
    parents: list[str] = []
    for line in block[1].splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        parents[len(match["indent"]) // 2 :] = [match["name"]]
        entries["".join(parents)] = match["comment"]
    return entries


def tracked() -> set[str]:
    """Every file of the repository, in use or about to be added."""
    names = {file.relative_to(ROOT).as_posix() for file in files()}
    if not names:
        pytest.skip("not a git checkout")
    return names


def children(folder: str) -> set[str]:
    """What lies directly in a folder; a name that ends in / is itself a folder."""
    names = {name.removeprefix(folder) for name in tracked() if name.startswith(folder)}
    direct = {name.partition("/")[0] + "/" * ("/" in name) for name in names}
    return {name for name in direct if name != "__init__.py" and not name.startswith(".")}


def test_every_entry_has_a_comment() -> None:
    assert [path for path, comment in tree().items() if not comment] == []


def test_the_tree_is_the_tree() -> None:
    paths = set(tree())
    opened = {""} | {p for p in paths if any(q != p and q.startswith(p) for q in paths)}
    for folder in sorted(opened):
        told = {p.removeprefix(folder) for p in paths if p != folder and p.startswith(folder)}
        direct = {name for name in told if "/" not in name.rstrip("/")}
        assert direct == children(folder), f"README tree, folder {folder or 'top'}"


def test_the_lessons_and_commands_it_names_exist() -> None:
    for lesson in LESSONS:
        assert f"(notebooks/{lesson.name})" in README
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)`", README)) | {"tutorial", "test"} <= targets


def test_nothing_is_left_to_be_filled_in() -> None:
    assert "TBD" not in README


def test_the_moving_picture_moves_and_loads_fast() -> None:
    path = ROOT / "notebooks" / "assets" / "chat.webp"
    with Image.open(path) as film:
        assert film.n_frames > 10
    assert path.stat().st_size <= 2_000_000


def test_the_dev_container_installs_by_a_command_that_exists() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    target = container["postCreateCommand"].removeprefix("make ")
    assert f"\n{target}:" in (ROOT / "Makefile").read_text("utf-8")
