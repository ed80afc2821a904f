"""What no CPU can run of other libraries: parameters of 4 and 8 bits, and the launcher's files.

All else that we call is run by the tests of what calls it.
"""

import inspect
from pathlib import Path

import accelerate
import pytest
import transformers
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def parameters(call: object) -> set[str]:
    return set(inspect.signature(call).parameters)


def test_four_bits() -> None:
    names = "load_in_4bit bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_4bit_use_double_quant"
    known = parameters(transformers.BitsAndBytesConfig)
    assert {*names.split(), "llm_int8_skip_modules"} <= known


def launched(name: str) -> dict[str, str]:
    """The environment in which ``accelerate launch`` starts a process by one of our files."""
    args = launch_command_parser().parse_args(["--config_file", str(CONFIGS / name), "script"])
    return prepare_multi_gpu_env(_validate_launch_command(args)[0])


def test_the_launcher_reads_our_configs(monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)  # the DeepSpeed file is named from the root
    for name in ("ddp.yaml", "fsdp.yaml"):
        assert launched(name)["ACCELERATE_MIXED_PRECISION"] in ("no", "bf16")
    for key, value in launched("fsdp.yaml").items():
        monkeypatch.setenv(key, value)
    plugin = accelerate.FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert plugin.transformer_cls_names_to_wrap == ["LlamaDecoderLayer"]
    assert plugin.ignored_modules == r".*\.(vision_tower|embed_tokens)"
    deepspeed = launch_command_parser().parse_args(
        ["--config_file", str(CONFIGS / "deepspeed.yaml"), "script"]
    )
    named = _validate_launch_command(deepspeed)[0].deepspeed_config_file
    assert Path(named).resolve() == CONFIGS / "zero2.json"


def test_the_8_bit_optimiser():
    optim = pytest.importorskip("bitsandbytes.optim", reason="bitsandbytes is for CUDA alone")
    assert {"params", "lr", "weight_decay"} <= parameters(optim.PagedAdamW8bit)
