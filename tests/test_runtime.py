"""Where lessons write, what they compute on, and that a key is never shown."""

from pathlib import Path

import pytest

from dfa_lib import runtime


def test_a_lesson_and_the_shell_mean_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(runtime.__file__).parents[1]
    monkeypatch.chdir(root)
    assert runtime.work_path() == Path("work"), "no path of a machine in what lessons print"
    monkeypatch.chdir(root / "notebooks")
    assert runtime.work_path() == root / "work"
    assert runtime.work_path("mine") == root / "mine"
    assert runtime.work_path(str(tmp_path / "far")) == tmp_path / "far"
    monkeypatch.chdir(tmp_path)  # Colab: nothing but the notebook
    assert runtime.work_path() == Path("work") and not Path("work").exists()
    assert runtime.work_path(here=root / "tests") == root / "work"


def test_the_device_comes_with_its_reason() -> None:
    here = runtime.device()
    assert here.name in {"cpu", "cuda"} and here.reason


def test_a_key_comes_from_the_environment_or_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DFA_TEST_KEY", "secret")
    assert runtime.api_key("DFA_TEST_KEY") == "secret"
    monkeypatch.delenv("DFA_TEST_KEY")
    assert runtime.api_key("DFA_TEST_KEY") is None  # nobody at the keyboard: stay offline
    assert "secret" not in "".join(capsys.readouterr())
