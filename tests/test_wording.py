"""Template libraries: enough wordings, all distinct, none of the held-out ones trained on."""

import re
from difflib import SequenceMatcher
from itertools import combinations

import pytest

from dfa_lib.instruct.wording import library
from dfa_lib.taxonomy import CLASSES, Task

NEAR = 0.85
"""Shared words in order, from 0 to 1: one word more in a question of six makes 0.92."""


def words(text: str) -> list[str]:
    return re.findall(r"\{?\w+\}?", text.lower())


def near_duplicates(texts: list[str]) -> list[tuple[str, str]]:
    """Pairs that differ in case, punctuation, or hardly a word."""
    return [
        (one, other)
        for one, other in combinations(texts, 2)
        if SequenceMatcher(None, words(one), words(other)).ratio() > NEAR
    ]


@pytest.mark.parametrize("task", Task)
def test_twenty_wordings_and_more_none_like_another(task: Task) -> None:
    kinds = library(task).questions.values()
    texts = [text for kind in kinds for text in (*kind.train, *kind.test)]
    assert len(texts) >= 20 and all(kind.train and kind.test for kind in kinds)
    assert near_duplicates(texts) == []


@pytest.mark.parametrize("task", Task)
def test_a_planted_near_duplicate_is_noticed(task: Task) -> None:
    kind = next(iter(library(task).questions.values()))
    for text in kind.train:
        for planted in (text.upper().replace("?", "!"), f"{text} Hm."):
            if len(words(text)) >= 4:
                assert near_duplicates([*kind.test, text, planted]) == [(text, planted)]


@pytest.mark.parametrize("task", [Task.DF_D, Task.DF_C, Task.AD])
def test_every_task_has_twenty_to_train_on_and_some_held_out(task: Task) -> None:
    ask = library(task).questions["ask"]
    assert len(ask.train) >= 20 and len(ask.test) >= 8


@pytest.mark.parametrize("task", Task)
def test_templates_have_known_fields_only(task: Task) -> None:
    known = {"region", "regions", "Regions", "show", "look", "artifact", "category"}
    kinds = library(task).questions.values()
    texts = [text for kind in kinds for text in (*kind.train, *kind.test)]
    for text in [*texts, *library(task).answers.values()]:
        assert set(re.findall(r"\{(\w*)", text)) <= known, text
        assert text[-1] in ".?!" and text == " ".join(text.split())


def test_every_forgery_has_a_meaning() -> None:
    answers = library(Task.FC).answers
    assert all(f"meaning {category}" in answers for category in CLASSES if category.forged)
