"""The paper's comparison: the analyst's own vision encoder, tuned on labels, without language.

The linear probe leaves the encoder frozen; here it may change, as vision-only detectors do.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from dfa_lib.bench.baselines import Classifier, Images
from dfa_lib.conditions import Everyday
from dfa_lib.files import digest
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.forward import Pictures, core, pooled
from dfa_lib.gpt.memory import GIB, ROOM, free_memory
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError
from dfa_lib.taxonomy import CLASSES, Category, Task


class Encoder(nn.Module):
    """A vision tower with one linear layer: pictures to a logit for each category, (B, 5)."""

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

    def forward(self, pictures: Pictures) -> Tensor:
        """Mean and maximum over the patches, as the linear probe takes them, then the layer."""
        pixels, grids = pictures["pixel_values"], pictures.get("image_grid_thw")
        if grids is not None:  # the patches of all pictures in one row
            states = self.tower(pixels, grid_thw=grids).last_hidden_state
            return self.head(pooled(states.reshape(len(grids), -1, states.shape[-1])))
        pixels = pixels.reshape(-1, *pixels.shape[-3:])  # some processors add an axis
        patches = self.tower(pixels, output_hidden_states=True).hidden_states[self.layer]
        return self.head(pooled(patches[:, self.first :]))


class FineTuned(Classifier):
    """Answers DF-D and DF-C from an encoder tuned on the categories of ``train``.

    Batch, highest learning rate and everyday conditions are those of the analyst's preset. Tuned
    when it is first asked: a run that only wants its report tunes nothing.
    """

    name = "fine_tuned"

    def __init__(self, analyst: LocalAnalyst, train: FaceSet, epochs: int, seed: int = 0) -> None:
        self.analyst, self.train, self.epochs, self.seed = analyst, train, epochs, seed
        self.batch, self.rate = analyst.preset.batch, analyst.preset.lr_vision
        self.images = Everyday(train) if analyst.preset.everyday else train
        how = (epochs, self.batch, self.rate, seed, analyst.preset.everyday)
        self.fingerprint = digest(repr((analyst.fingerprint, [f.sha256 for f in train], how)))

    def logprobs(self, images: Images) -> Mapping[Task, np.ndarray]:
        """Return the category log-probabilities, and for DF-D those of all forgeries together."""
        encoder = self._encoder
        with torch.inference_mode():
            kinds = encoder(self._seen(images)).double().log_softmax(-1)  # in the order of CLASSES
        both = torch.stack([kinds[:, 0], kinds[:, 1:].logsumexp(1)], dim=1)
        return {Task.DF_C: kinds.cpu().numpy(), Task.DF_D: both.cpu().numpy()}

    @cached_property
    def _encoder(self) -> Encoder:
        """The tuned encoder, in evaluation mode; the analyst's own stays as it is."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            encoder = Encoder(self.analyst)
            wanted = 4 * 4 * sum(weight.numel() for weight in encoder.parameters()) / GIB
            if wanted > ROOM * (free := free_memory()):  # in 32 bits, with gradients and moments
                raise DataError(
                    f"fine_tuned: the encoder takes {wanted:.1f} GiB beside the analyst, {free:.1f}"
                    " are free; leave fine_tuned out of the analysts, or take a larger GPU"
                )
            encoder = encoder.to(self.analyst.model.device).train()
            orders = (torch.randperm(len(self.train)) for _ in range(self.epochs))
            batches = [batch.tolist() for order in orders for batch in order.split(self.batch)]
            optimiser = torch.optim.AdamW(encoder.parameters(), self.rate, fused=True)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, self.rate, total_steps=len(batches)
            )
            for pictures, possible in tqdm(self._ahead(batches), "fine_tuned", len(batches)):
                optimiser.zero_grad()
                logs = encoder(pictures).log_softmax(-1)
                # -log P of a face's category, or of any forgery where that is unknown
                (-logs.masked_fill(~possible, -torch.inf).logsumexp(-1).mean()).backward()
                optimiser.step()
                schedule.step()
        return encoder.eval()

    def _ahead(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Pictures, Tensor]]:
        """Yield the pictures of each batch, and which classes (B, 5) each face may be of.

        Those of the next batch are made in a thread while the encoder learns from this one.
        """

        def made(batch: Sequence[int]) -> tuple[Pictures, Tensor]:
            faces = [self.train.faces[at] for at in batch]
            possible = torch.tensor([_possible(face.category) for face in faces])
            seen = self._seen([self.images.image(face) for face in faces])
            return seen, possible.to(self.analyst.model.device)

        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(made, batches[0])
            for batch in batches[1:]:
                ready, coming = coming, thread.submit(made, batch)
                yield ready.result()
            yield coming.result()

    def _seen(self, images: Sequence[np.ndarray]) -> Pictures:
        pictures = self.analyst.prompter.pictures(images)
        return {key: value.to(self.analyst.model.device) for key, value in pictures.items()}


def _possible(category: Category) -> list[bool]:
    """Which classes a face may be of: its own, or every forgery where the kind is unknown."""
    return [one is category or (one.forged and category is Category.FORGED) for one in CLASSES]
