"""Answers per second with the image read once, against ``generate`` with it for every question.

Nano, tuned, writes out the answers to the benchmark's own questions (three wordings of DF-D,
three of DF-C, one description) on faces of the rescue copy: all of them side by side from the
keys and values of each image, then one by one, as evaluation scripts of the field do. Token for
token they must be the same. Then a chat on LLaVA-1.5 in small: how long until the first token
of the first question, and of one that follows.

Last line: one JSON object. ``ttft_ratio``: follow-up over first question.

    python -m benchmarks.infer_throughput
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from benchmarks.small_llava import IMAGE, VOCABULARY, small_llava
from dfa_lib.analysts import Question
from dfa_lib.bench.exam import set_exam
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.forward import Prefix
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.runtime import RESCUE

FACES, ROUNDS = 32, 5
FIRST, ANSWER, FOLLOW = 40, 24, 20
"""Tokens in the chat: the first question, its answer, the next question."""
Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that ``work`` takes, and what it returns."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


@torch.inference_mode()
def side_by_side(
    analyst: LocalAnalyst, images: Sequence[np.ndarray], asked: Sequence[Question]
) -> list[list[int]]:
    """Token ids of all answers, image by image."""
    prompter = analyst.prompter
    prefix = Prefix(analyst.model, prompter, prompter.pictures(images))
    owners = [place for place in range(len(images)) for _ in asked]
    prompts = [prompter.question(question.text) for question in asked] * len(images)
    limit = analyst.preset.max_new_tokens
    return prefix.decode(owners, prompts, prompter.eos, limit)


@torch.inference_mode()
def one_by_one(
    analyst: LocalAnalyst, images: Sequence[np.ndarray], asked: Sequence[Question]
) -> list[list[int]]:
    """The same from ``generate``, as the model's own documentation does it."""
    processor, answers = analyst.prompter.processor, []
    for image in images:
        for question in asked:
            parts = [{"type": "image"}, {"type": "text", "text": question.text}]
            turn = [{"role": "user", "content": parts}]
            prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
            inputs = processor(images=Image.fromarray(image), text=prompt, return_tensors="pt")
            limit = analyst.preset.max_new_tokens
            out = analyst.model.generate(**inputs, max_new_tokens=limit, do_sample=False)
            ids = out[0, inputs["input_ids"].shape[1] :].tolist()
            answers.append(ids[:-1] if ids[-1] == analyst.prompter.eos else ids)
    return answers


def throughput() -> tuple[float, bool]:
    """How many times more answers per second, and whether all are the same."""
    analyst = LocalAnalyst(RESCUE / "02_gpt")
    exam = set_exam(FaceSet.read(RESCUE / "01_instruct"))
    images = [exam.faces.image(face) for face in exam.test[:FACES]]
    asked = [question for questions in exam.questions.values() for question in questions]
    side_by_side(analyst, images[:2], asked)  # warm-up
    one_by_one(analyst, images[:1], asked[:1])
    ours, answers = min(timed(lambda: side_by_side(analyst, images, asked)) for _ in range(2))
    theirs, expected = timed(lambda: one_by_one(analyst, images, asked))
    count = len(expected)
    print(f"nano, {len(images)} images, {count} questions")
    print(f"| side by side | {count / ours:.1f} answers/s |\n| one by one | {count / theirs:.1f} |")
    return theirs / ours, answers == expected


class FixedPrompt:
    """Stands in for a Prompter: the random model has no words, only their number."""

    prefix = (1, *[IMAGE] * 576)


@torch.inference_mode()
def first_tokens() -> tuple[float, float]:
    """Seconds to the first token of the first question and of the next, in one chat."""
    model = small_llava()
    picture = torch.randn(1, 3, 336, 336)
    ids = torch.randint(4, VOCABULARY, (FIRST + ANSWER + FOLLOW,)).tolist()

    def first() -> Prefix:
        prefix = Prefix(model, FixedPrompt(), {"pixel_values": picture})
        next(prefix.steps([0], [ids[:FIRST]], -1, 1))
        return prefix

    def follow(prefix: Prefix) -> None:
        next(prefix.steps([0], [ids], -1, 1))

    opening, following = [], []
    for _ in range(ROUNDS + 1):
        seconds, prefix = timed(first)
        opening.append(seconds)
        following.append(timed(lambda: follow(prefix))[0])  # noqa: B023
    return min(opening[1:]), min(following[1:])


def main() -> dict[str, float | bool]:
    """Print both comparisons; the JSON of the last line."""
    ratio, identical = throughput()
    opening, following = first_tokens()
    print("\nLLaVA-1.5 in small, time to first token")
    print(f"| first question | {opening * 1e3:.0f} ms |\n| follow-up | {following * 1e3:.0f} ms |")
    ttft = following / opening
    return {"ratio": round(ratio, 2), "ttft_ratio": round(ttft, 4), "identical": identical}


if __name__ == "__main__":
    print(json.dumps(main()))
