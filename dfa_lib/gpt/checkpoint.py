"""Checkpoints of a run: trainable weights and optimiser state in one safetensors file."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from dfa_lib.records import DataError


def save(file: Path, model: nn.Module, optimizer: Optimizer, step: int, run: str) -> None:
    """Write the state after ``step`` steps of run ``run``; the file is complete or the old one."""
    tensors = {}
    for name, parameter in _trainable(model):
        tensors[name] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step), "run": run})
    partial.replace(file)


def load(file: Path, model: nn.Module, optimizer: Optimizer, run: str) -> int:
    """Restore the state of run ``run`` if ``file`` holds it; how many steps it has done."""
    if not file.is_file():
        return 0
    try:
        with safe_open(file, "pt") as stored:
            about = stored.metadata() or {}
            if about.get("run") != run:
                return 0
            for name, parameter in _trainable(model):
                parameter.data.copy_(stored.get_tensor(name))
                keys = [key for key in stored.keys() if key.startswith(f"{name}/")]
                optimizer.state[parameter] = {
                    key.rpartition("/")[2]: stored.get_tensor(key) for key in keys
                }
    except SafetensorError:
        raise DataError(f"{file}: is torn; remove it and the run starts anew") from None
    return int(about["step"])


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]
