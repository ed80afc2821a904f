"""One packed forward pass for every family of image-text models in transformers.

Nothing here knows a family: what the processor made of the picture is handed on as it is, parts
are found by ``get_encoder`` and ``get_decoder``, M-RoPE positions by ``get_rope_index``.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.trees import Packed, Tree, pack
from dfa_lib.records import DataError
from dfa_lib.taxonomy import CLASSES

Pictures = Mapping[str, Tensor]
"""The processor's image inputs of all images, for instance pixel_values and image_grid_thw."""


def core(model: nn.Module) -> nn.Module:
    """Return the transformers model inside a peft model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def precision(model: nn.Module) -> torch.autocast:
    """Return a context that computes in the base's precision: tuned parts are in float32."""
    words, kind = core(model).get_input_embeddings().weight, core(model).device.type
    mixed = core(model) is not model and words.dtype != torch.float32
    enabled = mixed or torch.is_autocast_enabled(kind)  # what is set around stays
    return torch.autocast(kind, words.dtype if mixed else None, enabled=enabled)


def image_positions(model: nn.Module, packed: Packed, pictures: Pictures) -> Tensor:
    """Return the positions of a packed row: (1, L), or (3, 1, L) where the model uses M-RoPE.

    An image of h x w tokens takes max(h, w) positions there, after which its branches go on.
    """
    if not hasattr(core(model).model, "get_rope_index"):
        return packed.positions
    positions = packed.positions.expand(3, *packed.positions.shape).clone()
    for (start, stop, end), grid in zip(packed.segments, pictures["image_grid_thw"], strict=True):
        own = prefix_positions(model, packed.ids[:, start:stop], grid[None])
        positions[:, :, stop:end] += own.max() + 1 - (stop - start)
        positions[:, :, start:stop] = own
    return positions


def prefix_positions(model: nn.Module, ids: Tensor, grids: Tensor | None) -> Tensor:
    """Return the positions of image prefixes (I, P): alike, or (3, I, P) with M-RoPE."""
    if not (kinds := token_kinds(model, ids)):
        return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
    return core(model).model.get_rope_index(ids, *kinds.values(), image_grid_thw=grids)[0]


def hidden_states(
    model: nn.Module, packed: Packed, pictures: Pictures, shared: bool = True
) -> Tensor:
    """Return the last hidden states (1, L, D) of a packed row.

    Not ``shared``: one image with one QA, by the stock pass with no mask or position of ours.
    """
    pictures = on_device(model, pictures)
    inputs = {"input_ids": packed.ids, **token_kinds(model, packed.ids), **pictures}
    if shared:
        inputs |= {
            "attention_mask": packed.mask(core(model).get_input_embeddings().weight.dtype),
            "position_ids": image_positions(model, packed, pictures),
            "segments": packed.segments,
        }
    with precision(model):
        return core(model).model(use_cache=False, **inputs).last_hidden_state


@torch.no_grad()
def shares(model: nn.Module, tree: Tree, pictures: Pictures) -> bool:
    """Return whether the last branch of ``tree`` reads the same beside the others as alone.

    Alone means the model's own forward pass on image and branch, without a mask of ours. It
    differs, for instance, where image tokens look at each other in both directions.
    """
    device, length = core(model).device, len(tree.branches[-1].ids)
    together = hidden_states(model, pack([[tree]]).to(device), pictures)[0, -length:]
    single = pack([[tree._replace(branches=tree.branches[-1:])]]).to(device)
    apart = (together - hidden_states(model, single, pictures, False)[0, -length:]).abs().max()
    rounding = torch.finfo(together.dtype).eps * (1e3 if together.dtype == torch.float32 else 20)
    # not <=: weights that are not finite are a matter of the loss
    return not bool(apart > rounding * together.abs().max())


class PrefixLoss(nn.Module):
    """The training loss of packed trees as a module, so that DDP sees its forward pass.

    With ``naming`` its gradient has that much of an auxiliary loss beside it (deep supervision,
    as in GoogLeNet): a linear layer on the encoder's tokens, which is not kept, has to name the
    category. Few tokens of an answer depend on the picture: text teaches an encoder slowly.
    """

    def __init__(self, model: nn.Module, shared: bool = True, naming: float = 0.0) -> None:
        super().__init__()
        self.model, self.shared, self.naming = model, shared, naming
        if naming:
            width = core(model).config.vision_config.hidden_size
            self.layer = nn.Linear(2 * width, len(CLASSES))
            nn.init.zeros_(self.layer.weight)
            nn.init.zeros_(self.layer.bias)  # nothing of it hangs on chance, so that runs repeat

    def forward(self, pictures: Pictures, packed: Packed, check: bool = False) -> Tensor:
        """Return the weighted sum of negative log-probabilities.

        ``check`` puts beside it how many answers have a token that is not the likeliest: (2,).
        """
        seen = []
        encoder = core(self.model).model.get_encoder("image")
        with encoder.register_forward_hook(lambda module, args, output: seen.append(output[0])):
            hidden = hidden_states(self.model, packed, pictures, self.shared)
        loss = answer_loss(self.model, hidden, packed, check)
        if not self.naming:
            return loss
        tokens = seen[0].reshape(len(packed.kinds), -1, seen[0].shape[-1])
        logits = self.layer(pooled(tokens).to(self.layer.weight.dtype))
        wrong = nn.functional.cross_entropy(logits, packed.kinds, reduction="none")
        extra = self.naming * (packed.shares * wrong).sum()
        return loss + extra - extra.detach()  # the value stays that of the answers, for the log


def answer_loss(model: nn.Module, hidden: Tensor, packed: Packed, check: bool = False) -> Tensor:
    """Return the weighted sum of negative log-probabilities; ``check`` as in PrefixLoss."""
    logits = answer_logits(model, hidden, packed)
    losses = nn.functional.cross_entropy(logits, packed.targets, reduction="none")
    loss = (packed.weights * losses).sum()
    if not check:
        return loss
    wrong = packed.answers[logits.argmax(-1) != packed.targets].unique().numel()
    return torch.stack([loss, loss.new_tensor(wrong)])


def answer_logits(model: nn.Module, hidden: Tensor, packed: Packed) -> Tensor:
    """Return logits (M, V) in float32, for the scored tokens only: a vocabulary is wide."""
    return core(model).get_output_embeddings()(hidden[packed.rows, packed.sources]).float()


def on_device(model: nn.Module, pictures: Pictures) -> dict[str, Tensor]:
    """Return image inputs on the model's device, in its precision."""
    words = core(model).get_input_embeddings().weight
    return {
        key: value.to(words.device, words.dtype if value.is_floating_point() else None)
        for key, value in pictures.items()
    }


def pooled(tokens: Tensor) -> Tensor:
    """Return mean and maximum (B, 2 C) of an encoder's tokens (B, N, C): what linear heads see."""
    return torch.cat([tokens.mean(1), tokens.amax(1)], dim=1)


@torch.no_grad()
def image_features(model: nn.Module, pictures: Pictures) -> BaseModelOutputWithPooling:
    """Return the encoder's last hidden state, and beside it what the language model is given."""
    with precision(model):
        return core(model).get_image_features(**on_device(model, pictures), return_dict=True)


def vision_features(model: nn.Module, pictures: Pictures) -> Tensor:
    """Return what the encoder sees in square pictures of one size: (B, N, C)."""
    count = len(pictures.get("image_grid_thw", pictures["pixel_values"]))
    states = image_features(model, pictures).last_hidden_state
    return states.reshape(count, -1, states.shape[-1])


def check_image_tokens(model: nn.Module, prompter: Prompter) -> None:
    """Refuse a processor that writes another number of image tokens than the model has features."""
    seen = image_features(model, prompter.blank).pooler_output
    features = sum(one.numel() // one.shape[-1] for one in seen)
    if features != prompter.image_tokens:
        raise DataError(
            f"processor: writes {prompter.image_tokens} image tokens where the model has "
            f"{features} features; set its image and patch size as in the model's config"
        )


def token_kinds(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """Return what M-RoPE wants beside the tokens: 1 for a piece of an image, else 0."""
    if not hasattr(core(model).model, "get_rope_index"):
        return {}
    return {"mm_token_type_ids": (ids == core(model).config.image_token_id).int()}


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
        padded = {"batch_first": True, "padding_side": "left"}
        ids = pad_sequence(texts, **padded)
        real = pad_sequence([torch.ones_like(text) for text in texts], **padded)
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
