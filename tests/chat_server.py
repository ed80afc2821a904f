"""A real HTTP server on loopback that speaks chat completions and batches, and misbehaves.

It keeps the books of a vendor: what it charged, and which answers it delivered in full. A fault
strikes a share of the contents. A fault on the way strikes the first attempt only, so whoever
tries again comes through; a faulty answer stays the answer to that content, and a second request
that complains about it gets a good one. ``python tests/chat_server.py`` runs one by itself, prints
its address and answers GET /books; POST /settings changes the fault and opens new books.
"""

import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from quirks import BODIES, SHAPES, refusal

FAULTS = (
    "429", "429 with Retry-After", "500", "503", "reset before", "reset after", "time-out",
    "torn body", "truncated JSON", "invalid schema", "refusal", "stall",
)  # fmt: skip
OF_CONTENT = {"truncated JSON", "invalid schema", "refusal"}
OF_BATCHES = ("upload lost", "batch lost", "batch refused", "batch expired")
Json = dict[str, Any]
PROBE = "What colour is this picture?"


@dataclass
class Books:
    """What the server did, by content: the hash of a request body."""

    asked: list[str] = field(default_factory=list)
    charged: Counter = field(default_factory=Counter)
    delivered: Counter = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_batch: int = 0
    most_at_once: int = 0


class ChatServer(ThreadingHTTPServer):
    """Serve in a thread of this process; ``url`` is the base_url of a client.

    ``hang`` is how many seconds a time-out lasts, ``stall`` a stall, ``latency`` any answer.
    ``reply`` writes the text of an answer; by default something that fits the schema asked for.
    ``received`` holds every request as it came: path, headers, bytes.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int = 0, **settings: Any) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.lock = threading.Lock()
        self.reply: Callable[[Json], str] = settings.pop("reply", None) or fill
        self.keep: bool = settings.pop("keep", False)
        self.settle_in(**settings)

    def settle_in(
        self,
        fault: str | None = None,
        share: float = 1.0,
        latency: float = 0.0,
        hang: float = 60.0,
        stall: float = 30.0,
        key: str | None = None,
        polls: int = 1,
        stubborn: bool = False,
        quirks: Sequence[str] = (),
    ) -> None:
        """Take these settings and open new books."""
        self.fault, self.share, self.latency = fault, share, latency
        self.hang, self.stall, self.key, self.polls = hang, stall, key, polls
        self.stubborn, self.quirks, self.refused = stubborn, tuple(quirks), 0
        self.books, self.received = Books(), []
        self.struck: set[str] = set()
        self.at_once = 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Json] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error of the server's."""

    def fault_for(self, body: Json, key: str) -> str | None:
        """The fault that strikes this content now."""
        number = int(key[:16], 16)
        fault = FAULTS[number % len(FAULTS)] if self.fault == "any" else self.fault
        if not fault or fault in OF_BATCHES or number / 2**64 >= self.share:
            return None
        if fault in OF_CONTENT:
            second = any(turn["role"] == "assistant" for turn in body["messages"])
            return fault if self.stubborn or not second else None
        with self.lock:
            first = key not in self.struck
            self.struck.add(key)
        return fault if first else None

    def complete(self, body: Json, key: str, fault: str | None, batch: bool = False) -> Json:
        """Do the work and charge for it."""
        text: str | None = self.reply(body)
        message: Json = {"role": "assistant", "content": text}
        if fault == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        elif fault == "truncated JSON":
            message["content"] = text[: len(text) // 2]
        elif fault == "invalid schema":
            message["content"] = '{"unknown": 1}'
        usage = count(body, message)
        with self.lock:
            self.books.charged[key] += 1
            self.books.tokens_in += usage["prompt_tokens"]
            self.books.tokens_out += usage["completion_tokens"]
            self.books.tokens_batch += usage["total_tokens"] if batch else 0
        finish = "length" if fault == "truncated JSON" else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish}
        if body.get("logprobs"):
            options = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.4}]
            choice["logprobs"] = {"content": [{**options[0], "top_logprobs": options}]}
        return {
            "id": f"chatcmpl-{key[:12]}", "object": "chat.completion", "created": 0,
            "model": body["model"], "choices": [choice], "usage": usage,
        }  # fmt: skip

    def run_batch(self, batch: Json) -> None:
        """Answer every line of the input file; what fails goes to the error file, uncharged."""
        good, bad = [], []
        lines = self.files[batch["input_file_id"]].splitlines()
        for line in lines[: len(lines) // 2] if self.fault == "batch expired" else lines:
            row = json.loads(line)
            key = content_key(row["body"])
            fault = self.fault_for(row["body"], key)
            failed = fault in {"429", "500", "503"}  # the other faults on the way strike no batch
            body = error(fault) if failed else self.complete(row["body"], key, fault, batch=True)
            response = {"status_code": int(fault) if failed else 200, "body": body}
            (bad if failed else good).append(
                {"id": uuid.uuid4().hex, "custom_id": row["custom_id"], "response": response}
            )
            if not failed:
                self.books.delivered[key] += 1
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            batch[name] = self.store(
                "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()
            )
        batch["request_counts"] = {
            "total": len(good) + len(bad),
            "completed": len(good),
            "failed": len(bad),
        }

    def store(self, content: bytes) -> str:
        """Keep a file and return its id."""
        name = f"file-{uuid.uuid4().hex}"
        self.files[name] = content
        return name


def content_key(body: Json) -> str:
    """Name a content by its hash."""
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def count(body: Json, message: Json) -> dict[str, int]:
    """Count tokens as vendors do, roughly: four characters each, 765 for a picture."""
    text, pictures = 0, 0
    for turn in body["messages"]:
        parts = turn["content"]
        parts = [{"text": parts}] if isinstance(parts, str) else parts
        text += sum(len(part.get("text", "")) for part in parts)
        pictures += sum("image_url" in part for part in parts)
    given, made = text // 4 + 765 * pictures, len(json.dumps(message)) // 4
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def fill(body: Json) -> str:
    """Write something that fits the schema of a request, always the same for the same request."""
    digest = content_key(body)
    text = json.dumps(body["messages"])
    told = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if told is None and "JSON schema: " not in text:
        return f"A text about {digest[:8]}."
    schema = told or schema_in(body["messages"])
    return json.dumps(_fill(schema, schema.get("$defs", {}), int(digest, 16)))


def schema_in(messages: list[Json]) -> Json:
    """The schema that instructions give in words."""
    for turn in messages:
        parts = turn["content"]
        for part in [{"text": parts}] if isinstance(parts, str) else parts:
            if "JSON schema: " in part.get("text", ""):
                return json.loads(part["text"].partition("JSON schema: ")[2])
    raise AssertionError("no schema")


def _fill(schema: Json, defs: Json, seed: int) -> Any:
    if "$ref" in schema:
        return _fill(defs[schema["$ref"].rsplit("/", 1)[1]], defs, seed)
    if "anyOf" in schema:
        return _fill(schema["anyOf"][0], defs, seed)
    if "enum" in schema:
        return schema["enum"][seed % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            fields = enumerate(schema["properties"].items(), start=3)
            return {name: _fill(part, defs, seed // k) for k, (name, part) in fields}
        case "array":
            return [_fill(schema["items"], defs, seed // (7 + k)) for k in range(1 + seed % 2)]
        case "integer" | "number":
            return seed % 100
        case "boolean":
            return bool(seed % 2)
    return f"words of {seed % 10**6}"


def error(status: str | None, message: str = "no luck") -> Json:
    """The body of an error."""
    return {"error": {"message": message, "type": "test", "code": status}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: ChatServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0].removeprefix("/v1").strip("/").split("/")
        match path:
            case ["books"]:
                self._send(200, vars(self.server.books))
            case ["batches"]:
                self._send(200, self._page())
            case ["batches", name]:
                self._send(200, self._polled(self.server.batches[name]))
            case ["files", name, "content"]:
                self._raw(200, self.server.files[name], "application/octet-stream")
            case _:
                self._send(404, error("404"))

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.keep and PROBE.encode() not in content:
            self.server.received.append((self.path, dict(self.headers), content))
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.key and given != self.server.key:
            return self._send(401, error("401", f"Incorrect API key provided: {given}"))
        match self.path.partition("?")[0].removeprefix("/v1").strip("/"):
            case "settings":
                self.server.settle_in(**json.loads(content))
                self._send(200, {})
            case "chat/completions":
                self._chat(json.loads(content))
            case "files":
                file = self._upload(content)
                self._reset() if self.server.fault == "upload lost" else self._send(200, file)
            case "batches":
                batch = self._start(json.loads(content))
                self._reset() if self.server.fault == "batch lost" else self._send(200, batch)
            case _:
                self._send(404, error("404"))

    def _chat(self, body: Json) -> None:
        server, key = self.server, content_key(body)
        if refused := refusal(self.server.quirks, body):
            with server.lock:
                server.refused += 1
            return self._send(*refused)
        if PROBE in json.dumps(body):  # not part of what a test counts
            choice = {"index": 0, "message": {"content": "Blue."}, "finish_reason": "stop"}
            shown = "image_url" in json.dumps(body)
            usage = {"prompt_tokens": 900 if shown else 60, "completion_tokens": 1}
            return self._send(200, {"choices": [choice], "usage": usage})
        with server.lock:
            server.books.asked.append(key)
            server.at_once += 1
            server.books.most_at_once = max(server.books.most_at_once, server.at_once)
        try:
            self._answer(body, key, server.fault_for(body, key))
        finally:
            with server.lock:
                server.at_once -= 1

    def _answer(self, body: Json, key: str, fault: str | None) -> None:
        server = self.server
        match fault:
            case "429" | "500" | "503":
                return self._send(int(fault), error(fault))
            case "429 with Retry-After":
                return self._send(429, error(fault), {"Retry-After": "1"})
            case "reset before":
                return self._reset()
        time.sleep(server.stall if fault == "stall" else server.latency)
        completion = server.complete(body, key, fault)
        match fault:
            case "time-out":
                return time.sleep(server.hang)
            case "reset after":
                return self._reset()
            case "torn body":
                return self._send(200, completion, torn=True)
        (self._stream if body.get("stream") else partial(self._shaped, key))(completion)
        with server.lock:
            server.books.delivered[key] += 1

    def _shaped(self, key: str, completion: Json) -> None:
        """Send the answer in one of the shapes of SHAPES or BODIES, by the content."""
        shapes = [name for name in self.server.quirks if name in SHAPES | BODIES] or [""]
        shape = shapes[int(key[-8:], 16) % len(shapes)]
        content = json.dumps(SHAPES.get(shape, dict)(completion))
        self._raw(200, BODIES.get(shape, str)(content).encode(), "application/json")

    def _stream(self, completion: Json) -> None:
        """Send the answer word by word as server-sent events, ``latency`` seconds apart."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        base = {k: completion[k] for k in ("id", "created", "model")}
        base |= {"object": "chat.completion.chunk"}
        message = completion["choices"][0]["message"]
        field = "content" if message["content"] is not None else "refusal"
        for word in re.findall(r"\s*\S+", message[field]):
            choice = {"index": 0, "delta": {field: word}, "finish_reason": None}
            self.wfile.write(b"data: %s\n\n" % json.dumps(base | {"choices": [choice]}).encode())
            self.wfile.flush()
            time.sleep(self.server.latency)
        self.wfile.write(b"data: [DONE]\n\n")
        self.wfile.flush()

    def _upload(self, content: bytes) -> Json:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        for part in BytesParser().parsebytes(head + content).walk():
            if part.get_filename():
                name = self.server.store(part.get_payload(decode=True))
        return {
            "id": name, "object": "file", "bytes": len(content), "created_at": 0,
            "filename": "batch.jsonl", "purpose": "batch", "status": "processed",
        }  # fmt: skip

    def _start(self, asked: Json) -> Json:
        name = f"batch_{uuid.uuid4().hex}"
        fault = self.server.fault
        batch = asked | {
            "id": name, "object": "batch", "created_at": 0, "status": "validating", "polls": 0
        }  # fmt: skip
        self.server.batches[name] = batch
        if fault == "batch refused":
            errors = {"object": "list", "data": [{"code": "x", "message": "no such model"}]}
            batch |= {"status": "failed", "errors": errors}
        return batch

    def _page(self) -> Json:
        """Two batches at a time, the newest first, from the one after ``after``."""
        _, after, last = self.path.partition("after=")
        newest = list(reversed(self.server.batches))
        begin = newest.index(last.partition("&")[0]) + 1 if after else 0
        data = [self.server.batches[name] for name in newest[begin : begin + 2]]
        return {"object": "list", "data": data, "has_more": begin + 2 < len(newest)}

    def _polled(self, batch: Json) -> Json:
        batch["polls"] += 1
        if batch["status"] == "validating":
            batch["status"] = "in_progress"
        elif batch["status"] == "in_progress" and batch["polls"] > self.server.polls:
            self.server.run_batch(batch)
            batch["status"] = "expired" if self.server.fault == "batch expired" else "completed"
        return batch

    def _reset(self) -> None:
        """Close with RST instead of FIN, as a machine that goes down does."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def _send(
        self, status: int, body: Json, headers: Json | None = None, torn: bool = False
    ) -> None:
        self._raw(status, json.dumps(body).encode(), "application/json", headers, torn)

    def _raw(
        self, status: int, content: bytes, kind: str, headers: Json | None = None,
        torn: bool = False,
    ) -> None:  # fmt: skip
        self.send_response(status)
        all_of_it = {"Content-Type": kind, "Content-Length": len(content)} | (headers or {})
        for name, value in all_of_it.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if torn else content)
        self.wfile.flush()
        self.close_connection = self.close_connection or torn


class Remote:
    """A server in a process of its own, as ``remote`` yields it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def settle_in(self, **settings: Any) -> None:
        """Change the settings and open new books."""
        request = urllib.request.Request(f"{self.url}/settings", json.dumps(settings).encode())
        urllib.request.urlopen(request).close()

    @property
    def books(self) -> Books:
        """The books so far."""
        with urllib.request.urlopen(f"{self.url}/books") as answer:
            return Books(**json.load(answer))


@contextmanager
def remote() -> Iterator[Remote]:
    """Run a server in a process of its own, so that it does not share the client's time."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Remote(process.stdout.readline().strip())
        finally:
            process.kill()


if __name__ == "__main__":
    with ChatServer() as alone:
        print(alone.url, flush=True)
        threading.Event().wait()
