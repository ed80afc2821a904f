"""How sure an analyst may be, and of what: temperature and scope, from the report on it.

A temperature holds for the weights and the wordings it was fitted with, so both are checked.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from dfa_lib.analysts import Analyst, Question
from dfa_lib.bench.exam import asked_in
from dfa_lib.bench.scope import Scope
from dfa_lib.files import digest
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Task


@dataclass(frozen=True)
class Calibration:
    """A temperature of DF-D scores, the wordings they come from, and on how many faces.

    ``scope`` says which pictures it holds for; None where the report has none. ``source`` is where
    the faces came from.
    """

    temperature: float
    questions: tuple[Question, ...]
    faces: int
    scope: Scope | None = None
    source: str = ""


def calibration(analyst: Analyst, folder: Path) -> Calibration | None:
    """Look up in ``folder``, where the benchmark wrote, what it fitted for this very analyst.

    None if there is no report, none of an analyst with this ``fingerprint``, or if there were too
    few validation faces to fit anything.
    Raises DataError if the files cannot be read.
    """
    path = folder / "report.json"
    mark = analyst.fingerprint
    if not mark or not path.exists():
        return None
    try:
        report = json.loads(path.read_text("utf-8"))
        exam = json.loads((folder / "protocol.json").read_text("utf-8"))
        key = digest(report["exam"] + mark)
        keys = (one for one in (folder / "predictions").glob("*.key") if one.read_text() == key)
        mine = [one.stem for one in keys if report["details"].get(one.stem, {}).get("DF-D")]
        if not mine or exam["hash"] != report["exam"]:
            return None
        questions = asked_in(exam, Task.DF_D)
        warmth = report["details"][mine[0]]["DF-D"]["temperature"]
        if warmth is None:
            return None
        known = Calibration(warmth, questions, len(exam["val"]), None, report["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: {error!r}; run lesson 03 again to write it anew") from None
    return replace(known, scope=Scope.read(folder, mark))
