"""What transformers alone makes of a picture and a question: what sharing an image must equal."""

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin


def stock_prompt(processor: ProcessorMixin, question: str) -> str:
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    turn = [{"role": "user", "content": parts}]
    return processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)


@torch.inference_mode()
def stock_answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    image: np.ndarray,
    question: str,
    limit: int,
    **options: object,
) -> list[int]:
    """The greedy answer of ``generate``, without its end."""
    text = [stock_prompt(processor, question)]
    inputs = processor(images=[image], text=text, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=limit, do_sample=False, **options)
    ids = out[0, inputs["input_ids"].shape[1] :].tolist()
    eos = processor.tokenizer.eos_token_id
    return ids[: ids.index(eos)] if eos in ids else ids
