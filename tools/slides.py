"""Make slides of the lessons, with their committed outputs, by nbconvert and reveal.js.

    python -m tools.slides build/slides

A rule decides, so there is no second copy of a lesson: a heading begins a slide, any other cell
goes below it, and cells that only set up, check or wait for an answer are left out. So is code that
makes a picture, or that is longer than ``LONGEST`` lines and has an output to show instead.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode

from tools.run_notebooks import LESSONS

LEFT_OUT = ("bootstrap", "parameters", "load", "checkpoint", "exercise-", "check-")
LONGEST = 14  # lines of code that a lecture hall can read
STYLE = """<style>
.reveal .slides { text-align: left; }
.reveal .jp-RenderedHTMLCommon { font-size: 30px; line-height: 1.4; }
.reveal .jp-RenderedHTMLCommon code, .reveal pre { font-size: 22px !important; }
.reveal pre { line-height: 1.35 !important; } .reveal .jp-OutputArea pre { white-space: pre-wrap; }
.reveal img { max-height: 620px; }
.reveal .jp-InputPrompt, .reveal .jp-OutputPrompt { display: none; }
</style>"""


def slides(lesson: Path, reveal: str = "") -> str:
    """Return a lesson as one HTML page; ``reveal`` is where reveal.js lies, by default a CDN."""
    notebook = nbformat.read(lesson, as_version=4)
    notebook.cells = [arranged(cell) for cell in notebook.cells if not skipped(cell)]
    exporter = SlidesExporter(
        reveal_scroll=True, reveal_width="1280", reveal_height="800", embed_images=True,
        **({"reveal_url_prefix": reveal} if reveal else {}),
    )  # fmt: skip
    about = {"metadata": {"path": str(lesson.parent), "name": lesson.stem}}
    page, _ = exporter.from_notebook_node(notebook, about)
    return page.replace("</head>", f"{STYLE}</head>", 1)


def skipped(cell: NotebookNode) -> bool:
    """Return whether a cell has no place on a slide."""
    return cell.cell_type == "code" and cell.id.startswith(LEFT_OUT)


def arranged(cell: NotebookNode) -> NotebookNode:
    """Mark where a cell goes, and leave long code out where there is an output to look at."""
    heading = cell.cell_type == "markdown" and any(
        line.startswith(("# ", "## ")) for line in cell.source.splitlines()
    )
    cell.metadata["slideshow"] = {"slide_type": "slide" if heading else "subslide"}
    outputs = cell.get("outputs", ())
    drawn = any("image/jpeg" in output.get("data", ()) for output in outputs)
    if drawn or (outputs and len(cell.source.splitlines()) > LONGEST):
        cell.metadata["transient"] = {"remove_source": True}
    return cell


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="a folder for the pages")
    parser.add_argument("--reveal", default="", metavar="URL", help="a copy of reveal.js to use")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for lesson in sorted(LESSONS.glob("[0-9]*.ipynb")):
        page = given.out / f"{lesson.stem}.html"
        page.write_text(slides(lesson, given.reveal), "utf-8")
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
