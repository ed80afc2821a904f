"""The words by which columns, labels, splits and forgery methods are recognised."""

import re
import tomllib
from importlib.resources import files

from dfa_lib.taxonomy import Category

WORDS: dict[str, dict[str, str]] = tomllib.loads(
    files("dfa_lib.instruct.readers").joinpath("words.toml").read_text("utf-8")
)
_METHODS = {
    name: (Category(category), names.partition("=")[0])
    for category, row in WORDS["methods"].items()
    for names in row.split()
    for name in names.split("=")
}


def method(name: str) -> tuple[Category, str] | None:
    """Category and method of a folder, a label or a file name; None if it is none we know."""
    plain = re.sub(r"[^a-z0-9]", "", re.sub(r"_fake[ab]?$|_real$", "", name.lower()))
    return _METHODS.get(plain)
