"""The nano base: what it may see, what it must not, and that the committed weights load."""

import ast
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from dfa_lib.gpt.faceconv import FaceConvModel
from dfa_lib.gpt.presets import WEIGHTS
from dfa_lib.instruct.conversations import OPTIONS
from dfa_lib.instruct.london import London
from dfa_lib.taxonomy import CLASSES, Artifact, Region, Split
from facesim.people import portrait as modelled
from tools.nano import phrases
from tools.nano.__main__ import build
from tools.nano.pool import Sitter, london, make_views
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


def test_a_mirrored_view_keeps_truth_and_picture_together(views):
    view = next(view for view in views if view.named)
    mirror = view.mirrored()
    assert np.array_equal(mirror.image[:, 0], view.image[:, -1])
    assert np.array_equal(mirror.altered[:, 0], view.altered[:, -1])
    assert np.array_equal(mirror.mirrored().regions, view.regions)


def test_the_report_names_each_region_with_what_it_shows():
    named = {
        Region.NOSE: Artifact.BLUR,
        Region.EYES: Artifact.BLUR,
        Region.CHIN: Artifact.GRID_PATTERN,
    }
    assert phrases.report(named) == "The eyes and nose show blur. The chin shows grid pattern."
    assert phrases.report({}).startswith("No artifact stands out")


def test_questions_about_regions_are_answered_truly(views, portrait):
    rng = np.random.default_rng(1)
    for view in views[:20]:
        named = dict(view.named)
        for question, answer in phrases.generic_qa(view, Sitter(portrait, {}), rng):
            for region in Region:
                if f"The {region} look" in answer and "natural" in answer:
                    assert region not in named, question


def test_views_do_not_depend_on_when_they_are_made(portrait):
    sitters = [Sitter(portrait, {})]
    first, again = (make_views(sitters, [], 70, seed=3) for _ in range(2))
    pairs = zip(first, again, strict=True)
    assert all(np.array_equal(one.image, other.image) for (one, _), (other, _) in pairs)


@pytest.mark.skipif(not LONDON.is_dir(), reason="needs the London Set beside the repository")
def test_only_training_identities_of_the_london_set_are_seen():
    population = London(LONDON, 128)
    assert len(london(LONDON)) == 2 * len(population.people(Split.TRAIN, 102))
    held_out = {*population.people(Split.TEST, 102), *population.people(Split.VAL, 102)}
    assert held_out and not held_out & set(population.people(Split.TRAIN, 102))


def test_the_committed_weights_are_small_safetensors_and_load_by_the_stock_auto_classes():
    files = [path for path in (WEIGHTS / "nano").iterdir()]
    assert sum(path.stat().st_size for path in files) <= 12 * MEBIBYTE
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".md"}
    model = AutoModelForImageTextToText.from_pretrained(WEIGHTS / "nano")
    processor = AutoProcessor.from_pretrained(WEIGHTS / "nano")
    assert type(model).__module__.startswith("transformers.")
    assert isinstance(model.model.vision_tower, FaceConvModel)
    assert not model.model.vision_tower.training
    assert len(processor.tokenizer) == model.config.text_config.vocab_size


@pytest.mark.full
@pytest.mark.slow
def test_the_one_command_builds_a_whole_base(tmp_path):
    build(tmp_path / "base", None, faces=8, views=96, epochs=1, steps=2)
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
