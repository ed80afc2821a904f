"""Make slides of the lessons, with their committed outputs: a page each that loads nothing.

    python -m tools.slides build/slides

A rule decides, so there is no second copy of a lesson: every cell is a slide, and cells that only
set up, check or wait for an answer are left out. So is code that makes a picture, or that is longer
than ``LONGEST`` lines and has an output to show instead. Formulas are MathML, which browsers draw
themselves. Arrow keys and Page Up / Page Down turn the slides; printing gives one a page.
"""

import argparse
import re
import sys
from html import escape
from pathlib import Path

import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from tools.run_notebooks import LESSONS

LEFT_OUT = ("bootstrap", "parameters", "load", "checkpoint", "exercise-", "check-")
LONGEST = 14  # lines of code that a lecture hall can read
STYLE = """
html { scroll-snap-type: y proximity; font: 26px/1.4 system-ui, sans-serif; color: #1d2330; }
body { margin: 0; background: #fff; }
section { min-height: 100vh; box-sizing: border-box; padding: 3vh 4vw; scroll-snap-align: start;
  border-bottom: 1px solid #e6e9ee; display: flex; flex-direction: column; justify-content: center;
  overflow-wrap: anywhere; }
h1, h2 { line-height: 1.15; margin: 0 0 .6em; } a { color: #0b6e69; }
img { display: block; max-width: 100%; max-height: 88vh; margin: auto; }
code, pre { font: 20px/1.35 ui-monospace, monospace; }
pre { white-space: pre-wrap; margin: .5em 0; }
.input_area { background: #f5f6f8; padding: .2em .8em; } .prompt { display: none; }
table { border-collapse: collapse; font-size: 22px; overflow-wrap: normal; }
math { font-size: 1.15em; }
th, td { text-align: left; vertical-align: top; padding: .3em .6em;
  border-bottom: 1px solid #c3ccd6; } td span { white-space: nowrap; }
@page { size: 1280px 800px; margin: 0; } @media print { section { break-after: page; } }
"""
SCRIPT = """
const slides = [...document.querySelectorAll("section")];
function fit(table) {
  table.style.fontSize = "";
  const big = () => table.scrollWidth > table.parentElement.clientWidth
    || table.offsetHeight > 0.9 * innerHeight;
  for (let size = 21; size > 12 && big(); size--) table.style.fontSize = size + "px";
}
function fitAll() { document.querySelectorAll("table").forEach(fit); }
addEventListener("load", fitAll);
addEventListener("resize", fitAll);
addEventListener("keydown", (event) => {
  const step = {ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1}[event.key];
  if (!step) return;
  event.preventDefault();
  const now = slides.findLastIndex((one) => one.getBoundingClientRect().top < innerHeight / 2);
  slides[Math.min(Math.max(now + step, 0), slides.length - 1)].scrollIntoView();
});
"""


class MathML(IPythonRenderer):
    """Markdown as HTML, with formulas that need no script."""

    def block_math(self, text: str) -> str:
        """Return a formula on a line of its own."""
        return convert(text, display="block")

    def inline_math(self, text: str) -> str:
        """Return a formula within a line."""
        return convert(text)


class SlideExporter(HTMLExporter):
    """nbconvert's plain cells, with pictures embedded and formulas as MathML."""

    template_name = "basic"

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        """Return HTML in which the interval of a score is on one line, below its value."""
        lesson = context["resources"]["metadata"]["path"]
        renderer = MathML(
            escape=False, embed_images=True, path=lesson, exclude_anchor_links=True
        )  # fmt: skip
        html = MarkdownWithMath(renderer=renderer).render(source)
        return re.sub(r"(<td>[-+.\d]+) (\[[^]<]+\])", r"\1<br><span>\2</span>", html)


def slides(lesson: Path) -> str:
    """Return a lesson as one HTML page."""
    notebook, exporter = nbformat.read(lesson, as_version=4), SlideExporter()
    about = {"metadata": {"path": str(lesson.parent), "name": lesson.stem}}
    cells = [arranged(cell) for cell in notebook.cells if not skipped(cell)]
    sections = []
    for cell in cells:
        alone = nbformat.v4.new_notebook(cells=[cell], metadata=notebook.metadata)
        body, made = exporter.from_notebook_node(alone, about)
        sections.append(f'<section id="{cell.id}"><div>{body}</div></section>')
    title = escape(cells[0].source.partition("\n")[0].lstrip("# "))
    colours = "".join(made["inlining"]["css"])
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{colours}{STYLE}</style></head><body>{''.join(sections)}"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def skipped(cell: NotebookNode) -> bool:
    """Return whether a cell has no place on a slide."""
    return cell.cell_type == "code" and cell.id.startswith(LEFT_OUT)


def arranged(cell: NotebookNode) -> NotebookNode:
    """Leave out badges, which lie in the web, and long code where there is an output to look at."""
    if cell.cell_type == "markdown":
        cell.source = re.sub(r"^\[!\[.*\n", "", cell.source, flags=re.MULTILINE)
    outputs = cell.get("outputs", ())
    drawn = any("image/jpeg" in output.get("data", ()) for output in outputs)
    if drawn or (outputs and len(cell.source.splitlines()) > LONGEST):
        cell.metadata["transient"] = {"remove_source": True}
    return cell


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="a folder for the pages")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for lesson in sorted(LESSONS.glob("[0-9]*.ipynb")):
        page = given.out / f"{lesson.stem}.html"
        page.write_text(slides(lesson), "utf-8")
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
