"""One packed forward pass for every family of image-text models in transformers.

The image once, every question a branch of its own: a 4-D mask, positions that restart after
the image, and whatever the processor made of the picture, handed on as it is. Nothing here
knows a family: parts are found by ``get_encoder`` and ``get_decoder``, and M-RoPE positions
come from the model's own ``get_rope_index``.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dfa_lib.gpt.trees import Node, Packed, pack

Pictures = Mapping[str, Tensor]
"""The processor's image inputs of all images, for instance pixel_values and image_grid_thw."""


def core(model: nn.Module) -> nn.Module:
    """Return the transformers model inside a peft model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def projector_names(model: nn.Module) -> list[str]:
    """Return the names of the modules between encoder and language model.

    They stand beside both, except where the encoder ends in a merger of its own.
    """
    inner = core(model).model
    halves = (inner.get_encoder("image"), inner.get_decoder())
    beside = [f"model.{name}" for name, child in inner.named_children() if child not in halves]
    merger = [name for name, _ in core(model).named_modules() if name.endswith("visual.merger")]
    return [name for name in beside if any(True for _ in _get(model, name).parameters())] + merger


def image_positions(model: nn.Module, packed: Packed, pictures: Pictures) -> Tensor:
    """Return the positions of a packed row: (1, L), or (3, 1, L) where the model uses M-RoPE.

    An image of h x w tokens takes max(h, w) positions there, after which its branches go on.
    """
    rope = getattr(core(model).model, "get_rope_index", None)
    if rope is None:
        return packed.positions
    positions = packed.positions.expand(3, *packed.positions.shape).clone()
    for (start, stop, end), grid in zip(packed.segments, pictures["image_grid_thw"], strict=True):
        ids = packed.ids[:, start:stop]
        own, _ = rope(ids, _kinds(model, ids), image_grid_thw=grid[None])
        positions[:, :, stop:end] += own.max() + 1 - (stop - start)
        positions[:, :, start:stop] = own
    return positions


def hidden_states(model: nn.Module, packed: Packed, pictures: Pictures) -> Tensor:
    """Return the last hidden states (1, L, D) of a packed row."""
    inner, words = core(model).model, core(model).get_input_embeddings().weight
    return inner(
        input_ids=packed.ids,
        attention_mask=packed.mask(words.dtype),
        position_ids=image_positions(model, packed, pictures),
        use_cache=False,
        segments=packed.segments,
        **_extra(model, packed.ids),
        **pictures,
    ).last_hidden_state


@torch.no_grad()
def shares(model: nn.Module, tree: Sequence[Node], pictures: Pictures) -> bool:
    """Return whether the last branch of ``tree`` reads the same beside the others as alone.

    Alone means the model's own forward pass on image and branch, without a mask of ours. It
    differs, for instance, where image tokens look at each other in both directions.
    """
    device, branch = core(model).device, len(tree[-1].ids)
    together = hidden_states(model, pack([tree]).to(device), pictures)[0, -branch:]
    ids = torch.tensor([[*tree[0].ids, *tree[-1].ids]], device=device)
    alone = core(model).model(input_ids=ids, use_cache=False, **_extra(model, ids), **pictures)
    apart = (together - alone.last_hidden_state[0, -branch:]).abs().max()
    return bool(apart <= 1e3 * torch.finfo(together.dtype).eps * together.abs().max())


class SharedLoss(nn.Module):
    """The training loss of packed trees as a module, so that DDP sees its forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Pictures, packed: Packed, check: bool = False) -> Tensor:
        """Return the weighted sum of negative log-probabilities.

        ``check`` puts beside it how many answers have a token that is not the likeliest: (2,).
        """
        hidden = hidden_states(self.model, packed, pictures)
        head = core(self.model).get_output_embeddings()
        logits = head(hidden[packed.rows, packed.sources]).float()
        losses = nn.functional.cross_entropy(logits, packed.targets, reduction="none")
        loss = (packed.weights * losses).sum()
        if not check:
            return loss
        wrong = packed.answers[logits.argmax(-1) != packed.targets].unique().numel()
        return torch.stack([loss, loss.new_tensor(wrong)])


def _kinds(model: nn.Module, ids: Tensor) -> Tensor:
    """Return 1 where a token stands for a piece of an image, else 0."""
    return (ids == core(model).config.image_token_id).int()


def _extra(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """Return what a model with M-RoPE wants beside the tokens."""
    rope = hasattr(core(model).model, "get_rope_index")
    return {"mm_token_type_ids": _kinds(model, ids)} if rope else {}


def _get(model: nn.Module, name: str) -> nn.Module:
    return core(model).get_submodule(name)
