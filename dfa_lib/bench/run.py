"""Run the benchmark: ask every analyst every question, keep the answers, score them.

Answers are appended to ``predictions/<analyst>.jsonl`` as they come; a run that was
interrupted goes on where it stopped and asks nothing twice.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from dfa_lib.bench.exam import Exam, labels, set_exam
from dfa_lib.bench.findings import reading, verdict
from dfa_lib.bench.report import Report
from dfa_lib.bench.scoring import score_all
from dfa_lib.gpt.analyst import Analyst, Question, Reply
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, Face, InstructRecord, JsonlLog, Prediction, read_jsonl
from dfa_lib.taxonomy import Task

TASKS = (Task.DF_D, Task.DF_C, Task.AD)
BATCH = 32


def run_bench(
    analysts: Mapping[str, Analyst],
    faces: FaceSet,
    records: Iterable[InstructRecord],
    out: Path,
    *,
    seed: int = 0,
    paraphrases: int = 3,
    limit: int | None = None,
    val_limit: int = 300,
    resamples: int = 1000,
    preset: str = "",
    source: str = "",
) -> Report:
    """Ask and score ``analysts``; write predictions, report.json and report.html into ``out``.

    ``faces`` holds all splits: test is asked, val fits the temperature of each analyst's
    scores, train gives the best constant answer. ``records`` hold the annotations that
    descriptions are compared with. The first analyst is the one the page is about.
    """
    exam = set_exam(faces, seed, paraphrases, limit, val_limit)
    predictions = {
        name: ask(name, analyst, exam, out / "predictions") for name, analyst in analysts.items()
    }
    data = score_all(predictions, exam, {record.id: record for record in records}, resamples)
    source = source or " + ".join(sorted({face.dataset for face in exam.test}))
    return Report({**data, "preset": preset, "source": source}, out, faces).save()


def ask(name: str, analyst: Analyst, exam: Exam, folder: Path) -> list[Prediction]:
    """Put the exam to one analyst, but for what its predictions file already answers.

    An analyst may limit itself to some ``tasks``. Its ``fingerprint``, if it has one, tells
    whether the answers on file are still its own: others are set aside as ``*.old``.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise DataError(f"analyst {name!r}: name its file with letters, digits, '.', '_' and '-'")
    path = folder / f"{name}.jsonl"
    _set_stale_aside(path, exam.hash + getattr(analyst, "fingerprint", ""))
    with JsonlLog(path) as log:
        done = {(prediction.face, prediction.task) for prediction in read_jsonl(path, Prediction)}
        todo = list(_todo(exam, getattr(analyst, "tasks", TASKS), done))
        with tqdm(total=len(todo), desc=name, unit="face", disable=not todo) as bar:
            for start in range(0, len(todo), BATCH):
                chunk = todo[start : start + BATCH]
                for prediction in _answers(name, analyst, exam, chunk):
                    log.append(prediction)
                bar.update(len(chunk))
    return list(read_jsonl(path, Prediction))


def _todo(
    exam: Exam, tasks: Sequence[Task], done: set[tuple[str, Task]]
) -> Iterator[tuple[Face, tuple[Task, ...]]]:
    """Faces with the tasks still to ask: all of them on test, DF-D on val."""
    for part, asked in ((exam.test, tasks), (exam.val, [Task.DF_D])):
        for face in part:
            missing = tuple(task for task in asked if task in tasks and (face.id, task) not in done)
            if missing:
                yield face, missing


def _answers(
    name: str, analyst: Analyst, exam: Exam, chunk: Sequence[tuple[Face, tuple[Task, ...]]]
) -> Iterator[Prediction]:
    images = [exam.faces.image(face) for face, _ in chunk]
    questions = [[q for task in tasks for q in exam.questions[task]] for _, tasks in chunk]
    replies = analyst.reply(images, questions)
    for (face, tasks), given in zip(chunk, replies, strict=True):
        rest = iter(given)
        for task in tasks:
            asked = exam.questions[task]
            yield _prediction(name, face, task, asked, [next(rest) for _ in asked])


def _prediction(
    name: str, face: Face, task: Task, asked: Sequence[Question], replies: Sequence[Reply]
) -> Prediction:
    """One prediction from the replies to all wordings of a question."""
    text, answer, options = "\n".join(reply.text for reply in replies), None, None
    if task is Task.AD:
        answer = reading(text)
    elif all(reply.logprobs is not None for reply in replies):
        means = np.mean([reply.logprobs for reply in replies], axis=0)
        # Rounded, so that a resumed run with other batches writes the same digits.
        options = dict(zip(labels(task), (round(float(mean), 5) for mean in means), strict=True))
        answer = max(options, key=options.__getitem__)
        text = OPTIONS[task][answer]
    else:
        votes = [verdict(reply.text, task, q.text) for reply, q in zip(replies, asked, strict=True)]
        answer, options = _elect(votes, labels(task))
    return Prediction(
        analyst=name,
        face=face.id,
        task=task,
        prompt="\n".join(q.text for q in asked),
        text=text,
        answer=answer,
        options=options,
        seconds=round(sum(reply.seconds for reply in replies), 4),
        tokens=sum(reply.tokens for reply in replies),
    )


def _elect(
    votes: Sequence[str | None], names: Sequence[str]
) -> tuple[str | None, dict[str, float] | None]:
    """Winner of a vote over wordings, None on a tie, and the smoothed log shares."""
    counts = Counter(vote for vote in votes if vote is not None)
    first = counts.most_common(2)
    clear = first and (len(first) == 1 or first[0][1] > first[1][1])
    if not clear:
        return None, None
    total = len(votes) + 0.5 * len(names)
    shares = {name: round(float(np.log((counts[name] + 0.5) / total)), 5) for name in names}
    return first[0][0], shares


def _set_stale_aside(path: Path, content: str) -> None:
    """Keep answers to another exam, or of another version of the analyst, out of this run."""
    mark = path.with_suffix(".key")
    key = hashlib.sha256(content.encode()).hexdigest()
    if path.exists() and (not mark.exists() or mark.read_text() != key):
        path.replace(path.with_suffix(".jsonl.old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(key)
