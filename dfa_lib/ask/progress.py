"""How far a run is, on stderr: one line that changes on a terminal, else a line now and then."""

import sys
from collections import Counter
from time import perf_counter

_TERMINAL, _FILE = 0.2, 10.0  # seconds between two lines


class Progress:
    """Counts pictures by status in ``of``; ``total`` files are to come, videos of many frames."""

    def __init__(self, total: int) -> None:
        self.of: Counter[str] = Counter()
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._begin = self._last = perf_counter()

    def add(self, status: str) -> None:
        """Count one picture and, if it is time, say how far the run is."""
        self.of[status] += 1
        now = perf_counter()
        if self.of.total() > 1 and now - self._last >= (_TERMINAL if self._terminal else _FILE):
            self._last = now
            line = f"{self._rate(now)}, of {self._total} files"
            print(line, end="" if self._terminal else "\n", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line off the terminal before something else is written."""
        if self._terminal and self.of.total() > 1:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Sum up, unless there was only one picture."""
        self.clear()
        if self.of.total() > 1:
            counts = ", ".join(f"{count} {status}" for status, count in sorted(self.of.items()))
            print(f"{self._rate(perf_counter())}: {counts}", file=sys.stderr)

    def _rate(self, now: float) -> str:
        seconds = now - self._begin
        return f"{self.of.total()} pictures in {seconds:.0f} s ({self.of.total() / seconds:.1f}/s)"
