"""What a model reads: the image once, then every question as a branch of its own.

Image tokens dominate every question (576 of about 640 in LLaVA-1.5). So all QA of an image go
into one sequence: the prefix once, then each QA as a branch whose positions restart after it and
which sees the prefix and itself only. All inputs come from the processor, whatever the family.
"""

from array import array
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from dfa_lib.gpt.trees import Branch, Tree
from dfa_lib.records import DataError, InstructRecord

Turn = tuple[str, str]
"""One question and the answer it got."""
WORDS = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
"""What a processor returns beside the image inputs."""


class Prompter:
    """Turns pictures, questions and answers into model inputs by the processor's template.

    ``prefix`` is what every prompt on a picture begins with, up to the end of its image
    tokens; ``question`` and ``answer`` return tokens that follow it. ``blank`` is what the model
    is given of a black picture. Raises DataError for a processor without chat template or image
    tokens.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.eos: int = processor.tokenizer.eos_token_id
        self._opening = self._text([], "?")
        after = self._tokens(self._opening)
        ids, self.blank = self._read([Image.new("RGB", (224, 224))])
        ids = ids[0].tolist()
        if ids[-len(after) :] != after:
            raise DataError("processor: its image tokens change the text that follows them")
        self.prefix = ids[: -len(after)]
        self.image_tokens = self.prefix.count(processor.image_token_id)

    def pictures(self, images: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the image inputs of RGB uint8 arrays (H, W, 3), for instance pixel_values.

        Raises DataError if one takes other tokens than ``prefix``, as families without a
        fixed image size do for pictures of another shape.
        """
        ids, inputs = self._read([Image.fromarray(image) for image in images])
        heads = ids[:, : len(self.prefix)]
        if not (heads == heads.new_tensor(self.prefix)).all():
            raise DataError(
                f"picture of {images[0].shape[:2]} pixels: has another number of image tokens than "
                "224 x 224; set the image size of the preset's processor"
            )
        return inputs

    def question(self, text: str, history: Sequence[Turn] = ()) -> list[int]:
        """Return the tokens from the image to the point where the answer begins."""
        return self._tokens(self._text(history, text))

    def answer(self, question: str, answer: str) -> tuple[list[int], int]:
        """Return the tokens of question, answer and end of sequence, and where the answer begins.

        Raises DataError if no token would be supervised.
        """
        if not answer.strip():
            raise DataError(f"question {question!r:.60}: empty answer; write one or remove it")
        text = self._text([], question)
        prompt = self._tokens(text)
        gap = "" if text[-1].isspace() else " "
        ids = self._tokens(text + gap + answer.strip())
        if ids[: len(prompt)] != prompt:
            raise DataError(
                f"answer {answer!r:.60}: its first token merges with the prompt; edit the template"
            )
        # the LLaVA-1.5 template writes no end of sequence: without it a model never stops
        return [*ids, self.eos], len(prompt)

    def options(self, question: str, answers: Sequence[str]) -> Tree:
        """Return the tree of one question with each whole answer as a branch of its own."""
        written = [self.answer(question, answer) for answer in answers]
        head, cut = written[0]
        return Tree(head[:cut], [Branch(ids[cut:], 0) for ids, cut in written])

    def _text(self, history: Sequence[Turn], question: str) -> str:
        messages = [_message("user", question)]
        for asked, answered in reversed(history):
            messages[:0] = [_message("user", asked), _message("assistant", answered)]
        messages[0]["content"].insert(0, {"type": "image"})
        return self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )

    def _tokens(self, text: str) -> list[int]:
        """Return the tokens after the image."""
        # tokenised as a whole and cut after: some tokenizers treat the start of a text specially
        ids = self.tokenizer(text)["input_ids"]
        if self.processor.image_token_id not in ids:
            raise DataError("processor: its chat template writes no image token")
        return ids[ids.index(self.processor.image_token_id) + 1 :]

    def _read(self, pictures: Sequence[Image.Image]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the ids (I, L) of the shortest prompt on each picture, and the image inputs."""
        nested = [[picture] for picture in pictures]
        texts = [self._opening] * len(pictures)
        read = self.processor(images=nested, text=texts, return_tensors="pt")
        return read["input_ids"], {key: read[key] for key in read if key not in WORDS}


def encode(prompter: Prompter, record: InstructRecord) -> Tree:
    """Return a record as tokens; raise DataError naming the face if nothing is supervised."""
    if not record.qa:
        raise DataError(f"face {record.id}: qa: no question; add one or remove the record")
    branches = []
    for qa in record.qa:
        try:
            ids, begin = prompter.answer(qa.question, qa.answer)
        except DataError as error:
            raise DataError(f"face {record.id}: {error}") from None
        branches.append(Branch(array("i", ids), begin, qa.task))  # four bytes a token
    return Tree(prompter.prefix, branches, record.face)


def _message(role: str, text: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text}]}
