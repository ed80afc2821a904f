"""Inference on a shared image prefix: its keys and values once, then every question from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Prefix:
    """Image prefixes of one length that were read: their cache, and the position after them."""

    cache: DynamicCache
    position: int

    def of(self, owners: Sequence[int]) -> DynamicCache:
        """Return a cache to go on with, whose row i is that of image ``owners[i]``."""
        rows = torch.tensor(owners, device=self.cache.layers[0].keys.device)
        return DynamicCache((layer.keys[rows], layer.values[rows]) for layer in self.cache.layers)


@torch.inference_mode()
def encode_prefix(model: nn.Module, prompter: Prompter, pictures: Pictures) -> Prefix:
    """Read the image prefix of a batch of pictures, as the processor hands them on."""
    pictures = on_device(model, pictures)
    grids = pictures.get("image_grid_thw")
    count = len(pictures["pixel_values"] if grids is None else grids)
    ids = torch.tensor([prompter.prefix] * count, device=core(model).device)
    positions, cache = prefix_positions(model, ids, grids), DynamicCache()
    with precision(model):
        core(model).model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **token_kinds(model, ids),
            **pictures,
        )
    return Prefix(cache, int(positions.max()) + 1)


def options(prompter: Prompter, question: str, answers: Sequence[str]) -> Tree:
    """The tree of one question with each whole answer as a branch of its own."""
    written = [prompter.answer(question, answer) for answer in answers]
    head, cut = written[0]
    return Tree(head[:cut], [Branch(ids[cut:], 0) for ids, cut in written])


@torch.inference_mode()
def score(
    model: nn.Module, prefix: Prefix, owners: Sequence[int], rows: Sequence[Sequence[Tree]]
) -> list[float]:
    """Return the log-probability of each branch, in their order: a whole answer, end included.

    Row i is asked about image ``owners[i]`` of the prefix batch.
    """
    packed = pack(rows, past=prefix.position).to(core(model).device)
    mask = packed.mask(core(model).dtype, prefix.cache.get_seq_length())
    hidden = _read(model, prefix.of(owners), packed.ids, packed.positions, mask)
    sums = torch.zeros(int(packed.answers[-1]) + 1, device=hidden.device)
    lost = nn.functional.cross_entropy(
        answer_logits(model, hidden, packed), packed.targets, reduction="none"
    )
    return sums.index_add(0, packed.answers, -lost).tolist()


def decode(
    model: nn.Module,
    prefix: Prefix,
    owners: Sequence[int],
    questions: Sequence[Sequence[int]],
    eos: int,
    limit: int,
) -> list[list[int]]:
    """Return greedy answers (ids without ``eos``), all questions of all images side by side.

    Question i is asked about image ``owners[i]`` of the prefix batch; equal to asking one by one.
    """
    answers: list[list[int]] = [[] for _ in questions]
    for tokens in decode_steps(model, prefix, owners, questions, eos, limit):
        for row, token in tokens.items():
            answers[row].append(token)
    return answers


@torch.inference_mode()
def decode_steps(
    model: nn.Module,
    prefix: Prefix,
    owners: Sequence[int],
    questions: Sequence[Sequence[int]],
    eos: int,
    limit: int,
) -> Iterator[dict[int, int]]:
    """Yield the next token of each answer that has not ended, by question, as ``decode`` does."""
    device, cache = core(model).device, prefix.of(owners)
    ids, real = (
        pad_sequence(rows, batch_first=True, padding_side="left").to(device)
        for rows in (
            [torch.tensor(question) for question in questions],
            [torch.ones(len(question), dtype=torch.long) for question in questions],
        )
    )
    positions = (real.cumsum(1) - 1).clamp(min=0) + prefix.position
    seen = nn.functional.pad(real, (cache.get_seq_length(), 0), value=1)
    running = torch.arange(len(questions), device=device)
    for _ in range(limit):
        hidden = _read(model, cache, ids, positions, seen)[:, -1]
        logits = core(model).get_output_embeddings()(hidden)
        logits[:, core(model).config.image_token_id] = -torch.inf  # an answer holds no picture
        tokens = logits.argmax(-1)
        going = tokens != eos
        if not going.all():  # finished rows leave the batch
            running, tokens, positions, seen = (
                rows[going] for rows in (running, tokens, positions, seen)
            )
            cache.batch_select_indices(going.nonzero()[:, 0])
        if not going.any():
            return
        yield dict(zip(running.tolist(), tokens.tolist(), strict=True))
        ids, positions = tokens[:, None], positions[:, -1:] + 1
        seen = nn.functional.pad(seen, (0, 1), value=1)


def _read(
    model: nn.Module, cache: DynamicCache, ids: Tensor, positions: Tensor, mask: Tensor
) -> Tensor:
    """Return the hidden states (R, Q, D) of tokens that go on after the cache, and extend it.

    ``mask`` says what each token sees, (R, 1, Q, cached + Q), or which are no padding, (R, cached
    + Q).
    """
    words = core(model).get_input_embeddings()(ids)
    with precision(model):
        read = core(model).get_decoder()(
            inputs_embeds=words,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
    return read.last_hidden_state
