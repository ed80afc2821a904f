"""DFA-Instruct from the shell, a step at a time: ``python -m dfa_lib.instruct faces``.

For schedulers: with ``--shard 3/16`` a step does its share of the work, and ``join`` puts the
shares together. Exit status 2 and one line on stderr for whatever cannot be done.
"""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from dfa_lib.endpoint import Ceiling, Endpoint
from dfa_lib.errors import DataError, command
from dfa_lib.files import write_atomic
from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.card import data_card
from dfa_lib.instruct.conversations import build_conversations
from dfa_lib.instruct.export import to_llava
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.llm_conversations import Talking
from dfa_lib.instruct.sources import SOURCES, load_faces
from dfa_lib.records import Annotation, ById, InstructRecord, Stored, read_jsonl
from dfa_lib.runtime import work_path
from dfa_lib.shards import block, join, parse_shard, shard_path

LEAST = {"seed": 0, "workers": 1, "n": 1, "size": 1, "self_blended": 0, "money": 0}
FILES = ("faces", "annotations", "annotations.people", "instruct")


def main(argv: Sequence[str] | None = None) -> int:
    """Do one step; return the exit status."""
    args = parser().parse_args(argv)

    def step() -> None:
        _refuse_the_impossible(args)
        args.shard = parse_shard(args.shard) if args.shard else None
        args.step(args)

    return command("dfa_lib.instruct", step, "the same command goes on where it was")


def _refuse_the_impossible(args: Namespace) -> None:
    """Raise DataError for an option that no step could follow, before it begins."""
    for name, least in LEAST.items():
        if name in args and not getattr(args, name) >= least:  # nor is NaN
            given = f"--{name.replace('_', '-')} {getattr(args, name)}"
            raise DataError(f"{given}: give a number of {least} or more")
    if "model" in args and not args.model:
        if args.model == "" or args.base_url or args.money < float("inf"):
            raise DataError("--model: none given, and --base-url and --money are about one")


def parser() -> ArgumentParser:
    """Return what the shell understands."""
    options = {
        "--out": {"type": Path, "default": work_path() / "01_instruct", "help": "a folder"},
        "--shard": {"metavar": "I/N", "help": "only part I of N, counted from 0"},
        "--workers": {"type": int, "default": 2, "help": "processes"},
        "--seed": {"type": int, "default": 0, "help": "another one is another draw"},
        "--source": {"default": SOURCES[0], "help": ", ".join(SOURCES)},
        "--root": {"type": Path, "help": "where the data set, or the table, lies"},
        "--column": {
            "action": "append",
            "default": [],
            "metavar": "MEANING=NAME",
            "help": "a column whose name does not tell, or label.WORD=real",
        },
        "--n": {"type": int, "default": 2700, "help": "how many faces"},
        "--size": {"type": int, "default": 128, "help": "pixels of a side"},
        "--self-blended": {
            "type": int,
            "default": 0,
            "metavar": "K",
            "help": "forgeries to make of each bona fide training face",
        },
        "--model": {"help": "written by this model, instead of measured or by rule"},
        "--base-url": {"metavar": "URL", "help": "its server, if not the vendor's"},
        "--money": {"type": float, "default": float("inf"), "help": "most dollars to spend"},
        "names": {"nargs": "+", "choices": FILES, "metavar": "FILE", "help": ", ".join(FILES)},
    }
    drawn = "--source --root --column --n --size --self-blended --seed --workers"
    model = "--model --base-url --money"
    parser = ArgumentParser("dfa_lib.instruct", description="Build DFA-Instruct.")
    parser.set_defaults(shard=None)
    steps = parser.add_subparsers(required=True, metavar="STEP")
    for name, run, taken, told in (
        ("faces", _faces, f"--shard {drawn}", "1: make or read faces"),
        ("annotate", _annotate, f"--shard --workers {model}", "2: describe every face"),
        ("conversations", _conversations, f"--shard --seed {model}", "3: question, answer"),
        ("join", _join, "names", "put the shards of a file together"),
        ("export", _export, "", "write for LLaVA, LLaMA-Factory and datasets"),
    ):
        step = steps.add_parser(name, help=told, formatter_class=ArgumentDefaultsHelpFormatter)
        step.set_defaults(step=run)
        for option in ["--out", *taken.split()]:
            step.add_argument(option, **options[option])
    return parser


def _faces(args: Namespace) -> None:
    given = {name: value for name, value in vars(args).items() if name not in ("step", "column")}
    load_faces(**given, columns=dict(column.partition("=")[::2] for column in args.column))


def _annotate(args: Namespace) -> None:
    endpoint = _endpoint(args)
    more = {"workers": args.workers, "endpoint": endpoint, "shard": args.shard}
    notes = annotate(FaceSet.read(args.out), "endpoint" if endpoint else "measuring", **more)
    if not notes and not args.shard:
        raise DataError(f"{args.out}: no face got a description; see annotations.unanswered.jsonl")


def _conversations(args: Namespace) -> None:
    """The annotations are those of the same shard, or of all faces."""
    faces = FaceSet.read(args.out)
    path = args.out / "annotations.jsonl"
    mine = shard_path(path, args.shard)
    notes = ById(Stored(mine if mine.exists() else path, Annotation))
    talks = None
    if endpoint := _endpoint(args):
        talks = Talking(endpoint, args.seed).talk(block(faces, args.shard), notes)
    records = build_conversations(faces, notes, args.out, args.seed, args.shard, talks)
    print(f"{args.out}: conversations on {len(records):,} of {len(faces):,} faces")


def _endpoint(args: Namespace) -> Endpoint | None:
    """The answers are kept beside the faces, each shard's by itself: no two share a database."""
    if not args.model:
        return None
    cache = shard_path(args.out / "answers", args.shard)
    return Endpoint(args.model, args.base_url, cache=cache, ceiling=Ceiling(money=args.money))


def _join(args: Namespace) -> None:
    for name in args.names:
        join(args.out / f"{name}.jsonl")
    if "instruct" in args.names:
        records = read_jsonl(args.out / "instruct.jsonl", InstructRecord)
        write_atomic(args.out / "DATA_CARD.md", data_card(records))


def _export(args: Namespace) -> None:
    out = args.out / "llava"
    to_llava(read_jsonl(args.out / "instruct.jsonl", InstructRecord), out)
    print(out)


if __name__ == "__main__":
    sys.exit(main())
