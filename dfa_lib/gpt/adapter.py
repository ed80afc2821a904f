"""What tuning leaves behind: one folder with adapter, projector, processor and card.

Plain ``PeftModel.from_pretrained(base, folder)`` loads it too. Only safetensors are read.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoProcessor, LlavaProcessor

from dfa_lib.gpt.base import PROJECTOR, load_base
from dfa_lib.gpt.prefix import core
from dfa_lib.gpt.presets import WEIGHTS, Preset
from dfa_lib.records import DataError

CARD = "MODEL_CARD.md"
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


def save_tuned(
    model: PeftModel,
    processor: LlavaProcessor,
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


def load_tuned(folder: Path, device: str | None = None) -> tuple[PeftModel, LlavaProcessor, Preset]:
    """The tuned model, its processor and preset, from the folder tuning wrote.

    ``folder`` holds the adapter itself or a folder ``adapter`` with it. Raises DataError in
    one line for pickled files, a foreign base, a missing projector or broken weights.
    """
    folder = folder / "adapter" if (folder / "adapter").is_dir() else folder
    check_adapter(folder)
    about = _about(folder)
    preset = Preset(**about["preset"])
    base, _ = load_base(preset, device)
    if not torch.allclose(probe(base), torch.tensor(about["probe"]), rtol=0.02, atol=1e-3):
        raise DataError(
            f"{folder}: was tuned on another base than {preset.source}; point `base` in "
            "preset.json at the one it was tuned on, or tune again"
        )
    model = PeftModel.from_pretrained(base, folder, autocast_adapter_dtype=True)
    return model.eval(), AutoProcessor.from_pretrained(folder), preset


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
    if not any(PROJECTOR in name for name in weights):
        raise DataError(f"{file}: lacks the projector; save it with modules_to_save={[PROJECTOR]}")
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
        if "lora_" in name or PROJECTOR in name:
            digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _about(folder: Path) -> dict:
    try:
        return json.loads((folder / "preset.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        raise DataError(f"{folder}/preset.json: missing or torn; save the adapter again") from None


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
        "trained": f"{trainable:,} of {total:,} parameters (LoRA rank {preset.rank} + projector)",
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
