"""DFA-Instruct from the shell, a step at a time: ``python -m dfa_lib.instruct faces``.

For schedulers: with ``--shard 3/16`` a step does its share of the work, and ``join`` puts the
shares together. Exit status 2 and one line on stderr for whatever cannot be done.
"""

import argparse
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from dfa_lib.endpoint import Ceiling, Endpoint
from dfa_lib.errors import DataError, command
from dfa_lib.instruct import export
from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.card import write_card
from dfa_lib.instruct.conversations import write_conversations
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.llm_conversations import Talking
from dfa_lib.instruct.sources import SOURCES, load_faces
from dfa_lib.records import Annotation, ById, InstructRecord, Stored, read_jsonl
from dfa_lib.runtime import work_path
from dfa_lib.shards import join, parse_shard, shard_path

FILES = ("faces", "annotations", "annotations.people", "talks", "instruct")


def main(argv: Sequence[str] | None = None) -> int:
    """Do one step; return the exit status."""
    args = parser().parse_args(argv)
    return command("dfa_lib.instruct", lambda: _step(args), "the same command goes on where it was")


def _step(args: Namespace) -> None:
    if "shard" in args:
        args.shard = parse_shard(args.shard) if args.shard else None
    try:
        args.step(args)
    except ImportError as error:  # of an annotator's or a reader's own package
        raise DataError(str(error)) from None


def parser() -> argparse.ArgumentParser:
    """Return what the shell understands."""
    parser = argparse.ArgumentParser("dfa_lib.instruct", description="Build DFA-Instruct.")
    steps = parser.add_subparsers(required=True, metavar="STEP")
    out, shard, workers, seed, model = (argparse.ArgumentParser(add_help=False) for _ in range(5))
    home = work_path() / "01_instruct"
    out.add_argument("--out", type=Path, default=home, help="default: %(default)s")
    shard.add_argument("--shard", metavar="I/N", help="only part I of N, counted from 0")
    workers.add_argument("--workers", type=int, default=2, help="processes; default: %(default)s")
    seed.add_argument("--seed", type=int, default=0)
    model.add_argument("--model", help="written by this model, instead of measured or by rule")
    model.add_argument("--base-url", metavar="URL", help="its server; default: the vendor's")
    model.add_argument("--money", type=float, default=float("inf"), help="most dollars to spend")

    faces = steps.add_parser(
        "faces", parents=[out, shard, workers, seed], help="1: make or read faces"
    )
    faces.set_defaults(step=_faces)
    faces.add_argument("--source", default=SOURCES[0], help=", ".join(SOURCES))
    faces.add_argument("--root", type=Path, help="where the data set, or the table, lies")
    told = "a column whose name does not tell, or label.WORD=real"
    faces.add_argument("--column", action="append", default=[], metavar="MEANING=NAME", help=told)
    faces.add_argument("--n", type=int, default=2700, help="how many; default: %(default)s")
    faces.add_argument("--size", type=int, default=128, help="pixels; default: %(default)s")
    told = "forgeries to make of each bona fide training face"
    faces.add_argument("--self-blended", type=int, default=0, metavar="K", help=told)
    notes = steps.add_parser(
        "annotate", parents=[out, shard, workers, model], help="2: describe every face"
    )
    notes.set_defaults(step=_annotate)
    talk = steps.add_parser(
        "conversations", parents=[out, shard, seed, model], help="3: question, answer"
    )
    talk.set_defaults(step=_conversations)
    whole = steps.add_parser("join", parents=[out], help="put the shards of a file together")
    whole.set_defaults(step=_join)
    whole.add_argument("names", nargs="+", choices=FILES, metavar="FILE", help=", ".join(FILES))
    told = "write for LLaVA and LLaMA-Factory, or for datasets"
    given = steps.add_parser("export", parents=[out], help=told)
    given.set_defaults(step=_export)
    given.add_argument("format", choices=("llava", "huggingface"))
    return parser


def _faces(args: Namespace) -> None:
    load_faces(
        args.source,
        args.out,
        n=args.n,
        seed=args.seed,
        size=args.size,
        root=args.root,
        columns=dict(column.partition("=")[::2] for column in args.column),
        self_blended=args.self_blended,
        workers=args.workers,
        shard=args.shard,
    )


def _annotate(args: Namespace) -> None:
    endpoint = _endpoint(args)
    more = {"workers": args.workers, "endpoint": endpoint, "shard": args.shard}
    notes = annotate(FaceSet.read(args.out), "endpoint" if endpoint else "measuring", **more)
    if not notes and not args.shard:
        raise DataError(f"{args.out}: no face got a description; see annotations.unanswered.jsonl")


def _conversations(args: Namespace) -> None:
    """The annotations are those of the same shard, or of all faces."""
    faces, path, endpoint = FaceSet.read(args.out), args.out / "annotations.jsonl", _endpoint(args)
    mine = shard_path(path, args.shard)
    notes, talks = ById(Stored(mine if mine.exists() else path, Annotation)), None
    if endpoint:
        talks = Talking(endpoint, seed=args.seed).talk(faces, notes, args.out, args.shard)
    written = write_conversations(faces, notes, args.out, args.seed, args.shard, talks)
    print(f"{written}: {len(Stored(written, InstructRecord)):,} of {len(faces):,} faces")


def _endpoint(args: Namespace) -> Endpoint | None:
    """The answers are kept beside the faces, each shard's by itself: no two share a database."""
    cache, most = shard_path(args.out / "answers", args.shard), Ceiling(money=args.money)
    return Endpoint(args.model, args.base_url, cache=cache, ceiling=most) if args.model else None


def _join(args: Namespace) -> None:
    for name in args.names:
        join(args.out / f"{name}.jsonl")
    if "instruct" in args.names:
        records = read_jsonl(args.out / "instruct.jsonl", InstructRecord)
        write_card(args.out / "DATA_CARD.md", records)


def _export(args: Namespace) -> None:
    records, out = read_jsonl(args.out / "instruct.jsonl", InstructRecord), args.out / args.format
    root = (args.out,) if args.format == "huggingface" else ()
    getattr(export, f"to_{args.format}")(records, out, *root)
    print(out)


if __name__ == "__main__":
    sys.exit(main())
