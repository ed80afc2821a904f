"""Ask about one photograph from the shell: ``python -m dfa_lib.ask PHOTO "question"``.

The heavy imports happen inside functions, so that ``--help`` and a mistyped path answer
at once. Exit status 2 and one line on stderr for whatever cannot be done.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from dfa_lib.records import DataError
from dfa_lib.runtime import prepare, work_path

if TYPE_CHECKING:
    from dfa_lib.bench.scope import Picture
    from dfa_lib.chat.verdict import Verdict
    from dfa_lib.gpt.analyst import LocalAnalyst

QUESTION = "Has this face been forged?"
NANO_LIMITS = (
    "Limits: the nano model knows only its small generated world of faces and the photographs"
    " it was shown in lessons; this is no evidence about a real person."
)
OTHER_LIMITS = (
    "Limits: the model knows only forgeries like those it was tuned on;"
    " this is no evidence about a real person."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one question on one photograph; return the exit status."""
    args = _parser().parse_args(argv)
    prepare()
    try:
        _ask(args)
    except DataError as error:
        print(f"dfa_lib.ask: {error}", file=sys.stderr)
        return 2
    return 0


def find_model(folder: Path | None) -> Path:
    """Return the tuned model: ``folder``, else the one lesson 02 made, else the shipped one."""
    tuned = work_path() / "02_gpt"
    shipped = Path(str(files("dfa_lib"))) / "rescue" / "02_gpt"
    for choice in [folder] if folder else [tuned, shipped]:
        if list(choice.glob("**/adapter_model.safetensors")):
            return choice
    where = folder or f"{tuned} or {shipped}"
    raise DataError(f"{where}: no tuned model here; run lesson 02, or name one by --model FOLDER")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dfa_lib.ask", description="Ask about the face on a photo.")
    parser.add_argument("photo", type=Path, help="a picture with one face, upright and frontal")
    parser.add_argument("question", nargs="?", default=QUESTION, help=f'default: "{QUESTION}"')
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="what lesson 02 wrote")
    parser.add_argument("--base", metavar="PRESET", help="ask this untuned base instead, e.g. nano")
    parser.add_argument(
        "--aligned", action="store_true", help="take the picture as it is: the face is framed"
    )
    return parser


def _ask(args: argparse.Namespace) -> None:
    """Read the photograph before the model: a bad picture is told of within a second."""
    picture, note = _face(args.photo, args.aligned)
    analyst = _analyst(args.model, args.base)
    from dfa_lib.bench.calibration import calibration
    from dfa_lib.bench.scope import framed
    from dfa_lib.chat.verdict import judge

    fitted = calibration(analyst, work_path() / "03_bench")
    verdict = judge(analyst, [picture], calibration=fitted)[0]
    lines = [_report(args.photo, verdict)]
    if not verdict.abstained:
        answer = "".join(analyst.stream(framed(picture), (), args.question)).strip()
        lines += [f"Q: {args.question}", f"A: {answer or '(no answer)'}"]
        lines += filter(None, [verdict.disagreement(answer, args.question)])
    lines += [note] if note else []
    print("\n".join([*lines, NANO_LIMITS if analyst.preset.name == "nano" else OTHER_LIMITS]))


def _face(photo: Path, aligned: bool) -> "tuple[Picture, str]":
    from dfa_lib.photo import open_photo

    image = open_photo(photo)
    if aligned:
        return image, ""
    from dfa_lib.face.detect import NoFace, find_face

    try:
        crop = find_face(image, str(photo))
    except NoFace as error:
        raise DataError(f"{error}; --aligned takes a picture that is framed already") from None
    return crop, crop.note


def _analyst(folder: Path | None, base: str | None) -> "LocalAnalyst":
    """Load the model; nothing is fetched and no progress bar or warning is shown."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    source = None if base else find_model(folder)
    warnings.simplefilter("ignore")  # of libraries about their own future
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    from dfa_lib.gpt.analyst import LocalAnalyst

    return LocalAnalyst(source) if source else _untuned(base)


def _untuned(base: str) -> "LocalAnalyst":
    from dfa_lib.gpt.analyst import LocalAnalyst
    from dfa_lib.gpt.base import load_base
    from dfa_lib.gpt.presets import PRESETS

    if base not in PRESETS:
        raise DataError(f"--base {base}: unknown preset; choose from {', '.join(PRESETS)}")
    preset = PRESETS[base]
    return LocalAnalyst(load_base(preset), preset, name=f"{base}, untuned")


def _report(photo: Path, verdict: "Verdict") -> str:
    from dfa_lib.chat.verdict import percent

    shares = (f"  {kind.phrase:<22}{percent(p):>4}" for kind, p in verdict.categories.items())
    return "\n".join([f"{photo}: {verdict.sentence}", *shares, verdict.origin])


if __name__ == "__main__":
    sys.exit(main())
