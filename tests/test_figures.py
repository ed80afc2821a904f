"""Every figure says in words what it shows, and a notebook keeps these words beside the picture."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from lessons import LESSONS, NAMES, ROOT, read
from matplotlib.figure import Figure
from matplotlib.text import Text

from dfa_lib.bench.perturb import LEVELS
from dfa_lib.bench.plots import level_scores, robustness_curves, subgroup_scores
from dfa_lib.chat.verdict import Verdict
from dfa_lib.gpt.train import Step
from dfa_lib.look import (
    COLOURS,
    FAILS,
    HELD_OUT,
    HOLDS,
    IMAGE,
    TEXT,
    TRAINED,
    WIDEST,
    canvas,
    jpeg_figures,
    listed,
)
from dfa_lib.plots import live_curve, loss_curve, picture_grid, verdict_card

PLOTS = [*ROOT.glob("dfa_lib/**/*plots.py")]


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


def test_a_live_curve_grows_in_one_place(shell: InteractiveShell) -> None:
    jpeg_figures()
    log = [
        Step(step=n, loss=1 / n, norm=1, lr_lora=0, lr_projector=0, seconds=1, **score)
        for n, score in enumerate([{}, {}, {}, {"val_loss": 0.5, "val_right": 0.25}] * 2, start=1)
    ]
    with capture_output() as shown:
        watch = live_curve(seconds=60)
        for done in range(1, 9):
            watch(log[:done])
    place, *drawn = shown._outputs
    assert not place["update"] and all(one["update"] for one in drawn)
    assert place["transient"] == drawn[0]["transient"]
    assert len({one["transient"]["display_id"] for one in drawn}) == 1
    said = [one["data"]["text/plain"] for one in drawn]
    assert len(said) == 3  # after the steps 1, 4 and 8
    assert "held-out" not in said[0] and said[2].startswith("Loss at each of 8 steps")
    assert said[2].endswith("and the share of right answers from 25% to 25%.")


@pytest.mark.parametrize("module", PLOTS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_figures_are_made_on_the_one_canvas(module: Path) -> None:
    """The canvas asks for alt text, so a figure made otherwise would be the mute one."""
    source = module.read_text(encoding="utf-8")
    assert "pyplot.figure" not in source and "plt.figure(" not in source
    assert "plt.subplots(" not in source
    functions = [f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)]
    makers = [f for f in functions if ast.unparse(f.returns) == "Figure"]
    called = {f.name: {ast.unparse(c.func) for c in ast.walk(f) if isinstance(c, ast.Call)}
              for f in makers}  # fmt: skip
    canvases = {"canvas", "look.canvas", "picture_grid", *called}  # or by another of them
    assert [name for name, calls in called.items() if not calls & canvases] == []


@pytest.mark.parametrize("lesson", LESSONS, ids=NAMES)
def test_committed_pictures_have_alt_text(lesson: Path) -> None:
    for cell in read(lesson).cells:
        for output in cell.get("outputs", ()):
            for kind in {"image/jpeg", "image/png"} & set(output.get("data", ())):
                alt = output.metadata.get(kind, {}).get("alt", "")
                assert len(alt.split()) >= 8, f"{cell.id}: say in words what the picture shows"
                assert output.data["text/plain"] == alt


def test_a_grid_names_all_its_rows() -> None:
    square = np.zeros((8, 8, 3), np.uint8)
    figure = picture_grid({"bona fide": [square], "FS": [square], "": [square]}, "A grid", ["one"])
    assert figure.get_label() == (
        "A grid. 3 x 1 pictures of faces; rows: bona fide and FS; columns: one."
    )


def test_a_reason_ends_with_one_full_stop() -> None:
    why = Verdict(None, {}, abstained="No face was found.")
    alt = verdict_card(np.zeros((8, 8, 3), np.uint8), why).get_label()
    assert alt.startswith("No verdict. No face was found. ") and ".." not in alt


def test_long_lists_are_cut_short() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed("abc") == "a, b and c"
    assert listed("abcde", most=4) == "a, b, c and 2 more"
    assert isinstance(canvas("t", "x", (1, 1))[0], Figure)


def test_for_whom_names_people_and_gap() -> None:
    age = {
        "AUC": {"18-24": [0.9, 0.8, 1.0], "25-34": [0.7, 0.5, 0.9]},
        "people": {"18-24": 3, "25-34": 2},
        "gap": [0.2, -0.1, 0.4],
    }
    data = {
        "analysts": {"one": {"DF-D": {"AUC": [0.8, 0.7, 0.9]}}},
        "details": {"one": {"DF-D": {"subgroups": {"age": age}}}},
    }
    told = subgroup_scores(data, "one").get_label()
    assert "18-24 (3 people) 0.90 (0.80 to 1.00)" in told
    assert "age 0.20 (-0.10 to 0.40)" in told


def test_every_level_is_told_with_its_picture() -> None:
    levels = {"in-domain": (0.9, 0.8, 1.0), "unseen method": (0.6, 0.5, 0.7)}
    pictures = dict.fromkeys(levels, np.zeros((8, 8, 3), np.uint8))
    figure = level_scores({"one": levels, "two": levels}, pictures)
    told = "one unseen method 0.60 (0.50 to 0.70), two in-domain 0.90 (0.80 to 1.00)"
    assert told in figure.get_label()
    assert len(figure.axes) == len(levels) + 1


def test_robustness_is_told_by_kind_and_drawn_with_its_bands() -> None:
    curves = {kind: [(0.9, 0.8, 1.0), *[(0.6, None, None)] * 5] for kind in LEVELS}
    asked = {"DF-D": {"robustness": {"faces": 9, "curves": curves}}}
    data = {"details": {"one": asked, "two": {"DF-D": {}}}}
    figure = robustness_curves(data, np.zeros((16, 16, 3), np.uint8))
    assert "one under JPEG from 0.90 to 0.60" in figure.get_label()
    assert "two" not in figure.get_label()
    assert len(figure.axes) == 2 * len(LEVELS)


def test_text_can_be_read_from_the_last_row() -> None:
    """Prevents labels that nobody reads in a lecture hall: small print, or a wide figure."""
    square = np.zeros((8, 8, 3), np.uint8)
    levels = {"in domain": (0.9, 0.8, 1.0), "another world": (0.6, 0.5, 0.7)}
    step = {"norm": 1, "lr_lora": 0, "lr_projector": 0, "seconds": 1}
    log = [Step(step=n, loss=1 / n, val_loss=1, val_right=0.5, **step) for n in range(1, 9)]
    for figure in (
        picture_grid({"bona fide": [square] * 15}, "A grid", ["FE"] * 15),
        level_scores({"one": levels}, dict.fromkeys(levels, square)),
        loss_curve(log),
    ):
        figure.draw_without_rendering()
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
        assert min(sizes) >= TEXT and figure.get_figwidth() <= WIDEST


def test_a_colour_has_one_meaning() -> None:
    meanings = [TRAINED, IMAGE, HELD_OUT, HOLDS, FAILS, *COLOURS.values()]
    assert len({colour.lower() for colour in meanings}) == len(meanings)
