"""The runner refuses what papermill lets pass, and leaves clean notebooks behind."""

import json
from argparse import ArgumentTypeError
from pathlib import Path

import nbformat
import pytest
from lessons import LESSONS, NAMES
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill.exceptions import PapermillExecutionError

from tools.measure import held
from tools.run_notebooks import (
    Refused,
    assignment,
    clean,
    declared,
    refresh,
    run_all,
    run_notebook,
    share_out,
)

PARAMETERS = 'WORK = "work"  # a folder\nSTEPS = 2'


def write(path: Path, *sources: str, tag: int | None = 0) -> Path:
    cells = [new_code_cell(source) for source in sources]
    if tag is not None:
        cells[tag].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_runs_where_it_is_told_with_the_parameters_given(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ipynb", PARAMETERS, "open('made', 'w').write(str(STEPS * 2))")
    folder = tmp_path / "empty"
    copy = run_notebook(source, folder, {"STEPS": 21, "WORK": "out"})
    assert (folder / "made").read_text() == "42"
    assert copy == folder / "out" / "a.ipynb"
    assert copy.exists()


@pytest.mark.parametrize(
    ("sources", "tag", "message"),
    [
        (["x = 1"], None, "0 cells are tagged"),
        (["x = 2 * 3"], 0, "literal"),
        (["print(1)"], 0, "literal"),
        ([PARAMETERS], 0, "unknown parameter: STPES"),
    ],
)
def test_refuses(tmp_path: Path, sources: list[str], tag: int | None, message: str) -> None:
    source = write(tmp_path / "a.ipynb", *sources, tag=tag)
    with pytest.raises(Refused, match=message):
        run_notebook(source, tmp_path, {"STPES": 3})
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("lesson", LESSONS, ids=NAMES)
def test_unknown_parameters_are_refused(lesson: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="FSAT"):
        run_notebook(lesson, tmp_path, {"FSAT": True})


def test_a_parameter_without_value_is_refused() -> None:
    """Taken for the empty word, FAST made a full run."""
    with pytest.raises(ArgumentTypeError, match="FAST=True"):
        assignment("FAST")
    assert assignment("FAST=True") == ("FAST", True) and assignment("ROOT=") == ("ROOT", "")


def test_two_parameter_cells_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ipynb", "x = 1", "x = 2")
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, source)
    with pytest.raises(Refused, match="2 cells"):
        declared(source)


def test_in_a_chain_each_notebook_gets_its_own(tmp_path: Path) -> None:
    chain = [write(tmp_path / "a.ipynb", "x = 1"), write(tmp_path / "b.ipynb", "x = 1\ny = 1")]
    assert share_out(chain, {"x": 5, "y": 6}) == [{"x": 5}, {"x": 5, "y": 6}]
    with pytest.raises(Refused, match="unknown parameter: z"):
        share_out(chain, {"x": 5, "z": 6})


def test_a_failing_cell_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "a.ipynb", PARAMETERS, "1 / 0")
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        run_all([source], tmp_path, {})
    assert "[1/1] a" in capsys.readouterr().out


def test_refresh_puts_outputs_into_the_source_and_nothing_beside_it(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ipynb", PARAMETERS, "open('made', 'w')\nprint(STEPS)")
    ids = [cell.id for cell in nbformat.read(source, as_version=4).cells]
    record = tmp_path / "last_run.json"
    refresh([source], record)
    notebook = nbformat.read(source, as_version=4)
    assert [cell.id for cell in notebook.cells] == ids
    assert notebook.cells[1].outputs[0].text == "2\n"
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert set(tmp_path.iterdir()) == {source, record}


def test_refresh_tells_what_the_run_took(tmp_path: Path) -> None:
    hold = "import time\nheld = bytearray(400_000_000)\ntime.sleep(3)"
    source = write(tmp_path / "a.ipynb", PARAMETERS, hold)
    notebook = nbformat.read(source, as_version=4)
    card = "- **Time and memory** nano: 9 minutes, 9 GB.\n- **Last verified** 2020-01-01"
    notebook.cells.insert(0, new_markdown_cell(card, id="card"))
    nbformat.write(notebook, source)
    before = held() / 1e9  # workers of earlier tests that have not ended yet
    refresh([source], tmp_path / "last_run.json")
    told = json.loads((tmp_path / "last_run.json").read_text())["a"]
    assert 0.05 <= told["minutes"] < 1 and 0.4 <= told["gigabytes"] < 1 + before
    card = nbformat.read(source, as_version=4).cells[0].source
    assert f"nano: {told['minutes']:.1f} minutes, {told['gigabytes']:.1f} GB." in card
    assert card.endswith(told["date"]) and "cores" in told["machine"]


def test_clean_keeps_results_and_drops_the_machine() -> None:
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "HBox()"}
    cell = new_code_cell("x", metadata={"papermill": {"duration": 1}, "tags": ["keep"]})
    cell.outputs = [
        new_output("stream", name="stderr", text="\r 10 %"),
        new_output("stream", name="stderr", text="\r100 %\n"),
        new_output("display_data", data=widget),
        new_output("stream", name="stdout", text="done\n"),
    ]
    notebook = new_notebook(cells=[cell], metadata={"widgets": {}, "papermill": {}})
    cleaned = clean(notebook)
    assert [c.id for c in cleaned.cells] == [cell.id]
    assert [o.text for o in cleaned.cells[0].outputs] == ["100 %\n", "done\n"]
    assert cleaned.cells[0].metadata == {"tags": ["keep"]}
    assert set(cleaned.metadata) == {"kernelspec", "language_info"}
    nbformat.validate(cleaned)
