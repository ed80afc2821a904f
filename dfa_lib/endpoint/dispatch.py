"""Concurrent requests: each content is asked once, and from the store if it was asked before."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import openai

from dfa_lib.endpoint import reading, wire
from dfa_lib.endpoint.contract import Answer, Reply, Request
from dfa_lib.endpoint.dialect import HOPELESS, NO_PICTURES
from dfa_lib.endpoint.meter import Failed, Meter, Stopped
from dfa_lib.endpoint.store import Store
from dfa_lib.endpoint.wire import Body, Call, Schema
from dfa_lib.files import png
from dfa_lib.records import DataError

_PROBE = "What colour is this picture? Answer with one word: red, green, blue or yellow."
_WIDER = " Choose the one word that fits best and write nothing else but that word, please."


def progress(store: Store, body: Body, schema: Schema | None) -> tuple[list[Reply], Call | None]:
    """Return the replies that are stored already, and the call to make next, if any.

    An invalid reply is complained about once; a refusal is taken as it is.
    """
    replies: list[Reply] = []
    for _ in range(2):
        call = store.call(body)
        reply = store.get(call.key)
        if reply is None:
            return replies, call
        replies.append(reply)
        _, fault = wire.meaning(reply, schema)
        if fault is None:
            break
        body = wire.again(body, reply, fault)
    return replies, None


class Dispatcher:
    """Answers requests from the store, else from the server, each content once."""

    def __init__(self, client: openai.OpenAI, meter: Meter, store: Store) -> None:
        self.client, self._meter, self.store = client, meter, store
        self._locks: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def answers(
        self, todo: Iterable[tuple[Request, Body]], schema: Schema | None, threads: int
    ) -> Iterator[Answer]:
        """Yield the answer to each request as it comes; 2 x ``threads`` are taken ahead.

        The first that has to be asked goes alone: what it teaches about the server, the others
        need not learn. When this ends early, nothing new is sent, and what is under way, and so
        being paid for, comes back first.
        """
        todo = iter(todo)
        for request, body in todo:
            first = self.answer(request, body, schema)
            yield first
            if not first.cached:
                break
        pool, done = ThreadPoolExecutor(threads), SimpleQueue[Future[Answer]]()
        running = 0
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
            self._meter.stopped = True
            pool.shutdown(cancel_futures=True)

    def answer(self, request: Request, body: Body, schema: Schema | None) -> Answer:
        """Ask, and once more with the complaint if the answer is not valid."""
        paid = False
        try:
            while True:
                replies, call = progress(self.store, body, schema)
                if call is None:
                    return wire.answer(request, replies, schema, cached=not paid)
                paid = self._fetch(call) or paid
        except Failed as error:
            return Answer(id=request.id, error=str(error))

    def stream(self, body: Body, fields: Body) -> Iterator[str]:
        """Yield one answer as it is written; whole, it is kept. ``fields`` are sent as well.

        Raises Failed and DataError, each in one line.
        """
        key = self.store.call(body).key
        if known := self.store.get(key):
            yield known.text or known.refusal or ""
            return
        text, refusal, usage = "", "", None
        core = {"model": body["model"], "messages": body["messages"], "stream": True}
        try:
            chunks = self.client.chat.completions.create(**core, extra_body=body | fields)
            for chunk in chunks:
                usage = chunk.usage or usage
                for delta in (choice.delta for choice in chunk.choices[:1]):
                    text += delta.content or ""
                    refusal += delta.refusal or ""
                    yield delta.content or delta.refusal or ""
        except openai.OpenAIError as error:
            raise self._told(error) from None
        call = chunks.response.extensions["call"]
        spent = wire.counted(usage and usage.model_dump(), call.bound, self.store.prices)
        said = {"text": text or None, "refusal": refusal or None}
        reply = Reply(**said, **spent, settings=call.dialect.settings)
        self.store.settle(key, reply, call.bound)

    def _fetch(self, call: Call) -> bool:
        """See that the reply is in the store; say whether it was paid for just now.

        Equal calls wait for one another, so that their content is paid for once.
        """
        with self._locks.setdefault(call.key, Lock()):
            if self.store.get(call.key):
                return False
            if self.store.waits(call.key):
                raise Failed("in a batch that is not collected yet; call collect() first")
            if call.shows and self.store.dialect.sees is None:
                self._look(call.body["model"])
            self._post(call.asked)
            return True

    def _post(self, asked: Body) -> None:
        try:
            self.client.post("/chat/completions", cast_to=str, body=asked)
        except openai.OpenAIError as error:
            raise self._told(error) from None

    def _look(self, model: str) -> None:
        """Show a blue picture before money is spent; raise DataError if it is not seen.

        A model may be too weak to name a colour. Then a longer question without a picture
        tells: if that takes more tokens than the picture did, the picture was dropped.
        """
        blue = png(np.full((256, 256, 3), (0, 0, 255), np.uint8))
        shown = self._probe(model, Request(id="", text=_PROBE, images=(blue,), max_tokens=300))
        said = reading.spoken(shown.text) or ""
        blind = reading.NO_PICTURE.search(f"{said}\n{shown.refusal}")
        if not blind and "blue" not in said.lower():
            longer = self._probe(model, Request(id="", text=_PROBE + _WIDER, max_tokens=1))
            blind = longer.tokens_in > shown.tokens_in
        if blind:
            raise DataError(
                f"{model}: unable to see pictures: it was shown a blue square and said"
                f" {said[:80]!r}; use a model and a server that read images"
            )
        self.store.learn(self.store.dialect.model_copy(update={"sees": True}))

    def _probe(self, model: str, request: Request) -> Reply:
        body = wire.write(request, model, None, {"max_tokens": request.max_tokens})
        call = self.store.call(body)
        if self.store.get(call.key) is None:
            self._post(call.asked)
        return self.store.get(call.key)

    def _told(self, error: openai.OpenAIError) -> Exception:
        """What to raise instead: one line, without the key should the server repeat it."""
        if isinstance(error, Stopped):
            return error.reason
        line = reading.sentence(error, self.client.api_key)
        if isinstance(error, openai.APIStatusError):
            status = error.status_code
            call = error.response.extensions["call"]
            if call.shows and status not in HOPELESS and NO_PICTURES.search(line):
                model = call.body["model"]
                return DataError(f"{model}: unable to see pictures: {line}; use a vision model")
            if status in reading.FATAL:
                return DataError(line)
        return Failed(line)
