"""The asynchronous side of asking: one loop in a thread, bounded calls, money before sending."""

import asyncio
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from queue import SimpleQueue
from threading import Thread
from typing import Any
from weakref import WeakValueDictionary

import openai
from pydantic import ValidationError

from dfa_lib.endpoint import wire
from dfa_lib.endpoint.contract import Answer, CeilingReached, Prices, Request, Spend
from dfa_lib.endpoint.store import Store
from dfa_lib.endpoint.wire import Body, Call, Reply, Schema
from dfa_lib.records import DataError

_HOPELESS = {
    401: "key: missing or wrong; set it anew",
    403: "key: not allowed here; ask for access or take another model",
    404: "model or base_url: not known to the server; check both",
}
_PASSING = {
    429: "busy: too many requests for now; wait a minute and ask again",
    500: "the server is in trouble; ask again in a while",
    503: "the server is in trouble; ask again in a while",
}
MISSING = "missing"  # the client wants some key, also where the cache answers everything
NO_KEY = "key: none found; set it in the environment or in Colab's secrets, then run again"
_call: ContextVar[Call] = ContextVar("call")


class Failed(Exception):
    """A request that stayed without an answer; the message is one line without the key."""


class Purse:
    """Sets the worst case of every attempt aside before it is sent.

    It listens to the HTTP client, so that the library's own retries are counted as well. An
    attempt the server refused costs nothing. One that never came back (connection reset,
    time-out, process killed) may have been paid and stays counted at its worst case.
    """

    def __init__(self, store: Store, limits: Spend) -> None:
        self._store, self.limits = store, limits
        self._out: set[str] = set()  # keys of attempts whose outcome may still free money
        self._freed = asyncio.Event()

    @property
    def hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Event hooks for the HTTP client."""
        return {"request": [self._before], "response": [self._after]}

    def check(self, call: Call, reply: Reply) -> None:
        """Raise DataError if an answer cost more than its worst case: the ceiling is void."""
        used = reply.tokens_in + reply.tokens_out
        if used > call.bound.tokens and min(self.limits[1:]) < math.inf:
            raise DataError(
                f"prices.image_tokens: too low for this model, an answer took {used:,} tokens"
                f" where {call.bound.tokens:,} were the most; raise it to keep the ceiling"
            )

    def close(self, call: Call) -> None:
        """Nothing more will come of this call."""
        self._out.discard(call.key)
        self._freed.set()

    async def _before(self, _request: object) -> None:
        call = _call.get()
        self.close(call)  # an earlier attempt of this call is lost
        while not self._store.reserve(call.bound, self.limits):
            if not self._out:
                raise _Refused
            self._freed.clear()
            await self._freed.wait()
        self._out.add(call.key)

    async def _after(self, response: Any) -> None:
        if response.is_error:
            self._store.release(_call.get().bound)
            self.close(_call.get())


class _Refused(openai.OpenAIError):
    """The library passes its own errors on without another attempt."""


class Desk:
    """Answers requests from the store, else from the server, each content once."""

    def __init__(
        self, client: openai.AsyncOpenAI, purse: Purse, store: Store, prices: Prices, slots: int
    ) -> None:
        self._client, self._purse, self._store, self._prices = client, purse, store, prices
        self._slots, self._stopped = asyncio.Semaphore(slots), False
        self._under_way: set[asyncio.Task[Answer]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def answer(self, request: Request, body: Body, schema: Schema | None) -> Answer:
        """Ask, and once more with the complaint if the answer is not valid."""
        paid, task = False, asyncio.current_task()
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            while True:
                replies, call = wire.progress(body, schema, self._prices, self._store.get)
                if call is None:
                    return wire.answer(request, replies, schema, cached=not paid)
                paid = await self._fetch(call) or paid
        except Failed as error:
            return Answer(id=request.id, error=str(error))

    async def close(self, patience: float) -> None:
        """Send nothing new, and let what is under way, and so being paid for, come back."""
        self._stopped = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=patience)
        await self._client.close()

    async def _fetch(self, call: Call) -> bool:
        """See that the reply is in the store; say whether it was paid for just now.

        Equal calls wait for one another, so that their content is paid for once.
        """
        lock = self._locks.setdefault(call.key, asyncio.Lock())
        async with lock, self._slots:
            if self._store.get(call.key):
                return False
            if self._store.waits(call.key):
                raise Failed("in a batch that is not collected yet; call collect() first")
            if self._stopped:
                raise Failed("stopped before it was sent; run again")
            await self._pay(call)
            return True

    async def _pay(self, call: Call) -> None:
        """Send, read and store; a body that is no completion is lost, and asked for once more."""
        if self._client.api_key == MISSING:
            raise DataError(NO_KEY)
        token = _call.set(call)
        try:
            for _ in range(2):
                text = await self._client.post("/chat/completions", cast_to=str, body=call.body)
                with suppress(ValidationError):
                    reply = wire.read(text, call.bound, self._prices)
                    self._store.settle(call.key, reply, call.bound)
                    return self._purse.check(call, reply)
            raise Failed("the server sent something else than a chat completion")
        except openai.OpenAIError as error:
            raise self._told(error) from None
        finally:
            _call.reset(token)
            self._purse.close(call)

    def _told(self, error: openai.OpenAIError) -> Exception:
        """What to raise instead: one line, without the key should the server repeat it."""
        if isinstance(error, _Refused):
            return CeilingReached(self._store.spent, self._purse.limits)
        status, line = getattr(error, "status_code", 0), sentence(error, self._client.api_key)
        return DataError(line) if status in _HOPELESS else Failed(line)


def sentence(error: openai.OpenAIError, key: str) -> str:
    """What went wrong and what to do about it, then the server's own words, in one line."""
    reason = (_HOPELESS | _PASSING).get(getattr(error, "status_code", 0))
    if isinstance(error, openai.APITimeoutError):
        reason = "no answer in time; ask again, or allow more by timeout"
    elif isinstance(error, openai.APIConnectionError):
        reason = f"no server answers at {error.request.url.host}; start it, or check base_url"
    line = one_line(error, key)
    return f"{reason} ({line})" if reason else line


def one_line(error: openai.OpenAIError, key: str) -> str:
    """The error in one line, without the key should the server repeat it."""
    response = getattr(error, "response", None)
    said = f"HTTP {response.status_code}: {response.text}" if response is not None else str(error)
    line = f"{said} {error.__cause__ or ''}".replace(key, "***")
    return " ".join(line.split())[:300]


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
