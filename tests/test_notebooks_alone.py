"""Lessons run alone in an empty folder with other parameters than their own."""

import json
import re
import shutil
from pathlib import Path

import pytest
from chat_server import ChatServer, content_key, fill
from lessons import LESSONS, read
from tiny_families import save_family

from dfa_lib.gpt.presets import PRESETS
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Annotation, read_jsonl
from dfa_lib.runtime import RESCUE
from tools.run_notebooks import run_notebook

pytestmark = [
    pytest.mark.full, pytest.mark.notebook, pytest.mark.timeout(900),
    pytest.mark.usefixtures("warm"),
]  # fmt: skip


def test_the_real_thing_is_one_profile(tmp_path: Path) -> None:
    """Lesson 06 on a folder of somebody's pictures, with somebody's server."""
    shipped = FaceSet.read(RESCUE / "01_instruct")
    for face in shipped:
        kind = face.category.value if face.category.forged else "real"
        place = tmp_path / "pictures" / face.split / kind
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(shipped.root / face.image, place)
    with ChatServer() as server:
        whose = {"PROFILE": "real", "ROOT": str(tmp_path / "pictures"), "PRESET": "nano"}
        asked = {"MODEL": "seer", "BASE_URL": server.url, "COUNT": 120}
        run_notebook(LESSONS[6], tmp_path, {"FAST": True, **whose, **asked})
        assert set(server.books.charged.values()) == {1}, "nothing is paid twice"
    written = tmp_path / "work" / "06_for_real" / "real" / "faces" / "annotations.jsonl"
    assert {note.annotator.model for note in read_jsonl(written, Annotation)} == {"seer"}


def test_a_free_t4_is_one_profile(tmp_path: Path) -> None:
    """Lesson 02 alone, on a tiny base that lies where the hub's would be looked for first."""
    base = PRESETS["smolvlm-500m"].base
    save_family("idefics3", tmp_path / base, pixels=512)
    chosen = {"PRESET": "smolvlm-500m", "WORK": "drive", "FACES": 60}
    executed = read(
        run_notebook(LESSONS[2], tmp_path, {"FAST": True, "PROFILE": "t4", "T4": chosen})
    )
    (said,) = (c.outputs[-1]["text"] for c in executed.cells if c.id == "t4-said")
    assert re.search(r"predicted, not measured:\n[\d.]+ GB to download, .* of disk\n"
                     r"\d+ minutes of tuning\n\$\d+\.\d\d at most, if GPT-4o", said)  # fmt: skip
    assert len(FaceSet.read(tmp_path / "drive" / "01_instruct")) == 60
    tuned = json.loads((tmp_path / "drive" / "02_gpt" / "adapter" / "preset.json").read_text())
    assert (tuned["preset"]["base"], tuned["preset"]["save_minutes"]) == (base, 5)


def test_another_annotator_is_one_parameter(tmp_path: Path) -> None:
    """Lesson 01, alone in an empty folder as well."""
    with ChatServer() as server:
        asked = {"ANNOTATOR": "endpoint", "MODEL": "stand-in", "BASE_URL": server.url}
        run_notebook(LESSONS[1], tmp_path, {"FAST": True, **asked})
        assert len(server.books.asked) == 60, "one request for each face"
    notes = list(read_jsonl(tmp_path / "work" / "01_instruct" / "annotations.jsonl", Annotation))
    assert {note.annotator.model for note in notes} == {"stand-in"}


def _guess(body: dict) -> str:
    """Mark as the schema asks, or pick one of the sentences offered, by the request alone."""
    if "response_format" in body:
        return fill(body)
    text = body["messages"][-1]["content"][-1]["text"]
    offered = text.partition("Answer with one of these sentences:\n")[2].splitlines()
    return offered[int(content_key(body), 16) % len(offered)] if offered else "The nose shows blur."


def test_a_guest_and_a_judge_are_one_parameter_each(tmp_path: Path) -> None:
    """Lesson 03, alone from rescue files as well."""
    with ChatServer(reply=_guess) as server:
        asked = {"MODEL": "guest", "JUDGE": "judge", "BASE_URL": server.url, "LOGPROBS": False}
        run_notebook(LESSONS[3], tmp_path, {"FAST": True, "SPOILT": 0, **asked})
        assert set(server.books.charged.values()) == {1}, "nothing is paid twice"
    report = json.loads((tmp_path / "work" / "03_bench" / "report.json").read_text())
    guest = report["analysts"]["guest"]
    assert guest["DF-D"]["unparsable"][0] == guest["AD"]["unparsable"][0] == 0
    assert guest["DF-D"]["AUC"][1] < 0.5 < guest["DF-D"]["AUC"][2], "it does not look"
    (told,) = report["opinions"].values()
    assert list(report["opinions"]) == ["endpoint at 127.0.0.1 · judge · grounded@1"]
    assert set(told["scores"]) == {"dfa-gpt", "blind", "majority", "chance", "guest"}
