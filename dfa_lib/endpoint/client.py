"""Client of one model: many requests at once, and each answer paid for once."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path

import openai
from pydantic import JsonValue, SecretStr
from tqdm.auto import tqdm

from dfa_lib import runtime
from dfa_lib.endpoint import batch, dialect
from dfa_lib.endpoint.address import Address
from dfa_lib.endpoint.contract import (
    PRICES,
    Answer,
    Ceiling,
    CeilingReached,
    Estimate,
    Prices,
    Request,
    Spend,
)
from dfa_lib.endpoint.dialect import Body, Call
from dfa_lib.endpoint.dispatch import Dispatcher, progress
from dfa_lib.endpoint.faults import told
from dfa_lib.endpoint.meter import NO_KEY, Meter
from dfa_lib.endpoint.reading import Schema
from dfa_lib.endpoint.store import Store
from dfa_lib.files import locked
from dfa_lib.records import DataError


class Endpoint:
    """One model behind an OpenAI-compatible server, with its cache and its ceiling.

    ``base_url`` None is the vendor (or $OPENAI_BASE_URL); see ``address`` for what is mended. What
    the server refuses is learned once, kept in the cache, and told in the settings of an answer.
    The key is read from the environment variable ``key``, from Colab's secrets of that name or,
    for the vendor, from a hidden prompt.
    ``options`` are further fields of the request body, such as ``{"temperature": 0}``.
    ``timeout`` is in seconds, for one attempt; ``retries`` come after half a second, doubled up to
    eight, or as Retry-After says. Each process on one machine may use the same
    ``cache``, a folder; what they spend counts together.
    Raises DataError for a money ceiling on a model whose price is unknown.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        cache: Path,
        ceiling: Ceiling | None = None,
        concurrency: int = 64,
        prices: Prices | None = None,
        options: Mapping[str, JsonValue] | None = None,
        timeout: float = 120.0,
        retries: int = 6,
        key: str = "OPENAI_API_KEY",
    ) -> None:
        known = prices or PRICES.get(model)
        self.ceiling = ceiling or Ceiling()
        if self.ceiling.money < math.inf and known is None:
            raise DataError(f"model={model!r}: no price known; give prices=Prices(...) as well")
        self.address = Address.of(base_url or os.environ.get("OPENAI_BASE_URL") or None)
        self.model, self.cache = model, Path(cache)
        self.base_url = self.address.url if base_url else None
        self.prices, self._priced = known or Prices(), known is not None
        self.concurrency, self.timeout, self.retries = concurrency, timeout, retries
        self.options, self.key = dict(options or {}), key

    def estimate(self, requests: Iterable[Request], schema: Schema | None = None) -> Estimate:
        """Say what ``ask`` would cost at most; nothing is sent. Show it first."""
        total, spend = 0, Spend()
        with self._store() as store:
            for request in requests:
                total += 1
                if call := self._next(store, request, schema):
                    spend = spend.plus(call.bound)
        money = spend.money if self._priced else None
        answered = total - int(spend.requests)
        return Estimate(requests=total, answered=answered, tokens=int(spend.tokens), money=money)

    def ask(self, requests: Iterable[Request], schema: Schema | None = None) -> Iterator[Answer]:
        """Yield one answer per request, as they come; what the cache holds is not asked again.

        Every answer lies in the cache before it is yielded, refusals and invalid ones as well;
        a request that failed (an ``error`` and no ``text``) is asked anew by the next run.
        ``requests`` may be lazy: no more than 2 x ``concurrency`` are taken ahead.
        Raises CeilingReached instead of a call that could pass the ceiling, and DataError for
        a wrong key, model or address, or when a long row of requests fails.
        """
        cost, row = 0.0, 0
        bearable = max(16, self.concurrency)
        total = len(requests) if isinstance(requests, Sized) else None
        todo = ((request, self._body(request, schema)) for request in requests)
        with (
            self._dispatcher() as desk,
            closing(desk.answers(todo, schema, self.concurrency)) as answers,
            tqdm(total=total, desc=self.model) as bar,
        ):
            for answer in answers:
                cost += 0 if answer.cached else answer.cost
                if self._priced:
                    bar.set_postfix(cost=f"${cost:.2f}", refresh=False)
                bar.update()
                yield answer
                row = row + 1 if answer.failed else 0
                if row == bearable:
                    raise DataError(
                        f"{row} requests in a row failed, the last with: {answer.error};"
                        " fix that and run again; nothing is paid twice"
                    )

    def ask_all(
        self, requests: Iterable[Request], schema: Schema | None, who: str
    ) -> dict[str, Answer]:
        """Return all answers of ``ask`` by the id of the request, for work that needs every one.

        Raises DataError in the name of ``who`` if a request failed for good.
        """
        answers = {answer.id: answer for answer in self.ask(requests, schema)}
        if failed := [answer for answer in answers.values() if answer.failed]:
            raise DataError(
                f"{who}: {len(failed)} of {len(answers)} requests failed, one with:"
                f" {failed[0].error}; run again; answers already received are kept"
            )
        return answers

    def stream(self, request: Request, turns: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
        """Yield one answer as the server writes it, after earlier (question, answer) ``turns``.

        What the cache holds comes in one piece. A whole answer is kept there; one that was
        broken off stays counted at its worst case.
        Raises CeilingReached instead of sending, and DataError in one line for what fails.
        """
        usage = {} if self.base_url else {"stream_options": {"include_usage": True}}
        with self._dispatcher() as desk:
            yield from desk.stream(dialect.after(self._body(request, None), turns) | usage)

    def submit(self, requests: Iterable[Request], schema: Schema | None = None) -> int:
        """Send what the cache does not answer through the vendor's Batch API; say how many.

        Half the price, up to a day. What already waits in a batch is not sent again.
        Raises CeilingReached before a batch that could pass the ceiling.
        """
        with self._batches() as (client, store):
            calls = (self._next(store, request, schema) for request in requests)
            todo = (call for call in calls if call)
            return batch.submit(client, store, todo)

    def collect(self, poll: float = 60.0) -> int:
        """Wait for all batches and store their answers; say how many came.

        Looks every ``poll`` seconds, and may be interrupted and called again. Then ``ask``
        yields the answers, and ``submit`` sends those that were invalid or not done once more.
        """
        with self._batches() as (client, store):
            return batch.collect(client, store, poll)

    def _next(self, store: Store, request: Request, schema: Schema | None) -> Call | None:
        return progress(store, self._body(request, schema), schema)[1]

    def _body(self, request: Request, schema: Schema | None) -> Body:
        """Servers of all kinds know max_tokens; the vendor's newer models know its successor."""
        limit = "max_tokens" if self.base_url else "max_completion_tokens"
        return dialect.write(
            request, self.model, schema, {limit: request.max_tokens} | self.options
        )

    @contextmanager
    def _batches(self) -> Iterator[tuple[openai.OpenAI, Store]]:
        """A client for batches and the cache, to this process alone."""
        if not self._secret.get_secret_value():
            raise DataError(NO_KEY)
        with (
            self._dispatcher() as desk,
            (self.cache / "batches.lock").open("w") as lock,
        ):
            locked(lock, self.cache)  # else another process takes a batch half sent for lost
            yield desk.client, desk.store

    @contextmanager
    def _dispatcher(self) -> Iterator[Dispatcher]:
        """All that one run needs; an error of the library that ends it is told in one line."""
        key = self._secret.get_secret_value()
        with self._store(key) as store, Meter(self.address, store) as meter:
            client = openai.OpenAI(
                base_url=self.address.url,
                api_key=key or "missing",  # the library wants one
                default_query=self.address.query,
                http_client=meter,
                timeout=self.timeout,
                max_retries=self.retries,
            )
            try:
                yield Dispatcher(client, meter, store)
            except openai.OpenAIError as error:
                reason = told(error, key)
                if isinstance(reason, CeilingReached):
                    raise reason from None
                said = str(reason).removeprefix(f"{self.model}: ")
                raise DataError(f"{self.model}: {said}") from None

    def _store(self, secret: str = "") -> Store:
        name = f"{self.model} at {self.address.url}"
        return Store(self.cache, name, self.prices, self.ceiling, secret)

    @cached_property
    def _secret(self) -> SecretStr:
        """The key, wrapped so that no traceback or repr shows it; empty if the vendor's is missing.

        Servers elsewhere may want none.
        """
        found = runtime.api_key(self.key, prompt=self.base_url is None)
        if found and self.address.exposed:
            where = f"base_url={self.address.url}: anybody on the way could read {self.key}"
            raise DataError(f"{where}; use https, or unset the key")
        return SecretStr(found or ("unneeded" if self.base_url else ""))
