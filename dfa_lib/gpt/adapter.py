"""What tuning leaves behind: one folder with adapter, projector, processor and card.

Plain ``PeftModel.from_pretrained(base, folder)`` loads it too. Only safetensors are read.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import shorten
from warnings import catch_warnings, filterwarnings

import torch
from jinja2 import StrictUndefined, Template
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoProcessor, ProcessorMixin

from dfa_lib.gpt.base import SHRINK, load_base
from dfa_lib.gpt.forward import core, hidden_states
from dfa_lib.gpt.prefix import Prompter
from dfa_lib.gpt.presets import WEIGHTS, Preset
from dfa_lib.gpt.trees import Branch, Tree, pack
from dfa_lib.records import DataError
from dfa_lib.tuned import FILE, inner, read_about, text_digest

CARD = "MODEL_CARD.md"
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


def save_tuned(
    model: PeftModel, processor: ProcessorMixin, preset: Preset, folder: Path, facts: Mapping
) -> Path:
    """Write the adapter folder at once: it is complete or not there. ``facts`` go on the card."""
    with _whole(folder) as partial:
        model.peft_config["default"].base_model_name_or_path = _portable(preset)
        # "auto" would ask the hub whether the vocabulary was resized
        model.save_pretrained(partial, save_embedding_layers=False)
        (partial / "README.md").unlink(missing_ok=True)
        processor.save_pretrained(partial)
        texts = sorted(file for file in partial.iterdir() if file.suffix != ".safetensors")
        about = {
            "preset": asdict(preset),
            "probe": probe(model).tolist(),
            "files": {file.name: text_digest(file) for file in texts},
        }
        (partial / FILE).write_text(json.dumps(about, indent=1), encoding="utf-8")
        (partial / CARD).write_text(_card(model, preset, facts), encoding="utf-8")
    return folder


def load_tuned(
    folder: Path, device: str | None = None, to_merge: bool = False
) -> tuple[PeftModel, ProcessorMixin, Preset]:
    """Return the tuned model, its processor and preset, from the folder tuning wrote.

    ``folder`` holds the adapter itself or a folder ``adapter`` with it. A base of four bits is
    read in half precision ``to_merge``: four bits would lose the tuning. Raises DataError in one
    line for pickled files, a foreign base, and whatever is missing, broken or changed.
    """
    folder = inner(folder)
    check_adapter(folder)
    about = read_about(folder)
    preset = about.preset
    if to_merge and preset.four_bit:
        base, _ = load_base(replace(preset, four_bit=False), device, torch.float16)
    else:
        base, _ = load_base(preset, device)
    if not torch.allclose(probe(base), torch.tensor(about.probe), rtol=0.02, atol=1e-3):
        raise DataError(
            f"{folder}: was tuned on another base than {preset.source}; point `base` in "
            "preset.json at the one it was tuned on, or tune again"
        )
    try:
        with catch_warnings():  # peft would go on with what it drew at random
            filterwarnings("error", "Found missing adapter keys")
            model = PeftModel.from_pretrained(base, folder)
        processor = AutoProcessor.from_pretrained(folder)
        Prompter(processor)
    except Exception as error:  # each file that is torn or does not fit fails in its own way
        said = shorten(f"{type(error).__name__}: {error}", 200)
        mend = SHRINK if isinstance(error, torch.OutOfMemoryError) else "copy the folder again"
        raise DataError(f"{folder}: cannot be loaded: {said}; {mend}") from None
    return model.eval(), processor, preset


def merge(folder: Path, out: Path) -> Path:
    """Write base and adapter as one plain checkpoint, on the CPU; complete or not there.

    How far merging moved the logits of an answer is printed. Raises DataError for an ``out`` in
    use, which may be the base, or the only copy of the adapter.
    """
    if out.exists():
        raise DataError(f"{out}: it is there already; name a new folder")
    model, processor, preset = load_tuned(folder, "cpu", to_merge=True)
    before = _first_logits(model, processor)
    merged = model.merge_and_unload()
    apart = (_first_logits(merged, processor) - before).abs().max() / before.abs().max()
    print(f"merged: the logits of an answer moved by {apart:.1e} of the largest")
    merged.generation_config.max_new_tokens = preset.max_new_tokens
    merged.generation_config.suppress_tokens = [merged.config.image_token_id]  # as infer does
    with _whole(out) as partial:
        merged.save_pretrained(partial)
        processor.save_pretrained(partial)
        shutil.copy(inner(folder) / CARD, partial / CARD)
    return out


def check_adapter(folder: Path) -> None:
    """Raise DataError for a folder that is unsafe, incomplete or broken."""
    file = folder / "adapter_model.safetensors"
    if pickled := sorted(p.name for p in folder.glob("**/*") if p.suffix in PICKLES):
        raise DataError(f"{folder}: holds the pickle {pickled[0]}, which can run code; remove it")
    if not file.is_file():
        raise DataError(f"{file}: no such file; run lesson 02 or name the folder it wrote")
    try:
        weights = load_file(file)
    except SafetensorError:
        raise DataError(f"{file}: incomplete, or not a safetensors file; save it again") from None
    if broken := next((n for n, weight in weights.items() if not weight.isfinite().all()), None):
        raise DataError(f"{file}: {broken} has NaN or infinite weights; tune again")


def probe(model: nn.Module) -> Tensor:
    """Return 64 values of the frozen word embeddings, by which a base is told from another."""
    words = core(model).get_input_embeddings().weight.detach().flatten()
    return words[:: max(1, len(words) // 64)][:64].float().cpu()


def fingerprint(model: nn.Module) -> str:
    """Return a digest of what tuning changes, by which predictions of another model are told."""
    digest = hashlib.sha256(probe(model).numpy().tobytes())
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, which takes the place of ``folder`` once it is finished."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


@torch.inference_mode()
def _first_logits(model: nn.Module, processor: ProcessorMixin) -> Tensor:
    """Return the logits (V,) of an answer's first token on a black picture."""
    prompter = Prompter(processor)
    tree = Tree(prompter.prefix, [Branch(prompter.question("Is it forged?"), 0)])
    hidden = hidden_states(model, pack([[tree]]), prompter.blank, shared=False)
    return core(model).get_output_embeddings()(hidden[0, -1]).float()


def _portable(preset: Preset) -> str:
    """Return the base as another machine finds it: embedded weights relative to the repository."""
    source, root = Path(preset.source), WEIGHTS.parents[2]
    return source.relative_to(root).as_posix() if source.is_relative_to(root) else preset.base


def _card(model: PeftModel, preset: Preset, facts: Mapping) -> str:
    trained, total = model.get_nb_trainable_parameters()  # with peft's copies of the modules
    total -= sum(w.numel() for name, w in model.named_parameters() if "original_module" in name)
    text = Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8")
    card = Template(text, trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)
    return card.render(preset=preset, trained=f"{trained:,} of {total:,}", facts=facts)
