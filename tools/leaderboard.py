"""Make a leaderboard page from submitted prediction files.

    python -m tools.leaderboard work submissions build/leaderboard.html

A submission is what DFA-Bench saves, ``work/03_bench/predictions/NAME.jsonl``, from the faces
and the protocol of ``work``. Every score is computed anew from the predictions; nothing that a
file says of its own scores is read. A file that cannot be scored gets one line that says why,
and the others are scored all the same; the exit status is then 1.

Whoever has the labels of the faces can write a perfect file. Those of the lessons' faces lie in
every ``work``; ``python -m tools.seal`` makes faces whose labels only the teacher has.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from dfa_lib.bench.exam import Exam
from dfa_lib.bench.scoring import score_all
from dfa_lib.errors import command
from dfa_lib.files import write_atomic
from dfa_lib.instruct.conversations import OPTIONS, load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, InstructRecord, Prediction, read_jsonl

COLUMNS = {"DF-D": "AUC", "DF-C": "accuracy", "AD": "region F1"}
STYLE = """body { font: 18px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; color: #1d2330; background: #fff; }
div { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .5rem .7rem; border-bottom: 1px solid #c3ccd6; }
td { font-variant-numeric: tabular-nums; } small { color: #47525e; white-space: nowrap; }
@media (prefers-color-scheme: dark) { body { color: #e8edf2; background: #14181d; }
  small { color: #b4c0cc; } th, td { border-color: #4a5663; } }"""
Submissions = Mapping[str, Sequence[Prediction]]


def read_submission(path: Path, exam: Exam) -> list[Prediction]:
    """Return the predictions of one file.

    Raises DataError, with file and field, for a face or a question that is not of the protocol,
    a test face that is not answered, or an answer that its own options contradict.
    """
    given = list(read_jsonl(path, Prediction))
    faces = {face.id: face for face in (*exam.test, *exam.val)}
    for one in given:
        where = f"{path}: face {one.face}, {one.task}"
        if one.face not in faces:
            raise DataError(f"{where}: not in the protocol; predict its faces only")
        if one.task not in exam.questions:
            raise DataError(f"{where}: task: not asked by the protocol; leave it out")
        if one.prompt != "\n".join(q.text for q in exam.asked(faces[one.face], one.task)):
            raise DataError(f"{where}: prompt: not that of the protocol; ask its questions")
        if one.options and set(one.options) != set(OPTIONS.get(one.task, ())):
            raise DataError(f"{where}: options: not the labels of its task; score each of them")
        if one.options and not _chosen(one):
            raise DataError(f"{where}: answer: not the likeliest of its options; choose that one")
    for task in dict.fromkeys(one.task for one in given):
        missing = {face.id for face in exam.test} - {p.face for p in given if p.task is task}
        if missing:
            raise DataError(f"{path}: {task}: {len(missing)} test faces not answered; answer all")
    if not given:
        raise DataError(f"{path}: no prediction in it; submit what DFA-Bench saves")
    return given


def _chosen(one: Prediction) -> bool:
    """Whether the answer is a likeliest option, and all options are numbers."""
    values = one.options.values()
    return all(map(math.isfinite, values)) and one.options.get(one.answer) == max(values)


def ranked(
    submissions: Submissions, exam: Exam, records: Mapping[str, InstructRecord], resamples: int
) -> dict:
    """Return the report on all submissions, the one with the best DF-D AUC first."""
    rough = score_all(submissions, exam, records, resamples=2)["analysts"]
    best = sorted(submissions, key=lambda name: rough[name]["DF-D"].get("AUC", [-1])[0])[::-1]
    return score_all({name: submissions[name] for name in best}, exam, records, resamples)


def page(report: dict, refused: Sequence[str]) -> str:
    """Return the leaderboard as one HTML page that requests nothing."""
    first, *_ = report["analysts"]
    heads = [f"{task} {score}" for task, score in COLUMNS.items()]
    titles = "".join(f"<th>{head}</th>" for head in ["", "submission", *heads, "AUC behind"])
    rows = []
    for place, (name, scores) in enumerate(report["analysts"].items(), start=1):
        cells = [_cell(scores[task].get(score)) for task, score in COLUMNS.items()]
        behind = _cell(report["lead"].get(name, {}).get("DF-D AUC"))
        rows.append(f"<tr><td>{place}</td><td>{escape(name)}</td>{''.join(cells)}{behind}</tr>")
    left_out = "".join(f"<li>{escape(why)}</li>" for why in refused)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>DFA-Bench leaderboard'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>DFA-Bench leaderboard</h1>"
        f"<p>{report['n']} held-out faces of {report['identities']} identities, source"
        f" {escape(report['source'])}, protocol {report['exam'][:12]}. In brackets 95 % intervals"
        f" over identities. <b>AUC behind</b> is the paired difference to {escape(first)}: where"
        " its interval holds 0, the two cannot be told apart, and their order means nothing.</p>"
        f"<div><table><tr>{titles}</tr>{''.join(rows)}</table></div>"
        + (f"<h2>Not scored</h2><ul>{left_out}</ul>" if left_out else "")
        + "</body></html>\n"
    )


def _cell(score: Sequence[float | None] | None) -> str:
    if not score:
        return "<td>–</td>"
    value, low, high = score
    between = "" if low is None else f" <small>[{low:.3f}, {high:.3f}]</small>"
    return f"<td>{value:.3f}{between}</td>"


def make(work: Path, folder: Path, out: Path, resamples: int = 1000) -> list[str]:
    """Write the page; return why files could not be scored, a line each.

    Raises DataError if none can be, or ``work`` holds no protocol.
    """
    faces = FaceSet.read(work / "01_instruct")
    exam = Exam.read(work / "03_bench" / "protocol.json", faces)
    records = {one.id: one for one in load_records(faces.root / "instruct.jsonl")}
    good, refused = {}, []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            good[path.stem] = read_submission(path, exam)
        except DataError as error:
            refused.append(str(error))
    if not good:
        raise DataError("\n".join([*refused, f"{folder}: no file *.jsonl that can be scored"]))
    write_atomic(out, page(ranked(good, exam, records, resamples), refused))
    return refused


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="where lessons 01 and 03 have run")
    parser.add_argument("submissions", type=Path, help="a folder of NAME.jsonl")
    parser.add_argument("out", type=Path, help="the HTML page to write")
    given = parser.parse_args()
    return command("tools.leaderboard", lambda: _made(given.work, given.submissions, given.out))


def _made(work: Path, folder: Path, out: Path) -> int:
    refused = make(work, folder, out)
    for why in refused:
        print(f"tools.leaderboard: not scored: {why}", file=sys.stderr)
    print(out)
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
