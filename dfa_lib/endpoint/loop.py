"""An event loop beside the caller's, and answers from it as they come."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

from dfa_lib.endpoint.contract import Answer, Request


@contextmanager
def loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop beside the caller's, which may be Jupyter's own."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    thread = Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    loop, stop = ready.result()
    try:
        yield loop
    finally:
        if not sys.is_finalizing():  # else the thread is gone, and would be waited for in vain
            loop.call_soon_threadsafe(stop.set)
            thread.join()


def as_completed(
    start: Callable[[Request], Future[Answer]], requests: Iterable[Request], ahead: int
) -> Iterator[Answer]:
    """Start requests, at most ``ahead`` before their answers are taken; yield as they come."""
    done: SimpleQueue[Future[Answer]] = SimpleQueue()
    running = 0
    for request in requests:
        if running == ahead:
            yield done.get().result()
            running -= 1
        start(request).add_done_callback(done.put)
        running += 1
    for _ in range(running):
        yield done.get().result()
