"""The nano base: what it may see, what it must not, and that the committed weights load."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from dfa_lib.gpt.faceconv import FaceTowerModel
from dfa_lib.gpt.presets import WEIGHTS
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.taxonomy import CLASSES, Artifact, Region, Split
from facesim.people import portrait as modelled
from facesim.populations import London
from tools.nano import phrases
from tools.nano.__main__ import build
from tools.nano.plan import SMALL
from tools.nano.pool import CHUNK, Recipe
from tools.nano.views import ARTIFACTS, GRID, make_view

RECIPE = Path(phrases.__file__).parent
LONDON = Path(__file__).parents[2] / "shared/data/london"
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def portrait():
    return modelled("nano", 0)


@pytest.fixture(scope="module")
def views(portrait):
    rng = np.random.default_rng(0)
    return [make_view(portrait, rng) for _ in range(60)]


def test_the_recipe_never_imports_a_forgery_operator_or_a_forged_face():
    for path in RECIPE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                assert not any("forge" in name or "methods" in name for name in names), path


def test_no_question_of_the_recipe_names_a_forgery():
    words = {c.phrase for c in CLASSES} | {"forged", "forgery", "fake", "bona", "genuine", "real"}
    asked = " ".join(q for group in phrases.QUESTIONS.values() for q in group).lower()
    assert not any(word in asked for word in words)


def test_a_view_knows_what_was_altered(views):
    untouched = [view for view in views if not view.altered.any()]
    assert untouched and all(view.named == () for view in untouched)
    assert any(view.named for view in views)
    for view in views:
        assert view.altered.shape == (GRID, GRID, len(ARTIFACTS))
        assert 0 <= view.altered.min() <= view.altered.max() <= 1


def test_the_report_names_each_region_with_what_it_shows():
    named = {
        Region.NOSE: Artifact.BLUR,
        Region.EYES: Artifact.BLUR,
        Region.CHIN: Artifact.GRID_PATTERN,
    }
    assert phrases.report(named) == "The eyes and nose show blur. The chin shows grid pattern."
    assert phrases.report({}).startswith("No artifact stands out")


def test_questions_about_regions_are_answered_truly(views):
    rng = np.random.default_rng(1)
    for view in views[:20]:
        named = dict(view.named)
        for question, answer in phrases.generic_qa(view.without_picture(), rng):
            for region in Region:
                if f"The {region} look" in answer and "natural" in answer:
                    assert region not in named, question


def test_views_do_not_depend_on_when_they_are_made():
    recipe = Recipe(None, seed=3)
    first, other, again = recipe.chunk(5), recipe.chunk(6), recipe.chunk(5)
    assert len(first) == CHUNK
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].image, other[0].image)


@pytest.mark.skipif(not LONDON.is_dir(), reason="needs the London Set beside the repository")
def test_only_training_identities_of_the_london_set_are_seen(monkeypatch):
    seen = set()
    portrait = London.portrait
    monkeypatch.setattr(London, "portrait", lambda *a: seen.add(a[1]) or portrait(*a))
    for number in range(3):
        Recipe(LONDON, seed=number).chunk(number)
    population = London(LONDON, 128)
    assert seen and seen <= set(population.people(Split.TRAIN, 102))


def test_the_committed_weights_are_small_safetensors_and_load_by_the_stock_auto_classes():
    files = [path for path in (WEIGHTS / "nano").iterdir()]
    assert sum(path.stat().st_size for path in files) <= 12 * MEBIBYTE
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".md"}
    model = AutoModelForImageTextToText.from_pretrained(WEIGHTS / "nano")
    processor = AutoProcessor.from_pretrained(WEIGHTS / "nano")
    assert type(model).__module__.startswith("transformers.")
    assert isinstance(model.model.vision_tower, FaceTowerModel)
    assert not model.model.vision_tower.training
    assert len(processor.tokenizer) == model.config.text_config.vocab_size


@pytest.mark.full
@pytest.mark.slow
def test_the_one_command_builds_a_whole_base(tmp_path):
    plan = replace(SMALL, views=192, tower_steps=3, language_steps=2, probe_faces=60)
    build(tmp_path / "base", None, plan, workers=1, device="cpu")
    AutoModelForImageTextToText.from_pretrained(tmp_path / "base")
    assert "not a deepfake detector" in (tmp_path / "base/MODEL_CARD.md").read_text("utf-8")


def test_the_base_knows_the_words_that_answers_are_made_of():
    """A word it never said keeps its first, short embedding, and tuning cannot make it likely."""
    model = AutoModelForImageTextToText.from_pretrained(WEIGHTS / "nano")
    tokenizer = AutoProcessor.from_pretrained(WEIGHTS / "nano").tokenizer
    norms = model.lm_head.weight.norm(dim=-1)
    answers = [answer for options in OPTIONS.values() for answer in options.values()]
    used = sorted({token for answer in answers for token in tokenizer(f" {answer}")["input_ids"]})
    assert norms[used].min() > 0.9 * norms.median()
