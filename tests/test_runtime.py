"""Where lessons write, what they compute on, and that a key is never shown."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from dfa_lib import runtime
from dfa_lib.errors import DataError


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


@pytest.fixture
def userdata(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What a person has stored on the stand-in for Colab: None is a secret not granted."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "colab")
    from google.colab import userdata

    monkeypatch.setattr(userdata, "GRANTED", {})
    return userdata.GRANTED


def test_a_work_folder_in_google_drive_mounts_it(userdata: dict[str, str | None]) -> None:
    from google.colab import drive

    assert runtime.work_path("/content/drive/MyDrive/dfa") == Path("/content/drive/MyDrive/dfa")
    assert runtime.work_path("/content/dfa") == Path("/content/dfa")
    assert drive.MOUNTED == ["/content/drive"]


def test_a_key_comes_from_the_environment_first(
    userdata: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    userdata["DFA_TEST_KEY"] = "from Colab"
    monkeypatch.setenv("DFA_TEST_KEY", "secret")
    assert runtime.api_key("DFA_TEST_KEY") == "secret"
    assert "secret" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("copied", ["sk-1\n", " sk-1\r\n", '"sk-1"', "\u201csk-1\u201d"])
def test_a_key_is_taken_as_it_was_copied(copied: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFA_TEST_KEY", copied)
    assert runtime.api_key("DFA_TEST_KEY") == "sk-1"


@pytest.mark.parametrize("broken", ["sk\u20131", "sk-1\nsk-2", "sk-ü"])
def test_what_no_header_can_hold_is_no_key(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFA_TEST_KEY", broken)
    with pytest.raises(DataError, match=r"^DFA_TEST_KEY: contains a character .* copy it again$"):
        runtime.api_key("DFA_TEST_KEY")


def test_then_from_the_secrets_of_colab(userdata: dict[str, str | None]) -> None:
    userdata["DFA_TEST_KEY"] = "from Colab"
    assert runtime.api_key("DFA_TEST_KEY") == "from Colab"


def test_a_secret_not_granted_or_not_there_is_no_key(userdata: dict[str, str | None]) -> None:
    userdata["DFA_NOT_GRANTED"] = None
    assert runtime.api_key("DFA_NOT_GRANTED", prompt=False) is None
    assert runtime.api_key("DFA_NOT_THERE", prompt=False) is None


@pytest.mark.parametrize(("typed", "found"), [("hush", "4 letters"), ("", "offline")])
def test_then_from_a_person_who_types_it_unseen(typed: str, found: str) -> None:
    """A real terminal: what is typed must not appear on it."""
    ask = "from dfa_lib.runtime import api_key; key = api_key('DFA_TEST_KEY');"
    ask += "print(f'{len(key)} letters' if key else 'offline')"
    keyboard, terminal = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    with subprocess.Popen([sys.executable, "-c", ask], start_new_session=True, **streams) as asking:
        os.close(terminal)
        shown = b""
        while b"hidden" not in shown:
            shown += os.read(keyboard, 1000)
        os.write(keyboard, f"{typed}\n".encode())
        while found.encode() not in shown:
            shown += os.read(keyboard, 1000)
    os.close(keyboard)
    assert asking.returncode == 0 and b"hush" not in shown


def test_where_nobody_can_answer_it_stays_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert runtime.api_key("DFA_TEST_KEY") is None


def test_importing_changes_nothing_for_others() -> None:
    """Neither the environment nor our warning filter is touched until ``prepare`` is called."""
    code = """
import os, sys, warnings, dfa_lib
from dfa_lib import runtime
from dfa_lib.errors import DataError
before = dict(os.environ)
import dfa_lib.analysts, dfa_lib.endpoint, dfa_lib.findings, dfa_lib.records, dfa_lib.shards
assert dict(os.environ) == before
assert "torch" not in sys.modules, "what an analyst needs has torch in tow"
import dfa_lib.gpt.train
assert "OMP_WAIT_POLICY" not in os.environ
assert not any("gradient_check" in str(one[1]) for one in warnings.filters)
runtime.prepare()
assert os.environ["OMP_WAIT_POLICY"] == "passive"
"""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    subprocess.run([sys.executable, "-c", code], env=clean, check=True)
