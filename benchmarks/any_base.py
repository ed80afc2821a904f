"""Is sharing the image exact? Six families of today, tiny and random, against padded sequences.

Two images with seven QA each lie in one row of ours; the reference is the stock model on one
sequence per QA, padded on the left and on the right. Loss and every gradient (encoder,
projector, language model) are compared in float32.

Last line: {"families": {name: {"max_loss_diff", "max_grad_diff", "shares"}}, "worst"}.

    python -m benchmarks.any_base
"""

import json

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForImageTextToText,
    InternVLConfig,
    LlavaOnevisionConfig,
    PreTrainedConfig,
    Qwen2Config,
    SiglipVisionConfig,
    SmolVLMConfig,
)

from benchmarks.geometry import BASES, TOY, image_tokens, picture
from dfa_lib.gpt.forward import PrefixLoss, shares
from dfa_lib.gpt.trees import TREES, Branch, Tree, pack

LENGTHS = (5, 8, 11, 3, 6, 7, 9)
"""Tokens of the QA of an image; about half of each is its answer."""
TEXT = {**TOY, "vocab_size": 300, "num_attention_heads": 4, "num_key_value_heads": 2}
LOOK = {**TOY, "num_attention_heads": 4}


def onevision() -> LlavaOnevisionConfig:
    """LLaVA-OneVision: SigLIP and Qwen2, a picture in one tile."""
    vision = SiglipVisionConfig(**LOOK, image_size=28, patch_size=14, vision_use_head=False)
    return LlavaOnevisionConfig(
        vision_config=vision, text_config=Qwen2Config(**TEXT), image_token_index=299,
        image_grid_pinpoints=[[28, 28]], tie_word_embeddings=False,
    )  # fmt: skip


def smolvlm() -> SmolVLMConfig:
    """SmolVLM: SigLIP with shuffled pixels and SmolLM2."""
    vision = {**LOOK, "image_size": 28, "patch_size": 7}
    text = {"model_type": "llama", **TEXT}
    return SmolVLMConfig(
        vision_config=vision, text_config=text, scale_factor=2, image_token_id=299, pad_token_id=0
    )


def internvl() -> InternVLConfig:
    """InternVL: InternViT with shuffled pixels and Qwen2."""
    vision = {**LOOK, "image_size": [28, 28], "patch_size": [7, 7]}
    return InternVLConfig(
        vision_config=vision, text_config=Qwen2Config(**TEXT), image_token_id=299,
        downsample_ratio=0.5,
    )  # fmt: skip


def inputs(config: PreTrainedConfig, images: int) -> tuple[int, dict[str, Tensor]]:
    """Return the image tokens of a picture, and noise pictures as the processor hands them on."""
    kind = config.model_type
    if kind == "llava_onevision":  # the whole picture and its one tile, each row with a newline
        pictures = torch.randn(images, 2, 3, 28, 28)
        return 4 + 4 + 2, {
            "pixel_values": pictures,
            "image_sizes": torch.tensor([[28, 28]] * images),
        }
    if kind in ("smolvlm", "internvl"):
        shape = (images, 1, 3, 28, 28) if kind == "smolvlm" else (images, 3, 28, 28)
        return 4, {"pixel_values": torch.randn(shape)}
    side = 336 if kind == "llava" else 112 if kind == "qwen2_5_vl" else 128
    return image_tokens(config, side), picture(config, side, images, "cpu")


FAMILIES = {
    "LLaVA-1.5": lambda: BASES["llava-1.5-7b"].config(True),
    "LLaVA-OneVision": onevision,
    "SmolVLM": smolvlm,
    "Qwen2.5-VL": lambda: BASES["qwen2.5-vl-7b"].config(True),
    "Qwen3-VL": lambda: BASES["qwen3-vl-4b"].config(True),
    "InternVL": internvl,
}


def reference(
    model: nn.Module, trees: list[Tree], pictures: dict[str, Tensor], left: bool
) -> Tensor:
    """Return the stock model's loss on one padded sequence per QA."""
    rows = [
        (number, [*tree.prefix, *branch.ids], len(tree.prefix) + branch.answer)
        for number, tree in enumerate(trees)
        for branch in tree.branches
    ]
    width = max(len(ids) for _, ids, _ in rows)
    ids, labels, mask = [], [], []
    for _, row, cut in rows:
        pad = width - len(row)
        sides = (lambda a, b: b + a) if left else (lambda a, b: a + b)
        ids.append(sides(row, [0] * pad))
        mask.append(sides([1] * len(row), [0] * pad))
        labels.append(sides([-100] * cut + row[cut:], [-100] * pad))
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    per = {key: value.chunk(len(trees)) for key, value in pictures.items()}
    looks = {key: torch.cat([parts[i] for i, _, _ in rows]) for key, parts in per.items()}
    if "image_grid_thw" in pictures:
        image = model.config.image_token_id
        looks["mm_token_type_ids"] = (batch["input_ids"] == image).int()
    return model(**batch, labels=torch.tensor(labels), **looks).loss


def compare(config: PreTrainedConfig) -> dict[str, float | bool]:
    """Return how far ours and the reference are apart, the worse of both paddings."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32).train()
    count, pictures = inputs(config, images=2)
    last = config.get_text_config().vocab_size if count < 100 else 3000
    trees = []
    for _ in range(2):
        words = [torch.randint(6, min(290, last), (length,)).tolist() for length in LENGTHS]
        branches = [Branch(ids, len(ids) // 2) for ids in words]
        trees.append(Tree([1, *[config.image_token_id] * count, 5], branches))
    packed = pack([trees])
    packed = packed._replace(weights=torch.full_like(packed.weights, 1 / len(packed.weights)))
    model.set_attn_implementation({"": "sdpa", "text_config": TREES})
    ours = PrefixLoss(model)(pictures, packed)
    mine = gradients(model, ours)
    shared = shares(model, trees[0], {key: v.chunk(2)[0] for key, v in pictures.items()})
    model.set_attn_implementation("sdpa")
    worst = [0.0, 0.0]
    for left in (False, True):
        loss = reference(model, trees, pictures, left)
        theirs = gradients(model, loss)
        apart = max((a - b).abs().max().item() for a, b in zip(mine, theirs, strict=True))
        worst = [max(worst[0], abs(loss.item() - ours.item())), max(worst[1], apart)]
    return {"max_loss_diff": worst[0], "max_grad_diff": worst[1], "shares": shared}


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    """Return the gradient of every parameter that has one, and forget it."""
    loss.backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return found


def main() -> dict[str, object]:
    """Print a table; the JSON of the last line."""
    print("| family | loss | gradient | shares |\n|---|---|---|---|")
    families = {}
    for name, make in FAMILIES.items():
        families[name] = one = compare(make())
        figures = f"{one['max_loss_diff']:.1e} | {one['max_grad_diff']:.1e}"
        print(f"| {name} | {figures} | {one['shares']} |", flush=True)
    apart = [one[k] for one in families.values() for k in ("max_loss_diff", "max_grad_diff")]
    return {"families": families, "worst": max(apart)}


if __name__ == "__main__":
    print(json.dumps(main()))
