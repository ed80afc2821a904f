"""Checkpoints of a run: trainable weights and optimiser state in one safetensors file."""

import json
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from dfa_lib.records import DataError


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or all of it where FSDP left each process a piece."""
    return tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """What tuning changes, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save(
    file: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Optimizer,
    step: int,
    run: str,
) -> None:
    """Write the state after ``step`` steps of run ``run``; the file is complete or the old one.

    Every process calls this, the main one writes. DeepSpeed keeps its optimiser in parts of its
    own, and has no checkpoint.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return
    tensors = {}
    for name, parameter in trainable(model).items():
        tensors[name] = whole(parameter)
        for key, value in optimizer.state[parameter].items():
            tensors[f"{name}/{key}"] = whole(torch.as_tensor(value))
    if not accelerator.is_main_process:
        return
    scaler = accelerator.scaler.state_dict() if accelerator.scaler else {}
    about = {"step": str(step), "run": run, "scaler": json.dumps(scaler)}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    save_file(tensors, partial, metadata=about)
    partial.replace(file)


def load(
    file: Path, accelerator: Accelerator, model: nn.Module, optimizer: Optimizer, run: str
) -> int:
    """Restore the state of run ``run`` if ``file`` holds it; how many steps it has done."""
    if not file.is_file():
        return 0
    try:
        with safe_open(file, "pt") as stored:
            about = stored.metadata() or {}
            if about.get("run") != run:
                return 0
            state: dict[str, dict[str, Tensor]] = {}
            for name in stored.keys():
                parameter, _, key = name.partition("/")
                state.setdefault(parameter, {})[key] = stored.get_tensor(name)
    except SafetensorError:
        raise DataError(f"{file}: is incomplete; remove it to start from the beginning") from None
    mine = {name: parameter.shape for name, parameter in trainable(model).items()}
    if {name: kept[""].shape for name, kept in state.items()} != mine:
        raise DataError(
            f"{file}: of a run with other LoRA targets or another rank; remove it, or use those"
        )
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(_placed(state[name].pop(""), parameter))
            kept = {key: _placed(value, parameter) for key, value in state[name].items()}
            optimizer.state[parameter] = kept
    if accelerator.scaler:
        accelerator.scaler.load_state_dict(json.loads(about["scaler"]))
    return int(about["step"])


def _placed(value: Tensor, parameter: nn.Parameter) -> Tensor | int:
    """A stored value as the optimiser had it: a count, or a tensor laid out like its parameter."""
    if value.ndim == 0:
        return value if value.is_floating_point() else int(value)
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value.to(parameter.device)
