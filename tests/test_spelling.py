"""One spelling: British, in pages, lessons, docstrings, comments, names and messages.

Prevents the text that says colour here and color there, so that a search finds half of it.
What libraries call their own (``color=``, an Optimizer, a tokenizer) keeps its name.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from lessons import ROOT, files, python, read

STEMS = {
    "analyz": "analys", "authoriz": "authoris", "behavior": "behaviour", "cancele": "cancelle",
    "catalog(?!ue)": "catalogue", "center": "centre", "categoriz": "categoris", "color": "colour",
    "customiz": "customis", "defense": "defence", "favor": "favour", "generaliz": "generalis",
    "gray": "grey", "honor": "honour", "initializ": "initialis", "judgment": "judgement",
    "labele": "labelle", "minimiz": "minimis", "modeling": "modelling", "neighbor": "neighbour",
    "normaliz": "normalis", "optimiz": "optimis", "organiz": "organis", "quantiz": "quantis",
    "recogniz": "recognis", "specializ": "specialis", "summariz": "summaris",
    "synthesiz": "synthesis", "visualiz": "visualis", "artefact": "artifact",
}  # fmt: skip
WRONG = re.compile(rf"(?:{'|'.join(STEMS)})\w*", re.IGNORECASE)
THEIRS = {"optimizer", "optimizers", "ecolor"}
"""Names in code that are those of a library's arguments or objects."""

QUOTING = {"test_spelling.py", "test_findings.py"}
"""Tests that write the other spelling on purpose."""


def words_of_page(text: str) -> str:
    """A page without code, addresses and names of files."""
    return re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|https?:\S+", " ", text, flags=re.DOTALL)


def words_of_code(source: str) -> Iterator[str]:
    """What its author worded: comments, docstrings and sentences, and the names it defines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield words_of_page(token.string)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if len(node.value.split()) > 2 and "{" not in node.value:
                yield words_of_page(node.value)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        if isinstance(node, ast.arg):
            yield node.arg
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def wrong(text: str) -> list[str]:
    found = (match[0] for match in WRONG.finditer(text))
    return [word for word in found if word.lower() not in THEIRS]


@pytest.mark.parametrize("page", files("*.md", "*.cff"), ids=lambda page: page.name)
def test_pages(page: Path) -> None:
    assert wrong(words_of_page(page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("lesson", files("*.ipynb"), ids=lambda lesson: lesson.stem)
def test_lessons(lesson: Path) -> None:
    cells = read(lesson).cells
    text = [words_of_page(cell.source) for cell in cells if cell.cell_type == "markdown"]
    code = [python(cell.source) for cell in cells if cell.cell_type == "code"]
    assert [word for part in [*text, *(w for c in code for w in words_of_code(c))]
            for word in wrong(part)] == []  # fmt: skip


def test_code() -> None:
    found = {
        str(file.relative_to(ROOT)): wrong(" ".join(words_of_code(file.read_text("utf-8"))))
        for file in files("*.py")
        if file.name not in QUOTING
    }
    assert {name: words for name, words in found.items() if words} == {}


def test_the_other_spelling_is_noticed() -> None:
    source = '"""Recognize the center."""\ngray_level = plot(color=1)  # behavior'
    assert wrong(" ".join(words_of_code(source))) == [
        "behavior",
        "Recognize",
        "center",
        "gray_level",
    ]
    assert wrong(words_of_page("The color of `color` in [a](color.md)")) == ["color"]
