"""The asynchronous side of asking: one loop in a thread, bounded calls, money before sending."""

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import openai
from pydantic import ValidationError

from dfa_lib.endpoint import wire
from dfa_lib.endpoint.contract import (
    Answer,
    CeilingReached,
    Prices,
    Request,
    Spend,
    encode,
)
from dfa_lib.endpoint.dialect import HOPELESS, Dialect, no_pictures, probe
from dfa_lib.endpoint.reading import NO_PICTURE, sentence_in, spoken
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
_ATTEMPTS = 16  # each is refused, and so free, or the last
MISSING = "missing"  # the client wants some key, also where the cache answers everything
NO_KEY = "key: none found; set it in the environment or in Colab's secrets, then run again"
_call: ContextVar[Call] = ContextVar("call")


class Failed(Exception):
    """A request that stayed without an answer; the message is one line without the key."""


class SpendGuard:
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


class Dispatcher:
    """Answers requests from the store, else from the server, each content once."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        guard: SpendGuard,
        store: Store,
        prices: Prices,
        slots: int,
        name: str,
    ) -> None:
        self._client, self._guard, self._store, self._prices = client, guard, store, prices
        self._slots, self._stopped = asyncio.Semaphore(slots), False
        self._name, self._dialect = name, store.dialect(name)
        self._pilot, self._piloted = asyncio.Lock(), False
        self._under_way: set[asyncio.Task[Answer]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def answer(self, request: Request, body: Body, schema: Schema | None) -> Answer:
        """Ask, and once more with the complaint if the answer is not valid."""
        paid, task = False, asyncio.current_task()
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            while True:
                replies, call = wire.progress(
                    body, schema, self._prices, self._store.get, self._dialect
                )
                if call is None:
                    return wire.answer(request, replies, schema, cached=not paid)
                paid = await self._fetch(call, bool(request.images)) or paid
        except Failed as error:
            return Answer(id=request.id, error=str(error))

    async def close(self, patience: float) -> None:
        """Send nothing new, and let what is under way, and so being paid for, come back."""
        self._stopped = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=patience)
        await self._client.close()

    async def _fetch(self, call: Call, pictures: bool) -> bool:
        """See that the reply is in the store; say whether it was paid for just now.

        Equal calls wait for one another, so that their content is paid for once. The first
        call of all goes alone: what it learns about the server, the others need not.
        """
        lock = self._locks.setdefault(call.key, asyncio.Lock())
        async with lock, self._slots:
            if self._store.get(call.key):
                return False
            if self._store.waits(call.key):
                raise Failed("in a batch that is not collected yet; call collect() first")
            if not self._piloted:
                async with self._pilot:
                    if not self._piloted:
                        if pictures and self._dialect.sees is None:
                            await self._look(call.body["model"])
                        try:
                            await self._pay(call)
                        finally:
                            self._piloted = True
                        return True
            await self._pay(call)
            return True

    async def _look(self, model: str) -> None:
        """Show a blue picture before money is spent; raise DataError if it is not seen.

        A model may be too weak to name a colour. Then a longer question without a picture
        tells: if that takes more tokens than the picture did, the picture was dropped.
        """
        blue = wire.picture(encode(np.full((256, 256, 3), (0, 0, 255), np.uint8)))
        shown = await self._probe(model, blue["image_url"]["url"])
        said, sees = spoken(shown.text) or "", True
        if NO_PICTURE.search(said) or NO_PICTURE.search(shown.refusal or ""):
            sees = False
        elif "blue" not in said.lower():
            sees = (await self._probe(model, None)).tokens_in <= shown.tokens_in
        if not sees:
            raise DataError(
                f"{model}: unable to see pictures: it was shown a blue square and said"
                f" {said[:80]!r}; take a model and a server that read images"
            )
        self._learn(self._dialect.model_copy(update={"sees": True}))

    async def _probe(self, model: str, url: str | None) -> Reply:
        call = Call.of(probe(model, url), self._prices, self._dialect)
        if self._store.get(call.key) is None:
            await self._pay(call)
        return self._store.get(call.key)

    def _learn(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._store.learn(self._name, dialect)

    async def _pay(self, call: Call) -> None:
        """Send, read and store; what the server refuses is written in another way."""
        if self._client.api_key == MISSING:
            raise DataError(NO_KEY)
        again = True
        for _ in range(_ATTEMPTS):
            if self._stopped:
                raise Failed("stopped before it was sent; run again")
            dialect = self._dialect
            call = Call.of(call.asked, self._prices, dialect)
            try:
                text = await self._send(call)
                with suppress(ValidationError):
                    reply = wire.read(text, call, self._prices)
                    reply = reply.model_copy(update={"settings": dialect.settings})
                    self._store.settle(call.key, reply, call.bound)
                    return self._guard.check(call, reply)
            except openai.APIStatusError as error:
                if not self._adapt(call, dialect, error.status_code, error.response.text):
                    raise self._told(error) from None
                continue
            except openai.OpenAIError as error:
                raise self._told(error) from None
            finally:
                self._guard.close(call)
            if not again or not text.strip():
                raise Failed(one_line(f"no answer but: {sentence_in(text)}", self._key))
            if not self._adapt(call, dialect, wire.status_in(text), text):
                again = False  # nothing was learned: it may have been an accident
        raise Failed("the server refused every way of asking that is known")

    async def _send(self, call: Call) -> str:
        token = _call.set(call)
        try:
            return await self._client.post("/chat/completions", cast_to=str, body=call.body)
        finally:
            _call.reset(token)

    def _adapt(self, call: Call, used: Dialect, status: int | None, said: str) -> bool:
        """Learn from a refusal, unless another call did meanwhile; False if nothing can be."""
        if self._dialect is not used:
            return True
        words = said.replace(self._key, "***")
        if status is None or status in HOPELESS:
            return False
        if _shows(call.body) and no_pictures(sentence_in(words)):
            line = one_line(sentence_in(words), self._key)
            raise DataError(
                f"{call.body['model']}: unable to see pictures: {line}; take a vision model"
            ) from None
        better = self._dialect.after(call.body, status, words)
        if better:
            self._learn(better)
        return better is not None

    @property
    def _key(self) -> str:
        return self._client.api_key

    def _told(self, error: openai.OpenAIError) -> Exception:
        """What to raise instead: one line, without the key should the server repeat it."""
        if isinstance(error, _Refused):
            return CeilingReached(self._store.spent, self._guard.limits)
        status, line = getattr(error, "status_code", 0), sentence(error, self._key)
        return DataError(line) if status in _HOPELESS else Failed(line)


def _shows(body: Body) -> bool:
    return '"image_url"' in json.dumps(body["messages"])


def sentence(error: openai.OpenAIError, key: str) -> str:
    """What went wrong and what to do about it, then the server's own words, in one line."""
    reason = (_HOPELESS | _PASSING).get(getattr(error, "status_code", 0))
    if isinstance(error, openai.APITimeoutError):
        reason = "no answer in time; ask again, or allow more by timeout"
    elif isinstance(error, openai.APIConnectionError):
        reason = f"no server answers at {error.request.url.host}; start it, or check base_url"
    response = getattr(error, "response", None)
    said = f"HTTP {response.status_code}: {sentence_in(response.text)}" if response else str(error)
    line = one_line(f"{said} {error.__cause__ or ''}", key)
    return f"{reason} ({line})" if reason else line


def one_line(said: str, key: str) -> str:
    """The words of a server in one line, without the key should it repeat it."""
    return " ".join(said.replace(key, "***").split())[:300]
