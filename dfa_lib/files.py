"""Files that are whole or not there, digests, and pictures as files."""

import base64
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file that takes its place at ``path`` when the block ends without an error.

    ``mode`` is "w" (UTF-8, newlines as they are written) or "wb". Folders are made. Processes
    may write the same path at once: the last to finish wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
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


def digest(content: str | bytes) -> str:
    """Return the SHA-256 of bytes, or of a text as UTF-8, in 64 hexadecimal digits."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()


def png(image: np.ndarray) -> bytes:
    """Return an image (H, W, 3) or (H, W) uint8 as a PNG file: nothing in it but pixels."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def data_uri(content: bytes, kind: str = "png") -> str:
    """Return a picture file as an address that holds its own data, for HTML and requests."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
