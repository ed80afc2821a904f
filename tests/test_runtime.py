"""Where lessons write, what they compute on, and that a key is never shown."""

from pathlib import Path

import pytest

from dfa_lib import runtime


def test_files_lie_in_the_repository_or_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DFA_WORK", raising=False)
    root = Path(runtime.__file__).parents[1]
    monkeypatch.chdir(root / "tests")
    assert runtime.work_path() == root / "work"
    monkeypatch.chdir(tmp_path)  # Colab: nothing but the notebook
    assert runtime.work_path() == tmp_path / "work" and not (tmp_path / "work").exists()
    monkeypatch.setenv("DFA_WORK", str(tmp_path / "elsewhere"))
    assert runtime.workdir() == tmp_path / "elsewhere" and runtime.workdir().is_dir()


def test_the_device_comes_with_its_reason() -> None:
    here = runtime.device()
    assert here.name in {"cpu", "cuda"} and here.reason and runtime.free_memory() > 0


def test_a_key_comes_from_the_environment_or_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DFA_TEST_KEY", "secret")
    assert runtime.api_key("DFA_TEST_KEY") == "secret"
    monkeypatch.delenv("DFA_TEST_KEY")
    assert runtime.api_key("DFA_TEST_KEY") is None  # nobody at the keyboard: stay offline
    assert "secret" not in "".join(capsys.readouterr())
