"""Image-prefix sharing: the image once, every question a branch of its own.

The image tokens dominate every question (576 of about 640 in LLaVA-1.5). So all QA of an
image go into one sequence: the image prefix ("USER: <image tokens>") once, then each QA as a
branch whose positions restart right after the prefix and which sees the prefix and itself
only. Loss and gradients equal those of independent samples.

The mask of any such tree needs one number per token. With branches laid out depth first,
token k is seen by the queries from k to the end of the branches that continue it:

    query q sees key k   <=>   k <= q < until[k]
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from dfa_lib.records import DataError

Turn = tuple[str, str]
"""One question and the answer it got."""


@dataclass(frozen=True)
class Node:
    """A run of tokens that continues the run of its ``parent`` (None: it opens the row).

    Tokens from index ``answer`` on are supervised in training and scored in inference.
    """

    ids: Sequence[int]
    parent: int | None = None
    answer: int | None = None


class Prompter:
    """Turns questions and answers into tokens by the chat template of a processor.

    ``prefix`` is what every prompt on an image begins with, up to its last image token;
    all other methods return tokens that follow it.
    """

    def __init__(self, processor: LlavaProcessor) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.eos: int = processor.tokenizer.eos_token_id
        head = self._tokens(self._text([], "?"))[0]
        self.start = len(head)
        self.image_tokens = _count_image_tokens(processor)
        self.prefix = head + [processor.image_token_id] * self.image_tokens

    def question(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        """The tokens from the image to the point where the answer begins."""
        return self._tokens(self._text(history, text))[1]

    def answer(self, question: str, answer: str) -> tuple[list[int], int]:
        """Tokens of question, answer and end of sequence, and where the answer begins.

        Raises DataError if no token would be supervised.
        """
        if not answer.strip():
            raise DataError(f"question {question!r:.60}: empty answer; give it one or remove it")
        text = self._text([], question)
        prompt = self._tokens(text)[1]
        gap = "" if text[-1].isspace() else " "
        ids = self._tokens(text + gap + answer.strip())[1]
        if ids[: len(prompt)] != prompt:
            raise DataError(
                f"answer {answer!r:.60}: its first token merges with the prompt; mend the template"
            )
        # the LLaVA-1.5 template writes no end of sequence: without it a model never stops
        return [*ids, self.eos], len(prompt)

    def _text(self, history: Sequence[Turn], question: str) -> str:
        messages = [_message("user", question)]
        for asked, answered in reversed(history):
            messages[:0] = [_message("user", asked), _message("assistant", answered)]
        messages[0]["content"].insert(0, {"type": "image"})
        return self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )

    def _tokens(self, text: str) -> tuple[list[int], list[int]]:
        # tokenised as a whole and cut after: some tokenizers treat the start of a text specially
        ids = self.tokenizer(text)["input_ids"]
        cut = ids.index(self.processor.image_token_id)
        return ids[:cut], ids[cut + 1 :]


@dataclass(frozen=True)
class Packed:
    """Trees of several images, one per row, padded on the right.

    ``ids``, ``positions``, ``until``: (B, L). The M scored tokens: ``rows`` and ``sources``
    say where each is predicted from, ``targets`` what it is, ``weights`` what it counts and
    ``answers`` which answer (numbered through the batch) it belongs to; all (M,).
    """

    ids: Tensor
    positions: Tensor
    until: Tensor
    rows: Tensor
    sources: Tensor
    targets: Tensor
    answers: Tensor
    weights: Tensor

    def mask(self, dtype: torch.dtype, past: int = 0) -> Tensor:
        """The additive attention mask (B, 1, L, past + L); all see the ``past`` cached tokens."""
        place = torch.arange(self.ids.shape[1], device=self.ids.device)
        seen = (place[:, None] >= place) & (place[:, None] < self.until[:, None, :])
        mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=seen.device)
        mask.masked_fill_(seen, 0)
        return nn.functional.pad(mask, (past, 0))[:, None]

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def pack(trees: Sequence[Sequence[Node]], pad: int = 0, past: int = 0) -> Packed:
    """Lay out one tree of nodes per row; positions begin at ``past``.

    Nodes stand in depth-first order. Weights are 1; training sets its own.
    """
    width = max(sum(len(node.ids) for node in tree) for tree in trees)
    ids = np.full((len(trees), width), pad)
    positions = np.zeros_like(ids)
    until = np.tile(np.arange(1, width + 1), (len(trees), 1))  # padding sees and is seen by itself
    scored: list[tuple[int, int, int, int]] = []
    answers = 0
    for row, tree in enumerate(trees):
        starts, ends, depths = _layout(tree, past)
        for node, start, end, depth in zip(tree, starts, ends, depths, strict=True):
            stop = start + len(node.ids)
            ids[row, start:stop] = node.ids
            positions[row, start:stop] = np.arange(depth, depth + len(node.ids))
            until[row, start:stop] = end
            if node.answer is not None:
                source = _sources(node, start, tree, starts)
                scored += [
                    (row, place, token, answers)
                    for place, token in zip(source, node.ids[node.answer :], strict=True)
                ]
                answers += 1
    columns = torch.tensor(scored, dtype=torch.long).reshape(-1, 4).unbind(1)
    grid = (torch.from_numpy(array) for array in (ids, positions, until))
    return Packed(*grid, *columns, torch.ones(len(scored)))


def _layout(tree: Sequence[Node], past: int) -> tuple[list[int], list[int], list[int]]:
    """Per node: first place in the row, end of all that continues it, first position."""
    starts, depths, place = [], [], 0
    for node in tree:
        parent = node.parent
        depths.append(past if parent is None else depths[parent] + len(tree[parent].ids))
        starts.append(place)
        place += len(node.ids)
    ends = [start + len(node.ids) for start, node in zip(starts, tree, strict=True)]
    for index in range(len(tree) - 1, -1, -1):
        parent = tree[index].parent
        if parent is not None:
            ends[parent] = max(ends[parent], ends[index])
    return starts, ends, depths


def _sources(node: Node, start: int, tree: Sequence[Node], starts: Sequence[int]) -> list[int]:
    """The places that predict the answer tokens of ``node``: each one's predecessor."""
    places = [start + offset - 1 for offset in range(node.answer or 0, len(node.ids))]
    if node.answer == 0 and node.parent is not None:
        places[0] = starts[node.parent] + len(tree[node.parent].ids) - 1
    return places


def core(model: nn.Module) -> LlavaForConditionalGeneration:
    """The LLaVA inside a peft model (its LoRA layers stay in place), or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def pixels(processor: LlavaProcessor, images: Sequence[np.ndarray]) -> Tensor:
    """RGB uint8 arrays (H, W, 3) as the vision tower wants them: (B, 3, S, S)."""
    pictures = [Image.fromarray(image) for image in images]
    return processor.image_processor(pictures, return_tensors="pt")["pixel_values"]


@torch.no_grad()
def vision_features(model: nn.Module, pixel_values: Tensor) -> Tensor:
    """What the frozen vision tower hands to the projector: (B, N, C)."""
    llava = core(model)
    tower, layers = llava.model.vision_tower, llava.config.vision_feature_layer
    parameter = next(tower.parameters())
    hidden = tower(
        pixel_values.to(parameter.device, parameter.dtype), output_hidden_states=True
    ).hidden_states
    first = 1 if llava.config.vision_feature_select_strategy == "default" else 0
    wanted = [layers] if isinstance(layers, int) else layers
    return torch.cat([hidden[layer][:, first:] for layer in wanted], dim=-1)


def embed(model: nn.Module, features: Tensor, ids: Tensor, start: int) -> Tensor:
    """Token embeddings (B, L, D) with the projected image features in place from ``start`` on."""
    llava = core(model)
    words = llava.get_input_embeddings()(ids)
    projector = llava.model.multi_modal_projector
    weight = next(p for p in projector.parameters() if p.is_floating_point())
    image = projector(features.to(weight.dtype)).to(words.dtype)
    return torch.cat([words[:, :start], image, words[:, start + image.shape[1] :]], dim=1)


def answer_logprobs(model: nn.Module, hidden: Tensor, packed: Packed) -> Tensor:
    """Log-probability of each scored token: (M,). Logits exist for these tokens only."""
    logits = core(model).lm_head(hidden[packed.rows, packed.sources]).float()
    return -nn.functional.cross_entropy(logits, packed.targets, reduction="none")


class PrefixLoss(nn.Module):
    """The training loss of packed trees as a module, so that DDP sees its forward pass."""

    def __init__(self, model: nn.Module, start: int) -> None:
        super().__init__()
        self.model = model
        self.start = start

    def forward(self, features: Tensor, packed: Packed) -> Tensor:
        """The weighted sum of negative log-probabilities; ``features`` (B, N, C)."""
        words = embed(self.model, features, packed.ids, self.start)
        hidden = (
            core(self.model)
            .model.language_model(
                inputs_embeds=words,
                attention_mask=packed.mask(words.dtype),
                position_ids=packed.positions,
                use_cache=False,
            )
            .last_hidden_state
        )
        return -(packed.weights * answer_logprobs(self.model, hidden, packed)).sum()


def check_image_tokens(prompter: Prompter, features: Tensor) -> None:
    """Refuse a processor that writes another number of image tokens than the tower has features."""
    if features.shape[1] != prompter.image_tokens:
        raise DataError(
            f"processor: writes {prompter.image_tokens} image tokens where the model has "
            f"{features.shape[1]} features; set patch_size, num_additional_image_tokens and "
            "vision_feature_select_strategy as in the model's config"
        )


def _message(role: str, text: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _count_image_tokens(processor: LlavaProcessor) -> int:
    blank = Image.new("RGB", (32, 32))
    ids = processor(images=[blank], text=[processor.image_token])["input_ids"][0]
    return list(ids).count(processor.image_token_id)
