"""Stage two: tokenizer, projector and language model learn to talk about what the tower sees."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    CLIPImageProcessorPil,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from dfa_lib.gpt.faceconv import FaceTowerConfig
from tools.nano.phrases import corpus, generic_qa
from tools.nano.plan import Note, Plan, annealed
from tools.nano.pool import SIZE, Pool
from tools.nano.views import GRID

VOCABULARY = 1536
# LLaVA-1.5's chat format. It writes no end-of-sequence token; whoever builds labels appends one.
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ part['text'] }} {% endgeneration %}"
    "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def make_processor() -> LlavaProcessor:
    """Byte-level BPE, so that any user text can be read, and a plain image processor."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet
    )
    # A question stands after a newline, an answer after a blank: words must be known both ways.
    texts = [start + text for text in corpus() for start in ("", " ")]
    core.train_from_iterator(["USER: ASSISTANT:"] * 50 + texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )
    square = {"height": SIZE, "width": SIZE}
    images = CLIPImageProcessorPil(
        do_center_crop=False,
        size=square,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        do_convert_rgb=True,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=SIZE // GRID,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
        num_additional_image_tokens=0,
    )


def make_model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """Return a stock LLaVA of 3 Llama layers around the tower, with random weights."""
    tokens = processor.tokenizer
    ids = {
        "pad_token_id": tokens.pad_token_id,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
    }
    text = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        **ids,
    )
    config = LlavaConfig(
        vision_config=FaceTowerConfig(),
        text_config=text,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        image_seq_length=GRID * GRID,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
        **ids,
    )
    return LlavaForConditionalGeneration(config)


@dataclass(frozen=True)
class Batch:
    """Questions with answers, one a row, padded on the right, and to which image each belongs.

    ``ids`` (R, L), ``labels`` (R, L) with -100 where nothing is supervised, ``images`` (R,),
    ``weights`` (R,), which make each answer count the same, however long it is.
    """

    ids: Tensor
    labels: Tensor
    images: Tensor
    weights: Tensor


class Writer:
    """Writes questions and answers by the chat template of a processor."""

    def __init__(self, processor: LlavaProcessor) -> None:
        self.tokenizer = processor.tokenizer
        content = [{"type": "image"}, {"type": "text", "text": "QUESTION"}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        start, rest = text.split(processor.image_token)
        self.before, self.after = rest.split("QUESTION")
        self.start = self.tokenizer(start)["input_ids"]
        self.prefix = self.start + [processor.image_token_id] * GRID * GRID

    def batch(self, qa: Sequence[Sequence[tuple[str, str]]]) -> Batch:
        """Lay out the questions and answers of each image."""
        pairs = [pair for asked in qa for pair in asked]
        prompts = self.tokenizer([f"{self.before}{q}{self.after}" for q, _ in pairs])["input_ids"]
        answers = self.tokenizer([f" {answer}" for _, answer in pairs])["input_ids"]
        eos, first = self.tokenizer.eos_token_id, len(self.prefix)
        width = first + max(len(p) + len(a) + 1 for p, a in zip(prompts, answers, strict=True))
        ids = np.full((len(pairs), width), self.tokenizer.pad_token_id)
        labels = np.full_like(ids, -100)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            written = [*self.prefix, *prompt, *answer, eos]
            ids[row, : len(written)] = written
            begin = first + len(prompt)
            labels[row, begin : len(written)] = written[begin:]
        images = np.repeat(np.arange(len(qa)), [len(asked) for asked in qa])
        weights = 1 / (labels != -100).sum(1) / len(pairs)
        return Batch(*map(torch.from_numpy, (ids, labels, images, weights)))


def answer_loss(
    model: LlavaForConditionalGeneration, features: Tensor, batch: Batch, start: int
) -> Tensor:
    """Return the mean over answers of their mean loss per token; ``features`` (B, N, C)."""
    words = model.get_input_embeddings()(batch.ids)
    seen = model.model.multi_modal_projector(features)[batch.images].to(words.dtype)
    words = torch.cat([words[:, :start], seen, words[:, start + seen.shape[1] :]], dim=1)
    hidden = model.model.language_model(inputs_embeds=words).last_hidden_state  # pads are last
    rows, places = (batch.labels != -100).nonzero(as_tuple=True)
    logits = model.lm_head(hidden[rows, places - 1]).float()
    losses = cross_entropy(logits, batch.labels[rows, places], reduction="none")
    return (losses * batch.weights[rows]).sum().float()


def train_language(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    pool: Pool,
    plan: Plan,
    seed: int,
    note: Note,
    peak: float = 2e-3,
) -> int:
    """Train projector and language model in place on generic QA; return the steps taken."""
    writer, rng = Writer(processor), np.random.default_rng(seed)
    device = pool.images.device
    tower = model.train().model.vision_tower.requires_grad_(False).eval()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=peak, weight_decay=0.01, fused=True)
    steps, minutes, step = plan.language_steps, plan.language_minutes, 0
    for step in annealed(optimiser, peak, steps, minutes, "language"):
        indices = rng.integers(len(pool), size=plan.language_batch)
        asked = writer.batch([generic_qa(pool.told[i], rng) for i in indices])
        asked = Batch(*(tensor.to(device) for tensor in vars(asked).values()))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            with torch.no_grad():
                features = tower(pool.pixels(torch.from_numpy(indices).to(device)))
            loss = answer_loss(model, features.last_hidden_state, asked, len(writer.start))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        if step % 200 == 0:
            note(step=step, loss=round(loss.item(), 4))
    return step + 1
