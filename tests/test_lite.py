"""EfficientNet-lite0 before nano's language model: tools.lite."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dfa_lib.gpt.base import load_base
from dfa_lib.gpt.litetower import LiteTowerConfig, LiteTowerModel, SameConv
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import NANO
from dfa_lib.records import DataError
from tools.lite import __main__ as lite


def published(tower: LiteTowerModel) -> dict[str, torch.Tensor]:
    """Return random weights in the layout of the package: a convolution, then its norm."""
    weights = {}
    for k, layer in enumerate(one for one in tower.modules() if isinstance(one, SameConv)):
        out = layer.out_channels
        weights[f"{k}.conv.weight"] = torch.randn(layer.weight.shape) / 10
        weights[f"{k}.bn.weight"], weights[f"{k}.bn.bias"] = torch.rand(out) + 0.5, torch.randn(out)
        weights[f"{k}.bn.running_mean"] = torch.randn(out)
        weights[f"{k}.bn.running_var"] = torch.rand(out) + 0.1
        weights[f"{k}.bn.num_batches_tracked"] = torch.tensor(1)
    return weights


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = published(LiteTowerModel(LiteTowerConfig()))
    monkeypatch.setattr(lite, "_weights", lambda: made)
    return made


def test_normalisation_is_folded_into_the_convolutions(weights: dict[str, torch.Tensor]) -> None:
    tower = LiteTowerModel(LiteTowerConfig())
    lite.load_imagenet(tower)
    seen = torch.randn(1, 3, 32, 32)
    norm = torch.nn.BatchNorm2d(32, eps=1e-3).eval()
    norm.load_state_dict({key[5:]: value for key, value in weights.items() if key[:5] == "0.bn."})
    padded = torch.nn.functional.pad(seen, (0, 1, 0, 1))
    apart = norm(torch.nn.functional.conv2d(padded, weights["0.conv.weight"], stride=2))
    assert torch.allclose(tower.stem(seen), apart, atol=1e-4)
    last = [one for one in tower.modules() if isinstance(one, SameConv)][-1]
    assert last.weight.shape == (320, 1152, 1, 1) and not torch.equal(last.bias, last.bias * 0)


def test_a_base_is_made_and_loaded(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    base = replace(NANO, base=str(lite.make_base(tmp_path / "base", portraits=1, steps=2)))
    model, processor = load_base(base, "cpu")
    prompter = Prompter(processor)
    face = np.zeros((224, 224, 3), np.uint8)
    face[20:-20, 20:-20] = 255  # the border is cropped away
    pictures = prompter.pictures([face])["pixel_values"]
    assert pictures.shape == (1, 3, 160, 160) and pictures.min() > 0.9
    assert prompter.image_tokens == 25
    assert model.get_image_features(pictures).pooler_output[0].shape == (25, 128)


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(DataError, match="pip install no_such_package_anywhere"):
        lite.load_imagenet(LiteTowerModel(LiteTowerConfig()))
