"""Attention over trees: an image prefix is causal, its branches see it and themselves.

One dense mask over a row has every query look at every key of the row. Here each tree of a
row attends by itself, and its first node, which is causal, without a mask: fused kernels skip
the half it cannot see. The result is the same, for 1.3 to 1.7 times less time than one masked
call even with a single tree (forward and backward on a CPU, 576 and 64 image tokens).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

TREES = "trees"
"""The name under which transformers knows this attention."""


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Sequence[tuple[int, int, int]] = (),
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention, part by part where ``segments`` (Packed) are given.

    query, key, value (B, heads, L, D), mask (B, 1, L, L); returns (B, L, heads, D).
    """
    if not segments:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    sizes = [end - start for start, _, end in segments]
    trees = zip(*(tensor.split(sizes, dim=2) for tensor in (query, key, value)), strict=True)
    parts = []
    for (start, first, end), (asking, keys, values) in zip(segments, trees, strict=True):
        prefix, rest = asking.split([first - start, end - first], dim=2)
        seen = keys[:, :, : first - start], values[:, :, : first - start]
        parts.append(
            sdpa_attention_forward(module, prefix, *seen, None, is_causal=True, **kwargs)[0]
        )
        # CUDA's fused kernel reads masks in aligned blocks: a slice as it lies would crash it
        mask = attention_mask[:, :, first:end, start:end].contiguous()
        parts.append(sdpa_attention_forward(module, rest, keys, values, mask, **kwargs)[0])
    return torch.cat(parts, dim=1), None


AttentionInterface.register(TREES, tree_attention)
AttentionMaskInterface.register(TREES, sdpa_mask)
