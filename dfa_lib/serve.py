"""Serve a tuned model to OpenAI clients: ``python -m dfa_lib.serve work/02_gpt --port 8000``.

This is ``transformers serve``, which by itself knows neither the nano tower nor our adapters:
the tower is imported first, and the adapter merged into its base, in the work folder. It ignores
schemas, temperatures and log-probabilities; vLLM serves large models with all three.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from dfa_lib.errors import DataError, command
from dfa_lib.runtime import prepare, work_path
from dfa_lib.tuned import inner


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit status."""
    parser = argparse.ArgumentParser("dfa_lib.serve", description="Serve a tuned model.")
    parser.add_argument("folder", type=Path, nargs="?", help="what lesson 02 wrote, or any model")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--device", default="auto", help="for example cpu or cuda:0")
    args = parser.parse_args(argv)
    prepare()
    return command("dfa_lib.serve", lambda: _serve(args))


def _serve(args: argparse.Namespace) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing but this folder is served
    if not find_spec("uvicorn") or not find_spec("fastapi"):
        raise DataError('a web server is missing; run `pip install "dfa_lib[serve]"`')
    folder = servable(args.folder)
    print(f'Endpoint("{folder}", "http://localhost:{args.port}/v1", cache=...)', flush=True)
    from transformers.cli.serve import Serve

    import dfa_lib.gpt.faceconv  # noqa: F401  registers the nano tower

    Serve(force_model=str(folder), port=args.port, device=args.device)


def servable(folder: Path | None) -> Path:
    """Return a folder that any server can load: a whole model as it is, a tuned one merged.

    The merged copy is named by a digest of the adapter, so that a model tuned anew gets a
    name, and answers in a cache, of its own.
    """
    from dfa_lib.ask.judging import find_model
    from dfa_lib.gpt.adapter import merge

    if folder and (folder / "config.json").exists():
        return folder
    folder = find_model(folder)
    with (inner(folder) / "adapter_model.safetensors").open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    merged = work_path() / "served" / f"dfa-gpt-{digest[:8]}"
    return merged if merged.exists() else merge(folder, merged)


if __name__ == "__main__":
    sys.exit(main())
