"""Files that are whole or not there, digests, and pictures as files."""

import base64
import hashlib
import inspect
import io
import json
import marshal
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from types import FunctionType, ModuleType
from typing import IO, Any

import numpy as np
from PIL import Image

from dfa_lib.errors import DataError, writing


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file that takes its place at ``path`` when the block ends without an error.

    ``mode`` is "w" (UTF-8, newlines as they are written) or "wb". Folders are made. Processes
    may write the same path at once: the last to finish wins. Raises DataError if the operating
    system refuses, with nothing left behind.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open(mode, **text) as file:
                yield file
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file at once: it is complete or not there."""
    with atomic(path, "wb" if isinstance(content, bytes) else "w") as file:
        file.write(content)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a file beside the data holds; raise DataError if it holds none."""
    try:
        return {**json.loads(path.read_bytes())}
    except (ValueError, TypeError):
        raise DataError(f"{path}: damaged; remove it and run the same step again") from None


def locked(file: IO, path: Path) -> None:
    """Keep other processes from writing an open file until it is closed.

    Raises DataError if one does so now. Where the system or the drive has no such locks (Windows,
    some network drives) nothing is kept.
    """
    try:
        _lock(file, wait=False)
    except BlockingIOError:
        file.close()
        raise DataError(
            f"{path}: another run is writing it; wait until that ends, or choose another folder"
        ) from None


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Wait while another process has its turn at ``path``; one that is gone has none.

    ``path`` is a file of no other use, removed in the end. Without locks nobody waits.
    """
    while True:
        with path.open("w") as file:
            if _lock(file, wait=True) and os.fstat(file.fileno()).st_nlink == 0:
                continue  # whoever was first has removed it
            try:
                yield
            finally:
                with suppress(OSError):  # Windows removes no open file
                    path.unlink()
            return


def _lock(file: IO, wait: bool) -> bool:
    """Lock an open file until it is closed; return whether that is possible here.

    Raises BlockingIOError if it is taken and ``wait`` is false.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        return False
    return True


def digest(content: str | bytes) -> str:
    """Return the SHA-256 of bytes, or of a text as UTF-8, in 64 hexadecimal digits."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()


def code_digest(*things: type | ModuleType | FunctionType) -> str:
    """Digest the source of modules and functions, and of the methods of classes."""
    parts = chain(*(vars(one).values() if isinstance(one, type) else [one] for one in things))
    coded = (part for part in parts if isinstance(part, FunctionType | ModuleType))
    text = "".join(source for part in coded for source in _sources(part))
    return digest(text)[:12]


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


def png(image: np.ndarray) -> bytes:
    """Return an image (H, W, 3) or (H, W) uint8 as a PNG file: nothing in it but pixels."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def data_uri(content: bytes, kind: str = "png") -> str:
    """Return a picture file as an address that holds its own data, for HTML and requests."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
