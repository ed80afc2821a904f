"""How long something took, and how much memory the processes it started held at most."""

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

EVERY = 0.5
"""Seconds between two looks at the memory."""


@dataclass
class Measured:
    """Filled in when the measured block is left, to two decimals, so that all tell the same."""

    minutes: float = 0.0
    gigabytes: float = 0.0  # 10^9 bytes; pages that processes share count once for each


@contextmanager
def measured() -> Iterator[Measured]:
    """Measure a block: its wall time, and the peak memory of this process's children."""
    found, over = Measured(), threading.Event()

    def watch() -> None:
        while not over.wait(EVERY):
            found.gigabytes = max(found.gigabytes, held() / 1e9)

    watcher, start = threading.Thread(target=watch, daemon=True), time.perf_counter()
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
        found.minutes = round((time.perf_counter() - start) / 60, 2)
        found.gigabytes = round(found.gigabytes, 2)


def held() -> int:
    """Bytes of memory that the children of this process hold now, and theirs."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


def machine() -> str:
    """This machine in words: what a stated time must be read with."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} CPU cores, {memory:.0f} GiB of memory, {platform.system()}"
