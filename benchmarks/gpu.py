"""What tuning and asking cost on one data-centre GPU: memory, step time, share of the peak.

No network and no weights: every base is made with random weights in its true geometry, so
memory and speed are real and the answers are noise. Each result is printed and written to the
JSON file as soon as it is known, and a section that fails is reported and left behind.
Without a GPU it says so and measures nothing; ``--smoke`` runs toy bases on the CPU.

    python -m benchmarks.gpu --out gpu.json
"""

import argparse
import gc
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from dfa_lib.gpt.base import parts
from dfa_lib.gpt.forward import Prefix, PrefixLoss, core
from dfa_lib.gpt.trees import TREES, Branch, Packed, Tree, pack

if __package__:
    from benchmarks.geometry import BASES, build, image_tokens, picture
else:
    from geometry import BASES, build, image_tokens, picture

GIB = 2**30
CAP, LIMIT = 15.0, 520.0
"""GiB that a free T4 leaves to a run, and seconds after which no section begins."""
LENGTHS = (40, 50, 110, 62, 62, 62, 62)
"""Tokens of the seven QA of an image; half of each is its answer."""
RANK = 128
IMAGES = (1, 4, 16)
"""Images of a row where memory is no object."""


class Bench:
    """The results so far, printed and kept as they come."""

    def __init__(self, out: Path, device: str, smoke: bool) -> None:
        self.out, self.device, self.smoke = out, device, smoke
        self.begin, self.results = time.perf_counter(), {"device": "not measured"}

    @property
    def cuda(self) -> bool:
        """Whether this runs on a GPU."""
        return self.device == "cuda"

    def tell(self, key: str, **values: object) -> None:
        """Print one line and write the JSON anew."""
        self.results[key] = values
        print(f"| {key} | " + " | ".join(f"{k} {_short(v)}" for k, v in values.items()), flush=True)
        self.out.write_text(json.dumps(self.results, indent=1), encoding="utf-8")

    def section(self, name: str, work: Callable[["Bench"], None]) -> None:
        """Run one section unless the time is up; a failure is told and forgotten."""
        if (spent := time.perf_counter() - self.begin) > LIMIT:
            self.tell(name, skipped=f"{spent:.0f} s were gone")
            return
        try:
            work(self)
        except Exception as error:
            traceback.print_exc()
            self.tell(name, failed=f"{type(error).__name__}: {error}"[:300])
            if "CUDA error" in str(error):  # the context is lost, and with it all that follows
                sys.exit(1)
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def seconds(self, work: Callable[[], object], rounds: int = 3) -> float:
        """Return the median seconds of ``work``, after one run to warm up."""
        taken = []
        for _ in range(1 + (1 if self.smoke else rounds)):
            self.wait()
            begin = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - begin)
        return sorted(taken[1:])[len(taken[1:]) // 2]

    def wait(self) -> None:
        """Wait for the GPU."""
        if self.cuda:
            torch.cuda.synchronize()

    @contextmanager
    def capped(self, gib: float) -> Iterator[None]:
        """Leave the process no more than ``gib`` of the GPU's memory."""
        if not self.cuda:
            yield
            return
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / total))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def peak(bench: Bench, size: int = 8192) -> float:
    """Return FLOP/s of one large product of matrices in bfloat16."""
    size = 256 if bench.smoke else size
    left, right = (
        torch.randn(size, size, device=bench.device, dtype=torch.bfloat16) for _ in range(2)
    )
    return 2 * size**3 / bench.seconds(lambda: left @ right, rounds=20)


def tunable(bench: Bench, name: str, four_bit: bool, rank: int = RANK) -> nn.Module:
    """Return a base with LoRA on its language model and a free projector, as the paper tunes."""
    model = build(BASES[name].config(bench.smoke), bench.device, torch.bfloat16)
    part = {"text_config": TREES}
    model.set_attn_implementation({"": "sdpa", **part})
    if four_bit:
        _quantise(model)
    inside = {id(module) for module in model.get_decoder().modules()}
    linears = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    ]
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=linears,
        modules_to_save=parts(model)["projector"], task_type="CAUSAL_LM",
    )  # fmt: skip
    tuned = get_peft_model(model, config)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return tuned.train()


def _quantise(model: nn.Module) -> None:
    """Turn the linear layers of the language model into 4-bit ones, as bitsandbytes loads them."""
    import bitsandbytes as bnb

    for parent in list(model.get_decoder().modules()):
        for name, old in list(parent.named_children()):
            if type(old) is not nn.Linear:
                continue
            new = bnb.nn.Linear4bit(
                old.in_features, old.out_features, old.bias is not None,
                compute_dtype=torch.bfloat16, compress_statistics=True, quant_type="nf4",
                device="meta",
            )  # fmt: skip
            new.weight = bnb.nn.Params4bit(
                old.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
            ).to(old.weight.device)
            new.bias = old.bias
            setattr(parent, name, new.requires_grad_(False))
            old.weight = None
    model.is_loaded_in_4bit = True


def optimiser_of(model: nn.Module) -> torch.optim.Optimizer:
    """Return 8-bit AdamW that may leave the GPU where bitsandbytes is installed, else AdamW."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if trained[0].is_cuda and importlib.util.find_spec("bitsandbytes"):
        from bitsandbytes.optim import PagedAdamW8bit

        return PagedAdamW8bit(trained, lr=1e-4)
    return torch.optim.AdamW(trained, lr=1e-4)


def trees(model: nn.Module, side: int, images: int) -> list[Tree]:
    """Return one tree of seven QA for each image, of random words."""
    config, generator = core(model).config, torch.Generator().manual_seed(0)
    head = [1, *[config.image_token_id] * image_tokens(config, side)]
    last = min(3000, config.get_text_config().vocab_size)
    words = [torch.randint(4, last, (n,), generator=generator).tolist() for n in LENGTHS]
    return [Tree(head, [Branch(ids, len(ids) // 2) for ids in words])] * images


def row_of(bench: Bench, model: nn.Module, side: int, images: int) -> tuple[dict, Packed]:
    """Return pictures and the packed row of their QA."""
    pictures = picture(core(model).config, side, images, bench.device)
    packed = pack([trees(model, side, images)]).to(torch.device(bench.device))
    weights = torch.full_like(packed.weights, 1 / len(packed.weights))
    return pictures, packed._replace(weights=weights)


def autocast(bench: Bench) -> torch.autocast | nullcontext:
    """Compute in bfloat16 beside trained weights in float32."""
    return torch.autocast(bench.device, torch.bfloat16)


def padded_loss(bench: Bench, model: nn.Module, side: int, images: int) -> Callable[[], Tensor]:
    """Return one padded batch with a sequence per QA and logits everywhere: the field's way."""
    batch = padded_batch(bench, model, side, images)
    return lambda: model(**batch).loss


def padded_batch(bench: Bench, model: nn.Module, side: int, images: int) -> dict[str, Tensor]:
    """Return the same QA as sequences of their own, padded on the right, with labels."""
    rows, labels = [], []
    for head, branches in trees(model, side, images):
        for branch in branches:
            rows.append(torch.tensor([*head, *branch.ids]))
            labels.append(rows[-1].clone())
            labels[-1][: len(head) + branch.answer] = -100
    pad = nn.utils.rnn.pad_sequence
    ids = pad(rows, batch_first=True, padding_value=0)
    widths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(ids.shape[1]) < widths[:, None]).long()
    batch = {"input_ids": ids, "attention_mask": mask}
    batch["labels"] = pad(labels, batch_first=True, padding_value=-100)
    pictures = picture(core(model).config, side, images * len(LENGTHS), bench.device)
    if "image_grid_thw" in pictures:
        batch["mm_token_type_ids"] = (ids == core(model).config.image_token_id).int()
    return {key: value.to(bench.device) for key, value in batch.items()} | pictures


def step_of(
    bench: Bench, loss: Callable[[], Tensor], optimiser: torch.optim.Optimizer
) -> Callable[[], None]:
    """Return one optimiser step as a call."""

    def step() -> None:
        with autocast(bench):
            value = loss()
        value.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def model_flops(model: nn.Module, packed: Packed, side: int) -> float:
    """Return the operations one training step must make, counted by hand, nothing twice.

    A frozen layer costs a product forward and one for the gradient of its input, a trained one
    another for its weights; attention costs two products forward and four backward, over the
    pairs of tokens that see each other. Recomputed activations do not count.
    """
    inner, config = core(model), core(model).config
    decoder, text, length = inner.get_decoder(), config.get_text_config(), packed.ids.shape[1]
    kinds = {True: 0, False: 0}
    for module in decoder.modules():
        if isinstance(module, nn.Linear):
            weight = module.weight
            kinds[weight.requires_grad] += module.in_features * module.out_features
    pairs = int((packed.until - torch.arange(length, device=packed.until.device)).sum())
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    attention = 3 * 4 * pairs * width * text.num_attention_heads * text.num_hidden_layers
    head = 4 * text.hidden_size * text.vocab_size * len(packed.targets)
    patches = len(packed.segments) * (side // config.vision_config.patch_size) ** 2
    encoder = inner.get_encoder("image")
    look = 2 * patches * sum(p.numel() for p in encoder.parameters() if p.ndim == 2)
    return length * (4 * kinds[False] + 6 * kinds[True]) + attention + head + look


def memory(name: str) -> Callable[[Bench], None]:
    """Return the section that tunes ``name`` on one image under the cap."""

    def run(bench: Bench) -> None:
        base = BASES[name]
        four_bit = base.four_bit and importlib.util.find_spec("bitsandbytes") is not None
        model = tunable(bench, name, four_bit)
        core(model).model.get_decoder().gradient_checkpointing_enable({"use_reentrant": False})
        inputs = row_of(bench, model, base.side, 1)
        tuner, optimiser = PrefixLoss(model), optimiser_of(model)
        step = step_of(bench, lambda: tuner(*inputs), optimiser)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        paged = 2.1 * trained / GIB if type(optimiser).__name__ == "PagedAdamW8bit" else 0.0
        values: dict[str, object] = {"fits": True, "four_bit": four_bit}
        try:
            with bench.capped(CAP - paged):
                values["seconds_per_step"] = bench.seconds(step)
        except torch.OutOfMemoryError:
            values["fits"] = False
            optimiser.zero_grad()
            with bench.capped(10 * CAP):
                values["seconds_per_step"] = bench.seconds(step)
        values["tokens"], values["trained_millions"] = inputs[1].ids.shape[1], trained / 1e6
        values["paged_gib"] = paged  # states of the optimiser, which PyTorch does not count
        if bench.cuda:
            values["peak_gib"] = torch.cuda.max_memory_allocated() / GIB
            values["reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
        bench.tell(f"memory {name}", **values)

    return run


def speed(bench: Bench) -> None:
    """LLaVA-1.5-7B in bfloat16: share of the matrix peak, and the field's way beside ours."""
    side = BASES["llava-1.5-7b"].side
    model, reached = tunable(bench, "llava-1.5-7b", False), peak(bench)
    tuner, optimiser = PrefixLoss(model), optimiser_of(model)
    bench.tell("matrix peak", tflops=reached / 1e12)
    for images in IMAGES[:2] if bench.smoke else IMAGES:
        inputs = row_of(bench, model, side, images)
        core(model).set_attn_implementation({"text_config": TREES})
        ours = bench.seconds(step_of(bench, lambda: tuner(*inputs), optimiser))  # noqa: B023
        work = model_flops(model, inputs[1], side)
        bench.tell(
            f"speed {images} images", seconds=ours, tflop=work / 1e12,
            share_of_peak=work / ours / reached, qa_per_second=images * len(LENGTHS) / ours,
        )  # fmt: skip
    core(model).set_attn_implementation({"text_config": "sdpa"})
    for images in IMAGES[:2]:
        bench.section(f"padded {images} images", padded(model, side, images, optimiser))
    single = bench.results["speed 1 images"]["seconds"]
    bench.section("trl", lambda bench: trl(bench, model, side, single))


def padded(
    model: nn.Module, side: int, images: int, optimiser: torch.optim.Optimizer
) -> Callable[[Bench], None]:
    """Return the section that measures the field's way on a row's images."""

    def run(bench: Bench) -> None:
        theirs = bench.seconds(step_of(bench, padded_loss(bench, model, side, images), optimiser))
        ours = bench.results[f"speed {images} images"]["seconds"]
        asked = images * len(LENGTHS) / theirs
        bench.tell(f"padded {images} images", qa_per_second=asked, ratio=theirs / ours)

    return run


def trl(bench: Bench, model: nn.Module, side: int, ours: float) -> None:
    """The same QA through TRL's SFTTrainer with the padded batch of its collator."""
    if not importlib.util.find_spec("trl"):
        bench.tell("trl", skipped="trl is not installed")
        return
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    batch = padded_batch(bench, model, side, 1)
    steps = 2 if bench.smoke else 5
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>"
    )
    from datasets import Dataset

    rows = Dataset.from_dict({"input_ids": [[1]] * len(LENGTHS) * steps})
    args = SFTConfig(
        output_dir=str(bench.out.parent / "trl"), max_steps=steps, report_to=[],
        per_device_train_batch_size=len(LENGTHS), bf16=True, use_cpu=not bench.cuda,
        dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False,
        save_strategy="no", logging_strategy="no", gradient_checkpointing=False,
        dataloader_pin_memory=False,
        optim="paged_adamw_8bit" if bench.cuda else "adamw_torch",
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=args, train_dataset=rows, processing_class=tokenizer,
        data_collator=lambda _: dict(batch),
    )  # fmt: skip
    trainer.train()  # to warm up
    bench.wait()
    begin = time.perf_counter()
    trainer.train()
    bench.wait()
    seconds = (time.perf_counter() - begin) / steps
    bench.tell("trl", seconds=seconds, qa_per_second=len(LENGTHS) / seconds, ratio=seconds / ours)


class FixedPrompt:
    """Stands in for a Prompter: random weights have no words, only a number of them."""

    def __init__(self, image: int, tokens: int) -> None:
        self.prefix = [1, *[image] * tokens]


@torch.inference_mode()
def asking(bench: Bench) -> None:
    """LLaVA-1.5-7B in bfloat16: first tokens of a chat, and answers side by side."""
    base = BASES["llava-1.5-7b"]
    model = build(base.config(bench.smoke), bench.device, torch.bfloat16)
    prompt = FixedPrompt(model.config.image_token_id, image_tokens(model.config, base.side))
    look = picture(model.config, base.side, 1, bench.device)
    ids = torch.randint(4, 3000, (84,)).tolist()

    def first() -> Prefix:
        prefix = Prefix(model, prompt, look)
        next(prefix.steps([0], [ids[:40]], -1, 1))
        return prefix

    prefix, opening = first(), bench.seconds(first)
    later = bench.seconds(lambda: next(prefix.steps([0], [ids], -1, 1)))
    bench.tell(
        "first token", first_ms=opening * 1e3, follow_up_ms=later * 1e3, ratio=later / opening
    )
    images, asked, limit = (2, 3, 4) if bench.smoke else (8, 7, 32)
    looks = picture(model.config, base.side, images, bench.device)
    questions = [ids[: 30 + place] for place in range(asked)]

    def side_by_side() -> None:
        prefix = Prefix(model, prompt, looks)
        owners = [image for image in range(images) for _ in questions]
        prefix.decode(owners, questions * images, -1, limit)

    def alone() -> None:
        row = torch.tensor([[*prompt.prefix, *questions[0]]], device=bench.device)
        model.generate(
            input_ids=row, attention_mask=torch.ones_like(row), **look,
            min_new_tokens=limit, max_new_tokens=limit, do_sample=False,
        )  # fmt: skip

    ours, theirs = images * asked / bench.seconds(side_by_side), 1 / bench.seconds(alone)
    bench.tell("answers", ours_per_second=ours, one_by_one_per_second=theirs, ratio=ours / theirs)


def main() -> None:
    """Run the sections in the order of their weight."""
    parser = argparse.ArgumentParser("benchmarks.gpu")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--smoke", action="store_true", help="toy bases, on the CPU if need be")
    args = parser.parse_args()
    if not (torch.cuda.is_available() or args.smoke):
        print("no GPU here: not measured")
        return
    torch.manual_seed(0)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.out, "cuda" if torch.cuda.is_available() else "cpu", args.smoke)
    name = torch.cuda.get_device_name() if bench.cuda else "cpu"
    bench.results = {}
    bench.tell("setting", device=name, torch=torch.__version__, python=sys.version.split()[0])
    bench.section("memory llava-1.5-7b", memory("llava-1.5-7b"))
    bench.section("speed", speed)
    bench.section("asking", asking)
    for base in [name for name in BASES if name != "llava-1.5-7b"]:
        bench.section(f"memory {base}", memory(base))
    bench.tell("done", seconds=time.perf_counter() - bench.begin)


if __name__ == "__main__":
    main()
