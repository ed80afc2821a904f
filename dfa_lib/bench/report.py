"""The report: numbers as JSON, a page to enjoy, and a table for the shell."""

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from dfa_lib.bench import plots
from dfa_lib.bench.exam import Exam
from dfa_lib.files import data_uri, write_atomic
from dfa_lib.instruct.card import markdown_table
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError, Prediction, inside, read_jsonl
from dfa_lib.taxonomy import Split

HEADLINES = (
    ("DF-D", "AUC"),
    ("DF-D", "ACC"),
    ("DF-C", "accuracy"),
    ("DF-C", "macro-F1"),
    ("AD", "region F1"),
    ("AD", "COVER"),
    ("AD", "CHAIR"),
)
"""The columns of the scoreboard; report.json holds the rest."""


@dataclass(frozen=True)
class Report:
    """The result of a benchmark: ``data`` is report.json, ``folder`` where it lies."""

    data: dict
    folder: Path
    faces: FaceSet

    @property
    def page(self) -> Path:
        """The report as a page: one file that needs no network and no script."""
        return self.folder / "report.html"

    @classmethod
    def read(cls, folder: Path, faces: FaceSet) -> "Report":
        """Open a report that was saved; its page can be written anew from it."""
        path = folder / "report.json"
        if not path.exists():
            raise DataError(f"{path}: no such file; run the benchmark first")
        return cls(json.loads(path.read_text("utf-8")), folder, faces)

    @property
    def exam(self) -> Exam:
        """The exam that the analysts sat; raise DataError if it or its pictures have changed."""
        return Exam.read(self.folder / "protocol.json", self.faces)

    def answers(self, name: str) -> Iterator[Prediction]:
        """Yield what an analyst of the report answered, as it lies on file."""
        return read_jsonl(self.folder / "predictions" / f"{name}.jsonl", Prediction)

    def save(self) -> "Report":
        """Write report.json, report.html and scoreboard.md; return the report as it reads back."""
        write_atomic(self.folder / "report.json", json.dumps(plain(self.data), indent=1) + "\n")
        saved = Report.read(self.folder, self.faces)
        write_atomic(self.page, render(saved))
        write_atomic(self.folder / "scoreboard.md", scoreboard(saved.data) + "\n")
        return saved

    def show(self) -> None:
        """Show the scoreboard in a notebook, and where the page lies."""
        from IPython.display import Markdown, display

        display(Markdown(f"{scoreboard(self.data)}\n\nThe whole page: `{self.page}`"))


def scoreboard(data: Mapping, *others: Mapping) -> str:
    """The scoreboard as a Markdown table: value and 95 % interval over identities.

    Raises DataError if the analysts of several reports did not all sit the same exam.
    """
    judges = data.get("opinions", {})
    names = [judge.replace("|", "/") for judge in judges]
    rows = [["analyst", *(f"{task} {metric}" for task, metric in HEADLINES), *names]]
    for report in (data, *others):
        if report["exam"] != data["exam"]:
            raise DataError(
                f"report of exam {report['exam'][:12]}: cannot share a table with one of exam"
                f" {data['exam'][:12]}; let all analysts sit the same protocol.json"
            )
        for name, scores in report["analysts"].items():
            marks = [report.get("opinions", {}).get(judge, {"scores": {}}) for judge in judges]
            row = [scores[task].get(metric) for task, metric in HEADLINES]
            row += [mark["scores"].get(name) for mark in marks]
            rows.append([name, *map(_cell, row)])
    constant = [_cell(data["constant"].get(metric)) for _, metric in HEADLINES]
    rows.append(["best constant answer", *constant, *["-"] * len(judges)])
    return f"{markdown_table(rows)}\n\n{_below(data)}"


def _below(data: Mapping) -> str:
    """What has to be known to read the table."""
    told = [
        f"{data['n']} faces of {data['identities']} held-out identities, source"
        f" {data['source']}, preset {data.get('preset', '-')}; brackets: 95 % interval over"
        " identities."
    ]
    if (share := data["majority_share"]) is not None:
        told.append(f"The most frequent category alone gives DF-C {share:.3f}.")
    if differences := [f"{name} {value:.3f}" for name, value in data["resolution"].items()]:
        told.append(
            f"Smallest differences this test set tells from none: {', '.join(differences)}."
        )
    for judge, one in data.get("opinions", {}).items():
        low, high = one["scale"]
        name = judge.replace("|", "/")
        told.append(f"{name}: from {low:g} to {high:g}, on {one['faces']} faces.")
    return " ".join(told)


def render(report: Report) -> str:
    """The page as self-contained HTML; everything from data or models is escaped."""
    place = files("dfa_lib.bench")
    data = report.data
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": _number,
        "percent": _percent,
        "across": _across,
        "signed": _signed,
        "image": _image,
    }
    template = environment.from_string((place / "report.html").read_text("utf-8"))
    lead = next(iter(data["analysts"]))
    return template.render(
        data=data,
        lead=lead,
        scores=data["analysts"][lead],
        detail=data["details"][lead],
        headlines=HEADLINES,
        plots=plots,
        ranked=[name for name, one in data["analysts"].items() if "AUC" in one["DF-D"]],
        face=lambda: report.faces.image(report.faces.split(Split.TEST).faces[0]),
        style=(place / "report.css").read_text("utf-8"),
        picture=cache(lambda image: _picture(inside(report.faces.root, image))),
    ).lstrip()


def _picture(path: Path, size: int = 160) -> str:
    """A picture as a data URI, small enough to travel inside the page."""
    small = Image.fromarray(open_photo(path))
    small.thumbnail((size, size))
    store = io.BytesIO()
    small.save(store, "JPEG", quality=90)
    return data_uri(store.getvalue(), "jpeg")


def _image(figure: Figure) -> Markup:
    """A figure as HTML, with its label for readers who cannot see it."""
    store = io.BytesIO()
    figure.savefig(store, dpi=100)
    uri = data_uri(store.getvalue())
    return Markup('<img class="figure" src="{}" alt="{}">').format(uri, figure.get_label())


def _cell(score: Sequence[float | None] | None) -> str:
    if score is None:
        return "-"
    value, low, high = map(_number, score)
    return f"{value} [{low}, {high}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(score: Sequence[float]) -> str:
    value, low, high = score
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _across(value: float | None, low: float = 0.0, high: float = 1.0) -> float:
    """Where a value lies between the ends of an axis, in percent."""
    share = 0.0 if value is None else (value - low) / (high - low)
    return round(100 * min(1.0, max(0.0, share)), 2)


def plain(value: object) -> object:
    """What JSON can hold of it: what is not defined is left out of tables and null in lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if not _undefined(item)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _undefined(item: object) -> bool:
    """True for a nan and for a score (value, low, high) whose value is one."""
    value = item[0] if isinstance(item, tuple) and len(item) == 3 else item
    return isinstance(value, float) and math.isnan(value)
