"""Run the benchmark: ask every analyst every question, keep the answers, score them.

Answers are appended to ``predictions/<analyst>.jsonl`` as they come; a run that was
interrupted goes on where it stopped and asks nothing twice.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from dfa_lib.bench.detecting import WRONG
from dfa_lib.bench.exam import Exam, labels, set_exam
from dfa_lib.bench.opinions import scored
from dfa_lib.bench.perturb import versions
from dfa_lib.bench.report import Report
from dfa_lib.bench.scoring import score_all
from dfa_lib.findings import reading, verdict
from dfa_lib.gpt.analyst import Analyst, Question, Reply
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, Face, InstructRecord, JsonlLog, Prediction, read_jsonl
from dfa_lib.shards import Shard, block, is_shard, join, shard_path, shards
from dfa_lib.taxonomy import Task

TASKS = (Task.DF_D, Task.DF_C, Task.AD)
BATCH = 32
Asked = tuple[Face, tuple[Task, ...]]


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
    robustness: int = 0,
    preset: str = "",
    source: str = "",
    shard: Shard | None = None,
) -> Report | None:
    """Ask and score ``analysts``; write protocol, predictions and report into ``out``.

    ``faces`` holds all splits: test is asked, val fits the temperature of each analyst's
    scores, train gives the best constant answer. ``records`` hold the annotations that
    descriptions are compared with. The first analyst is the one the page is about. The first
    two are also asked DF-D on ``robustness`` faces, each spoilt in 25 ways.

    With ``shard`` (i, n) only part i of n is asked, and None returned; the call without, made
    once all parts are there, joins them and reports.
    """
    exam = set_exam(faces, seed, paraphrases, limit, val_limit)
    exam.save(out)
    for name, analyst in analysts.items():
        ask(name, analyst, exam, out / "predictions", shard=shard)
    spoilt = list(analysts)[:2] if robustness else []
    for name in spoilt:
        few, folder = exam.detection_of(robustness), out / "robustness" / name
        for version in tqdm(versions(analysts[name]), f"{name} on spoilt pictures"):
            ask(version.name, version, few, folder, quiet=True, shard=shard)
    if shard:
        return None
    about = {"preset": preset, "source": source or _source(exam)}
    return score_folder(out, exam, list(analysts), spoilt, records, resamples, about)


def score_folder(
    out: Path,
    exam: Exam,
    names: Sequence[str],
    spoilt: Sequence[str],
    records: Iterable[InstructRecord],
    resamples: int,
    about: Mapping[str, str],
) -> Report:
    """Score the predictions that lie in ``out``, and write the report; nobody is asked.

    ``spoilt`` names the analysts that were asked about spoilt pictures, too.
    """
    given = {name: _read(analyst_file(out / "predictions", name)) for name in names}
    robust = {
        name: {
            path.stem: _read(path)
            for path in (out / "robustness" / name).glob("*.jsonl")
            if not is_shard(path)
        }
        for name in spoilt
    }
    known = {record.id: record for record in records}
    data = score_all(given, exam, known, resamples, robust)
    every = chain.from_iterable(given.values())
    opinions = {"opinions": scored(out, every, exam, resamples)}
    return Report({**data, **opinions, **about}, out, exam.faces).save()


def ask(
    name: str,
    analyst: Analyst,
    exam: Exam,
    folder: Path,
    quiet: bool = False,
    shard: Shard | None = None,
) -> list[Prediction]:
    """Put the exam to one analyst, but for what its predictions file already answers.

    An analyst may limit itself to some ``tasks``. Its ``fingerprint``, if it has one, tells
    whether the answers on file are still its own: others are set aside as ``*.old``.
    """
    path = shard_path(analyst_file(folder, name), shard)
    content = exam.hash + getattr(analyst, "fingerprint", "")
    _set_stale_aside(path, content)
    if not shard and not path.exists():
        _join_shards(path, content)
    plan, size = _plan(exam, getattr(analyst, "tasks", TASKS)), getattr(analyst, "batch", BATCH)
    chunks = block([plan[at : at + size] for at in range(0, len(plan), size)], shard)
    with JsonlLog(path) as log:
        done = {(prediction.face, prediction.task) for prediction in _read(path)}
        quiet = quiet or not any(_missing(chunk, done) for chunk in chunks)
        with tqdm(total=sum(map(len, chunks)), desc=name, unit="face", disable=quiet) as bar:
            for chunk in chunks:
                # a chunk is written when it is whole, so that a resumed run asks the same chunks
                for prediction in [*_answers(name, analyst, exam, _missing(chunk, done))]:
                    log.append(prediction)
                bar.update(len(chunk))
    return _read(path)


def analyst_file(folder: Path, name: str) -> Path:
    """Where the predictions of an analyst lie; raise DataError for a name that is no file's."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"analyst {name!r}: name its file with letters, digits, '.', '_' and '-'")
    return folder / f"{name}.jsonl"


def _plan(exam: Exam, tasks: Sequence[Task]) -> list[Asked]:
    """Each face with the tasks to ask: all of them on test, DF-D on val."""
    every = tuple(task for task in tasks if task in exam.questions)
    first = tuple(task for task in every if task is Task.DF_D)
    return [(face, every) for face in exam.test] + [(face, first) for face in exam.val if first]


def _missing(chunk: Sequence[Asked], done: set[tuple[str, Task]]) -> list[Asked]:
    rows = [(face, tuple(t for t in tasks if (face.id, t) not in done)) for face, tasks in chunk]
    return [row for row in rows if row[1]]


def _answers(
    name: str, analyst: Analyst, exam: Exam, chunk: Sequence[Asked]
) -> Iterator[Prediction]:
    if not chunk:
        return
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
        answer, options = _likeliest(means, names_of(asked[0]))
        text = OPTIONS.get(task, {}).get(answer, answer) or text
    else:
        votes = [vote(reply.text, q) for reply, q in zip(replies, asked, strict=True)]
        answer, options = elect(votes, names_of(asked[0]))
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


def vote(text: str, question: Question) -> str | None:
    """The label that a text gives to a closed question; None if it cannot be read."""
    if question.task in OPTIONS:
        return verdict(text, question.task, question.text)
    return text.strip() if text.strip() in question.options else None


def names_of(question: Question) -> Sequence[str]:
    """The labels of a closed question; the answers themselves where they have no other name."""
    return labels(question.task) if question.task in OPTIONS else question.options


def _likeliest(
    means: np.ndarray, names: Sequence[str]
) -> tuple[str | None, dict[str, float] | None]:
    """The likeliest label and the log-probabilities of all; None if one is not a number.

    Rounded, so that a resumed run with other batches writes the same digits; bounded, because
    JSON knows no infinity.
    """
    if np.isnan(means).any():
        return None, None
    options = {
        name: round(max(float(mean), -WRONG), 5) for name, mean in zip(names, means, strict=True)
    }
    return max(options, key=options.__getitem__), options


def elect(
    votes: Sequence[str | None], names: Sequence[str]
) -> tuple[str | None, dict[str, float] | None]:
    """Winner of a vote over wordings, None on a tie, and the smoothed log shares."""
    counts = Counter(one for one in votes if one is not None)
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


def _join_shards(path: Path, content: str) -> None:
    """Make the predictions file of its shards, if there are any, all of them of this exam."""
    for part in shards(path):
        _set_stale_aside(part, content)
    if shards(path):
        join(path)


def _read(path: Path) -> list[Prediction]:
    return list(read_jsonl(path, Prediction))


def _source(exam: Exam) -> str:
    return " + ".join(sorted({face.dataset for face in exam.test}))
