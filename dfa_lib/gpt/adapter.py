"""What tuning leaves behind: one folder with adapter, projector, processor and card.

Plain ``PeftModel.from_pretrained(base, folder)`` loads it too. Only safetensors are read.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoProcessor, PreTrainedModel, ProcessorMixin

from dfa_lib.gpt.base import load_base
from dfa_lib.gpt.forward import core
from dfa_lib.gpt.presets import WEIGHTS, Preset
from dfa_lib.records import DataError

CARD = "MODEL_CARD.md"
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


def save_tuned(
    model: PeftModel,
    processor: ProcessorMixin,
    preset: Preset,
    folder: Path,
    facts: Mapping,
    weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the adapter folder at once: it is complete or not there. ``facts`` go on the card.

    ``weights`` stand in for the model's own where those lie in pieces on several machines.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = _portable(preset)
    # "auto" would ask the hub whether the vocabulary was resized
    model.save_pretrained(partial, save_embedding_layers=False, state_dict=weights)
    (partial / "README.md").unlink(missing_ok=True)
    processor.save_pretrained(partial)
    about = {"preset": asdict(preset), "probe": probe(model).tolist()}
    (partial / "preset.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (partial / CARD).write_text(_card(model, preset, facts), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def load_tuned(folder: Path, device: str | None = None) -> tuple[PeftModel, ProcessorMixin, Preset]:
    """The tuned model, its processor and preset, from the folder tuning wrote.

    ``folder`` holds the adapter itself or a folder ``adapter`` with it. Raises DataError in
    one line for pickled files, a foreign base, missing or broken weights.
    """
    folder = _inner(folder)
    preset, own = _about(folder)
    return *_attached(folder, load_base(preset, device)[0], preset, own), preset


def merge(folder: Path, out: Path, dtype: torch.dtype | None = None) -> Path:
    """Write base and adapter as one plain checkpoint, as servers want it; complete or not there.

    A 4-bit base is read in half precision: merging into four bits would lose the tuning.
    Works on the CPU; needs as much memory as the whole base in ``dtype``.
    """
    folder = _inner(folder)
    preset, own = _about(folder)
    whole = replace(preset, four_bit=False)
    dtype = dtype or (torch.float16 if preset.four_bit else None)
    model, processor = _attached(folder, load_base(whole, "cpu", dtype)[0], preset, own)
    merged = model.merge_and_unload()
    merged.generation_config.max_new_tokens = preset.max_new_tokens
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    merged.save_pretrained(partial)
    processor.save_pretrained(partial)
    shutil.copy(folder / CARD, partial / CARD)
    shutil.rmtree(out, ignore_errors=True)
    return partial.rename(out)


def check_adapter(folder: Path) -> None:
    """Refuse a folder that is unsafe, incomplete or broken, before anything of it is used."""
    file = folder / "adapter_model.safetensors"
    pickled = sorted(p.name for p in folder.glob("**/*") if p.suffix in PICKLES)
    if pickled:
        raise DataError(f"{folder}: holds the pickle {pickled[0]}, which can run code; remove it")
    if not file.is_file():
        raise DataError(f"{file}: no such file; run lesson 02 or name the folder it wrote")
    try:
        weights = load_file(file)
    except SafetensorError:
        raise DataError(f"{file}: is torn or not a safetensors file; save it again") from None
    broken = next((n for n, weight in weights.items() if not weight.isfinite().all()), None)
    if broken:
        raise DataError(f"{file}: {broken} has NaN or infinite weights; tune again")


def probe(model: nn.Module) -> Tensor:
    """Sixty-four values of the frozen word embeddings, by which a base is told from another."""
    words = core(model).get_input_embeddings().weight.detach().flatten()
    return words[:: max(1, len(words) // 64)][:64].float().cpu()


def fingerprint(model: nn.Module) -> str:
    """A digest of what tuning changes, by which predictions of another model are told."""
    digest = hashlib.sha256(probe(model).numpy().tobytes())
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _inner(folder: Path) -> Path:
    """The adapter's own folder, checked."""
    folder = folder / "adapter" if (folder / "adapter").is_dir() else folder
    check_adapter(folder)
    return folder


def _attached(
    folder: Path, base: PreTrainedModel, preset: Preset, own: Tensor
) -> tuple[PeftModel, ProcessorMixin]:
    """The adapter on its base; ``own`` is the probe of the base it was tuned on."""
    if not torch.allclose(probe(base), own, rtol=0.02, atol=1e-3):
        raise DataError(
            f"{folder}: was tuned on another base than {preset.source}; point `base` in "
            "preset.json at the one it was tuned on, or tune again"
        )
    file = folder / "adapter_model.safetensors"
    try:
        model = PeftModel.from_pretrained(base, folder, autocast_adapter_dtype=True)
        wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
        lost = wanted.keys() - load_file(file).keys()
    except KeyError as error:  # where a whole module is missing
        lost = {str(error)}
    if lost:  # of LoRA's, peft would warn, and go on with what it drew at random
        raise DataError(f"{file}: lacks weights, {min(lost)} among them; save it again")
    return model.eval(), AutoProcessor.from_pretrained(folder)


def _about(folder: Path) -> tuple[Preset, Tensor]:
    """Preset and probe of the base, from preset.json."""
    file = folder / "preset.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        return Preset(**about["preset"]), torch.tensor(about["probe"])
    except (OSError, json.JSONDecodeError, KeyError):
        raise DataError(f"{file}: missing or torn; save the adapter again") from None
    except TypeError as error:
        what = str(error).removeprefix("Preset.__init__() ")
        raise DataError(
            f"{file}: of another version of dfa_lib ({what}); mend it by hand"
        ) from None


def _portable(preset: Preset) -> str:
    """The base as another machine can find it: embedded weights relative to the repository."""
    source = Path(preset.source)
    root = WEIGHTS.parents[2]
    return source.relative_to(root).as_posix() if source.is_relative_to(root) else preset.base


def _card(model: PeftModel, preset: Preset, facts: Mapping) -> str:
    trainable, total = model.get_nb_trainable_parameters()
    rows = {
        "base": preset.base,
        "licence of the base": preset.licence,
        "trained": f"{trainable:,} of {total:,} parameters (LoRA rank {preset.rank})",
        "tuned": f"language {preset.language}, projector {preset.projector}, "
        f"vision encoder {preset.vision}",
        **facts,
    }
    return "\n".join(
        [
            f"# DFA-GPT tuned from {preset.name}",
            "",
            "Answers questions on face images: detection, classification and description of",
            "deepfakes. Made for teaching and research; never the sole ground for a decision",
            "about a person.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows.items()),
            "",
            "Load it with `dfa_lib.gpt.adapter.load_tuned(folder)` or plain",
            "`PeftModel.from_pretrained(base, folder)`.",
            "",
        ]
    )
