"""Tuning from the shell: ``python -m dfa_lib.gpt check | train | merge``.

``accelerate launch --config_file configs/ddp.yaml -m dfa_lib.gpt train`` is the same on many
GPUs. Exit status 1 where ``check`` finds no room, 2 and one line on stderr for whatever cannot be
done.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from dfa_lib.errors import DataError, command
from dfa_lib.gpt.presets import PRESETS, Preset
from dfa_lib.runtime import prepare, work_path


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command says; return the exit status."""
    parser = argparse.ArgumentParser("dfa_lib.gpt", description="Check, tune, merge DFA-GPT.")
    commands = parser.add_subparsers(required=True, metavar="check | train | merge")
    check = commands.add_parser("check", help="does this preset fit into the memory here?")
    train = commands.add_parser("train", help="tune a preset on the records of lesson 01")
    for one, run in ((check, _check), (train, _train)):
        one.set_defaults(run=run)
        one.add_argument("--preset", choices=PRESETS, default="nano")
        one.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="as rank=64")
    train.add_argument("--data", type=Path, default=work_path() / "01_instruct")
    train.add_argument("--out", type=Path, default=work_path() / "02_gpt")
    train.add_argument("--seed", type=int, default=0)
    merge = commands.add_parser("merge", help="adapter and base as one checkpoint, for serving")
    merge.set_defaults(run=_merge)
    merge.add_argument("folder", type=Path, help="what training wrote")
    merge.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    prepare()
    return command("dfa_lib.gpt", lambda: args.run(args), "the same command goes on where it was")


def _preset(args: argparse.Namespace) -> Preset:
    """The named preset with the fields of ``--set`` in place; another base has a name of its own.

    Raises DataError in one line for a field that there is not, or a value that it cannot have.
    """
    changes = dict(change.partition("=")[::2] for change in args.set)
    if base := changes.get("base"):
        changes = {"name": Path(base).resolve().name, "licence": "as its base says"} | changes
    try:
        return replace(PRESETS[args.preset], **changes)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = wrong["loc"][0]
        known = [field.name for field in fields(Preset)]
        near = get_close_matches(name, known, cutoff=0.4) or ["base", "rank", "epochs"]
        such = "" if name in known else f" with a field such as {', '.join(near)}"
        raise DataError(
            f"--set {name}={wrong['input']}: {wrong['msg']}; takes FIELD=VALUE{such}"
        ) from None


def _check(args: argparse.Namespace) -> int:
    """Print what the preset needs here; return 1 unless it is known to fit."""
    from dfa_lib.gpt.memory import GO, preflight
    from dfa_lib.runtime import device

    needed = preflight(_preset(args))  # which refuses a base that is not there
    print(f"computing on {device().name}: {device().reason}\n{needed}")
    return 0 if needed.endswith(GO) else 1


def _train(args: argparse.Namespace) -> None:
    preset = _preset(args)
    if args.seed < 0:
        raise DataError(f"--seed {args.seed}: give a number of 0 or more")
    import torch
    from accelerate import PartialState

    from dfa_lib.gpt.base import add_lora, load_base
    from dfa_lib.gpt.train import train
    from dfa_lib.instruct.conversations import load_records
    from dfa_lib.instruct.faceset import FaceSet
    from dfa_lib.taxonomy import Split

    here = PartialState(cpu=not torch.cuda.is_available())  # each process has its own GPU
    faces, records = FaceSet.read(args.data), [*load_records(args.data / "instruct.jsonl")]
    if here.is_main_process:
        _check(args)
        if (side := faces.image(faces.faces[0]).shape[0]) < preset.side:
            print(f"the faces are enlarged from {side} to {preset.side} pixels; those that")
            print(f"`python -m dfa_lib.instruct faces --size {preset.side}` makes show more")
    model, processor = load_base(preset, None if here.device.type == "cpu" else str(here.device))
    train(
        add_lora(model, preset, args.seed),
        processor,
        faces,
        [record for record in records if record.face.split is Split.TRAIN],
        preset,
        args.out,
        validation=[record for record in records if record.face.split is Split.VAL],
        seed=args.seed,
    )


def _merge(args: argparse.Namespace) -> None:
    from dfa_lib.gpt.adapter import merge

    print(f"{merge(args.folder, args.out)}: serve it as any LLaVA")


if __name__ == "__main__":
    sys.exit(main())
