"""A toy benchmark whose answers are known: faces that hold their label, and who tells it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from dfa_lib.analysts import Analyst, Question, Reply
from dfa_lib.bench.baselines import Chance, Control, choose
from dfa_lib.bench.exam import set_exam
from dfa_lib.bench.report import Report
from dfa_lib.bench.run import ask_all, ask_perturbed
from dfa_lib.bench.scoring import score_all
from dfa_lib.instruct.conversations import OPTIONS, build_conversations, detection_label
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.wording import describe
from dfa_lib.records import Annotation, Annotator, Face, Finding, InstructRecord
from dfa_lib.taxonomy import CLASSES, Artifact, Category, Region, Split, Task

ALTERED = {
    Category.BONA_FIDE: (),
    Category.FS: (Region.EYES, Region.NOSE, Region.MOUTH),
    Category.FR: (Region.MOUTH, Region.CHIN),
    Category.FE: (Region.HAIRLINE,),
    Category.EFS: (Region.EYES, Region.NOSE, Region.CHEEKS),
}
PEOPLE = {Split.TRAIN: 6, Split.VAL: 4, Split.TEST: 12}


def _face(split: Split, person: int, category: Category, root: Path) -> Face:
    """A picture whose first pixel holds its person and category: easy for an oracle."""
    name = f"{split}_{person:02}_{category.value.replace(' ', '_')}"
    image = np.random.default_rng([person, len(name)]).integers(0, 255, (64, 64, 3), np.uint8)
    image[16:48, :32] = 50 * list(CLASSES).index(category)
    image[0, 0] = (person, list(CLASSES).index(category), list(Split).index(split))
    path = root / "images" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
    altered = ALTERED[category] if person % 2 else ALTERED[category][:2]
    return Face(
        id=name,
        image=f"images/{name}.png",
        sha256=sha256(path.read_bytes()).hexdigest(),
        category=category,
        method=f"m{person % 2}" if category.forged else None,
        dataset="toy",
        identities=(f"{split}{person}",),
        split=split,
        licence="-",
        altered_regions=altered,
    )


def _note(face: Face) -> Annotation:
    blur = [
        Finding(region=region, artifact=Artifact.BLUR, evidence="")
        for region in face.altered_regions or ()
    ]
    return Annotation(
        face=face.id, findings=tuple(blur), text=describe(blur), annotator=Annotator(name="toy")
    )


def toy_world(root: Path) -> tuple[FaceSet, list[InstructRecord]]:
    """Five faces each of 22 people in three splits, and the records of all."""
    (root / "images").mkdir(parents=True)
    faces = [
        _face(split, person, category, root)
        for split, people in PEOPLE.items()
        for person in range(people)
        for category in CLASSES
    ]
    notes = {face.id: _note(face) for face in faces}
    return FaceSet(root, tuple(faces)), list(build_conversations(faces, notes, root))


class Teller(Control):
    """An analyst that knows each face and says of it what ``rule`` makes of that."""

    def __init__(self, rule: Callable[[Category, Question], str], closed: bool = True) -> None:
        self.name, self.rule, self.closed, self.asked = "teller", rule, closed, 0
        self.fingerprint = "teller"

    def answer(self, image: np.ndarray, question: Question) -> Reply:
        self.asked += 1
        said = self.rule(image, question)
        if not self.closed or not question.options:
            return Reply(said, None, 0, 0.0)
        return choose(question, [-1.0 if option == said else -9.0 for option in question.options])


def category_of(image: np.ndarray) -> Category:
    return list(CLASSES)[image[0, 0, 1] % len(CLASSES)]


def oracle(image: np.ndarray, question: Question) -> str:
    category = category_of(image)
    if question.task is Task.AD:
        regions = ALTERED[category] if image[0, 0, 0] % 2 else ALTERED[category][:2]
        return describe([Finding(region=r, artifact=Artifact.BLUR, evidence="") for r in regions])
    label = detection_label(category) if question.task is Task.DF_D else category.value
    return OPTIONS[question.task][label]


def anti_oracle(image: np.ndarray, question: Question) -> str:
    right = oracle(image, question)
    if question.task is Task.AD:
        category = category_of(image)
        wrong = [] if category.forged else ["The ears show a grid pattern."]
        return " ".join(wrong) or "The ears show a grid pattern."
    return next(one for one in OPTIONS[question.task].values() if one != right)


def always_forged(image: np.ndarray, question: Question) -> str:
    return {
        Task.DF_D: "This face is forged.",
        Task.DF_C: "This face was made by face swapping.",
        Task.AD: "No artifact stands out.",
    }[question.task]


def parrot(image: np.ndarray, question: Question) -> str:
    listed = ", ".join(artifact.value for artifact in Artifact)
    return " ".join(f"The {region.value} shows {listed}." for region in Region)


def silent(image: np.ndarray, question: Question) -> str:
    return ""


class InWords(Control):
    """An analyst that answers closed questions in its own words, which are then read."""

    tasks = (Task.DF_D, Task.DF_C)

    def __init__(self, analyst: Analyst) -> None:
        self.name, self.analyst = "in_words", analyst
        self.fingerprint = analyst.fingerprint

    def reply(self, images: Sequence, questions: Sequence) -> list[list[Reply]]:
        free = [[replace(one, options=None) for one in asked] for asked in questions]
        return self.analyst.reply(images, free)


def known(world: tuple) -> dict[str, InstructRecord]:
    """The records of a toy world by face."""
    return {record.id: record for record in world[1]}


def run_bench(
    analysts: Mapping[str, Analyst],
    faces: FaceSet,
    records: Iterable[InstructRecord],
    out: Path,
    *,
    resamples: int,
    robustness: int = 0,
    **limits: int,
) -> Report:
    """The three steps of lesson 03: ask, score, report."""
    exam = set_exam(faces, **limits)
    answers = ask_all(analysts, exam, out)
    two = {name: analysts[name] for name in list(analysts)[:2]}
    perturbed = ask_perturbed(two, exam, robustness, out)
    notes = known((faces, records))
    return Report(score_all(answers, exam, notes, resamples, perturbed), out, faces).save()


def bench(world: tuple, out: Path, **analysts: Control) -> dict:
    """Score analysts on a toy world; the content of report.json."""
    faces, records = world
    return run_bench(analysts, faces, records, out, resamples=100).data


def told_by_two(world: tuple, out: Path) -> Path:
    """A report in ``out``: "right" and "wrong" describe faces, "dice" only says forged or not."""
    dice = Chance()
    dice.tasks = (Task.DF_D,)
    bench(world, out, right=Teller(oracle), wrong=Teller(anti_oracle), dice=dice)
    return out


def values(data: dict, analyst: str, task: str) -> dict[str, float]:
    """The scores of one analyst without their intervals."""
    return {name: score[0] for name, score in data["analysts"][analyst][task].items()}
