"""Inference on a shared image prefix: its keys and values once, then every question from them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from dfa_lib.gpt.forward import (
    Pictures,
    answer_logits,
    core,
    on_device,
    precision,
    prefix_positions,
    token_kinds,
)
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.trees import Branch, Tree, pack


def options(prompter: Prompter, question: str, answers: Sequence[str]) -> Tree:
    """Return the tree of one question with each whole answer as a branch of its own."""
    written = [prompter.answer(question, answer) for answer in answers]
    head, cut = written[0]
    return Tree(head[:cut], [Branch(ids[cut:], 0) for ids, cut in written])


class Prefix:
    """What ``model`` has read of a batch of pictures, as the processor hands them on.

    Questions are asked about image ``owners[i]`` of the batch, any number of each; what they
    read is forgotten afterwards.
    """

    @torch.inference_mode()
    def __init__(self, model: nn.Module, prompter: Prompter, pictures: Pictures) -> None:
        self.model, self.core = model, core(model)
        pictures = on_device(model, pictures)
        grids = pictures.get("image_grid_thw")
        count = len(pictures["pixel_values"] if grids is None else grids)
        ids = torch.tensor([prompter.prefix] * count, device=self.core.device)
        positions, cache = prefix_positions(model, ids, grids), DynamicCache()
        inputs = {"position_ids": positions, **token_kinds(model, ids), **pictures}
        with precision(model):
            self.core.model(ids, past_key_values=cache, use_cache=True, **inputs)
        self.cache, self.end = cache, int(positions.max()) + 1

    @torch.inference_mode()
    def score(self, owners: Sequence[int], rows: Sequence[Sequence[Tree]]) -> list[float]:
        """Return the log-probability of each branch, in their order: a whole answer, end included.

        The trees of row i are asked about image ``owners[i]``.
        """
        packed = pack(rows, past=self.end).to(self.core.device)
        mask = packed.mask(self.core.dtype, self.cache.get_seq_length())
        hidden = self._read(self._cache_of(owners), packed.ids, packed.positions, mask)
        logits = answer_logits(self.model, hidden, packed)
        lost = nn.functional.cross_entropy(logits, packed.targets, reduction="none")
        sums = torch.zeros(int(packed.answers[-1]) + 1, device=hidden.device)
        return sums.index_add(0, packed.answers, -lost).tolist()

    def decode(
        self, owners: Sequence[int], questions: Sequence[Sequence[int]], eos: int, limit: int
    ) -> list[list[int]]:
        """Return greedy answers (ids without ``eos``), all questions of all images side by side.

        Question i is asked about image ``owners[i]``; equal to asking one by one.
        """
        answers: list[list[int]] = [[] for _ in questions]
        for tokens in self.steps(owners, questions, eos, limit):
            for question, token in tokens.items():
                answers[question].append(token)
        return answers

    @torch.inference_mode()
    def steps(
        self, owners: Sequence[int], questions: Sequence[Sequence[int]], eos: int, limit: int
    ) -> Iterator[dict[int, int]]:
        """Yield the next token of each answer that has not ended, by question, as ``decode``."""
        cache, device = self._cache_of(owners), self.core.device
        texts = [torch.tensor(question, device=device) for question in questions]
        ids, real = _padded_left(texts), _padded_left([torch.ones_like(text) for text in texts])
        positions = (real.cumsum(1) - 1).clamp(min=0) + self.end
        seen = nn.functional.pad(real, (cache.get_seq_length(), 0), value=1)
        running = torch.arange(len(questions), device=device)
        for _ in range(limit):
            hidden = self._read(cache, ids, positions, seen)[:, -1]
            logits = self.core.get_output_embeddings()(hidden)
            logits[:, self.core.config.image_token_id] = -torch.inf  # an answer holds no picture
            tokens = logits.argmax(-1)
            going = tokens != eos
            if not going.any():
                return
            if not going.all():  # finished rows leave the batch
                tokens, running = tokens[going], running[going]
                positions, seen = positions[going], seen[going]
                cache.batch_select_indices(going.nonzero()[:, 0])
            yield dict(zip(running.tolist(), tokens.tolist(), strict=True))
            ids, positions = tokens[:, None], positions[:, -1:] + 1
            seen = nn.functional.pad(seen, (0, 1), value=1)

    def _cache_of(self, owners: Sequence[int]) -> DynamicCache:
        """Return a cache to go on with, whose row i is that of image ``owners[i]``."""
        rows = torch.tensor(owners, device=self.core.device)
        return DynamicCache((layer.keys[rows], layer.values[rows]) for layer in self.cache.layers)

    def _read(self, cache: DynamicCache, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Return the hidden states (R, Q, D) of tokens that go on after the cache; extend it.

        ``mask`` says what each token sees, (R, 1, Q, cached + Q), or which are no padding,
        (R, cached + Q).
        """
        inputs = {"attention_mask": mask, "position_ids": positions}
        words = self.core.get_input_embeddings()(ids)
        with precision(self.model):
            return self.core.get_decoder()(
                inputs_embeds=words, past_key_values=cache, use_cache=True, **inputs
            ).last_hidden_state


def _padded_left(rows: list[Tensor]) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_side="left")
