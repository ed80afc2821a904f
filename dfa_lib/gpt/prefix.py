"""Image-prefix sharing: the image once, every question a branch of its own.

The image tokens dominate every question (576 of about 640 in LLaVA-1.5). So all QA of an
image go into one sequence: the image prefix ("USER: <image tokens>") once, then each QA as a
branch whose positions restart right after the prefix and which sees the prefix and itself
only. Loss and gradients equal those of independent samples.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from dfa_lib.gpt.trees import Packed
from dfa_lib.records import DataError

Turn = tuple[str, str]
"""One question and the answer it got."""


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


def embed(
    model: nn.Module, features: Tensor, ids: Tensor, start: int, roots: Tensor | None = None
) -> Tensor:
    """Token embeddings (B, L, D) with the projected image features (I, N, C) in their places.

    Image i begins ``start`` places after ``roots[i]`` (row, place); by default after the start
    of row i.
    """
    llava = core(model)
    words = llava.get_input_embeddings()(ids)
    projector = llava.model.multi_modal_projector
    weight = next(p for p in projector.parameters() if p.is_floating_point())
    image = projector(features.to(weight.dtype)).to(words.dtype)
    if roots is None:
        return torch.cat([words[:, :start], image, words[:, start + image.shape[1] :]], dim=1)
    rows, places = roots[:, :1], roots[:, 1:] + start
    inside = torch.arange(image.shape[1], device=ids.device)
    return words.index_put((rows, places + inside), image)


def answer_logits(model: nn.Module, hidden: Tensor, packed: Packed) -> Tensor:
    """Logits (M, V) in float32, for the scored tokens only: a vocabulary is wide."""
    return core(model).lm_head(hidden[packed.rows, packed.sources]).float()


class PrefixLoss(nn.Module):
    """The training loss of packed trees as a module, so that DDP sees its forward pass."""

    def __init__(self, model: nn.Module, start: int) -> None:
        super().__init__()
        self.model = model
        self.start = start

    def forward(self, features: Tensor, packed: Packed, check: bool = False) -> Tensor:
        """The weighted sum of negative log-probabilities; ``features`` (I, N, C).

        ``check`` puts beside it how many answers have a token that is not the likeliest: (2,).
        """
        words = embed(self.model, features, packed.ids, self.start, packed.roots)
        hidden = (
            core(self.model)
            .model.language_model(
                inputs_embeds=words,
                attention_mask=packed.mask(words.dtype),
                position_ids=packed.positions,
                use_cache=False,
                segments=packed.segments,
            )
            .last_hidden_state
        )
        logits = answer_logits(self.model, hidden, packed)
        losses = nn.functional.cross_entropy(logits, packed.targets, reduction="none")
        loss = (packed.weights * losses).sum()
        if not check:
            return loss
        wrong = packed.answers[logits.argmax(-1) != packed.targets].unique().numel()
        return torch.stack([loss, loss.new_tensor(wrong)])


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
