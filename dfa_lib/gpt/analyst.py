"""Analysts answer questions on face images; the local one is a tuned image-text model."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import ProcessorMixin

from dfa_lib.analysts import TASKS, Question, Reply
from dfa_lib.files import digest
from dfa_lib.gpt.adapter import fingerprint, load_tuned
from dfa_lib.gpt.forward import Prefix, check_image_tokens, pooled, vision_features
from dfa_lib.gpt.prefix import Prompter, Turn
from dfa_lib.gpt.presets import NANO, Preset


class LocalAnalyst:
    """An image-text model on this machine, tuned or not; all questions share the image prefix.

    ``source`` is the folder tuning wrote, or a model in memory with its processor.
    """

    tasks = TASKS
    place = ""

    def __init__(
        self,
        source: Path | tuple[nn.Module, ProcessorMixin],
        preset: Preset = NANO,
        name: str = "dfa-gpt",
        batch: int = 32,
    ) -> None:
        if isinstance(source, tuple):
            model, processor = source
        else:
            model, processor, preset = load_tuned(source)
        self.name = name
        self.fingerprint = fingerprint(model)
        if not isinstance(source, tuple) and not preset.four_bit:  # nf4 weights would be rounded
            model = model.merge_and_unload()
        self.model = model.eval()
        self.preset, self.side = preset, preset.side
        self.batch = batch
        self.prompter = Prompter(processor)
        check_image_tokens(self.model, self.prompter)
        self._options = cache(self.prompter.options)
        self._question = cache(self.prompter.question)
        self._seen: tuple[str, Prefix] | None = None

    def reply(
        self, images: Sequence[np.ndarray], questions: Sequence[Sequence[Question]]
    ) -> list[list[Reply]]:
        """Answer ``questions[i]`` on ``images[i]`` (RGB uint8, (H, W, 3)), batch by batch."""
        replies: list[list[Reply]] = []
        for start in range(0, len(images), self.batch):
            begin = time.perf_counter()
            asked = questions[start : start + self.batch]
            seen = self.prompter.pictures(images[start : start + self.batch])
            prefix = Prefix(self.model, self.prompter, seen)
            chosen = self._choose(prefix, [[q for q in row if q.options] for row in asked])
            free = [(i, q) for i, row in enumerate(asked) for q in row if not q.options]
            written = self._write(prefix, free)
            told = [[next(chosen if q.options else written) for q in row] for row in asked]
            seconds = (time.perf_counter() - begin) / max(1, sum(map(len, asked)))
            replies += [[replace(one, seconds=seconds) for one in row] for row in told]
        return replies

    def stream(self, image: np.ndarray, history: Sequence[Turn], text: str) -> Iterator[str]:
        """Answer ``text`` piece by piece; the image of the question before is not read again."""
        turns = list(history)[-self.preset.turns :] if self.preset.turns else []
        ids, limit = self.prompter.question(text, turns), self.preset.max_new_tokens
        prefix, tokens, shown = self._prefix_of(image), [], ""
        for step in prefix.steps([0], [ids], self.prompter.eos, limit):
            tokens.append(step[0])
            whole = self._text(tokens)
            if not whole.endswith("\ufffd"):  # half of a character waits for the other half
                yield whole[len(shown) :]
                shown = whole
        if rest := self._text(tokens)[len(shown) :]:
            yield rest

    def features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """What a linear probe sees: vision-tower features, mean and maximum over the patches.

        (N, 2 C) float32; the same tower the language model looks through.
        """
        starts = range(0, len(images), self.batch)
        batches = (self.prompter.pictures(images[i : i + self.batch]) for i in starts)
        rows = [pooled(vision_features(self.model, seen).float()).cpu() for seen in batches]
        return torch.cat(rows).numpy()

    def _choose(self, prefix: Prefix, rows: Sequence[Sequence[Question]]) -> Iterator[Reply]:
        """Yield the likeliest option of each question, asked of each image in one row."""
        owners = [image for image, row in enumerate(rows) if row]
        trees = [[self._options(q.text, q.options) for q in rows[i]] for i in owners]
        scores = iter(prefix.score(owners, trees))
        for question, tree in zip(chain(*rows), chain(*trees), strict=True):
            own = tuple(islice(scores, len(question.options)))
            tokens = tree.tokens - len(tree.prefix)
            yield Reply(question.options[int(np.argmax(own))], own, tokens, 0.0)

    def _write(self, prefix: Prefix, asked: Sequence[tuple[int, Question]]) -> Iterator[Reply]:
        """Yield the greedy answer to each (image, question), all written side by side."""
        owners = [image for image, _ in asked]
        prompts = [self._question(question.text) for _, question in asked]
        limit = self.preset.max_new_tokens
        for ids in prefix.decode(owners, prompts, self.prompter.eos, limit):
            yield Reply(self._text(ids), None, len(ids), 0.0)

    def _text(self, ids: Sequence[int]) -> str:
        return self.prompter.tokenizer.decode(ids, skip_special_tokens=True).lstrip()

    def _prefix_of(self, image: np.ndarray) -> Prefix:
        """The prefix of the image that is talked about, read anew when the image changes."""
        key = digest(image.tobytes())
        if self._seen is None or self._seen[0] != key:
            self._seen = key, Prefix(self.model, self.prompter, self.prompter.pictures([image]))
        return self._seen[1]
