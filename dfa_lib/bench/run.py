"""Ask: put the questions of an exam to analysts, and keep the answers on file.

Predictions are appended to ``predictions/<analyst>.jsonl`` as they come; a run that was
interrupted goes on where it stopped and asks nothing twice.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from dfa_lib.analysts import Analyst, Question, Reply
from dfa_lib.bench.detection_metrics import WRONG
from dfa_lib.bench.exam import Exam, labels
from dfa_lib.bench.perturb import versions
from dfa_lib.files import digest
from dfa_lib.findings import reading, verdict
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.records import DataError, Face, JsonlLog, Prediction, read_jsonl
from dfa_lib.shards import Shard, block, join, shard_path, shards
from dfa_lib.taxonomy import Task

Asked = tuple[Face, tuple[Task, ...]]


def ask_all(
    analysts: Mapping[str, Analyst], exam: Exam, out: Path, shard: Shard | None = None
) -> dict[str, list[Prediction]]:
    """Ask every analyst every question of ``exam``; return their predictions by name.

    Writes the exam to ``out``/protocol.json and the predictions below ``out``/predictions.
    With ``shard`` (i, n) only part i of n is asked and returned; the call without, made once all
    parts are there, joins them. Raises DataError for what is no analyst.
    """
    exam.save(out)
    folder = out / "predictions"
    return {name: ask(name, one, exam, folder, shard=shard) for name, one in analysts.items()}


def ask_perturbed(
    analysts: Mapping[str, Analyst], exam: Exam, count: int, out: Path, shard: Shard | None = None
) -> dict[str, dict[str, list[Prediction]]]:
    """Ask DF-D on ``count`` test faces, each perturbed in 25 ways; {} if ``count`` is 0.

    Returns predictions by analyst and by the name of the perturbed version.
    """
    few = exam.detection_of(count)
    return {
        name: {
            one.name: ask(one.name, one, few, out / "robustness" / name, quiet=True, shard=shard)
            for one in tqdm(versions(analyst), f"{name} on perturbed pictures")
        }
        for name, analyst in analysts.items()
        if count
    }


def ask(
    name: str,
    analyst: Analyst,
    exam: Exam,
    folder: Path,
    quiet: bool = False,
    shard: Shard | None = None,
) -> list[Prediction]:
    """Put the exam to one analyst, but for what its predictions file already answers.

    Answers on file of another exam, or under another ``fingerprint``, are set aside as ``*.old``.
    """
    needed = (*Analyst.__annotations__, "reply")
    if lacks := [one for one in needed if not hasattr(analyst, one)]:
        raise DataError(f"analyst {name!r}: lacks {', '.join(lacks)}; inherit from Control")
    path = shard_path(analyst_file(folder, name), shard)
    content = exam.hash + analyst.fingerprint
    _set_stale_aside(path, content)
    if not shard and not path.exists():
        _join_shards(path, content)
    plan, size = _plan(exam, analyst.tasks), analyst.batch
    chunks = block([plan[at : at + size] for at in range(0, len(plan), size)], shard)
    with JsonlLog(path) as log:
        done = {(prediction.face, prediction.task) for prediction in read_jsonl(path, Prediction)}
        quiet = quiet or not any(_missing(chunk, done) for chunk in chunks)
        with tqdm(total=sum(map(len, chunks)), desc=name, unit="face", disable=quiet) as bar:
            for chunk in chunks:
                # a chunk is written when it is whole, so that a resumed run asks the same chunks
                for prediction in [*_answers(name, analyst, exam, _missing(chunk, done))]:
                    log.append(prediction)
                bar.update(len(chunk))
    return list(read_jsonl(path, Prediction))


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
    questions = [[q for task in tasks for q in exam.asked(face, task)] for face, tasks in chunk]
    replies = analyst.reply(images, questions)
    _refuse_misfits(name, questions, replies)
    for (face, tasks), given in zip(chunk, replies, strict=True):
        rest = iter(given)
        for task in tasks:
            asked = exam.asked(face, task)
            yield _prediction(name, face, task, asked, [next(rest) for _ in asked])


def _refuse_misfits(
    name: str, questions: Sequence[Sequence[Question]], replies: Sequence[Sequence[Reply]]
) -> None:
    """Raise DataError unless every question has a Reply that fits."""
    try:
        pairs = [*zip(chain(*questions), chain(*replies), strict=True)]
    except (TypeError, ValueError):
        pairs = [(question, replies) for question in chain(*questions)]
    for question, reply in pairs:
        options = question.options or ()
        if not isinstance(reply, Reply) or not isinstance(reply.text, str):
            given, want = repr(reply)[:60], "a list per picture, of a Reply with text per question"
        elif options and reply.logprobs is not None and len(reply.logprobs) != len(options):
            given, want = f"{len(reply.logprobs)} logprobs", f"None, or one for each of {options}"
        else:
            continue
        raise DataError(f"analyst {name!r}: replied {given} to {question.text!r}; return {want}")


def _prediction(
    name: str, face: Face, task: Task, asked: Sequence[Question], replies: Sequence[Reply]
) -> Prediction:
    """One prediction from the replies to all wordings of a question."""
    text, answer, options = "\n".join(reply.text for reply in replies), None, None
    if task is Task.AD:
        answer = reading(text)
    elif all(reply.logprobs is not None for reply in replies):
        means = np.mean([reply.logprobs for reply in replies], axis=0)
        answer, options = _likeliest(means, labels(task))
        text = OPTIONS[task].get(answer) or text
    else:
        pairs = zip(replies, asked, strict=True)
        votes = [verdict(reply.text, task, question.text) for reply, question in pairs]
        answer, options = elect(votes, labels(task))
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
    if path.exists() and (not mark.exists() or mark.read_text() != digest(content)):
        path.replace(path.with_suffix(".jsonl.old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(digest(content))


def _join_shards(path: Path, content: str) -> None:
    """Make the predictions file of its shards, if there are any, all of them of this exam."""
    for part in shards(path):
        _set_stale_aside(part, content)
    if shards(path):
        join(path)
