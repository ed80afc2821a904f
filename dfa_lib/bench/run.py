"""Ask: put the questions of an exam to analysts, and keep the answers on file.

Predictions are appended to ``predictions/<analyst>.jsonl`` as they come; a run that was
interrupted goes on where it stopped and asks nothing twice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from dfa_lib.analysts import Analyst, Question, Reply
from dfa_lib.bench.detection_metrics import WRONG
from dfa_lib.bench.exam import Asked, Exam, label_scores, some
from dfa_lib.bench.perturb import versions
from dfa_lib.files import digest
from dfa_lib.findings import reading
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.records import DataError, JsonlLog, Prediction, read_jsonl
from dfa_lib.shards import Shard, block, join, shard_path, shards
from dfa_lib.taxonomy import Task

_NEEDED = (*Analyst.__annotations__, "reply")


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
    test = some(exam.test, count, exam.seed)
    questions = {Task.DF_D: exam.questions[Task.DF_D]}
    few = replace(exam, test=test, val=(), questions=questions)
    perturbed = versions(exam.faces)
    folder = out / "robustness"
    return {
        name: {
            version: ask(version, analyst, replace(few, faces=faces), folder / name, True, shard)
            for version, faces in tqdm(perturbed.items(), f"{name} on perturbed pictures")
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
    Raises DataError for what is no analyst, and for a name that no file can have.
    """
    if lacks := [one for one in _NEEDED if not hasattr(analyst, one)]:
        raise DataError(f"analyst {name!r}: lacks {', '.join(lacks)}; inherit from Control")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DataError(f"analyst {name!r}: name its file with letters, digits, '.', '_' and '-'")
    path = shard_path(folder / f"{name}.jsonl", shard)
    content = exam.hash + analyst.fingerprint
    _set_stale_aside(path, content)
    if not shard and not path.exists():
        _join_shards(path, content)
    plan, size = exam.plan(analyst.tasks), analyst.batch
    chunks = block([plan[at : at + size] for at in range(0, len(plan), size)], shard)
    with JsonlLog(path, Prediction) as log:
        done = {(prediction.face, prediction.task) for prediction in read_jsonl(path, Prediction)}
        rest = [*filter(None, (_unanswered(chunk, done) for chunk in chunks))]
        for chunk in tqdm(rest, name, unit="batch", disable=quiet or not rest):
            # a chunk is written when it is whole, so that a resumed run asks the same chunks
            for prediction in _answers(name, analyst, exam, chunk):
                log.append(prediction)
    return list(read_jsonl(path, Prediction))


def _unanswered(chunk: Sequence[list[Asked]], done: set[tuple[str, Task]]) -> list[list[Asked]]:
    rows = ([one for one in row if (one.face.id, one.task) not in done] for row in chunk)
    return [row for row in rows if row]


def _answers(
    name: str, analyst: Analyst, exam: Exam, chunk: Sequence[list[Asked]]
) -> list[Prediction]:
    images = [exam.faces.image(row[0].face) for row in chunk]
    questions = [[question for one in row for question in one.wordings] for row in chunk]
    replies = analyst.reply(images, questions)
    _refuse_misfits(name, questions, replies)
    rest = chain(*replies)
    return [
        _prediction(name, one, [*islice(rest, len(one.wordings))]) for row in chunk for one in row
    ]


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


def _prediction(name: str, asked: Asked, replies: Sequence[Reply]) -> Prediction:
    """One prediction from the replies to all wordings of a question."""
    face, task, wordings = asked
    text = "\n".join(reply.text for reply in replies)
    options = None
    if task is Task.AD:
        answer = reading(text)
    else:
        voted = any(reply.logprobs is None for reply in replies)
        answer, options = _decided(label_scores(task, wordings, replies), voted)
        text = text if voted or answer is None else OPTIONS[task][answer]
    return Prediction(
        analyst=name,
        face=face.id,
        task=task,
        prompt="\n".join(one.text for one in wordings),
        text=text,
        answer=answer,
        options=options,
        seconds=round(sum(reply.seconds for reply in replies), 4),
        tokens=sum(reply.tokens for reply in replies),
    )


def _decided(
    scores: Mapping[str, float], voted: bool
) -> tuple[str | None, dict[str, float] | None]:
    """The likeliest label and the scores of all; None on a tied vote, or if one is not a number.

    Rounded, so that a resumed run with other batches writes the same digits; bounded, because
    JSON knows no infinity.
    """
    options = {label: round(max(score, -WRONG), 5) for label, score in scores.items()}
    if np.isnan([*options.values()]).any():
        return None, None
    first, *tied = (label for label in options if options[label] == max(options.values()))
    return (None, None) if voted and tied else (first, options)


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
