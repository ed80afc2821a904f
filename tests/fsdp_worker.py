"""One of two processes that hold a tiny LLaVA in pieces and must learn as one that is whole.

The modules are wrapped as configs/fsdp.yaml has accelerate wrap them on GPUs.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator
from tiny_llava import tiny_llava
from torch.distributed.fsdp import fully_shard

from dfa_lib.gpt import checkpoint
from dfa_lib.gpt.base import add_lora
from dfa_lib.gpt.forward import PrefixLoss, core
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import NANO
from dfa_lib.gpt.train import make_optimizer
from dfa_lib.gpt.trees import TREES, Branch, Packed, Tree, pack

PRESET = replace(NANO, vision="frozen", rank=4, alpha=8)
FILE = Path(sys.argv[1]) / "checkpoint.safetensors"


def tuner(sharded: bool) -> PrefixLoss:
    model, _ = tiny_llava()
    model = add_lora(model.requires_grad_(False), PRESET)
    llava = core(model)
    llava.set_attn_implementation({"text_config": TREES})
    loss = PrefixLoss(model)
    if sharded:
        whole = {*llava.model.vision_tower.parameters()}
        whole |= {*llava.get_input_embeddings().parameters()}
        for layer in llava.model.language_model.layers:
            fully_shard(layer, ignored_params=whole)
        fully_shard(loss, ignored_params=whole)
    return loss


def samples() -> list[tuple[dict[str, torch.Tensor], Packed]]:
    prompter, generator = Prompter(tiny_llava()[1]), torch.Generator().manual_seed(0)
    found = []
    for answer in ("Yes.", "The nose is blurred, and the eyes."):
        branches = [prompter.answer(*qa) for qa in (("Why?", answer), ("Sure?", "Yes."))]
        tree = Tree(prompter.prefix, [Branch(*branch) for branch in branches])
        picture = torch.randn(1, 3, 32, 32, generator=generator)
        found.append(({"pixel_values": picture}, pack([[tree]])))
    return found


def learn(loss: PrefixLoss, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """Each process takes its sample where the weights are in pieces, both where they are whole."""
    parts = samples()
    shared = accelerator.num_processes if hasattr(loss, "unshard") else 1
    if shared > 1:
        parts = [parts[accelerator.process_index]]
    curve = []
    for _ in range(steps):
        total = torch.zeros(())
        for part in parts:
            value = loss(*part)
            (value * shared).backward()
            total += value.detach()
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        norm = accelerator.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        curve += [(accelerator.reduce(total, "sum") if shared > 1 else total).item(), float(norm)]
    return curve


accelerator = Accelerator()
whole = tuner(sharded=False)
expected = learn(whole, make_optimizer(whole, PRESET), 4)
pieces = tuner(sharded=True)
optimizer = make_optimizer(pieces, PRESET)
first = learn(pieces, optimizer, 2)
checkpoint.save(FILE, accelerator, pieces, optimizer, 2, "run")
dist.barrier()
for sharded in (True, False):  # a checkpoint of pieces is taken up in pieces, and whole
    again = tuner(sharded)
    optimizer = make_optimizer(again, PRESET)
    assert checkpoint.load(FILE, accelerator, again, optimizer, "run") == 2
    curve = torch.tensor(first + learn(again, optimizer, 2))
    torch.testing.assert_close(curve, torch.tensor(expected), rtol=1e-4, atol=1e-3)
print("equal", flush=True)
dist.destroy_process_group()
