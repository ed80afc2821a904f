"""Enter a new analyst by its predictions file alone, whoever and wherever it is."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dfa_lib.bench.exam import Exam, labels
from dfa_lib.bench.report import Report
from dfa_lib.bench.run import analyst_file, elect, score_folder
from dfa_lib.findings import reading, verdict
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, InstructRecord, Prediction, read_jsonl, write_jsonl
from dfa_lib.taxonomy import Task


def submit(path: Path, out: Path, faces: FaceSet, records: Iterable[InstructRecord]) -> Report:
    """Add the analyst whose predictions ``path`` holds to the report in ``out``.

    Its answers must be to the questions of ``out``/protocol.json, word by word. They are read
    anew, from the log-probabilities of the options or else from the text: what the file itself
    calls the answer counts for nothing. Raises DataError for anything that does not fit.
    """
    old = Report.read(out, faces).data
    exam = Exam.read(out / "protocol.json", faces)
    if exam.hash != old["exam"]:
        raise DataError(f"{out}: protocol.json and report.json differ; run the benchmark again")
    given = [_reread(one, exam, path) for one in read_jsonl(path, Prediction)]
    name = _only_name(given, path)
    if name in old["analysts"]:
        raise DataError(f"{path}: analyst: {name!r} is in the report already; choose another name")
    write_jsonl(analyst_file(out / "predictions", name), given)
    names = [*old["analysts"], name]
    spoilt = [one for one, tasks in old["details"].items() if "robustness" in tasks["DF-D"]]
    about = {key: old[key] for key in ("preset", "source")}
    return score_folder(out, exam, names, spoilt, records, old["resamples"], about)


def _only_name(given: Sequence[Prediction], path: Path) -> str:
    names = sorted({one.analyst for one in given})
    if len(names) != 1:
        raise DataError(f"{path}: analyst: {names or 'no prediction'}; submit one analyst per file")
    return names[0]


def _reread(given: Prediction, exam: Exam, path: Path) -> Prediction:
    """The prediction with its answer read by us, from what was said."""
    where = f"{path}: {given.task} on {given.face}"
    asked = "\n".join(question.text for question in exam.questions.get(given.task, ()))
    if not asked or given.prompt != asked:
        raise DataError(f"{where}: prompt: not that of the protocol; ask its questions")
    text, options = given.text or "", given.options
    if given.task is Task.AD:
        return given.model_copy(update={"answer": reading(text)})
    names = labels(given.task)
    if options is None:
        answer, options = elect([verdict(text, given.task)], names)
    elif set(options) == set(names):
        answer = max(names, key=options.__getitem__)
    else:
        raise DataError(f"{where}: options: {sorted(options)}; give one number for each of {names}")
    return given.model_copy(update={"answer": answer, "options": options})
