"""Inference on a shared image prefix: its keys and values once, then every question from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, nn
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
from dfa_lib.gpt.trees import Branch, Tree, additive, pack

KeysValues = tuple[tuple[Tensor, Tensor], ...]
"""Per layer keys and values, each (B, heads, tokens, width)."""


@dataclass(frozen=True)
class Prefix:
    """Image prefixes of one length that were read: their cache, and the position after them."""

    cache: KeysValues
    position: int

    @property
    def tokens(self) -> int:
        """Cached tokens of each image."""
        return self.cache[0][0].shape[2]

    @property
    def device(self) -> torch.device:
        """Where the cache lies."""
        return self.cache[0][0].device


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
    return Prefix(_contents(cache), int(positions.max()) + 1)


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
    packed = pack(rows, past=prefix.position).to(prefix.device)
    mask = packed.mask(core(model).dtype, prefix.tokens)
    hidden = _read(model, _cache(prefix.cache, owners), packed.ids, packed.positions, mask)
    sums = torch.zeros(int(packed.answers[-1]) + 1, device=hidden.device)
    lost = nn.functional.cross_entropy(
        answer_logits(model, hidden, packed), packed.targets, reduction="none"
    )
    return sums.index_add(0, packed.answers, -lost).tolist()


@torch.inference_mode()
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
    ids, positions, real = _pad_left(questions, prefix)
    cache, answers = _cache(prefix.cache, owners), [[] for _ in questions]
    alive = torch.arange(len(questions), device=ids.device)
    for _ in range(limit):
        tokens = _next_token(model, cache, ids, positions, real)
        running = tokens != eos
        for index, token in zip(alive[running].tolist(), tokens[running].tolist(), strict=True):
            answers[index].append(token)
        if not running.any():
            break
        if not running.all():  # finished rows leave the batch
            alive, real = alive[running], real[running]
            tokens, positions = tokens[running], positions[running]
            cache.batch_select_indices(running.nonzero()[:, 0])
        ids, positions = tokens[:, None], positions[:, -1:] + 1
        real = nn.functional.pad(real, (0, 1), value=True)
    return answers


@dataclass
class Thread:
    """A chat on one image: the tokens read after its prefix, with keys and values of all."""

    ids: list[int]
    prefix: Prefix
    cache: KeysValues = ()

    @torch.inference_mode()
    def steps(self, model: nn.Module, ids: Sequence[int], eos: int, limit: int) -> Iterator[int]:
        """Yield the greedy answer to a prompt token by token, computing what is new only.

        ``ids`` is the whole conversation after the image; whatever it has in common with
        what was read before is taken from the cache.
        """
        pairs = zip(self.ids, ids[:-1], strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self.ids, fresh = list(ids[:common]), list(ids[common:])
        kept = self.prefix.tokens + common
        read = self.cache or self.prefix.cache
        cache = DynamicCache(tuple((k[:, :, :kept], v[:, :, :kept]) for k, v in read))
        for _ in range(limit):
            behind, positions, _ = _pad_left([fresh], self.prefix)
            real = behind.new_ones(1, self.prefix.tokens + len(self.ids) + len(fresh)).bool()
            token = int(_next_token(model, cache, behind, positions + len(self.ids), real))
            self.cache = _contents(cache)  # first: interrupted here, a longer cache does no harm
            self.ids += fresh
            if token == eos:
                return
            fresh = [token]
            yield token


def _next_token(
    model: nn.Module, cache: DynamicCache, ids: Tensor, positions: Tensor, real: Tensor
) -> Tensor:
    """Feed ``ids`` (R, Q) after the cache; return the likeliest next tokens (R,).

    ``real`` (R, cached + Q) is False where a row is padded.
    """
    place = torch.arange(real.shape[1], device=real.device)
    seen = (place <= place[-ids.shape[1] :, None]) & real[:, None]
    hidden = _read(model, cache, ids, positions, additive(seen, core(model).dtype)[:, None])
    logits = core(model).get_output_embeddings()(hidden[:, -1])
    logits[:, core(model).config.image_token_id] = -torch.inf  # an answer holds no picture
    return logits.argmax(-1)


def _read(
    model: nn.Module, cache: DynamicCache, ids: Tensor, positions: Tensor, mask: Tensor
) -> Tensor:
    """Return the hidden states (R, Q, D) of tokens that go on after the cache, and extend it."""
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


def _pad_left(questions: Sequence[Sequence[int]], prefix: Prefix) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids and positions (R, Q), and which places are no padding (R, cached + Q)."""
    width = max(map(len, questions))
    ids = torch.tensor([[0] * (width - len(q)) + list(q) for q in questions], device=prefix.device)
    gaps = torch.tensor([[width - len(q)] for q in questions], device=prefix.device)
    place = torch.arange(width, device=prefix.device) - gaps
    real = nn.functional.pad(place >= 0, (prefix.tokens, 0), value=True)
    return ids, place.clamp(min=0) + prefix.position, real


def _cache(pairs: KeysValues, rows: Sequence[int]) -> DynamicCache:
    """Return a cache with ``rows`` of these contents; they stay as they are."""
    index = torch.as_tensor(rows, device=pairs[0][0].device)
    return DynamicCache(tuple((keys[index], values[index]) for keys, values in pairs))


def _contents(cache: DynamicCache) -> KeysValues:
    return tuple((layer.keys, layer.values) for layer in cache.layers)
