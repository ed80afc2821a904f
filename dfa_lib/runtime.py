"""Where am I, and what may I use: Colab or local, work folder, device, API key."""

import getpass
import os
import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dfa_lib.errors import DataError

if TYPE_CHECKING:
    import torch

RESCUE = Path(__file__).parent / "rescue"
"""A small copy of what lessons 01 to 03 write, shipped with the package."""
FINISHED = {
    "01_instruct": "instruct.jsonl",
    "02_gpt": "adapter/adapter_model.safetensors",
    "03_bench": "report.json",
}
"""The file that a lesson writes last, by the folder it writes into."""


def prepare() -> None:
    """Set this process up for a lesson or a command; call it before torch is imported.

    OpenMP threads that wait for another sleep almost at once, unless the environment says how
    they wait: beside a browser, threads that spin keep the processor from the one they wait for
    (``benchmarks/busy_machine.py``). Warnings about names whose successors Colab's transformers
    does not have yet are not shown.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.update(OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="3000")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)


def in_colab() -> bool:
    """True in a Google Colab notebook."""
    return "google" in sys.modules and find_spec("google.colab") is not None


def work_path(name: str = "work", here: Path | None = None) -> Path:
    """Return the folder in which lessons keep their files, whether or not it exists.

    A relative ``name`` counts from the root of the repository around ``here`` (the current
    folder unless given), else from ``here`` itself, as on Colab. So a lesson opened in
    notebooks/ and a command typed at the root mean the same folder. For one in Google Drive,
    Colab asks for the Drive once a session.
    """
    home = Path("/content/drive/MyDrive")  # the mount point itself stays when a mount has ended
    if name.startswith("/content/drive/") and in_colab() and not home.exists():
        from google.colab import drive

        drive.mount("/content/drive")
    here = (here or Path()).resolve()
    around = (p for p in (here, *here.parents) if (p / "dfa_lib" / "taxonomy.py").exists())
    path = next(around, here) / name
    # short where it can be: this path is printed in lessons that others read
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path


def lesson(work: Path, name: str) -> Path:
    """Return the folder ``name`` a lesson wrote in ``work``, else the rescue copy in the package.

    The rescue copy is read where it lies: a later run of the lesson finds its place empty.
    """
    if (work / name / FINISHED[name]).exists():
        return work / name
    print(f"{work / name} does not exist; a small rescue copy from the package is used instead.")
    print(f"For your own results, run lesson {name[:2]} first.")
    return RESCUE / name


@dataclass(frozen=True)
class Device:
    """What to compute on, in which precision, and the reason in words."""

    name: str
    dtype: "torch.dtype"
    reason: str


def device() -> Device:
    """Choose by what the machine can do: bf16 from Ampere on, fp16 on older GPUs (T4)."""
    import torch

    if not torch.cuda.is_available():
        return Device("cpu", torch.float32, "no CUDA GPU here; 32 bits are fastest on a CPU")
    gpu, (major, minor) = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    if major >= 8:
        return Device("cuda", torch.bfloat16, f"{gpu} (compute {major}.{minor}) computes in bf16")
    return Device(
        "cuda", torch.float16, f"{gpu} (compute {major}.{minor}) has no bf16, so fp16 with scaling"
    )


def api_key(name: str = "OPENAI_API_KEY", prompt: bool = True) -> str | None:
    """Find a key: environment, Colab secrets, hidden prompt; None means stay offline.

    The key is returned and never printed, logged or written into a notebook. Blanks and quotes
    around it are left off. Raises DataError for one that no HTTP header can hold.
    """
    found = os.environ.get(name) or _colab_secret(name) or (_prompted(name) if prompt else None)
    key = (found or "").strip(" \t\r\n\"'\u201c\u201d\u2018\u2019")
    if not (key.isascii() and key.isprintable()):
        raise DataError(f"{name}: contains a character that no key has; copy it again")
    return key or None


def _colab_secret(name: str) -> str | None:
    if not in_colab():
        return None
    try:
        from google.colab import userdata

        return userdata.get(name) or None
    except Exception:  # not granted, not set, or no Colab page open: all mean "no key"
        return None


def _prompted(name: str) -> str | None:
    """Ask where a person can answer; a papermill or batch run has nobody to ask."""
    ipython = sys.modules.get("IPython")
    in_kernel = hasattr(ipython.get_ipython() if ipython else None, "kernel")
    if not in_kernel and not (sys.stdin and sys.stdin.isatty()):
        return None
    try:
        return getpass.getpass(f"{name} (hidden; leave empty to stay offline): ") or None
    except (NotImplementedError, EOFError):  # a kernel without a page to ask on
        return None
