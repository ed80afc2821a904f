"""A digest of code, by which kept faces and descriptions know what made them."""

import inspect
import marshal
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain
from types import FunctionType, ModuleType


def code_digest(*things: type | ModuleType | FunctionType) -> str:
    """Digest the source of modules and functions, and of the methods of classes."""
    parts = chain(*(vars(one).values() if isinstance(one, type) else [one] for one in things))
    coded = (part for part in parts if isinstance(part, FunctionType | ModuleType))
    text = "".join(source for part in coded for source in _sources(part))
    return sha256(text.encode()).hexdigest()[:12]


def _sources(part: FunctionType | ModuleType) -> Iterator[str]:
    """Yield a source; with a function all that it names: functions beside it, numbers, texts."""
    used = inspect.getclosurevars(part) if isinstance(part, FunctionType) else None
    named = {**used.globals, **used.nonlocals} if used else {}
    beside = [one for one in named.values() if isinstance(one, FunctionType)]
    for one in (part, *(one for one in beside if one.__module__ == part.__module__)):
        try:
            yield inspect.getsource(one)
        except OSError:  # typed at a prompt
            yield marshal.dumps(one.__code__).hex()
    yield repr(sorted(one for one in named.items() if isinstance(one[1], int | float | str)))
