"""Kernels and commands forked from a process that has imported the libraries and this package.

    python -P warm.py serve SOCKET MODULE ...           the process that forks, until its stdin ends
    python -P warm.py ask SOCKET PYTHON -m MODULE ...   stands for ``python -m MODULE ...``

Importing torch, peft and the like takes a process six seconds, and the tests start eighty. Each
is still a process of its own, but starts no workers; the first kernel of
``test_colab_session.py`` starts from nothing. In a forked kernel ``sys.executable`` is PYTHON, a
script by which the commands that a lesson starts are forked, too.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

LARGE = (
    "ipykernel.kernelapp", "openai", "sklearn.metrics",
    "dfa_lib.bench.controls", "dfa_lib.bench.report", "dfa_lib.chat.view", "dfa_lib.plots",
    "nbgrader.apps", "papermill",
)  # fmt: skip
"""These import all that is slow; torch, transformers, peft and nbformat among it."""


@contextmanager
def warm_kernels(
    folder: Path,
    python: str = sys.executable,
    modules: Iterable[str] = LARGE,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Path]:
    """Serve kernels of ``python`` and yield what to name in JUPYTER_PATH.

    Where one cannot, that is an empty folder.
    """
    if not hasattr(os, "pidfd_open"):  # no Linux
        yield folder
        return
    address, program = str(folder / "socket"), [python, "-P", __file__]
    write_python(folder / "python", python, [*program, "ask", address, str(folder / "python")])
    launch = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
    write_kernel(folder, [str(folder / "python"), *launch], settings)
    # workers for joblib would import for two seconds each, to make a hundred faces
    environment = os.environ | settings | {"JOBLIB_MULTIPROCESSING": "0"}
    command = [*program, "serve", address, *modules]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as server:
        while not Path(address).exists():
            assert server.poll() is None, "the process that forks kernels has ended"
            time.sleep(0.1)
        yield folder
        server.stdin.close()


def write_kernel(folder: Path, command: list[str], settings: Mapping[str, str]) -> None:
    """Tell Jupyter, where JUPYTER_PATH names ``folder``, how to start its kernel for Python."""
    spec = {"argv": command, "display_name": "Python", "language": "python", "env": dict(settings)}
    place = folder / "kernels" / "python3"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec))


def write_python(script: Path, python: str, asking: list[str]) -> None:
    """Write what stands for ``python``: modules are forked, anything else it does itself."""
    forked, alone = shlex.join(asking), shlex.quote(python)
    script.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] && exec {forked} "$@"\nexec {alone} "$@"\n', "utf-8"
    )
    script.chmod(0o755)


def serve(address: str, *modules: str) -> None:
    """Fork for each request, until stdin ends; return in a kernel alone."""
    for name in modules:
        importlib.import_module(name)
    gc.freeze()  # what is here stays: a collection would only copy its pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what watches a kernel
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        asking = listener.accept()[0]
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return watch(asking)
        asking.close()
    os._exit(0)


def watch(asking: socket.socket) -> None:
    """Fork a kernel, return in it; tell when it ends, and end it with who asked or serves."""
    message, files, *_ = socket.recv_fds(asking, 1 << 20, 3)
    kernel = os.fork()
    if not kernel:
        return become(json.loads(message), files)
    asking.send(b"%d\n" % kernel)
    ended = os.pidfd_open(kernel)
    if ended in select.select([asking, ended, sys.stdin], [], [])[0]:
        asking.send(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(kernel, 0)[1]))
    else:
        os.kill(kernel, signal.SIGKILL)
    os._exit(0)


def become(asked: dict, files: list[int]) -> None:
    """Be the module that was asked for."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w", 1, errors="backslashreplace")
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"], JPY_PARENT_PID=str(os.getppid()))
    sys.path[:], sys.executable = [asked["folder"], *asked["path"]], asked["python"]
    _, module, *sys.argv[1:] = asked["arguments"]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)  # the libraries' own ends wait seconds for threads that did not come along


def ask(address: str, python: str, *arguments: str) -> int:
    """Have a process forked, hand on to it what should end it, and return how it ended."""
    with socket.socket(socket.AF_UNIX) as asking, asking.makefile() as told:
        asking.connect(address)
        asked = {"folder": os.getcwd(), "environment": dict(os.environ), "path": sys.path}
        message = json.dumps(asked | {"python": python, "arguments": arguments}).encode()
        socket.send_fds(asking, [message], [0, 1, 2])
        kernel = int(told.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda given, _: os.kill(kernel, given))
        return int(told.readline() or 1)


if __name__ == "__main__":
    sys.exit({"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:]))
