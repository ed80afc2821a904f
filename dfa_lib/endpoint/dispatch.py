"""Concurrent requests: each content is asked once, its highest cost reserved before sending."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from queue import SimpleQueue
from threading import Condition, Lock
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import openai

from dfa_lib.endpoint import reading, wire
from dfa_lib.endpoint.contract import Answer, CeilingReached, Prices, Request, Spend
from dfa_lib.endpoint.dialect import HOPELESS, NO_PICTURES, Dialect, meant, probe
from dfa_lib.endpoint.store import Store
from dfa_lib.endpoint.wire import Body, Call, Reply, Schema
from dfa_lib.files import png
from dfa_lib.records import DataError

_ATTEMPTS = 16  # each is refused, and so free, or the last
MISSING = "missing"  # the client wants some key, also where the cache answers everything
NO_KEY = "key: none found; set it in the environment or in Colab's secrets, then run again"
_call: ContextVar[Call] = ContextVar("call")


class Failed(Exception):
    """A request that stayed without an answer; the message is one line without the key."""


class SpendGuard:
    """Reserves the highest cost of every attempt before it is sent.

    It listens to the HTTP client, so that the library's own retries are counted as well. An
    attempt the server refused costs nothing. One that never came back (connection reset,
    time-out, process killed) may have been paid and stays counted at its worst case.
    """

    def __init__(self, store: Store, limits: Spend) -> None:
        self._store, self.limits, self.stopped = store, limits, False
        self._out: set[str] = set()  # keys of attempts whose outcome may still free money
        self._freed = Condition()

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
                f" where {call.bound.tokens:,} were the most; raise it so that the budget holds"
            )

    def close(self, call: Call) -> None:
        """Note that a call is over: nothing that it reserved will be freed any more."""
        with self._freed:
            self._out.discard(call.key)
            self._freed.notify_all()

    def _before(self, _request: object) -> None:
        call = _call.get()
        self.close(call)  # an earlier attempt of this call is lost
        with self._freed:
            while not self.stopped and not self._store.reserve(call.bound, self.limits):
                if not self._out:
                    raise _Refused
                self._freed.wait()
            if self.stopped:
                raise _Refused
            self._out.add(call.key)

    def _after(self, response: Any) -> None:
        if response.has_redirect_location:  # 301 and 302 would make it a GET, without its body
            response.status_code = 308
            self._store.release(_call.get().bound)
        if response.is_error:  # read by the client only after it has decided on another attempt
            response.status_code = meant(response.status_code, str(response.read()))
            self._store.release(_call.get().bound)
            self.close(_call.get())


class _Refused(openai.OpenAIError):
    """The library passes its own errors on without another attempt."""


class Dispatcher:
    """Answers requests from the store, else from the server, each content once."""

    def __init__(
        self, client: openai.OpenAI, guard: SpendGuard, store: Store, prices: Prices, name: str
    ) -> None:
        self._client, self._guard, self._store, self._prices = client, guard, store, prices
        self._key, self._name, self._dialect = client.api_key, name, store.dialect(name)
        self._learning, self._pilot, self._piloted = Lock(), Lock(), False
        self._locks: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def answers(
        self, todo: Iterable[tuple[Request, Body]], schema: Schema | None, threads: int
    ) -> Iterator[Answer]:
        """Yield the answer to each request as it comes; 2 x ``threads`` are taken ahead.

        When that ends early, nothing new is sent, and what is under way, and so being paid for,
        comes back first.
        """
        pool, done, running = ThreadPoolExecutor(threads), SimpleQueue[Future[Answer]](), 0
        try:
            for request, body in todo:
                if running == 2 * threads:
                    yield done.get().result()
                    running -= 1
                pool.submit(self.answer, request, body, schema).add_done_callback(done.put)
                running += 1
            for _ in range(running):
                yield done.get().result()
        finally:
            self._guard.stopped = True
            pool.shutdown(cancel_futures=True)

    def answer(self, request: Request, body: Body, schema: Schema | None) -> Answer:
        """Ask, and once more with the complaint if the answer is not valid."""
        paid = False
        try:
            while True:
                replies, call = wire.progress(
                    body, schema, self._prices, self._store.get, self._dialect
                )
                if call is None:
                    return wire.answer(request, replies, schema, cached=not paid)
                paid = self._fetch(call, bool(request.images)) or paid
        except Failed as error:
            return Answer(id=request.id, error=str(error))

    def stream(self, body: Body, fields: Body) -> Iterator[str]:
        """Yield one answer as it is written; whole, it is kept. ``fields`` are sent as well.

        Raises DataError and CeilingReached, each in one line.
        """
        call = Call.of(body, self._prices, self._dialect)
        if known := self._store.get(call.key):
            yield known.text or known.refusal or ""
            return
        for _ in range(_ATTEMPTS):
            call = Call.of(body, self._prices, self._dialect)
            text, refusal, usage = "", "", None
            try:
                for chunk in self._open(call, fields):
                    usage = chunk.usage or usage
                    for delta in (choice.delta for choice in chunk.choices[:1]):
                        text += delta.content or ""
                        refusal += delta.refusal or ""
                        yield delta.content or delta.refusal or ""
                said = {"text": text or None, "refusal": refusal or None}
                spent = wire.counted(usage and usage.model_dump(), call, self._prices)
                reply = Reply(**said, **spent, settings=call.dialect.settings)
                return self._store.settle(call.key, reply, call.bound)
            except openai.OpenAIError as error:
                self._mend(error, call)
            finally:
                self._guard.close(call)

    def _fetch(self, call: Call, pictures: bool) -> bool:
        """See that the reply is in the store; say whether it was paid for just now.

        Equal calls wait for one another, so that their content is paid for once. The first
        call of all goes alone: what it learns about the server, the others need not.
        """
        with self._locks.setdefault(call.key, Lock()):
            if self._store.get(call.key):
                return False
            if self._store.waits(call.key):
                raise Failed("in a batch that is not collected yet; call collect() first")
            with self._pilot:  # is free once the first call is over
                if pilot := not self._piloted:
                    if pictures and self._dialect.sees is None:
                        self._look(call.body["model"])
                    try:
                        self._pay(call)
                    finally:
                        self._piloted = True
            if not pilot:
                self._pay(call)
            return True

    def _look(self, model: str) -> None:
        """Show a blue picture before money is spent; raise DataError if it is not seen.

        A model may be too weak to name a colour. Then a longer question without a picture
        tells: if that takes more tokens than the picture did, the picture was dropped.
        """
        blue = wire.picture(png(np.full((256, 256, 3), (0, 0, 255), np.uint8)))
        shown = self._probe(model, blue["image_url"]["url"])
        said = reading.spoken(shown.text) or ""
        blind = reading.NO_PICTURE.search(f"{said}\n{shown.refusal}")
        if not blind and "blue" not in said.lower():
            blind = self._probe(model, None).tokens_in > shown.tokens_in
        if blind:
            raise DataError(
                f"{model}: unable to see pictures: it was shown a blue square and said"
                f" {said[:80]!r}; use a model and a server that read images"
            )
        self._learn(self._dialect.model_copy(update={"sees": True}))

    def _probe(self, model: str, url: str | None) -> Reply:
        call = Call.of(probe(model, url), self._prices, self._dialect)
        if self._store.get(call.key) is None:
            self._pay(call)
        return self._store.get(call.key)

    def _learn(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._store.learn(self._name, dialect)

    def _pay(self, call: Call) -> None:
        """Send, read and store; what the server refuses is written in another way."""
        again = True
        for _ in range(_ATTEMPTS):
            call = Call.of(call.asked, self._prices, self._dialect)
            try:
                with self._paying(call):
                    text = self._client.post("/chat/completions", cast_to=str, body=call.body)
                if reply := wire.read(text, call, self._prices):
                    self._store.settle(call.key, reply, call.bound)
                    return self._guard.check(call, reply)
            except openai.OpenAIError as error:
                self._mend(error, call)
                continue
            finally:
                self._guard.close(call)
            if not again or not text.strip():
                line = f"no answer but: {reading.sentence_in(text)}"
                raise Failed(reading.one_line(line, self._key))
            again = self._adapt(call, wire.status_in(text), text)  # else it may be an accident
        raise Failed("the server refused every known form of the request")

    def _open(self, call: Call, fields: Body) -> openai.Stream:
        core = {"model": call.body["model"], "messages": call.body["messages"], "stream": True}
        with self._paying(call):
            return self._client.chat.completions.create(**core, extra_body=call.body | fields)

    @contextmanager
    def _paying(self, call: Call) -> Iterator[None]:
        """Tell the guard which call the attempts of this thread are for."""
        if self._key == MISSING:
            raise DataError(NO_KEY)
        token = _call.set(call)
        try:
            yield
        finally:
            _call.reset(token)

    def _mend(self, error: openai.OpenAIError, call: Call) -> None:
        """Learn from what the server refused; raise in one line what cannot be mended."""
        status = getattr(error, "status_code", None)
        if not status or not self._adapt(call, status, error.response.text):
            raise self._told(error) from None

    def _adapt(self, call: Call, status: int | None, said: str) -> bool:
        """Learn from a refusal, unless another call did meanwhile; False if nothing can be."""
        with self._learning:
            if self._dialect is not call.dialect:
                return True
            words = reading.masked(said, self._key)
            if status is None or status in HOPELESS:
                return False
            line = reading.one_line(reading.sentence_in(words), self._key)
            if '"image_url"' in json.dumps(call.body["messages"]) and NO_PICTURES.search(line):
                raise DataError(
                    f"{call.body['model']}: unable to see pictures: {line}; use a vision model"
                ) from None
            better = self._dialect.after(call.body, status, words)
            if better:
                self._learn(better)
            return better is not None

    def _told(self, error: openai.OpenAIError) -> Exception:
        """What to raise instead: one line, without the key should the server repeat it."""
        if isinstance(error, _Refused):
            if self._guard.stopped:
                return Failed("stopped before it was sent; run again")
            return CeilingReached(self._store.spent, self._guard.limits)
        status, line = getattr(error, "status_code", 0), reading.sentence(error, self._key)
        return DataError(line) if status in reading.FATAL else Failed(line)
