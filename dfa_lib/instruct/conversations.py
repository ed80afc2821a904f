"""Step 3 of DFA-Instruct: about seven questions and answers on every face.

One detection (DF-D), one classification (DF-C), one artifact description (AD) and four
turns of free conversation (FC), as in the paper (891.6K QA on 127.3K images). FC is
written from the label and the annotation alone, without looking at the picture: by rule, or
by a language model (``llm_conversations``).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from tqdm.auto import tqdm

from dfa_lib.files import write_atomic
from dfa_lib.instruct.card import data_card
from dfa_lib.instruct.wording import about, library, say, wordings
from dfa_lib.records import (
    QA,
    Annotation,
    DataError,
    Face,
    Finding,
    InstructRecord,
    Stored,
    read_jsonl,
    write_jsonl,
)
from dfa_lib.shards import Shard, block, shard_path
from dfa_lib.taxonomy import CLASSES, Category, Region, Split, Task

OPTIONS = {task: dict(library(task).answers) for task in (Task.DF_D, Task.DF_C)}
"""The closed answers: label -> the whole answer sentence, by task."""

FORGERIES = tuple(category for category in CLASSES if category.forged)
STRONG = 10.0
"""A face whose strongest finding has this z-score or more shows strong signs."""


def build_conversations(
    faces: Collection[Face],
    notes: Mapping[str, Annotation],
    out: Path,
    seed: int = 0,
    shard: Shard | None = None,
    talks: Mapping[str, Sequence[QA]] | None = None,
) -> Stored[InstructRecord]:
    """Write ``out``/instruct.jsonl, and DATA_CARD.md unless it is a ``shard``.

    Returns the records, one per described face, which are read from that file when asked for.

    Wordings and FC kinds are drawn from ``seed`` and the id of the face, so that any part
    of the data set comes out the same alone as within the whole. ``talks`` are FC turns
    by face id, in place of those by rule. A face that its annotator left without a note is
    left out.
    With ``Stored`` faces and notes (``records``), a data set of any size passes through.
    Raises DataError if no face has a note.
    """
    path = shard_path(out / "instruct.jsonl", shard)
    mine = block(faces, shard)
    talks = talks or {}
    if mine and not any(face.id in notes for face in mine):
        raise DataError(f"{path}: no face has an annotation; run annotate on these faces first")
    described = (face for face in tqdm(mine, "conversations") if face.id in notes)
    write_jsonl(path, (converse(f, notes[f.id], seed, talks.get(f.id, ())) for f in described))
    records = Stored(path, InstructRecord)
    if left_out := len(mine) - len(records):
        print(f"{left_out:,} faces without a description are left out")
    if shard is None:
        write_atomic(out / "DATA_CARD.md", data_card(records))
    return records


def load_records(path: Path) -> list[InstructRecord]:
    """Read an instruct.jsonl; raise DataError with file, line and field for a broken one."""
    return list(read_jsonl(path, InstructRecord))


def converse(
    face: Face, note: Annotation, seed: int = 0, talk: Sequence[QA] = ()
) -> InstructRecord:
    """Hold the seven-part conversation on one face.

    A forgery of unknown kind has no DF-C question, and FC does not ask whether it is of a kind.
    Where no finding says what was altered, FC asks about no region and no evidence.
    """
    rng = Random(f"{seed}/{face.id}")
    answer = OPTIONS[Task.DF_D][detection_label(face.category)]
    qa = [_qa(Task.DF_D, "ask", face.split, rng, answer)]
    if face.category in CLASSES:
        answer = OPTIONS[Task.DF_C][face.category.value]
        qa.append(_qa(Task.DF_C, "ask", face.split, rng, answer))
    qa.append(_qa(Task.AD, "ask", face.split, rng, note.text))
    qa += [_about_category(face, rng)] if unplaced(face, note) else talk or _free(face, note, rng)
    return InstructRecord(face=face, annotation=note, qa=tuple(qa))


def unplaced(face: Face, note: Annotation) -> bool:
    """Whether nothing tells where a forgery was altered."""
    return face.category.forged and not note.findings


def detection_label(category: Category) -> str:
    """The DF-D label of a category: "forged" or "bona fide"."""
    return "forged" if category.forged else "bona fide"


def _qa(task: Task, kind: str, split: Split, rng: Random, answer: str, **fields: str) -> QA:
    """Put one question in a random wording of the split's share of the library."""
    variants = wordings(task, split, kind)
    pick = rng.randrange(len(variants))
    part = "train" if split is Split.TRAIN else "test"
    return QA(
        task=task,
        question=variants[pick].format(**fields),
        answer=answer,
        template=f"{task}/{kind}/{part}/{pick}@{library(task).version}",
    )


def _free(face: Face, note: Annotation, rng: Random) -> Iterator[QA]:
    """Yield four FC turns: a touched and an untouched region, what is meant, and one more."""
    strongest = sorted(note.findings, key=strength, reverse=True)
    for region in two_regions(strongest, rng):
        there = [finding for finding in strongest if finding.region is region][:1]
        clean = {} if there else about([region])
        answer = say(Task.FC, "region yes" if there else "region no", there, **clean)
        yield _qa(Task.FC, "region", face.split, rng, answer, region=region.value)
    yield _about_category(face, rng)
    yield _about_evidence(face, strongest, rng)


def strength(finding: Finding) -> float:
    """Return the z-score behind a finding; a claim without figures counts as a strong one."""
    return finding.figures.get("z", STRONG)


def two_regions(findings: Sequence[Finding], rng: Random) -> list[Region]:
    """Draw a region with a finding and one without, as far as there are such, in random order."""
    touched = [finding.region for finding in findings]
    clean = [region for region in _ASKED if region not in touched]
    rng.shuffle(touched)
    rng.shuffle(clean)
    pair = (touched[:1] + clean[:1] + touched[1:] + clean[1:])[:2]
    return rng.sample(pair, len(pair))


def _about_category(face: Face, rng: Random) -> QA:
    """Ask what a forgery category means, or whether this face is one (half the time it is)."""
    own = face.category in FORGERIES and rng.random() < 0.5
    category = face.category if own else rng.choice(FORGERIES)
    kind = rng.choice(("category", "category", "meaning"))
    if kind == "meaning" or face.category is Category.FORGED:
        kind, answer = "meaning", say(Task.FC, f"meaning {category.value}")
    elif not face.category.forged:
        answer = say(Task.FC, "category none")
    else:
        verdict = "yes" if category is face.category else "no"
        answer = say(Task.FC, f"category {verdict}", category=face.category.phrase)
    return _qa(Task.FC, kind, face.split, rng, answer, category=category.phrase)


def _about_evidence(face: Face, findings: list[Finding], rng: Random) -> QA:
    """Ask for the weight of the evidence, or go on from one region to the next.

    "besides" leaves one region aside and asks for more: the strongest one, or any on a clean
    face.
    """
    kind = rng.choice(("suspect", "sure", "next", "reason", "besides"))
    if kind == "besides":
        region = findings[0].region if findings else rng.choice(_ASKED)
        rest = findings[1:]
        said = say(Task.FC, f"besides {'yes' if rest else 'no' if findings else 'none'}", rest[:1])
        return _qa(Task.FC, kind, face.split, rng, said, region=region.value)
    answer = "yes" if findings else "none"
    if kind == "sure" and findings:
        answer = "strong" if strength(findings[0]) >= STRONG else "weak"
    said = say(Task.FC, f"{kind} {answer}", findings[:1])
    return _qa(Task.FC, kind, face.split, rng, said)


_ASKED = [region for region in Region if region not in (Region.SKIN, Region.BACKGROUND)]
