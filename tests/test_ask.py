"""One photograph from the shell: an answer with its limits, or one line and status 2."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_llava import save_tiny

from dfa_lib import ask
from dfa_lib.gpt.adapter import save_tuned
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.presets import NANO
from facesim.people import portrait


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random tiny model as lesson 02 saves a tuned one."""
    folder = tmp_path_factory.mktemp("model")
    preset = replace(NANO, base=str(save_tiny(folder / "base")), max_new_tokens=12)
    model, processor = load_base(preset, "cpu")
    save_tuned(add_lora(model, preset), processor, preset, folder / "02_gpt" / "adapter", {})
    return folder / "02_gpt"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a generated face on a larger sheet, as a photograph has it."""
    face = portrait("asked", 0, size=160).image
    path = tmp_path_factory.mktemp("photo") / "face.jpg"
    Image.fromarray(np.pad(face, ((60, 80), (90, 40), (0, 0)), "edge")).save(path, quality=92)
    return path


def test_answer_probabilities_and_limits(
    tuned: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask.main([str(photo), "Is it real?", "--model", str(tuned)]) == 0
    out, err = capsys.readouterr()
    assert err == "" and f"{photo}: " in out and re.search(r"P\(forged\) \S+%", out)
    assert "entire face synthesis" in out and "Q: Is it real?\nA: " in out
    assert out.strip().splitlines()[-1] == ask.NANO_LIMITS


def test_an_unknown_base_is_refused(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.main([str(photo), "--base", "no-such"]) == 2
    assert "choose from nano, " in capsys.readouterr().err


def test_a_framed_picture_is_taken_as_it_is(
    tuned: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = tmp_path / "grey.png"
    Image.new("RGB", (128, 128), "grey").save(grey)
    assert ask.main([str(grey), "--model", str(tuned)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"dfa_lib.ask: {grey}: no face was found") and "--aligned" in message
    assert message.count("\n") == 1
    assert ask.main([str(grey), "--model", str(tuned), "--aligned"]) == 0
    out = capsys.readouterr().out
    assert "no face was found" in out and "%" not in out and "A: " not in out


def test_without_a_model_the_lesson_is_named(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask.main([str(photo), "--model", str(tmp_path / "none")]) == 2
    assert "run lesson 02" in capsys.readouterr().err


def test_from_the_shell_a_bad_picture_leaves_one_line_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    root = Path(ask.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "dfa_lib.ask", "empty.jpg"],
        cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dfa_lib.ask: empty.jpg: the file is empty; copy or download it again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["empty.jpg"]
