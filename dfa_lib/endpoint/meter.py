"""The HTTP client below openai's: asks each server as it wants to be asked, and keeps the books."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from threading import Condition, Lock, local
from typing import Any

import openai

from dfa_lib.endpoint.address import Address
from dfa_lib.endpoint.contract import CeilingReached, Spend
from dfa_lib.endpoint.dialect import NO_PICTURES, Body, Call
from dfa_lib.endpoint.faults import HOPELESS, UNCHARGED, Failed, Stopped, meant, plain
from dfa_lib.endpoint.store import Store
from dfa_lib.endpoint.wire import Fault, read, words
from dfa_lib.records import DataError

NO_KEY = "key: none found; set it in the environment or in Colab's secrets, then run again"
_UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
_NOWHERE = {
    "TooManyRedirects": "base_url: the server sends from one address to the next; check it",
    "UnsupportedProtocol": "base_url: leads to something that is no web server; check it",
    "InvalidURL": "base_url: leads to something that is no address; check it",
}
_HTTP = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
_FORMS = 16  # in which a request is tried; each is refused, and so free, or the last


class Meter(openai.DefaultHttpxClient):
    """Sends chat completions in the dialect of one server, each attempt below the ceiling.

    The retries of the openai library pass through here, so each is counted: its highest cost is
    reserved before it is sent, given back if it never left or the server refuses it, and replaced
    by its price when the answer is stored. What never comes back (connection reset, time-out,
    trouble behind a gateway, process killed) may have been paid and stays counted. Requests about
    files and batches pass as they are.
    """

    def __init__(self, address: Address, store: Store) -> None:
        hooks = {"response": [_keep_post]}
        super().__init__(trust_env=not address.loopback, event_hooks=hooks, max_redirects=5)
        self._azure, self._store, self.stopped = address.azure, store, False
        self._under_way, self._over = 0, Condition()
        self._learning, self._attempt = Lock(), local()

    def send(self, request: Any, **how: Any) -> Any:
        """Send a request of the openai library.

        The response has the ``call`` in its extensions and, if it is no answer, what is ``said``
        instead; an error inside HTTP 200 gets the status it speaks of. Raises Stopped.
        """
        if self._azure:
            bearer = request.headers.pop("Authorization")
            request.headers["api-key"] = bearer.removeprefix("Bearer ")
        if not request.url.path.endswith("/chat/completions"):
            self._attempt.end = math.inf
            return super().send(request, **how)
        if not self._store.secret:
            raise Stopped(DataError(NO_KEY))
        asked = json.loads(request.read())
        for _ in range(_FORMS):
            call = self._store.call(asked)
            with self._reserved(call.bound):
                response = self._sent(request, call, how)
                kind = response.headers.get("content-type", "")
                if response.is_success and how.get("stream") and "event-stream" in kind:
                    return response
                response.read()
                refused = not response.is_success
                try:
                    self._settle(call, response)
                    return response
                except Fault as fault:
                    response.status_code = meant(fault.status, response.text)
                    response.extensions["said"] = fault.said
                if refused and response.status_code in UNCHARGED:
                    self._store.release(call.bound)
            if not self._adapted(call, response):
                break
        return response

    @contextmanager
    def _reserved(self, bound: Spend) -> Iterator[None]:
        """Set the highest cost aside; wait while others under way may still free money."""
        with self._over:
            while not self.stopped:
                try:
                    self._store.reserve(bound)
                    break
                except CeilingReached as reached:
                    if not self._under_way:
                        raise Stopped(reached) from None
                self._over.wait()
            else:
                raise Stopped(Failed("stopped before it was sent; run again"))
            self._under_way += 1
        try:
            yield
        finally:
            with self._over:
                self._under_way -= 1
                self._over.notify_all()

    def _sent(self, request: Any, call: Call, how: Any) -> Any:
        """Send one attempt; what never left costs nothing, what leads nowhere is not repeated."""
        try:
            response = super().send(self._written(request, call.body), **how)
        except Exception as error:  # of httpx or its successor, by whichever openai comes with
            kind = type(error).__name__
            if kind in _UNSENT or kind in _NOWHERE:
                self._store.release(call.bound)
            if kind in _NOWHERE:
                raise Stopped(DataError(_NOWHERE[kind])) from None
            raise
        response.extensions["call"] = call
        return response

    def _written(self, request: Any, body: Body) -> Any:
        """Return the request with another body."""
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        self._attempt.end = time.monotonic() + request.extensions["timeout"]["read"]
        more = {"headers": headers, "extensions": request.extensions | {"trace": self._bound}}
        return self.build_request(request.method, request.url, json=body, **more)

    def _bound(self, event: str, info: Any) -> None:
        """Bound what a new connection reads: httpx bounds each read, and a byte may drip."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            connection = info["return_value"]
            connection.read = partial(self._read, connection.read)

    def _read(self, read: Callable[..., bytes], max_bytes: int, timeout: float = math.inf) -> bytes:
        """Read as long as the whole attempt has time left."""
        left = getattr(self._attempt, "end", math.inf) - time.monotonic()
        if left <= 0:
            raise _HTTP.ReadTimeout("it came too slowly")
        return read(max_bytes, timeout=min(timeout, left))

    def _settle(self, call: Call, response: Any) -> None:
        """Store an answer with its price. Raises Fault for what is none."""
        if not response.is_success:
            raise Fault(response.status_code, words(response.text))
        reply = read(response.text, call.bound, self._store.prices, call.dialect.settings)
        self._store.settle(call.key, reply, call.bound)
        used, most = reply.tokens_in + reply.tokens_out, call.bound.tokens
        if used > most and min(self._store.ceiling[1:]) < math.inf:
            raise Stopped(
                DataError(
                    f"prices.image_tokens: too low for this model, an answer took {used:,} tokens"
                    f" where {most:,} were the most; raise it so that the budget holds"
                )
            )

    def _adapted(self, call: Call, response: Any) -> bool:
        """Learn from a refusal, unless another thread did meanwhile; False if nothing can be.

        Raises Stopped for a server that takes no pictures.
        """
        status, said = response.status_code, response.extensions["said"]
        with self._learning:
            if self._store.dialect is not call.dialect:
                return True
            if status in HOPELESS:
                return False
            if call.shows and NO_PICTURES.search(said):
                if call.dialect.sees:  # then it is one picture's fault
                    return False
                line = plain(f"HTTP {status}: {said}", self._store.secret)
                blind = f"{call.body['model']}: unable to see pictures: {line}; use a vision model"
                raise Stopped(DataError(blind))
            if better := call.dialect.after(call.body, status, response.text):
                self._store.learn(better)
            return better is not None


def _keep_post(response: Any) -> None:
    """Follow a server that has moved with the body: 301 and 302 would make it a GET."""
    if response.has_redirect_location:
        response.status_code = 308
