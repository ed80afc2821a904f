"""The leaderboard scores prediction files anew, and says in a line why it cannot."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lessons import ROOT
from toy_bench import Teller, always_forged, oracle, told_by_two, toy_world

from dfa_lib.bench.exam import Exam
from dfa_lib.bench.run import ask_all
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, write_jsonl
from dfa_lib.taxonomy import Category
from tools.leaderboard import make
from tools.seal import seal

Change = Callable[[list[dict]], list[dict]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lessons 01 and 03 leave behind, on a toy world."""
    work = tmp_path_factory.mktemp("work")
    world = toy_world(work / "01_instruct")
    write_jsonl(work / "01_instruct" / "faces.jsonl", world[0])
    write_jsonl(work / "01_instruct" / "instruct.jsonl", world[1])
    told_by_two(world, work / "03_bench")
    return work


@pytest.fixture
def submissions(work: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(work / "03_bench" / "predictions", tmp_path / "submissions"))


def changed(path: Path, change: Change) -> Path:
    rows = change([json.loads(line) for line in path.read_text("utf-8").splitlines()])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_the_best_is_first_with_the_scores_of_the_report(
    work: Path, submissions: Path, tmp_path: Path
) -> None:
    (submissions / "right.jsonl").rename(submissions / "a <b>team.jsonl")
    command = [sys.executable, "-m", "tools.leaderboard", work, submissions, tmp_path / "page.html"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    page = (tmp_path / "page.html").read_text("utf-8")
    rows = [row.split("</td><td>") for row in page.split("<tr>")[2:]]
    assert [row[1] for row in rows] == ["a &lt;b&gt;team", "dice", "wrong"]
    assert [row[2][:5] for row in rows][::2] == ["1.000", "0.000"]
    report = json.loads((work / "03_bench" / "report.json").read_text("utf-8"))
    dice = report["analysts"]["dice"]["DF-D"]["AUC"][0]
    assert rows[1][2].startswith(f"{dice:.3f}") and rows[1][3:5] == ["–", "–"]


CHANGES = {
    "not in the protocol": lambda rows: [rows[0] | {"face": "stranger"}, *rows[1:]],
    "prompt: not that": lambda rows: [rows[0] | {"prompt": "Forged?"}, *rows[1:]],
    "task: not asked": lambda rows: [rows[0] | {"task": "FC"}, *rows[1:]],
    "options: not the labels": lambda rows: [rows[0] | {"options": {"forged": 0.0}}, *rows[1:]],
    "not the likeliest": lambda rows: [rows[0] | {"answer": "x"}, *rows[1:]],
    "not answered": lambda rows: rows[:7],
    "no prediction in it": lambda rows: [],
    "analyst: Field required": lambda rows: [{"face": "f"}, *rows],
    "was already used": lambda rows: [rows[0], *rows],
}


@pytest.mark.parametrize("said", CHANGES)
def test_a_bad_file_gets_one_line_and_the_others_are_scored(
    said: str, work: Path, submissions: Path, tmp_path: Path
) -> None:
    bad = changed(submissions / "wrong.jsonl", CHANGES[said])
    (why,) = make(work, submissions, tmp_path / "page.html", resamples=20)
    assert why.startswith(str(bad)) and said in why and "\n" not in why
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<td>right</td>" in page and "<td>wrong</td>" not in page


def test_scores_that_a_file_claims_are_not_believed(
    work: Path, submissions: Path, tmp_path: Path
) -> None:
    """An answer that was changed by hand no longer fits its options."""
    lie = {"bona fide": "forged", "forged": "bona fide"}
    changed(
        submissions / "wrong.jsonl",
        lambda rows: [row | {"answer": lie.get(row["answer"], row["answer"])} for row in rows],
    )
    (why,) = make(work, submissions, tmp_path / "page.html", resamples=20)
    assert "not the likeliest of its options" in why


def test_nothing_to_score_is_an_error(work: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        make(work, tmp_path, tmp_path / "page.html")


def test_sealed_faces_are_scored_by_a_key_that_teams_never_see(work: Path, tmp_path: Path) -> None:
    """Prevents the team that copies the labels and ranks first."""
    out = tmp_path / "sealed"
    count = seal(work, out)
    told = "".join(p.read_text("utf-8") for p in (out / "hand_out").glob("*.json*"))
    secret = FaceSet.read(out / "key" / "01_instruct")
    original = FaceSet.read(work / "01_instruct")
    assert not any(face.id in told for face in original)
    handed_out = FaceSet.read(out / "hand_out")
    assert {face.category for face in handed_out} == {Category.FORGED} and count == len(handed_out)
    exam = Exam.read(out / "hand_out" / "protocol.json", handed_out)
    ask_all({"seeing": Teller(oracle), "guessing": Teller(always_forged)}, exam, tmp_path / "team")
    submissions, page = tmp_path / "team" / "predictions", tmp_path / "page.html"
    assert make(out / "key", submissions, page, resamples=20) == []
    rows = [row.split("</td><td>") for row in page.read_text("utf-8").split("<tr>")[2:]]
    assert [(row[1], row[2][:5]) for row in rows] == [("seeing", "1.000"), ("guessing", "0.500")]
    assert [face.sha256 for face in secret] == [face.sha256 for face in handed_out]
    with pytest.raises(DataError, match="name a new folder"):
        seal(work, out)
