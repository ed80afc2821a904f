"""The few core widgets of the chat, each with a label: alike in ipywidgets 7.7 (Colab) and 8."""

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from dfa_lib.taxonomy import Artifact, Category, Region

_AUTO = {"description_width": "initial"}


def text(label: str, hint: str, width: str = "240px") -> widgets.Text:
    """A line to type in; ``label`` is what a screen reader calls it."""
    layout = widgets.Layout(flex=f"1 1 {width}", width="auto", min_width="0")
    return widgets.Text(description=label, placeholder=hint, style=_AUTO, layout=layout)


def choice(label: str, options: Sequence[Any]) -> widgets.Dropdown:
    """One of several; an option is a word or a (word, value) pair."""
    layout = widgets.Layout(flex="0 1 auto", width="max-content", max_width="100%")
    return widgets.Dropdown(description=label, options=options, style=_AUTO, layout=layout)


def upload(label: str) -> widgets.FileUpload:
    """A button that takes one picture."""
    return widgets.FileUpload(
        accept="image/*", multiple=False, description=label, tooltip=label, layout=_own_width()
    )


def button(label: str, primary: bool = False) -> widgets.Button:
    """A button as wide as its label."""
    style = "primary" if primary else ""
    return widgets.Button(description=label, tooltip=label, button_style=style, layout=_own_width())


def row(children: Sequence[widgets.Widget]) -> widgets.HBox:
    """Side by side, in as many lines as it takes."""
    layout = widgets.Layout(flex_flow="row wrap", align_items="center", width="100%")
    return widgets.HBox(children, layout=layout)


def column(children: Sequence[widgets.Widget], flex: str) -> widgets.VBox:
    """One below the other; ``flex`` says how the column shares the width."""
    return widgets.VBox(children, layout=widgets.Layout(flex=flex, min_width="0", width="auto"))


def uploaded(value: Any) -> tuple[str, bytes] | None:
    """Return name and content of an upload: a dict in ipywidgets 7, a tuple in 8.

    The content is empty if less of it arrived than the browser announced.
    """
    if not value:
        return None
    if isinstance(value, dict):
        name, entry = next(iter(value.items()))
        size = entry["metadata"].get("size", 0)
    else:
        (entry,) = value
        name, size = entry["name"], entry.get("size", 0)
    content = bytes(entry["content"] or b"")
    return name, content if len(content) >= size else b""


class ReviewForm:
    """What a person says of a face: who, a verdict, why, and findings in the usual words."""

    def __init__(self) -> None:
        self.person = text("Name", "who you are", "160px")
        self.region = choice("Region", [region.value for region in Region])
        self.artifact = choice("Artifact", [artifact.value for artifact in Artifact])
        self.evidence = text("What you see", "optional")
        self.category = choice("My verdict", [(c.phrase, c) for c in Category])
        self.words = text("Why", "optional")
        self.found = widgets.HTML()


def _own_width() -> widgets.Layout:
    return widgets.Layout(width="max-content", flex="0 0 auto")
