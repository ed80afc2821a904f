"""Every figure says in words what it shows, and a notebook keeps these words beside the picture."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from lessons import LESSONS, NAMES, ROOT, read
from matplotlib.figure import Figure

from dfa_lib.figures import canvas, jpeg_figures, listed

PLOTS = [*ROOT.glob("dfa_lib/**/plots.py")]


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_a_notebook_keeps_the_words_with_the_picture(shell: InteractiveShell) -> None:
    jpeg_figures()
    figure, (axis,) = canvas("A line", "A line that rises from 1 to 2.", (3, 2))
    axis.plot([1, 2])
    data, metadata = shell.display_formatter.format(figure)
    assert data["text/plain"] == "A line that rises from 1 to 2."
    assert metadata["image/jpeg"]["alt"] == "A line that rises from 1 to 2."
    assert data["image/jpeg"].startswith("/9j/")  # base64 of a JPEG's first bytes


@pytest.mark.parametrize("module", PLOTS, ids=lambda path: path.parent.name)
def test_figures_are_made_on_the_one_canvas(module: Path) -> None:
    """The canvas asks for alt text, so a figure made otherwise would be the mute one."""
    source = module.read_text(encoding="utf-8")
    assert "pyplot.figure" not in source and "plt.figure(" not in source
    assert "plt.subplots(" not in source
    functions = [f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)]
    makers = [f for f in functions if ast.unparse(f.returns) == "Figure"]
    called = {f.name: {ast.unparse(c.func) for c in ast.walk(f) if isinstance(c, ast.Call)}
              for f in makers}  # fmt: skip
    assert [name for name, calls in called.items() if not calls & {"canvas", "picture_grid"}] == []


@pytest.mark.parametrize("lesson", LESSONS, ids=NAMES)
def test_committed_pictures_have_alt_text(lesson: Path) -> None:
    for cell in read(lesson).cells:
        for output in cell.get("outputs", ()):
            for kind in {"image/jpeg", "image/png"} & set(output.get("data", ())):
                alt = output.metadata.get(kind, {}).get("alt", "")
                assert len(alt.split()) >= 8, f"{cell.id}: say in words what the picture shows"
                assert output.data["text/plain"] == alt


def test_long_lists_are_cut_short() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed("abc") == "a, b and c"
    assert listed("abcde", most=4) == "a, b, c and 2 more"
    assert isinstance(canvas("t", "x", (1, 1))[0], Figure)
