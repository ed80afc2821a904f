"""What the folder of a tuned model says of itself, read without torch."""

import json
from dataclasses import fields
from pathlib import Path
from textwrap import shorten
from typing import Annotated

from pydantic import Field, FiniteFloat

from dfa_lib.files import digest
from dfa_lib.gpt.presets import Preset
from dfa_lib.records import DataError, Record

FILE = "preset.json"


class About(Record):
    """What preset.json says of the adapter beside it.

    ``probe`` tells the adapter's base from others. ``files`` are digests of what else tuning
    wrote, weights apart; folders of older versions have none.
    """

    preset: Preset
    probe: Annotated[tuple[FiniteFloat, ...], Field(min_length=64, max_length=64)]
    files: dict[str, str] = Field(default_factory=dict)


def inner(folder: Path) -> Path:
    """Return the folder of the adapter in the folder that tuning wrote, or itself."""
    return folder / "adapter" if (folder / "adapter").is_dir() else folder


def read_about(folder: Path) -> About:
    """Read what an adapter folder says of itself; fields of older versions are left.

    Raises DataError if that, or a file whose digest it has, is missing or was changed.
    """
    file, known = folder / FILE, {field.name for field in fields(Preset)}
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        preset = {name: value for name, value in said["preset"].items() if name in known}
        about = About(**said | {"preset": preset})
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        said = shorten(str(error).partition(" [type=")[0], 200)  # pydantic's, without its address
        raise DataError(
            f"{file}: missing, torn or from another version ({said}); copy the folder again, or"
            " tune again"
        ) from None
    for name, own in about.files.items():
        if not (folder / name).is_file() or text_digest(folder / name) != own:
            raise DataError(f"{folder / name}: missing, or changed after training; copy it again")
    return about


def text_digest(file: Path) -> str:
    """Digest a text file, however its lines end: git ends them anew on Windows."""
    return digest(file.read_bytes().replace(b"\r\n", b"\n"))
