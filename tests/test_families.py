"""Families other than LLaVA, end to end: tuned, saved, loaded by peft, merged and served."""

from contextlib import redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from colours import RECORDS, Colours, preset_on, run
from openai import OpenAI
from peft import PeftModel
from served import serving
from stock import stock_answer, stock_prompt
from tiny_families import save_family
from transformers import AutoModelForImageTextToText, AutoProcessor

from dfa_lib.bench import encoder_baseline
from dfa_lib.bench.encoder_baseline import Encoder, FineTuned
from dfa_lib.files import data_uri, png
from dfa_lib.gpt.adapter import load_tuned, merge
from dfa_lib.gpt.analyst import LocalAnalyst, Question
from dfa_lib.gpt.base import load_base
from dfa_lib.gpt.forward import check_image_tokens
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.records import DataError

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing")
NO_TORCHVISION = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="this family's processor needs torchvision"
)
MORE = [pytest.param(name, marks=NO_TORCHVISION) for name in ("mistral3", "qwen2.5-vl")]
QUESTION = "Is it forged?"


@pytest.fixture(scope="module", params=["llava", "idefics3", *MORE])
def tuned(request, tmp_path_factory) -> Path:
    """The folder of a run, its preset's base beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    preset = replace(preset_on(save_family(request.param, folder / "base")), epochs=8)
    _, log = run(preset, folder / "tuned")
    assert log[-1].loss < log[0].loss
    return folder


@pytest.fixture(scope="module")
def merged(tuned) -> tuple[Path, str]:
    """The merged checkpoint, and what merging said."""
    with redirect_stdout(StringIO()) as said:
        return merge(tuned / "tuned", tuned / "merged"), said.getvalue()


def image(number: int) -> np.ndarray:
    return Colours().image(RECORDS[number].face)


def generated(model: torch.nn.Module, processor: AutoProcessor) -> str:
    ids = stock_answer(model, processor, image(1), QUESTION, 12)
    return processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def local_answer(source, preset) -> str:
    analyst = LocalAnalyst(source, replace(preset, max_new_tokens=12))
    return analyst.reply([image(1)], [[Question(QUESTION)]])[0][0].text.strip()


def test_the_processor_writes_as_many_image_tokens_as_the_model_has_features(tuned):
    preset = load_tuned(tuned / "tuned")[2]
    model, processor = load_base(preset)
    prompter = Prompter(processor)
    check_image_tokens(model, prompter)
    told = [stock_prompt(processor, QUESTION)]
    whole = processor(images=[image(0)], text=told)["input_ids"][0]
    assert [*prompter.prefix, *prompter.question(QUESTION)] == list(whole)


def test_its_encoder_alone_can_be_tuned_as_a_rival_where_there_is_room(tuned, monkeypatch):
    preset = load_tuned(tuned / "tuned")[2]
    analyst, pictures = LocalAnalyst(load_base(preset), preset), [image(0), image(1)]
    logits = Encoder(analyst)(analyst.prompter.pictures(pictures))
    assert logits.shape == (2, 5) and logits.isfinite().all() and (logits[0] != logits[1]).any()
    monkeypatch.setattr(encoder_baseline, "free_memory", lambda: 1e-6)
    with pytest.raises(DataError, match=r"fine_tuned: the encoder takes .* 0\.0 are free; leave"):
        FineTuned(analyst, [RECORDS[0].face], epochs=1).logprobs(pictures)


def test_peft_alone_loads_what_was_tuned_and_says_the_same(tuned):
    model, processor, preset = load_tuned(tuned / "tuned")
    stock = AutoModelForImageTextToText.from_pretrained(preset.base)
    plain = PeftModel.from_pretrained(stock, tuned / "tuned" / "adapter").eval()
    expected = local_answer((model, processor), preset)
    assert expected
    assert generated(plain, AutoProcessor.from_pretrained(preset.base)) == expected


def test_merged_it_says_the_same_and_never_an_image_token(tuned, merged):
    model, processor, preset = load_tuned(tuned / "tuned")
    expected = local_answer((model, processor), preset)
    whole = AutoModelForImageTextToText.from_pretrained(merged[0])
    assert "merged: the logits of an answer moved by" in merged[1]
    assert local_answer((whole, processor), preset) == expected
    wanted = torch.zeros(model.get_output_embeddings().weight.shape[0])
    wanted[processor.image_token_id] = 1e4  # likelier than anything else
    for one in (model, whole):
        one.get_output_embeddings().register_forward_hook(lambda *given: given[-1] + wanted)
    assert local_answer((model, processor), preset) == expected
    assert generated(whole, processor) == expected


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_served_it_says_the_same(tuned, merged):
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    model, processor, preset = load_tuned(tuned / "tuned")
    expected = local_answer((model, processor), preset)
    # not Endpoint: it takes a picture of four tokens for one that the server dropped
    shown = {"type": "image_url", "image_url": {"url": data_uri(png(image(1)))}}
    asked = {"role": "user", "content": [shown, {"type": "text", "text": QUESTION}]}
    with serving(tuned, merged[0]) as served:
        client = OpenAI(base_url=served.url, api_key="-")
        done = client.chat.completions.create(
            model=served.model, messages=[asked], max_tokens=12, temperature=0
        )
    assert done.choices[0].message.content.strip() == expected
