"""BERTScore (Zhang et al. 2020): how alike in meaning a description and its reference are.

Each word is matched with the most similar word of the other text, by a language model's
vectors; the F1 of both directions is the score. Computed here on transformers: the library
``bert-score`` has rested since 2023, and fails on an empty text under transformers 5. Like BLEU
it is context and ranks nobody: texts of one style are alike, whatever they claim.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer

from dfa_lib.bench.describing import reference
from dfa_lib.bench.opinions import Opinion, described, digest, keep
from dfa_lib.bench.report import Report
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import DataError, InstructRecord, Prediction


class BertScore:
    """BERTScore by an encoder of the hub or in a folder; ``layer`` counts from 1.

    The defaults are those of the authors for English. Only safetensors are read.
    """

    def __init__(self, model: str | Path = "roberta-large", layer: int = 17) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.encoder = AutoModel.from_pretrained(model, use_safetensors=True).eval()
        depth = self.encoder.config.num_hidden_layers
        if not 1 <= layer <= depth:
            raise DataError(f"layer={layer}: {model} has layers 1 to {depth}")
        self.layer = layer
        self.by = f"BERTScore F1 · {str(model).rstrip('/').rsplit('/', 1)[-1]} · layer {layer}"

    def compare(
        self,
        out: Path,
        faces: FaceSet,
        records: Iterable[InstructRecord],
        limit: int | None = 100,
    ) -> Report:
        """Compare the descriptions on file of at most ``limit`` faces with their references.

        Writes the scores into the report in ``out``. Raises DataError if none has a reference.
        """
        wanted = {record.id: reference(record)[1] for record in records}
        given = [one for one in described(out, faces, limit) if wanted.get(one.face)]
        if not given:
            raise DataError(f"{out}: no description has a reference; give its records")
        given.sort(key=lambda one: one.face)
        found: list[Opinion] = []
        for face, group in groupby(tqdm(given, "BERTScore"), key=lambda one: one.face):
            listed = list(group)
            scores = self.f1([one.text or "" for one in listed], wanted[face])
            found += [self._opinion(*pair) for pair in zip(listed, scores, strict=True)]
        return keep(out, faces, found)

    @torch.inference_mode()
    def f1(self, texts: Sequence[str], wanted: str) -> list[float]:
        """BERTScore F1 of each text against ``wanted``; 0 for a text without a word."""
        due, *said = self._vectors([wanted, *texts])
        return [_f1(one, due) for one in said]

    def _vectors(self, texts: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Unit vectors (L, D) of the tokens of each text, and which (L,) are no special tokens."""
        longest = min(
            self.tokenizer.model_max_length, self.encoder.config.max_position_embeddings - 2
        )
        # the blank makes the first word of a byte-level vocabulary like any other
        batch = self.tokenizer(
            [f" {text}" for text in texts],
            return_tensors="pt",
            return_special_tokens_mask=True,
            padding=True,
            truncation=True,
            max_length=longest,
        )
        special = batch.pop("special_tokens_mask").bool()
        states = self.encoder(**batch, output_hidden_states=True).hidden_states[self.layer]
        unit = torch.nn.functional.normalize(states.float(), dim=-1)
        shown = batch["attention_mask"].bool()
        return [(unit[at, row], ~special[at, row]) for at, row in enumerate(shown)]

    def _opinion(self, one: Prediction, score: float) -> Opinion:
        text = digest(one.text)
        return Opinion(by=self.by, scale=(0, 1), analyst=one.analyst, face=one.face, text=text,
                       value=score)  # fmt: skip


def _f1(said: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> float:
    """F1 of the greedy matching; special tokens may be matched, and are not counted."""
    (one, counted), (other, due) = said, wanted
    if not counted.any() or not due.any():
        return 0.0
    alike = one @ other.T
    precision, recall = alike.amax(1)[counted].mean(), alike.amax(0)[due].mean()
    return round(float(2 * precision * recall / (precision + recall)), 6)
