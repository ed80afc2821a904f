"""The lessons run, one after the other in one folder, and their solutions solve them."""

import json
from pathlib import Path

import pytest
from lessons import COURSE, read, solved, unsolved

from tools.run_notebooks import run_notebook

CONTRACT = (
    "01_instruct/faces.jsonl",
    "01_instruct/instruct.jsonl",
    "01_instruct/DATA_CARD.md",
    "02_gpt/adapter",
    "02_gpt/log.jsonl",
    "02_gpt/MODEL_CARD.md",
    "03_bench/report.json",
    "03_bench/report.html",
)

pytestmark = [pytest.mark.notebook, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def chain(warm: None, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The course in order in one folder, with the exercises solved."""
    folder = tmp_path_factory.mktemp("chain")
    copies = tmp_path_factory.mktemp("solved")
    return [run_notebook(solved(lesson, copies), folder, {"FAST": True}) for lesson in COURSE]


def test_each_lesson_hands_its_files_to_the_next(chain: list[Path]) -> None:
    work = chain[0].parent
    assert [name for name in CONTRACT if not (work / name).exists()] == []


def test_the_chain_ends_with_a_scoreboard(chain: list[Path]) -> None:
    report = json.loads((chain[0].parent / "03_bench" / "report.json").read_text())
    assert report.keys() >= {"analysts", "n", "preset", "source"}
    assert report["analysts"].keys() >= {"dfa-gpt", "linear_probe", "blind", "chance"}
    assert report["analysts"]["dfa-gpt"].keys() >= {"DF-D", "DF-C", "AD"}
    auc, low, high = report["analysts"]["dfa-gpt"]["DF-D"]["AUC"]
    assert 0 <= low <= auc <= high <= 1


def test_the_solutions_solve_the_exercises(chain: list[Path]) -> None:
    assert [name for lesson in chain for name in unsolved(read(lesson))] == []
