"""What the frozen vision tower sees: each face is looked at once, if memory allows."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from dfa_lib.gpt.prefix import Prompter, check_image_tokens, pixels, vision_features
from dfa_lib.records import Face

FEATURE_BYTES = 2 * 2**30


class Images(Protocol):
    """Where face pictures come from, for instance a FaceSet."""

    def image(self, face: Face) -> np.ndarray:
        """The picture of a face: RGB uint8 (H, W, 3)."""
        ...


class FrozenFeatures:
    """Vision-tower features of faces.

    The tower is frozen, so each face is looked at once, as long as all features fit into
    ``FEATURE_BYTES``; else again for each batch.
    """

    def __init__(self, model: nn.Module, prompter: Prompter, images: Images) -> None:
        self.model, self.prompter, self.images = model, prompter, images
        self.kept: dict[str, Tensor] = {}

    def __call__(self, faces: Sequence[Face]) -> Tensor:
        """Features (B, N, C) of a batch of faces."""
        if all(face.id in self.kept for face in faces):
            return torch.stack([self.kept[face.id] for face in faces])
        return self._look(faces)

    def fill(self, faces: Sequence[Face], quiet: bool, batch: int = 64) -> None:
        """Look at all faces now if their features fit."""
        size = self._look(faces[:1]).nbytes
        if size * len(faces) > FEATURE_BYTES:
            return
        for start in tqdm(range(0, len(faces), batch), desc="vision tower", disable=quiet):
            part = faces[start : start + batch]
            # beside the GPU, whose memory the training needs
            for face, features in zip(part, self._look(part).cpu(), strict=True):
                self.kept[face.id] = features

    def _look(self, faces: Sequence[Face]) -> Tensor:
        pictures = [self.images.image(face) for face in faces]
        features = vision_features(self.model, pixels(self.prompter.processor, pictures))
        check_image_tokens(self.prompter, features)
        return features
