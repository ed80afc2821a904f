"""The vendor's Batch API: the same calls and the same cache at half the price, within a day."""

import json
import time
from collections.abc import Iterable, Iterator
from io import BytesIO
from uuid import uuid4

import openai
from openai.types import Batch
from tqdm.auto import tqdm

from dfa_lib.endpoint.contract import Spend
from dfa_lib.endpoint.dialect import Call
from dfa_lib.endpoint.store import Store
from dfa_lib.endpoint.wire import Fault, read
from dfa_lib.records import DataError

MAX_CALLS, MAX_BYTES = 50_000, 100_000_000  # the vendor takes files of up to 200 MB
_OVER = {"completed", "failed", "expired", "cancelled"}
_MARK, _URL = "dfa_lib", "/v1/chat/completions"


def submit(client: openai.OpenAI, store: Store, calls: Iterable[Call]) -> int:
    """Reserve, upload and start one batch after the other; return the number of calls.

    A batch is noted with its reservation before it is sent and carries its name as metadata, so
    that a process killed in between finds it again instead of paying for another.
    """
    _find_again(client, store)
    sent = 0
    for file, bounds in _files(store, calls):
        name = uuid4().hex
        store.hold(name, bounds)
        upload = client.files.create(file=(f"{name}.jsonl", file), purpose="batch")
        once = client.with_options(max_retries=0)  # a retry could start a second batch
        batch = once.batches.create(
            input_file_id=upload.id, endpoint=_URL, completion_window="24h", metadata={_MARK: name}
        )
        store.sent(name, batch.id)
        sent += len(bounds)
    return sent


def collect(client: openai.OpenAI, store: Store, poll: float) -> int:
    """Poll until every batch is over; store what it answered and free what it did not."""
    _find_again(client, store)
    came = 0
    with tqdm(total=sum(len(store.held(name)) for name in store.batches), desc="batch") as bar:
        while waiting := store.batches:
            before = came
            for name, vendor in waiting.items():
                batch = client.batches.retrieve(str(vendor))
                if batch.status in _OVER:
                    came += _take(client, store, name, batch)
            bar.update(came - before)
            if store.batches:
                time.sleep(poll)
    return came


def _find_again(client: openai.OpenAI, store: Store) -> None:
    """Ask the vendor for batches that were started by a process which died before noting it."""
    lost = {name for name, vendor in store.batches.items() if vendor is None}
    for batch in client.batches.list(limit=100) if lost else ():  # all pages
        name = (batch.metadata or {}).get(_MARK)
        if name in lost:
            store.sent(name, batch.id)
            lost.discard(name)
    for name in lost:  # never started
        store.close(name)


def _files(store: Store, calls: Iterable[Call]) -> Iterator[tuple[bytes, dict[str, Spend]]]:
    """Yield files of calls that do not wait already, within the vendor's limits."""
    file, bounds = BytesIO(), {}
    for call in calls:
        if call.key in bounds or store.waits(call.key):
            continue
        line = {"custom_id": call.key, "method": "POST", "url": _URL, "body": call.body}
        file.write(json.dumps(line).encode() + b"\n")
        bounds[call.key] = call.bound._replace(money=call.bound.money * store.prices.batch)
        if len(bounds) == MAX_CALLS or file.tell() >= MAX_BYTES:
            yield file.getvalue(), bounds
            file, bounds = BytesIO(), {}
    if bounds:
        yield file.getvalue(), bounds


def _take(client: openai.OpenAI, store: Store, name: str, batch: Batch) -> int:
    """Store the replies of a batch that is over, then forget it; nothing else was charged."""
    held = store.held(name)
    came = 0
    output = client.files.content(batch.output_file_id).text if batch.output_file_id else ""
    for line in filter(None, output.split("\n")):
        row = json.loads(line)
        key, response = row["custom_id"], row["response"] or {}
        if key not in held or response.get("status_code") != 200:
            continue
        try:
            reply = read(json.dumps(response["body"]), held[key], store.prices, batch=True)
        except Fault:
            reply = None
        store.settle(key, reply, held[key])
        came += reply is not None
    store.close(name)
    if batch.status == "failed":
        found = batch.errors.data if batch.errors else None
        problem = found[0].message if found else "no reason given"
        raise DataError(f"batch {batch.id}: the vendor refused it: {problem}; correct and resubmit")
    return came
