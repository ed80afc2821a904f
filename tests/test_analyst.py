"""The local analyst: batches of images, several questions each, and a chat."""

from dataclasses import replace

import numpy as np
import pytest
from stock import stock_answer
from tiny_llava import tiny_llava

from dfa_lib.analysts import Question
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.base import load_base
from dfa_lib.gpt.forward import Prefix
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import NANO
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.runtime import RESCUE
from dfa_lib.taxonomy import Task

FACES = RESCUE / "01_instruct"

OPTIONS = ("This face is bona fide.", "This face is forged.")
QUESTIONS = [
    [Question("Is it forged?", Task.DF_D, OPTIONS), Question("Describe the eyes.", Task.AD)],
    [Question("Why?"), Question("Which is it?", Task.DF_C, (*OPTIONS, "No."))],
    [Question("What about the nose?")],
    [],
    [Question("Is it forged?", Task.DF_D, OPTIONS), Question("Really?", Task.DF_D, OPTIONS)],
]


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def pair(request):
    return tiny_llava(request.param)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (40, 40, 3), dtype=np.uint8) for _ in QUESTIONS]


def test_batched_replies_equal_single_ones(pair, images):
    together = LocalAnalyst(pair, batch=3).reply(images, QUESTIONS)
    alone = LocalAnalyst(pair, batch=1)
    for image, questions, replies in zip(images, QUESTIONS, together, strict=True):
        assert len(replies) == len(questions)
        for question, reply in zip(questions, replies, strict=True):
            single = alone.reply([image], [[question]])[0][0]
            assert reply.text == single.text
            assert (reply.logprobs is None) == (question.options is None)
            if question.options:
                np.testing.assert_allclose(reply.logprobs, single.logprobs, atol=1e-4)
                assert reply.text == question.options[int(np.argmax(reply.logprobs))]


def test_stream_joins_to_the_written_answer(pair, images):
    analyst = LocalAnalyst(pair)
    for question in ("Why?", "Describe the eyes."):
        pieces = list(analyst.stream(images[0], [], question))
        assert "".join(pieces) == analyst.reply(images[:1], [[Question(question)]])[0][0].text


def test_history_is_read_as_far_as_the_preset_follows(pair, images):
    history = [("Is it forged?", "This face is forged."), ("Why?", "The nose is blurred.")]
    forgetful = LocalAnalyst(pair, replace(NANO, turns=0))
    attentive = LocalAnalyst(pair, replace(NANO, turns=2))
    assert list(forgetful.stream(images[0], history, "Sure?")) == list(
        forgetful.stream(images[0], [], "Sure?")
    )
    answer = "".join(attentive.stream(images[0], history, "Sure?"))
    again = "".join(LocalAnalyst(pair, replace(NANO, turns=2)).stream(images[0], history, "Sure?"))
    assert answer == again


def test_features_pool_the_vision_tower(pair, images):
    features = LocalAnalyst(pair, batch=2).features(images)
    assert features.shape == (len(images), 2 * pair[0].config.vision_config.hidden_size)
    assert features.dtype == np.float32
    assert len(np.unique(features, axis=0)) == len(images)


def test_the_embedded_base_writes_the_tokens_of_generate():
    """Random weights leave clear winners; trained ones come closer to a tie."""
    model, processor = load_base(NANO)
    prompter, faces = Prompter(processor), FaceSet.read(FACES)
    pictures = [faces.image(face) for face in faces.faces[:3]]
    texts = ["Has this face been forged?", "Describe the quality of the picture.", "And the nose?"]
    prefix = Prefix(model, prompter, prompter.pictures(pictures))
    owners = [image for image in range(3) for _ in texts]
    asked = [prompter.question(text) for text in texts] * 3
    ours = prefix.decode(owners, asked, prompter.eos, 40)
    for picture, text, ids in zip(np.repeat(pictures, 3, 0), texts * 3, ours, strict=True):
        assert ids == stock_answer(model, processor, picture, text, 40)
