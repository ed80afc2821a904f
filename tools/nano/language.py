"""Stage two: tokenizer, projector and language model learn to talk about what the tower sees."""

from dataclasses import replace

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from tqdm.auto import tqdm
from transformers import (
    CLIPImageProcessorPil,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from dfa_lib.gpt.faceconv import FaceConvModel
from dfa_lib.gpt.prefix import PrefixLoss, Prompter
from dfa_lib.gpt.trees import Node, Packed, pack
from tools.nano.phrases import corpus, generic_qa
from tools.nano.pool import SIZE, Sitter, pixels
from tools.nano.tower import mini_batches
from tools.nano.views import GRID, View

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


def make_model(processor: LlavaProcessor, tower: FaceConvModel) -> LlavaForConditionalGeneration:
    """A stock LLaVA of 3 Llama layers around the trained tower."""
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
        vision_config=tower.config,
        text_config=text,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        image_seq_length=GRID * GRID,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
        **ids,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    return model


def train_language(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    seen: list[tuple[View, Sitter]],
    steps: int,
    seed: int,
    batch: int = 16,
    peak: float = 2e-3,
) -> None:
    """Train projector and language model in place on generic QA; the tower stays as it is."""
    prompter, rng = Prompter(processor), np.random.default_rng(seed)
    tower = model.train().model.vision_tower.requires_grad_(False).eval()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=peak, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, steps, pct_start=0.05)
    loss_of = PrefixLoss(model, prompter.start)
    bar = tqdm(mini_batches(len(seen), batch, steps, seed), "language", total=steps)
    for indices, mirror in bar:
        pairs = [seen[i] for i in indices]
        views = [view.mirrored() if mirror else view for view, _ in pairs]
        trees = [
            tree(prompter, view, sitter, rng)
            for view, (_, sitter) in zip(views, pairs, strict=True)
        ]
        with torch.no_grad():
            features = tower(pixels(views)).last_hidden_state
        loss = loss_of(features, balanced(trees))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


def tree(prompter: Prompter, view: View, sitter: Sitter, rng: np.random.Generator) -> list[Node]:
    """All QA of a view as branches of its image prefix."""
    written = [prompter.answer(*pair) for pair in generic_qa(view, sitter, rng)]
    return [Node(prompter.prefix), *(Node(ids, 0, cut) for ids, cut in written)]


def balanced(trees: list[list[Node]]) -> Packed:
    """Packed trees in which each answer counts the same, however long it is."""
    packed = pack(trees)
    lengths = packed.answers.bincount()
    return replace(packed, weights=1.0 / (lengths[packed.answers] * len(lengths)))
