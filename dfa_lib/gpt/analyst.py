"""Analysts answer questions on face images; the local one is a tuned image-text model."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import ProcessorMixin

from dfa_lib.analysts import TASKS, Question, Reply
from dfa_lib.files import digest
from dfa_lib.gpt.adapter import fingerprint, load_tuned
from dfa_lib.gpt.forward import check_image_tokens, pooled, vision_features
from dfa_lib.gpt.infer import Prefix, options
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
        self._options = cache(lambda text, answers: options(self.prompter, text, answers))
        self._question = cache(self.prompter.question)
        self._seen: tuple[str, Prefix] | None = None

    def reply(
        self, images: Sequence[np.ndarray], questions: Sequence[Sequence[Question]]
    ) -> list[list[Reply]]:
        """Answer ``questions[i]`` on ``images[i]`` (RGB uint8, (H, W, 3)), batch by batch."""
        replies: list[list[Reply]] = []
        for start in range(0, len(images), self.batch):
            batch = slice(start, start + self.batch)
            replies += self._reply(images[batch], questions[batch])
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

    def _reply(
        self, images: Sequence[np.ndarray], questions: Sequence[Sequence[Question]]
    ) -> list[list[Reply]]:
        begin = time.perf_counter()
        prefix = self._read(images)
        chosen = self._choose(prefix, [[q for q in row if q.options] for row in questions])
        free = [(i, q) for i, row in enumerate(questions) for q in row if not q.options]
        written = iter(self._write(prefix, free))
        replies = [[next(chosen if q.options else written) for q in row] for row in questions]
        seconds = (time.perf_counter() - begin) / max(1, sum(map(len, questions)))
        return [[replace(one, seconds=seconds) for one in row] for row in replies]

    def _choose(self, prefix: Prefix, rows: Sequence[Sequence[Question]]) -> Iterator[Reply]:
        """Yield the likeliest option of each question, asked of each image in one row."""
        owners = [image for image, row in enumerate(rows) if row]
        if not owners:
            return
        trees = [[self._options(q.text, q.options) for q in rows[i]] for i in owners]
        scores = iter(prefix.score(owners, trees))
        for question in (q for i in owners for q in rows[i]):
            own = tuple(islice(scores, len(question.options)))
            branches = self._options(question.text, question.options).branches
            tokens = sum(len(branch.ids) for branch in branches)
            yield Reply(question.options[int(np.argmax(own))], own, tokens, 0.0)

    def _write(self, prefix: Prefix, asked: Sequence[tuple[int, Question]]) -> list[Reply]:
        """The greedy answer to each (image, question)."""
        if not asked:
            return []
        owners = [image for image, _ in asked]
        prompts = [self._question(question.text) for _, question in asked]
        limit = self.preset.max_new_tokens
        answers = prefix.decode(owners, prompts, self.prompter.eos, limit)
        return [Reply(self._text(ids), None, len(ids), 0.0) for ids in answers]

    def _text(self, ids: Sequence[int]) -> str:
        return self.prompter.tokenizer.decode(ids, skip_special_tokens=True).lstrip()

    def _prefix_of(self, image: np.ndarray) -> Prefix:
        """The prefix of the image that is talked about, read anew when the image changes."""
        key = digest(image.tobytes())
        if self._seen is None or self._seen[0] != key:
            self._seen = key, self._read([image])
        return self._seen[1]

    def _read(self, images: Sequence[np.ndarray]) -> Prefix:
        return Prefix(self.model, self.prompter, self.prompter.pictures(images))
