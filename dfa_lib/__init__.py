"""Interactive deepfake analysis: DFA-Instruct, DFA-GPT and DFA-Bench, after arXiv 2501.01164."""

import sys
from types import TracebackType

__version__ = "0.1.0"


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell an interruption in one line."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # a command of this package, which is about to import much
    sys.excepthook = _told
