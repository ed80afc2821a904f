"""Ask about pictures from the shell: ``python -m dfa_lib.ask PICTURE "question"``.

Pictures are files, folders, videos, or "-" for standard input. The heavy imports happen once a
face was found, so that ``--help``, a mistyped path and a damaged picture answer at once.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

from dfa_lib.analysts import asked
from dfa_lib.ask.judging import Session
from dfa_lib.ask.said import COLUMNS, PictureSaid, as_csv, as_json, as_text
from dfa_lib.ask.shots import listed
from dfa_lib.errors import DataError, command
from dfa_lib.runtime import prepare

QUESTION = "Has this face been forged?"
SHIPPED_MODEL = "Model: the small one that comes with the package; lesson 02 tunes your own."
_PICTURES = (
    "a picture, a folder, a video, or - for standard input; a last one that is no file and has a"
    " blank or a question mark is the question"
)
_STATUSES = """exit status:
  0    every face of every picture was judged
  1    some picture has no face or one that the model cannot judge, or nobody measured the model
  2    some picture cannot be read (the others are answered), or nothing could be done
  130  interrupted; with --resume, the same command goes on where it was"""


def main(argv: Sequence[str] | None = None) -> int:
    """Answer the questions on the pictures; return the exit status."""
    args = _parser().parse_intermixed_args(argv)  # a question may follow an option
    prepare()
    again = "the same command goes on where it was" if args.resume else ""
    return command("dfa_lib.ask", lambda: _ask(args), again)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dfa_lib.ask", description="Ask about the faces on pictures.", epilog=_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PICTURE", help=_PICTURES)
    add("-q", "--question", action="append", default=[], help=f'repeatable; default: "{QUESTION}"')
    add("--model", type=Path, metavar="FOLDER", help="what lesson 02 wrote")
    add("--base", metavar="PRESET", help="ask this untuned base instead, e.g. nano")
    add("--aligned", action="store_true", help="take pictures as they are: the face is framed")
    add("--every", type=float, default=1.0, metavar="SECONDS", help="between frames of a video")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one line of JSON for each picture")
    form.add_argument("--csv", action="store_true", help="a row for each question on each face")
    add("--resume", type=Path, metavar="FILE", help="keep answers in FILE and go on from there")
    return parser


def _ask(args: argparse.Namespace) -> int:
    pictures, said = _meant(args.pictures, args.question)
    questions = [asked(question) for question in said]
    if not args.every > 0:
        raise DataError(f"--every {args.every}: not a time; give a number of seconds above 0")
    session = Session(args.model, args.base, args.aligned, questions)
    sources = listed(pictures)
    form = as_json if args.json else as_csv if args.csv else as_text
    counts, numbers, begin = Counter(), False, perf_counter()
    # a bar for whoever watches a terminal; tqdm writes around it
    with tqdm(total=len(sources), unit="picture", delay=1, leave=False, disable=None) as bar:
        for said in session.answers(sources, args.every, args.resume):
            _tell(said, form, first=not counts)
            numbers |= any(face.verdict for face in said.faces)
            counts[said.status] += 1
            bar.update()
    if form is as_text and numbers:
        from dfa_lib.chat.page import LIMITS

        print(*[SHIPPED_MODEL] * session.shipped, LIMITS, sep="\n")
    if (n := counts.total()) > 1:
        seconds, each = perf_counter() - begin, sorted(counts.items())
        told = ", ".join(f"{count} {status}" for status, count in each)
        print(f"{n} pictures in {seconds:.0f} s ({n / seconds:.1f}/s): {told}", file=sys.stderr)
    return 2 if counts["unreadable"] else 1 if counts["not judged"] else 0


def _tell(said: PictureSaid, form: Callable[[PictureSaid], str], first: bool) -> None:
    """Write what was said; why a picture cannot be read goes to stderr in any case."""
    if first and form is as_csv:
        tqdm.write(",".join(COLUMNS))
    if said.status == "unreadable":
        tqdm.write(f"dfa_lib.ask: {said.reason}", sys.stderr)
    if said.status != "unreadable" or form is not as_text:
        tqdm.write(form(said))
        sys.stdout.flush()


def _meant(words: Sequence[str], questions: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell pictures from a question behind them."""
    *first, last = words
    if first and not questions and re.search(r"\s|[?？]$", last):
        if not os.path.exists(last) and not re.search(r"\.\w{2,5}$", last):
            return first, [last]
    return list(words), list(questions) or [QUESTION]


if __name__ == "__main__":
    sys.exit(main())
