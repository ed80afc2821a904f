"""Questions trained on per second, three ways, same model and data: what sharing the image saves.

(a) one sequence per QA, padded, image and logits for every token: the Hugging Face collator way;
(b) all QA of an image as turns of one conversation: LLaVA's way, where answers leak into the next;
(c) ours: the image once, each QA a branch of its own, logits where something is supervised.
(a) and (c) must have the same loss and gradients. Nothing is cached between steps, the vision
tower included. First nano on real records, then LLaVA-1.5 in small. Time is processor time of
one thread, which other work on the machine changes little.

Last line: one JSON object; ratios are questions per second over those of (a), token ratios the
tokens of (a), padding included, over those of (c).

    python -m benchmarks.train_throughput
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from peft import PeftModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.small_llava import IMAGE, LENGTHS, VOCABULARY, small_llava
from dfa_lib.gpt.base import add_lora, load_base, make_optimizer
from dfa_lib.gpt.forward import PrefixLoss, core
from dfa_lib.gpt.prefix import Prompter, encode
from dfa_lib.gpt.presets import NANO
from dfa_lib.gpt.trees import TREES, Branch, Tree, pack
from dfa_lib.instruct.conversations import load_records
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.runtime import RESCUE

FACES = RESCUE / "01_instruct"
ROUNDS = 4


@dataclass(frozen=True)
class Batch:
    """Images (I, 3, S, S) with a tree of QA each."""

    pictures: Tensor
    trees: Sequence[Tree]

    @property
    def questions(self) -> int:
        """QA of all images."""
        return sum(len(tree.branches) for tree in self.trees)


def separate(model: PeftModel, batch: Batch) -> Tensor:
    """(a): the stock model on padded sequences; the mean loss over all supervised tokens."""
    samples = [
        (picture, [*tree.prefix, *branch.ids], [-100] * (len(tree.prefix) + branch.answer))
        for picture, tree in zip(batch.pictures, batch.trees, strict=True)
        for branch in tree.branches
    ]
    return stock_loss(model, samples)


def turns(model: PeftModel, batch: Batch) -> Tensor:
    """(b): the QA of an image one after the other, each reading all before it."""
    samples = []
    for picture, tree in zip(batch.pictures, batch.trees, strict=True):
        ids, labels = [*tree.prefix], [-100] * len(tree.prefix)
        for branch in tree.branches:
            ids = [*ids, *branch.ids]
            labels += [-100] * branch.answer + list(branch.ids[branch.answer :])
        samples.append((picture, ids, labels))
    return stock_loss(model, samples)


def stock_loss(model: PeftModel, samples: Sequence[tuple[Tensor, list[int], list[int]]]) -> Tensor:
    """The model's own loss; labels that end early go on with the ids."""
    core(model).set_attn_implementation({"text_config": "sdpa"})
    rows = [(ids, labels + ids[len(labels) :]) for _, ids, labels in samples]
    padded = [
        torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row[part]) for row in rows], batch_first=True, padding_value=blank
        )
        for part, blank in ((0, 0), (1, -100))
    ]
    widths = torch.tensor([len(ids) for ids, _ in rows])
    mask = (torch.arange(padded[0].shape[1]) < widths[:, None]).long()
    pictures = torch.stack([picture for picture, _, _ in samples])
    return model(
        input_ids=padded[0], labels=padded[1], attention_mask=mask, pixel_values=pictures
    ).loss


def shared(model: PeftModel, batch: Batch) -> Tensor:
    """(c): one row, the images' trees side by side."""
    core(model).set_attn_implementation({"text_config": TREES})
    packed = pack([batch.trees])
    packed = packed._replace(weights=torch.full_like(packed.weights, 1 / len(packed.weights)))
    return PrefixLoss(model)({"pixel_values": batch.pictures}, packed)


WAYS = {"(a) one sequence per QA": separate, "(b) turns": turns, "(c) ours": shared}


def tokens(batch: Batch) -> dict[str, int]:
    """Tokens each way computes on, padding included."""
    ends = [len(t.prefix) + len(branch.ids) for t in batch.trees for branch in t.branches]
    rows = [tree.tokens for tree in batch.trees]
    return dict(zip(WAYS, (max(ends) * len(ends), max(rows) * len(rows), sum(rows)), strict=True))


def seconds_per_step(model: PeftModel, batch: Batch) -> dict[str, float]:
    """The quickest of some optimiser steps each way, the ways taking turns."""
    optimizer = make_optimizer(PrefixLoss(model), NANO)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS + 1):
        for way, loss in WAYS.items():
            begin = time.process_time()
            loss(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
            taken[way].append(time.process_time() - begin)
    return {way: min(times[1:]) for way, times in taken.items()}


def differences(model: PeftModel, batch: Batch) -> tuple[float, float]:
    """How far (a) and (c) are apart: in the loss, and in any gradient."""
    losses, gradients = [], []
    for loss in (separate, shared):
        model.zero_grad()
        value = loss(model, batch)
        value.backward()
        losses.append(value.item())
        gradients.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
    model.zero_grad()
    apart = max((a - b).abs().max().item() for a, b in zip(*gradients, strict=True))
    return abs(losses[0] - losses[1]), apart


def flops(model: PeftModel, batch: Batch) -> int:
    """Floating-point operations of one step of ours, attention included."""
    aten = torch.ops.aten

    def forward(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object):
        return sdpa_flop_count(query, key, value)

    def backward(out: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *_, **__):
        return sdpa_backward_flop_count(out, query, key, value)

    fused = {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    with FlopCounterMode(display=False, custom_mapping=fused) as counter:
        shared(model, batch).backward()
    model.zero_grad()
    return counter.get_total_flops()


def matrix_peak(size: int = 2048, rounds: int = 10) -> float:
    """What this machine reaches in one large product of matrices: FLOP/s in float32."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    best = min(timed(lambda: left @ right) for _ in range(rounds))
    return 2 * size**3 / best


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor that ``work`` takes."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def nano_batch(images: int = 4) -> tuple[PeftModel, Batch]:
    """The embedded model, and real records of the rescue copy."""
    model, processor = load_base(NANO)
    prompter, faces = Prompter(processor), FaceSet.read(FACES)
    records = list(load_records(FACES / "instruct.jsonl"))[:images]
    trees = [encode(prompter, record) for record in records]
    pictures = prompter.pictures([faces.image(record.face) for record in records])["pixel_values"]
    return add_lora(model, NANO), Batch(pictures, trees)


def llava_batch() -> tuple[PeftModel, Batch]:
    """LLaVA-1.5 in small, and one image with seven QA; half of each is its answer."""
    model = add_lora(small_llava(), replace(NANO, rank=16, vision="frozen"))
    generator = torch.Generator().manual_seed(0)
    tree = Tree([1, *[IMAGE] * 576], [])
    for length in LENGTHS:
        ids = torch.randint(4, VOCABULARY, (length,), generator=generator).tolist()
        tree.branches.append(Branch(ids, length // 2))
    return model, Batch(torch.randn(1, 3, 336, 336, generator=generator), [tree])


def compare(name: str, model: PeftModel, batch: Batch) -> tuple[dict[str, float], dict[str, float]]:
    """Print a table; ratios of questions per second and of tokens to (a)."""
    model.train()
    core(model).model.vision_tower.eval()
    counted, seconds = tokens(batch), seconds_per_step(model, batch)
    print(f"\n{name}: {len(batch.trees)} images with {batch.questions} QA\n")
    print("| way | tokens | seconds | QA/s | ratio |\n|---|---|---|---|---|")
    base = next(iter(WAYS))
    ratios = {way: seconds[base] / seconds[way] for way in WAYS}
    for way in WAYS:
        speed = batch.questions / seconds[way]
        print(f"| {way} | {counted[way]} | {seconds[way]:.3f} | {speed:.2f} | {ratios[way]:.2f} |")
    return ratios, {way: counted[base] / counted[way] for way in WAYS}


def main() -> dict[str, float]:
    """Both models; the JSON of the last line."""
    torch.set_num_threads(1)
    nano, nano_data = nano_batch()
    llava, llava_data = llava_batch()
    apart = [differences(nano, nano_data), differences(llava, llava_data)]
    nano_ratios, nano_tokens = compare("nano", nano, nano_data)
    ratios, token_ratios = compare("LLaVA-1.5 in small", llava, llava_data)
    work, peak = flops(llava, llava_data), matrix_peak()
    reached = (
        work / sorted(timed(lambda: shared(llava, llava_data).backward()) for _ in range(3))[1]
    )
    print(
        f"\n{work / 1e9:.0f} GFLOP a step of ours; {reached / 1e9:.0f} GFLOP/s of the "
        f"{peak / 1e9:.0f} that a product of large matrices reaches on one thread here"
    )
    ours, multi = list(WAYS)[2], list(WAYS)[1]
    return {
        "nano_ratio": nano_ratios[ours],
        "nano_token_ratio": nano_tokens[ours],
        "llava_geometry_ratio": ratios[ours],
        "llava_token_ratio": token_ratios[ours],
        "multi_turn_ratio": ratios[multi],
        "max_loss_diff": max(loss for loss, _ in apart),
        "max_grad_diff": max(gradient for _, gradient in apart),
        "share_of_peak": reached / peak,
    }


if __name__ == "__main__":
    print(json.dumps({key: round(value, 8) for key, value in main().items()}))
