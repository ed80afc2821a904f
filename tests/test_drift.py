"""What no CPU can run of other libraries: parameters of 4 and 8 bits, and the launcher's file.

All else that we call is run by the tests of what calls it.
"""

import inspect
from pathlib import Path

import pytest
import transformers
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "ddp.yaml"


def parameters(call: object) -> set[str]:
    return set(inspect.signature(call).parameters)


def test_four_bits() -> None:
    names = "load_in_4bit bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_4bit_use_double_quant"
    known = parameters(transformers.BitsAndBytesConfig)
    assert {*names.split(), "llm_int8_skip_modules"} <= known


def test_the_launcher_reads_our_config():
    args = launch_command_parser().parse_args(["--config_file", str(CONFIG), "script"])
    started = prepare_multi_gpu_env(_validate_launch_command(args)[0])
    assert started["ACCELERATE_MIXED_PRECISION"] == "no"


def test_the_8_bit_optimiser():
    optim = pytest.importorskip("bitsandbytes.optim", reason="bitsandbytes is for CUDA alone")
    assert {"params", "lr", "weight_decay"} <= parameters(optim.PagedAdamW8bit)
