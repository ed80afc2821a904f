"""Inference on a shared image prefix: its keys and values once, then every question from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from dfa_lib.gpt.forward import (
    Pictures,
    answer_logits,
    core,
    on_device,
    prefix_positions,
    token_kinds,
)
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.trees import Node, pack

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
    core(model).model(
        input_ids=ids,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        **token_kinds(model, ids),
        **pictures,
    )
    return Prefix(_contents(cache), int(positions.max()) + 1)


def options(prompter: Prompter, question: str, answers: Sequence[str]) -> list[Node]:
    """The tree of one question with each whole answer as a branch of its own."""
    written = [prompter.answer(question, answer) for answer in answers]
    head, cut = written[0]
    return [Node(head[:cut]), *(Node(ids[cut:], parent=0, answer=0) for ids, cut in written)]


@torch.inference_mode()
def score(
    model: nn.Module, prefix: Prefix, owners: Sequence[int], trees: Sequence[Sequence[Node]]
) -> list[float]:
    """Log-probability of each whole answer, end of sequence included, in the order of the nodes.

    Tree i is asked about image ``owners[i]`` of the prefix batch.
    """
    packed = pack(trees, past=prefix.position).to(prefix.device)
    words = core(model).get_input_embeddings()(packed.ids)
    hidden = (
        core(model)
        .get_decoder()(
            inputs_embeds=words,
            attention_mask=packed.mask(words.dtype, prefix.tokens),
            position_ids=packed.positions,
            past_key_values=_cache(prefix.cache, owners),
            use_cache=True,
        )
        .last_hidden_state
    )
    sums = torch.zeros(sum(n.answer is not None for t in trees for n in t), device=words.device)
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
    """Greedy answers (token ids without ``eos``), all questions of all images side by side.

    Question i is asked about image ``owners[i]`` of the prefix batch; equal to asking one by one.
    """
    ids, positions, open_ = _pad_left(questions, prefix)
    cache, answers = _cache(prefix.cache, owners), [[] for _ in questions]
    alive = torch.arange(len(questions), device=ids.device)
    for _ in range(limit):
        tokens = _next_token(model, cache, ids, positions, open_)
        running = tokens != eos
        for index, token in zip(alive[running].tolist(), tokens[running].tolist(), strict=True):
            answers[index].append(token)
        if not running.any():
            break
        if not running.all():  # finished rows leave the batch
            alive, open_ = alive[running], open_[running]
            tokens, positions = tokens[running], positions[running]
            cache = _cache(_contents(cache), running.nonzero()[:, 0])
        ids, positions = tokens[:, None], positions[:, -1:] + 1
        open_ = nn.functional.pad(open_, (0, 1), value=True)
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
        common = _common(self.ids, ids[:-1])
        self.ids = list(ids[:common])
        cache = _cache(_crop(self.cache or self.prefix.cache, self.prefix.tokens + common))
        fresh = list(ids[common:])
        for _ in range(limit):
            place, device = self.prefix.position + len(self.ids), self.prefix.device
            batch = torch.tensor([fresh], device=device)
            positions = torch.arange(place, place + len(fresh), device=device)[None]
            read = self.prefix.tokens + len(self.ids) + len(fresh)
            seen = torch.ones(1, read, dtype=torch.bool, device=device)
            token = int(_next_token(model, cache, batch, positions, seen))
            self.cache = _contents(cache)  # first: interrupted here, a longer cache does no harm
            self.ids += fresh
            if token == eos:
                return
            fresh = [token]
            yield token


def _next_token(
    model: nn.Module, cache: DynamicCache, ids: Tensor, positions: Tensor, open_: Tensor
) -> Tensor:
    """Feed ``ids`` (R, Q) after the cache; the likeliest next tokens (R,)."""
    words = core(model).get_input_embeddings()(ids)
    hidden = (
        core(model)
        .get_decoder()(
            inputs_embeds=words,
            attention_mask=_causal(open_, ids.shape[1], words.dtype),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        .last_hidden_state
    )
    logits = core(model).get_output_embeddings()(hidden[:, -1])
    logits[:, core(model).config.image_token_id] = -torch.inf  # an answer holds no picture
    return logits.argmax(-1)


def _causal(open_: Tensor, queries: int, dtype: torch.dtype) -> Tensor:
    """The additive mask (R, 1, Q, K) of the last ``queries`` places; ``open_`` (R, K): no pad."""
    place = torch.arange(open_.shape[1], device=open_.device)
    seen = (place <= place[-queries:, None]) & open_[:, None]
    mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=open_.device)
    return mask.masked_fill_(seen, 0)[:, None]


def _pad_left(questions: Sequence[Sequence[int]], prefix: Prefix) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and positions (R, Q) and which places are open (R, cached + Q)."""
    device = prefix.device
    width = max(map(len, questions))
    gaps = torch.tensor([width - len(q) for q in questions], device=device)
    ids = torch.tensor([[0] * (width - len(q)) + list(q) for q in questions], device=device)
    place = torch.arange(width, device=device)
    positions = (place - gaps[:, None]).clamp(min=0) + prefix.position
    open_ = nn.functional.pad(place >= gaps[:, None], (prefix.tokens, 0), value=True)
    return ids, positions, open_


def _cache(pairs: KeysValues, rows: Sequence[int] | Tensor | None = None) -> DynamicCache:
    """A cache of its own with these contents, or with ``rows`` of them."""
    if rows is not None:
        index = torch.as_tensor(rows, device=pairs[0][0].device)
        pairs = tuple((keys[index], values[index]) for keys, values in pairs)
    return DynamicCache(pairs)


def _contents(cache: DynamicCache) -> KeysValues:
    return tuple((layer.keys, layer.values) for layer in cache.layers)


def _crop(pairs: KeysValues, tokens: int) -> KeysValues:
    return tuple((keys[:, :, :tokens], values[:, :, :tokens]) for keys, values in pairs)


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
