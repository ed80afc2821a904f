"""Real processes: one that is killed, two that share the work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_llava import save_tiny

from dfa_lib.gpt.__main__ import main
from dfa_lib.gpt.train import Step
from dfa_lib.records import read_jsonl
from dfa_lib.runtime import RESCUE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent
DATA = RESCUE / "01_instruct"
STEPS = 18


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> list[str]:
    """A run of 18 short steps on the rescue data."""
    base = save_tiny(tmp_path_factory.mktemp("base"))
    changes = [f"base={base}", "epochs=2", "batch=4", "row=600", "rank=4", "save_every=4"]
    changes += ["side=144", "everyday=False"]  # each process draws conditions of its own
    return ["train", "--data", str(DATA), "--set", *changes]


@pytest.fixture(scope="module")
def reference(arguments, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("reference")
    assert main([*arguments, "--out", str(out)]) == 0
    return out


def environment() -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return {**os.environ, **threads, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}


def steps(out: Path) -> list[Step]:
    log = out / "log.jsonl"
    return list(read_jsonl(log, Step)) if log.exists() else []


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    arguments, reference, tmp_path, capsys
):
    command = [sys.executable, "-m", "dfa_lib.gpt", *arguments, "--out", str(tmp_path)]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(command, env=environment(), stdout=output, stderr=output)
        while len(steps(tmp_path)) < 8 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, (tmp_path / "output").read_text()[-2000:]
    assert 8 <= len(steps(tmp_path)) < STEPS
    assert not (tmp_path / "adapter").exists()
    (tmp_path / "checkpoint.pt.1.partial").write_bytes(b"torn in mid-write")
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert "the faces are enlarged from 128 to 144 pixels" in capsys.readouterr().out
    ours, theirs = (out / "adapter" / "adapter_model.safetensors" for out in (tmp_path, reference))
    assert ours.read_bytes() == theirs.read_bytes()
    for one, other in zip(steps(tmp_path), steps(reference), strict=True):
        assert one.model_copy(update={"seconds": other.seconds}) == other
    assert len(steps(reference)) == STEPS


def test_two_launched_processes_learn_as_one(arguments, reference, tmp_path):
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    config = ["--config_file", str(ROOT / "configs" / "ddp.yaml"), "-m", "dfa_lib.gpt"]
    done = subprocess.run(
        [*launcher, *config, *arguments, "--out", str(tmp_path)],
        env={**environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| processes | 2 |" in (tmp_path / "adapter" / "MODEL_CARD.md").read_text("utf-8")
    for one, other in zip(steps(tmp_path), steps(reference), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        if other.val_loss is not None:
            assert one.val_loss == pytest.approx(other.val_loss, rel=1e-4)
    assert steps(tmp_path)[-1].val_loss is not None
