"""The paper's comparison: the analyst's own vision encoder, tuned on labels, without language.

The linear probe leaves the encoder frozen; here it may change, as vision-only detectors do.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from dfa_lib.analysts import Reply
from dfa_lib.bench.baselines import Asked, Control, Images, choose
from dfa_lib.bench.exam import labels
from dfa_lib.conditions import Everyday
from dfa_lib.files import digest
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.forward import core, pooled
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import Face
from dfa_lib.taxonomy import CLASSES, Category, Task


class Encoder(nn.Module):
    """A vision tower with one linear layer: (B, 3, S, S) to a logit for each category, (B, 5)."""

    def __init__(self, analyst: LocalAnalyst) -> None:
        super().__init__()
        llava = core(analyst.model)
        self.tower = deepcopy(llava.model.get_encoder("image")).float().requires_grad_(True)
        self.layer = getattr(llava.config, "vision_feature_layer", -1)
        strategy = getattr(llava.config, "vision_feature_select_strategy", "full")
        self.first = int(strategy == "default")  # class token
        if analyst.preset.checkpointing:
            self.tower.gradient_checkpointing_enable({"use_reentrant": False})
        self.head = nn.Linear(2 * llava.config.vision_config.hidden_size, len(CLASSES))

    def forward(self, pictures: Tensor) -> Tensor:
        """Mean and maximum over the patches, as the linear probe takes them, then the layer."""
        patches = self.tower(pictures, output_hidden_states=True).hidden_states[self.layer]
        return self.head(pooled(patches[:, self.first :]))


class FineTuned(Control):
    """Answers DF-D and DF-C from an encoder tuned on the categories of ``train``.

    Batch, highest learning rate and everyday conditions are those of the analyst's preset. Tuned
    when it is first asked: a run that only wants its report tunes nothing.
    """

    tasks = (Task.DF_D, Task.DF_C)
    name = "fine_tuned"

    def __init__(self, analyst: LocalAnalyst, train: FaceSet, epochs: int, seed: int = 0) -> None:
        self.analyst, self.train, self.epochs, self.seed = analyst, train, epochs, seed
        self.batch, self.rate = analyst.preset.batch, analyst.preset.lr_vision
        self.images = Everyday(train) if analyst.preset.everyday else train
        how = (epochs, self.batch, self.rate, seed, analyst.preset.everyday)
        self.fingerprint = digest(repr((analyst.fingerprint, [f.sha256 for f in train], how)))

    def reply(self, images: Images, questions: Asked) -> list[list[Reply]]:
        """Answer closed questions by the category probabilities of each picture."""
        encoder = self._encoder
        with torch.inference_mode():
            known = encoder(self._seen(images)).double().log_softmax(-1)
        forged = [category.forged for category in CLASSES]
        shares = {
            Task.DF_C: dict(zip((c.value for c in CLASSES), known.T.tolist(), strict=True)),
            Task.DF_D: {
                "bona fide": known[:, 0].tolist(),
                "forged": known[:, forged].logsumexp(1).tolist(),
            },
        }
        return [
            [
                choose(one, [shares[one.task][name][at] for name in labels(one.task)])
                for one in asked
            ]
            for at, asked in enumerate(questions)
        ]

    @cached_property
    def _encoder(self) -> Encoder:
        """The tuned encoder, in evaluation mode; the analyst's own stays as it is."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            encoder = Encoder(self.analyst).to(self.analyst.model.device)
            batches = [batch for _ in range(self.epochs) for batch in self._batches()]
            _tune(encoder, self._looked_at(batches), len(batches), self.rate)
        return encoder.eval()

    def _batches(self) -> Iterator[list[Face]]:
        order = torch.randperm(len(self.train)).tolist()
        for start in range(0, len(order), self.batch):
            yield [self.train.faces[at] for at in order[start : start + self.batch]]

    def _looked_at(self, batches: Iterable[Sequence[Face]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Pictures, half of them mirrored, and the classes (B, 5) each may be of."""
        for faces in batches:
            pictures = self._seen([self.images.image(face) for face in faces])
            mirror = (torch.rand(len(faces)) < 0.5).to(pictures.device)[:, None, None, None]
            known = torch.tensor([_possible(face.category) for face in faces])
            yield torch.where(mirror, pictures.flip(3), pictures), known.to(pictures.device)

    def _seen(self, images: Sequence[np.ndarray]) -> Tensor:
        pictures = self.analyst.prompter.pictures(images)["pixel_values"]
        return pictures.to(self.analyst.model.device)


def _possible(category: Category) -> list[bool]:
    """Which classes a face may be of: its own, or every forgery where the kind is unknown."""
    return [one is category or (one.forged and category is Category.FORGED) for one in CLASSES]


def _tune(
    encoder: Encoder, batches: Iterable[tuple[Tensor, Tensor]], steps: int, rate: float
) -> None:
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    encoder.train()
    for pictures, known in tqdm(batches, "fine_tuned", total=steps):
        logs = encoder(pictures).log_softmax(-1).masked_fill(~known, -torch.inf)
        loss = -logs.logsumexp(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
