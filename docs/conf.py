"""The site: README, pages and lessons with their committed outputs, by ``make site``.

Sphinx reads the repository from its root; nothing is executed, and nothing is copied.
"""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Interactive deepfake analysis"
author = "The contributors"
html_title = project
extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # in outputs: the default knows no tables
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]  # the equations of the lessons
root_doc = "README"
html_theme = "sphinx_book_theme"
html_theme_options = {"show_toc_level": 2, "navbar_persistent": []}  # one search box is enough
html_copy_source = False

CONTENTS = {
    "Lessons": ["notebooks/0*", "notebooks/GLOSSARY"],
    "Solutions": ["notebooks/solutions/*"],
    "Teaching": ["TEACHING", "RESPONSIBLE_USE"],
    "Further": [
        "docs/*",
        "facesim/MODEL_CARD",
        "examples/space/README",
        "benchmarks/README",
        "CONTRIBUTING",
    ],
}
"""The side bar: pages in groups. The README itself has links, which is what GitHub shows."""

include_patterns = ["README.*", *(f"{page}.*" for group in CONTENTS.values() for page in group)]
exclude_patterns = [".venv", "build", "docs/conf.py", "work"]


def contents() -> str:
    """The groups as tables of contents that only the side bar shows."""
    groups = (
        f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n"
        + "\n".join(pages)
        + "\n```\n"
        for caption, pages in CONTENTS.items()
    )
    return "".join(groups)


def with_words_for_pictures(text: str) -> str:
    """A notebook in which each cell hands its picture's words on: MyST reads them there."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        kinds = [kind for o in cell.get("outputs", ()) for kind in o.get("metadata", {}).values()]
        for alt in (kind["alt"] for kind in kinds if isinstance(kind, dict) and "alt" in kind):
            cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
    return json.dumps(notebook)


def prepare(app: "Sphinx", name: str, source: list[str]) -> None:
    """Change a page as it is read: contents for the front page, words for pictures."""
    if name == root_doc:
        source[0] += contents()
    if app.env.doc2path(name).suffix == ".ipynb":
        source[0] = with_words_for_pictures(source[0])


def setup(app: "Sphinx") -> None:
    """Register what happens as a page is read."""
    app.connect("source-read", prepare)
