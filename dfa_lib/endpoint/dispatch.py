"""Concurrent requests: each content is asked once, and from the store if it was asked before."""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import openai

from dfa_lib.endpoint import faults, reading, wire
from dfa_lib.endpoint.contract import Answer, CeilingReached, Reply, Request
from dfa_lib.endpoint.dialect import Body, Call, again, write
from dfa_lib.endpoint.faults import Failed, Stopped
from dfa_lib.endpoint.meter import Meter
from dfa_lib.endpoint.reading import Schema
from dfa_lib.endpoint.store import Store
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
        _, fault = reading.meaning(reply, schema)
        if fault is None:
            break
        body = again(body, reply, fault)
    return replies, None


class Dispatcher:
    """Answers requests from the store, else from the server, each content once."""

    def __init__(self, client: openai.OpenAI, meter: Meter, store: Store) -> None:
        self.client, self._meter, self.store = client, meter, store

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
        running, reached = 0, None
        try:
            for request, body in todo:
                if running == 2 * threads:
                    yield done.get().result()
                    running -= 1
                pool.submit(self.answer, request, body, schema).add_done_callback(done.put)
                running += 1
            for _ in range(running):
                yield done.get().result()
        except CeilingReached as error:
            reached = error
        finally:
            self._meter.stopped = True
            pool.shutdown(cancel_futures=True)
        if reached:
            while not done.empty():  # what came meanwhile is handed out first
                one = done.get()
                if not (one.cancelled() or one.exception() or one.result().failed):
                    yield one.result()
            raise reached

    def answer(self, request: Request, body: Body, schema: Schema | None) -> Answer:
        """Ask, and once more with the complaint if the answer is not valid."""
        paid = False
        try:
            while True:
                replies, call = progress(self.store, body, schema)
                if call is None:
                    return reading.answer(request, replies, schema, cached=not paid)
                sure = self.store.dialect.sees or self.store.waits(call.key)
                if call.shows and not sure:
                    self._look(body["model"])
                paid = self._fetch(call) or paid
        except Failed as error:
            return Answer(id=request.id, error=str(error))

    def stream(self, body: Body) -> Iterator[str]:
        """Yield one answer as it is written; whole, it is kept. Raises errors of the library."""
        key, shown = self.store.call(body).key, ""
        if self.store.get(key) is None:
            core = {"model": body["model"], "messages": body["messages"], "stream": True}
            create = self.client.chat.completions.with_streaming_response.create
            with create(**core, extra_body=body) as response:
                for text in self._heard(response.http_response):
                    if text != shown:
                        yield text.removeprefix(shown)
                    shown = text
        reply = self.store.get(key)
        if rest := (reply.text or reply.refusal or "").removeprefix(shown):
            yield rest

    def _heard(self, response: Any) -> Iterator[str]:
        """Yield what was said so far, line by line, and store it if it comes to an end."""
        if response.is_stream_consumed:  # it was no stream, and is stored
            return
        call, key = response.extensions["call"], self.client.api_key
        raw, begun, said = "", "", ""
        try:
            for text in response.iter_text():
                raw += text
                *lines, begun = (begun + text).split("\n")
                for piece in filter(None, map(wire.piece, lines)):
                    said += piece
                    yield faults.shown(said, key)
        except Exception as error:
            late = "Timeout" in type(error).__name__
            kind = openai.APITimeoutError if late else openai.APIConnectionError
            raise kind(request=response.request) from error
        try:
            reply = wire.read(raw, call.bound, self.store.prices, call.dialect.settings)
        except wire.Fault as error:
            raise Stopped(Failed(faults.plain(error.said, key))) from None
        self.store.settle(call.key, reply, call.bound)

    def _fetch(self, call: Call) -> bool:
        """See that the reply is in the store; say whether it was paid for just now.

        Equal calls wait for one another, so that their content is paid for once.
        """
        with self.store.turn(call.key):
            if self.store.get(call.key):
                return False
            if self.store.waits(call.key):
                raise Failed("in a batch that is not collected yet; call collect() first")
            try:
                self.client.post("/chat/completions", cast_to=str, body=call.asked)
            except openai.OpenAIError as error:
                raise faults.told(error, self.client.api_key) from None
            return True

    def _look(self, model: str) -> None:
        """Show a blue picture before money is spent; raise DataError if it is not seen.

        Blue may be guessed, and a model may be too weak to name a colour. Then a longer question
        without a picture tells: if that takes more tokens than the picture did, or if nobody
        counts tokens, the picture was dropped unless a red one is told from the blue one.
        """
        blue, counted = self._probe(model, (0, 0, 255))
        said = reading.spoken(blue.text) or ""
        right = "blue" in said.lower()
        seen = not blue.refusal and (right or not reading.BLIND.search(said))
        if seen:
            longer, _ = self._probe(model, None)
            seen = counted and longer.tokens_in <= blue.tokens_in
            if right and not seen:
                red, _ = self._probe(model, (255, 0, 0))
                seen = re.search(r"\bred\b", red.text or "", re.IGNORECASE)
        if not seen:
            raise DataError(
                f"{model}: unable to see pictures: it was shown a blue square and said"
                f" {said[:80]!r}; use a model and a server that read images"
            )
        self.store.learn(self.store.dialect.model_copy(update={"sees": True}))

    def _probe(self, model: str, colour: tuple[int, int, int] | None) -> tuple[Reply, bool]:
        """Ask for the colour of a square, if one is shown; return whether tokens were counted."""
        square = () if colour is None else (png(np.full((256, 256, 3), colour, np.uint8)),)
        text, limit = (_PROBE, 300) if square else (_PROBE + _WIDER, 16)
        request = Request(id="", text=text, images=square, max_tokens=limit)
        call = self.store.call(write(request, model, None, {"max_tokens": limit}))
        self._fetch(call)
        reply = self.store.get(call.key)
        return reply, reply.tokens_in != call.bound.tokens
