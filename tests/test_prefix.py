"""Sharing the image prefix changes the cost, not the numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from stock import stock_answer, stock_prompt
from tiny_llava import tiny_llava
from transformers import AutoModelForImageTextToText

from benchmarks.any_base import FAMILIES, compare, inputs
from dfa_lib.gpt.forward import (
    Prefix,
    PrefixLoss,
    check_image_tokens,
    on_device,
    shares,
    token_kinds,
    vision_features,
)
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.trees import TREES, Branch, Packed, Tree, additive, fitted, pack
from dfa_lib.records import DataError

TINY = [(text, vision) for text in ("llama", "qwen2") for vision in ("clip", "siglip")]
QA = [
    [("Is it forged?", "This face is forged."), ("Why?", "The nose is."), ("Sure?", "Yes.")],
    [("What about the mouth of this face?", "Nothing is wrong with it.")],
    [("Is it?", "No."), ("Describe the eyes.", "The eyes show a blending boundary.")],
]


@pytest.fixture(scope="module", params=TINY, ids="+".join)
def tiny(request):
    text, vision = request.param
    return tiny_llava(text, vision=vision)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in QA]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_base_that_cannot_share_is_told_from_one_that_rounds(dtype, images, monkeypatch):
    """As where image tokens look at each other: here a branch sees the branches before it."""
    model, processor = tiny_llava()
    model.to(dtype).set_attn_implementation({"": "sdpa", "text_config": TREES})
    (tree,) = trees_of(processor, QA[:1])
    pictures = on_device(model, Prompter(processor).pictures(images[:1]))
    assert shares(model, tree, pictures)
    monkeypatch.setattr(Packed, "mask", lambda packed, dtype: causal(packed.ids.shape[1], dtype))
    assert not shares(model, tree, pictures)


def causal(width, dtype):
    return additive(torch.ones(width, width, dtype=torch.bool).tril(), dtype)[None, None]


def trees_of(processor, qa):
    prompter = Prompter(processor)
    written = [[prompter.answer(*pair) for pair in pairs] for pairs in qa]
    return [Tree(prompter.prefix, [Branch(*one) for one in row]) for row in written]


def packed_loss(model, processor, images, qa):
    packed = pack([trees_of(processor, qa)])
    return PrefixLoss(model)(Prompter(processor).pictures(images), packed)


def stock_inputs(processor, image, question, answer):
    """One QA the usual way: the processor expands the image, labels mask the prompt."""
    prompt = stock_prompt(processor, question)
    gap = "" if prompt.endswith("\n") else " "
    texts = [prompt, prompt + gap + answer + processor.tokenizer.eos_token]
    picture = Image.fromarray(image)
    start = processor(images=[picture], text=[texts[0]], return_tensors="pt").input_ids.shape[1]
    inputs = processor(images=[picture], text=[texts[1]], return_tensors="pt")
    inputs["labels"] = inputs.input_ids.clone()
    inputs["labels"][:, :start] = -100
    return inputs


def independent_loss(model, processor, images, qa):
    total = torch.zeros(())
    for image, pairs in zip(images, qa, strict=True):
        for question, answer in pairs:
            inputs = stock_inputs(processor, image, question, answer)
            supervised = (inputs["labels"] != -100).sum()
            total = total + model(**inputs).loss * supervised
    return total


def loss_and_gradients(model, loss_of, *args):
    model.zero_grad()
    loss = loss_of(model, *args) / 40
    loss.backward()
    return loss.item(), {
        name: p.grad for name, p in model.named_parameters() if "vision_tower" not in name
    }


def assert_equal(ours, theirs):
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert ours[0] > 1
    for name, gradient in ours[1].items():
        torch.testing.assert_close(gradient, theirs[1][name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("attention", ["eager", "sdpa", TREES])
def test_loss_and_gradients_equal_independent_samples(tiny, images, attention):
    model, processor = tiny
    theirs = loss_and_gradients(model, independent_loss, processor, images, QA)
    model.set_attn_implementation({"text_config": attention})
    assert_equal(loss_and_gradients(model, packed_loss, processor, images, QA), theirs)
    model.set_attn_implementation("eager")


OTHERS = ("LLaVA-OneVision", "SmolVLM", "InternVL")
WIDE = pytest.param("Qwen3-VL", marks=pytest.mark.full)  # its vocabulary takes seconds


@pytest.mark.parametrize("family", [*OTHERS, WIDE])
def test_loss_and_gradients_of_other_families_equal_padded_batches(family):
    found = compare(FAMILIES[family]())
    assert found["shares"] and max(found["max_loss_diff"], found["max_grad_diff"]) <= 1e-5


@pytest.mark.parametrize("family", [*OTHERS, "Qwen3-VL"])
def test_other_families_answer_as_generate_does(family):
    torch.manual_seed(0)
    config = FAMILIES[family]()
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32).eval()
    count, pictures = inputs(config, images=2)
    prompter = SimpleNamespace(prefix=[1, *[config.image_token_id] * count, 5])
    owners, questions = [0, 1, 1], [[7, 8, 9], [10, 11, 12, 13], [20]]
    ours = Prefix(model, prompter, pictures).decode(owners, questions, -1, 8)
    for owner, question, answer in zip(owners, questions, ours, strict=True):
        ids = torch.tensor([[*prompter.prefix, *question]])
        seen = {key: value.chunk(2)[owner] for key, value in pictures.items()}
        length = {"max_new_tokens": 8, "min_new_tokens": 8}
        rules = {"do_sample": False, "suppress_tokens": [config.image_token_id], **length}
        told = model.generate(ids, **seen, **token_kinds(model, ids), **rules)
        assert told[0, ids.shape[1] :].tolist() == answer


def test_rows_hold_whole_trees_up_to_a_budget(tiny):
    trees = trees_of(tiny[1], [*QA, QA[1], QA[0]])
    trees = [tree._replace(face=str(number)) for number, tree in enumerate(trees)]
    longest = max(tree.tokens for tree in trees)
    for budget in (1, longest, longest + 40, 10_000):
        filled = fitted(trees, budget)
        assert sorted(s.face for row in filled for s in row) == sorted(s.face for s in trees)
        assert all(len(row) == 1 or sum(s.tokens for s in row) <= budget for row in filled)
    assert len(fitted(trees, 10_000)) == 1 and len(fitted(trees, 1)) == len(trees)
    assert 1 < len(fitted(trees, longest + 40)) < len(trees)


def test_nothing_leaks_between_branches(tiny, images):
    model, processor = tiny
    alone = packed_loss(model, processor, images[:1], [QA[0][1:2]])
    for first in ("This face is forged.", "Something else, and longer."):
        with_first = packed_loss(model, processor, images[:1], [[("Is it?", first), QA[0][1]]])
        without = packed_loss(model, processor, images[:1], [[("Is it?", first)]])
        assert (with_first - without).item() == pytest.approx(alone.item(), abs=1e-4)


def test_labels_spell_the_answer_and_its_end(tiny):
    _, processor = tiny
    prompter = Prompter(processor)
    ids, cut = prompter.answer("Is it forged?", "This face is forged.")
    assert ids[-1] == processor.tokenizer.eos_token_id
    assert processor.tokenizer.decode(ids[cut:-1]).strip() == "This face is forged."
    assert ids[:cut] == prompter.question("Is it forged?")


def test_mask_of_two_trees_in_a_row():
    trees = [Tree([1, 2], [Branch([3], 0), Branch([4, 5], 1)]), Tree([6], [Branch([7], 1)])]
    packed = pack([trees, [Tree([1], [])]])
    seen = packed.mask(torch.float32)[0, 0] == 0
    expected = ["1000000", "1100000", "1110000", "1101000", "1101100", "0000010", "0000011"]
    assert ["".join(str(int(x)) for x in row) for row in seen] == expected
    assert packed.positions[0].tolist() == [0, 1, 2, 2, 3, 0, 1]
    assert packed.sources.tolist() == [1, 3] and packed.targets.tolist() == [3, 5]


def test_vision_features_are_of_each_patch(tiny, images):
    model, processor = tiny
    features = vision_features(model, Prompter(processor).pictures(images))
    assert features.shape[0] == len(images) and features.shape[1] in (16, 17)
    assert features.shape[2] == model.config.vision_config.hidden_size


def test_a_processor_that_miscounts_is_refused():
    model, processor = tiny_llava("llama")
    processor.num_additional_image_tokens = 0
    with pytest.raises(DataError, match="15 image tokens where the model has 16 features"):
        check_image_tokens(model, Prompter(processor))


def test_option_scores_equal_whole_sequences(tiny, images):
    model, processor = tiny
    prompter = Prompter(processor)
    answers = ["This face is forged.", "This face is bona fide.", "No."]
    first = [prompter.options(q, answers) for q in ("Is it?", "Is this face forged?")]
    prefix = Prefix(model, prompter, prompter.pictures(images))
    ours = prefix.score([2, 0], [first, [prompter.options("Why?", answers)]])
    asked = [(2, "Is it?"), (2, "Is this face forged?"), (0, "Why?")]
    for index, (image, question) in enumerate(asked):
        for place, answer in enumerate(answers):
            whole = independent_loss(model, processor, [images[image]], [[(question, answer)]])
            assert ours[3 * index + place] == pytest.approx(-whole.item(), abs=1e-4)


def test_batched_greedy_answers_equal_one_by_one_generate(tiny, images):
    model, processor = tiny
    prompter = Prompter(processor)
    asked = [(0, "Is it forged?"), (2, "Why?"), (0, "Describe the eyes of this face."), (1, "?")]
    prefix = Prefix(model, prompter, prompter.pictures(images))
    # a frequent token of these random answers plays the end of sequence for some rows
    never = {"suppress_tokens": [processor.image_token_id]}
    free = [stock_answer(model, processor, images[i], q, 12, **never) for i, q in asked]
    stop = free[0][min(3, len(free[0]) - 1)]
    owners, questions = zip(*((i, prompter.question(q)) for i, q in asked), strict=True)
    assert prefix.decode(owners, questions, prompter.eos, 12) == free
    cut = [ids[: ids.index(stop)] if stop in ids else ids for ids in free]
    assert prefix.decode(owners, questions, stop, 12) == cut
