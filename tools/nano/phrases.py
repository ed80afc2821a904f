"""What the base is asked while it learns to speak, and the true answers.

Questions are about generic things only: which region was altered and how, how the picture was
taken.
None asks for, and no answer gives, a forgery label. So that it also knows the words it will
need, as any language model would, it repeats sentences and says what a question is about:
language, whatever the picture shows. Held-out wordings stay out.
"""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import cycle
from typing import Any

import numpy as np

from dfa_lib.instruct.wording import about, joined
from dfa_lib.taxonomy import CLASSES, Artifact, Category, Region
from tools.nano.views import ARTIFACTS, CONDITIONS, REGIONS, View

QUESTIONS = {
    "altered": [
        "Which regions look altered?",
        "What looks unusual in this picture, and where?",
        "Name the unusual regions and what they show.",
        "Go through the picture and report what you find.",
        "Where does the picture differ from the rest, and how?",
        "List what you notice, region by region.",
    ],
    "region": [
        "Does the {region} look natural?",
        "Is anything unusual about the {region}?",
        "What do you see at the {region}?",
        "Look at the {region}.",
    ],
    "artifact": [
        "Where do you see {artifact}?",
        "Is there any {artifact}?",
        "Which regions show {artifact}?",
    ],
    "many": [
        "How many regions look unusual?",
        "How much of the face looks unusual?",
    ],
    "conditions": [
        "How was the picture taken?",
        "What is the picture like as a whole?",
        "Under which conditions was this taken?",
    ],
    "repeat": ["Say: {text}", "Repeat: {text}", "Please say this: {text}"],
    "about": ["What is this question about? {text}", "What does this ask for? {text}"],
}


def generic_qa(view: View, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return seven or so questions with answers; forged or bona fide is never among them."""
    named = dict(view.named)
    touched, untouched = list(named), [region for region in REGIONS if region not in named]
    asked = [untouched[rng.integers(len(untouched))]] if untouched else []
    asked += [touched[i] for i in rng.permutation(len(touched))[:2]]
    artifact = ARTIFACTS[rng.integers(len(ARTIFACTS))]
    if named and rng.random() < 0.6:
        artifact = list(named.values())[rng.integers(len(named))]
    pairs = [("altered", {}, report(named))]
    pairs += [("region", {"region": r}, region_answer(r, named.get(r))) for r in asked]
    pairs += [("artifact", {"artifact": artifact}, where_answer(artifact, named))]
    pairs += [("many", {}, _many(len(named)))]
    pairs += [("conditions", {}, _conditions(view.conditions)), *_reading_qa(rng)]
    return [(_ask(kind, rng).format(**slots), answer) for kind, slots, answer in pairs]


def _ask(kind: str, rng: np.random.Generator) -> str:
    return QUESTIONS[kind][rng.integers(len(QUESTIONS[kind]))]


def _conditions(words: Sequence[str]) -> str:
    return f"The picture is {joined(words)}." if words else "The picture is ordinary."


def _reading_qa(rng: np.random.Generator) -> list[tuple[str, dict, str]]:
    """A sentence to repeat, and a question to tell the subject of."""
    said, (asked, subject) = _draw(sentences(), rng), _draw(subjects(), rng)
    return [("repeat", {"text": said}, said), ("about", {"text": asked}, f"{subject}.")]


def _draw(items: Sequence, rng: np.random.Generator) -> Any:
    return items[rng.integers(len(items))]


def report(named: dict[Region, Artifact]) -> str:
    """One sentence per artifact: "The nose and chin show blur.", or that all looks natural."""
    if not named:
        return "No artifact stands out: every region looks natural."
    sentences = []
    for artifact in ARTIFACTS:
        regions = [region for region in REGIONS if named.get(region) is artifact]
        if regions:
            words = about(regions)
            sentences.append(f"{words['Regions']} {words['show']} {artifact}.")
    return " ".join(sentences)


def region_answer(region: Region, artifact: Artifact | None) -> str:
    """Whether one region looks natural."""
    said = "{Regions} {look} natural." if artifact is None else "{Regions} {show} {artifact}."
    return said.format(artifact=artifact, **about([region]))


def where_answer(artifact: Artifact, named: dict[Region, Artifact]) -> str:
    """Which regions show one artifact."""
    regions = [region for region, what in named.items() if what is artifact]
    return f"{about(regions)['Regions']}." if regions else "Nowhere."


def _many(count: int) -> str:
    words = ("None", "One region", "Two regions", "A few regions", "Most of the face")
    return words[min(count, 3) if count < 6 else 4] + "."


def corpus() -> list[str]:
    """What the tokenizer is fitted to: training wordings, the vocabulary, our questions."""
    texts = [question for group in QUESTIONS.values() for question in group]
    for region in Region:
        texts += [region_answer(region, artifact) for artifact in (None, *Artifact)] * 3
    texts += [_conditions([word]) for word in (*CONDITIONS, "tilted")] * 3
    return [*texts, *sentences(), *(question for question, _ in subjects())]


@cache
def sentences() -> list[str]:
    """Every answer of the template library, its slots filled in every way that is not too many."""
    filled = [
        _fill(answer, category, region, artifact)
        for library in _libraries()
        for answer in library["answers"].values()
        for category in CLASSES
        for region, artifact in zip(Region, cycle(Artifact), strict=False)
    ]
    return sorted(set(filled))


@cache
def subjects() -> list[tuple[str, str]]:
    """Every training question of the template library, and what it is about."""
    return [
        (_fill(question, category, region, Artifact.BLUR), f"{library['task']} {kind}")
        for library in _libraries()
        for kind, group in library["questions"].items()
        for question in group["train"]
        for category, region in zip(cycle(CLASSES), Region, strict=False)
    ]


def _fill(text: str, category: Category, region: Region, artifact: Artifact) -> str:
    slots = {"category": category.phrase, "region": region, "artifact": artifact}
    return text.format(**slots, **about([region]))


def _libraries() -> list[dict]:
    folder = files("dfa_lib.instruct").joinpath("templates")
    paths = sorted((p for p in folder.iterdir() if p.name.endswith(".json")), key=lambda p: p.name)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]
