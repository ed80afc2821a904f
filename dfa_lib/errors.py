"""Errors in one line: DataError for callers, an exit status for the shell."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class DataError(ValueError):
    """Bad data; the message is one line that names the file, the field and the mend."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses while ``path`` is written into a DataError.

    An error that names another file, such as an input that cannot be read, is passed on.
    """
    try:
        yield
    except OSError as error:
        named = str(error.filename or path)
        if not (str(path).startswith(named) or named.startswith(f"{path}.")):
            raise
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); free some space, or choose"
            " a folder that you may write to"
        ) from None


def command(name: str, work: Callable[[], int | None], again: str = "") -> int:
    """Do the ``work`` of a command; return its exit status, 0 unless ``work`` returns another.

    A DataError, or what the operating system refuses, is one line on stderr and status 2. An
    interruption is one line and 130; ``again`` says how to go on. Names and answers that a legacy
    locale cannot hold are written with escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has none
            stream.reconfigure(errors="backslashreplace")
    try:
        status = work() or 0
        sys.stdout.flush()
        return status
    except DataError as error:
        return _failed(name, str(error), 2)
    except KeyboardInterrupt:
        return _failed(name, "; ".join(filter(None, ("interrupted", again))), 130)
    except BrokenPipeError:  # whoever read has enough, as `head` has
        _discard_output()
        return 141
    except OSError as error:
        if error.filename is None:  # stdout's
            _discard_output()
        return _failed(name, f"{error.filename or 'output'}: {error.strerror or error}", 2)


def _failed(name: str, reason: str, status: int) -> int:
    print(f"{name}: {reason}", file=sys.stderr)
    return status


def _discard_output() -> None:
    """Send what is still buffered nowhere: Python would fail on it once more at exit."""
    with suppress(OSError):  # a notebook's has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
