"""One answer while it is written: over real HTTP, paid once, every fault one line."""

import json
import sqlite3
import time
from itertools import pairwise
from pathlib import Path

import pytest
from chat_server import ChatServer
from served import Served
from test_endpoint import at, requests
from test_endpoint_quirks import Canned

from dfa_lib.endpoint import Ceiling, Endpoint
from dfa_lib.records import DataError
from tools.record_chat import free_port

WORDS = "The mouth shows blur, the rest looks natural."


def test_words_come_one_by_one_and_are_paid_once(tmp_path: Path) -> None:
    (request,) = requests(1)
    with ChatServer(reply=lambda body: WORDS, latency=0.1, keep=True) as server:
        endpoint, times, said = at(server, tmp_path), [], ""
        for piece in endpoint.stream(request, [("Forged?", "Yes.")]):
            times.append(time.monotonic())
            said += piece
        assert said == WORDS and len([b - a for a, b in pairwise(times) if b - a > 0.05]) >= 6
        again = list(endpoint.stream(request, [("Forged?", "Yes.")]))
        assert again == [WORDS] and len(server.books.asked) == 1
        turns = json.loads(server.received[0][2])["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert [part["type"] for part in turns[0]["content"]] == ["image_url", "text"]
    assert turns[2]["content"] == [{"type": "text", "text": request.text}]


def test_half_an_answer_counts_and_is_not_kept(tmp_path: Path) -> None:
    (request,) = requests(1)
    with ChatServer(reply=lambda body: WORDS) as server:
        endpoint = at(server, tmp_path, ceiling=Ceiling(requests=1))
        broken_off = endpoint.stream(request)
        next(broken_off)
        broken_off.close()
        with pytest.raises(DataError, match="ceiling: 1 of 1 requests"):
            next(endpoint.stream(request))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"key": "another"}, "key: missing or wrong; set it again"),
        ({"fault": "429"}, "busy: too many requests for now; wait a minute and ask again"),
        ({"fault": "503"}, "the server is in trouble; ask again in a while"),
        ({"latency": 2.0}, "no answer in time; ask again"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, settings: dict, sentence: str) -> None:
    (request,) = requests(1)
    with ChatServer(**settings) as server:
        endpoint = at(server, tmp_path, retries=0, timeout=0.5, ceiling=Ceiling(requests=1))
        with pytest.raises(DataError, match=f"^model: {sentence}") as told:
            list(endpoint.stream(request))
        assert "\n" not in str(told.value)
        if settings.get("fault") == "429":  # nothing was charged, so there is room for another
            assert "".join(endpoint.stream(request))


def test_a_server_that_is_down_is_one_line(tmp_path: Path) -> None:
    endpoint = Endpoint("m", f"http://127.0.0.1:{free_port()}/v1", cache=tmp_path, retries=0)
    with pytest.raises(DataError, match=r"^m: no server answers at 127.0.0.1; start it"):
        list(endpoint.stream(requests(1)[0]))


def test_a_refusal_is_words_too(tmp_path: Path) -> None:
    with ChatServer(fault="refusal") as server:
        assert "".join(at(server, tmp_path).stream(requests(1)[0])) == "I cannot help with that."


PIECE = 'data: {"choices": [{"delta": {"content": "The mouth"}}]}\n\n'


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        ("application/json", '{"error": {"message": "model not loaded"}}', "model not loaded"),
        ("text/html", "<title>Sign in</title><p>to the proxy</p>", "Sign in to the proxy"),
        ("application/json", '{"choices": [{"message": {"content": ""}}]}', "without a word"),
        ("text/event-stream", "", "nothing"),
        ("text/event-stream", "data: [DONE]\n\n", "choices"),
        ("text/event-stream", "data: 1\n\ndata: [DONE]\n", "something else than an answer"),
        ("text/event-stream", PIECE, "the stream ended before the answer did"),
        ("text/event-stream", PIECE + PIECE[:30], "the stream ended before the answer did"),
        ("text/event-stream", PIECE + 'data: {"error": {"message": "worker died"}}', "worker died"),
    ],
)
def test_what_is_no_answer_is_told_and_does_not_poison_the_cache(
    tmp_path: Path, kind: str, content: str, told: str
) -> None:
    (request,) = requests(1)
    with Canned(200, content, kind) as server, pytest.raises(DataError, match=told):
        list(at(server, tmp_path, retries=0).stream(request))
    with ChatServer(reply=lambda body: WORDS) as well:
        assert "".join(at(well, tmp_path).stream(request)) == WORDS
        assert len(well.books.asked) == 1


def test_an_empty_answer_of_an_older_cache_is_asked_for_anew(tmp_path: Path) -> None:
    (request,) = requests(1)
    with ChatServer(reply=lambda body: WORDS) as server:
        list(at(server, tmp_path).stream(request))
        with sqlite3.connect(tmp_path / "answers.sqlite") as db:
            db.execute("UPDATE answers SET reply = '{}'")
        for _ in range(2):
            assert "".join(at(server, tmp_path).stream(request)) == WORDS
        assert len(server.books.asked) == 2


def test_a_server_that_ignores_stream_is_read(tmp_path: Path) -> None:
    (request,) = requests(1)
    body = json.dumps({"choices": [{"message": {"content": WORDS}, "finish_reason": "stop"}]})
    with Canned(200, body) as server:
        assert "".join(at(server, tmp_path).stream(request)) == WORDS
        assert list(at(server, tmp_path).stream(request)) == [WORDS] and server.asked == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_transformers_serve_streams(served: Served, tmp_path: Path) -> None:
    endpoint = Endpoint(served.model, served.url, cache=tmp_path, retries=0)
    pieces = list(endpoint.stream(requests(1)[0], [("Is it forged?", "Yes.")]))
    assert len(pieces) > 1 and "".join(pieces).strip()
