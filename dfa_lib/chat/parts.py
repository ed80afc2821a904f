"""The few core widgets of the chat, each with a label: alike in ipywidgets 7.7 (Colab) and 8."""

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

OWN_WIDTH = {"width": "max-content", "flex": "0 0 auto"}
"""The layout of a widget as wide as its label."""
_AUTO = {"description_width": "initial"}


def text(label: str, hint: str, width: str = "240px") -> widgets.Text:
    """A line to type in; ``label`` is what a screen reader calls it."""
    layout = {"flex": f"1 1 {width}", "width": "auto", "min_width": "0"}
    return widgets.Text(description=label, placeholder=hint, style=_AUTO, layout=layout)


def choice(label: str, options: Sequence[Any]) -> widgets.Dropdown:
    """One of several; an option is a word or a (word, value) pair."""
    layout = {"flex": "0 1 auto", "width": "max-content", "max_width": "100%"}
    return widgets.Dropdown(description=label, options=options, style=_AUTO, layout=layout)


def row(children: Sequence[widgets.Widget]) -> widgets.HBox:
    """Side by side, in as many lines as it takes."""
    layout = {"flex_flow": "row wrap", "align_items": "center", "width": "100%"}
    return widgets.HBox(children, layout=layout)


def column(children: Sequence[widgets.Widget], flex: str) -> widgets.VBox:
    """One below the other; ``flex`` says how the column shares the width."""
    return widgets.VBox(children, layout={"flex": flex, "min_width": "0", "width": "auto"})


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
