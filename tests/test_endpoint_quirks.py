"""Servers that take less than the protocol, or answer in shapes of their own, are adapted to."""

import json
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from quirks import BODIES, REFUSALS, SHAPES
from test_endpoint import PRICES, Verdict, at, requests

from dfa_lib.endpoint import Ceiling, Endpoint
from dfa_lib.endpoint.address import Address
from dfa_lib.endpoint.contract import CeilingReached
from dfa_lib.endpoint.dialect import Dialect
from dfa_lib.endpoint.reading import NO_PICTURE, spoken
from dfa_lib.endpoint.store import Store
from dfa_lib.files import data_uri
from dfa_lib.records import DataError

OPTIONS = {"temperature": 0, "logprobs": True, "top_logprobs": 5, "presence_penalty": 0, "top_k": 1}


def some(n: int = 4, **changes: Any) -> list:
    """Requests with instructions and a seed, which servers may refuse."""
    changes = {"system": "You are an examiner.", "seed": 7} | changes
    asked = (request.model_copy(update=changes) for request in requests(n))
    return [one.model_copy(update={"text": f"{one.text} No. {one.id}"}) for one in asked]


@pytest.mark.parametrize("quirk", REFUSALS)
def test_what_is_refused_is_learned_once_and_told(tmp_path: Path, quirk: str) -> None:
    pictures = {"images": ()} if quirk == "strings only" else {}
    asked = some(**pictures)
    limit = {"max_tokens": None, "max_completion_tokens": 99} if "completion" in quirk else {}
    options = OPTIONS | limit | ({"top_p": None} if quirk == "null" else {})
    quirks = [quirk, "json_schema"] if quirk == "json_object" else [quirk]
    with ChatServer(quirks=quirks) as server:
        endpoint = at(server, tmp_path, options=options, retries=0)
        answers = list(endpoint.ask(asked, Verdict))
        assert [answer.error for answer in answers] == [None] * 4
        assert all(answer.parsed for answer in answers)
        assert server.refused <= (0 if quirk == "null" else 6 if "unnamed" in quirk else 2)
        assert len(server.books.asked) == 4 and set(server.books.delivered.values()) == {1}
        before = server.refused
        again = list(
            at(server, tmp_path, options=options).ask([*asked, *some(6, **pictures)[4:]], Verdict)
        )
        assert server.refused == before, "kept for the next run"
        assert sum(answer.cached for answer in again) == 4
    name = quirk.split(",")[0]
    if name == "seed" or name in OPTIONS:
        assert f"{name}: not sent" in answers[0].settings
    else:
        assert len(answers[0].settings) == (0 if quirk == "null" else 1)


def test_many_quirks_at_once(tmp_path: Path) -> None:
    quirks = ["max_tokens", "temperature", "seed, keys allowed", "logprobs", "system", "top_k",
              "json_schema", "json_object", *SHAPES, *BODIES]  # fmt: skip
    with ChatServer(quirks=quirks) as server:
        answers = list(at(server, tmp_path, options=OPTIONS).ask(some(40), Verdict))
        assert all(answer.parsed for answer in answers) and len(server.books.asked) == 40


@pytest.mark.parametrize("shape", [*SHAPES, *BODIES])
@pytest.mark.parametrize("schema", [Verdict, None])
def test_an_answer_of_any_shape_is_read_and_paid_once(
    tmp_path: Path, shape: str, schema: type | None
) -> None:
    with ChatServer(quirks=[shape]) as server:
        (answer,) = at(server, tmp_path).ask(requests(1), schema)
        assert len(server.books.asked) == 1 and not answer.error
    assert answer.parsed if schema else "A text about" in answer.text
    assert "think" not in (answer.text or "")


def test_an_answer_that_was_cut_is_asked_for_with_more_room(tmp_path: Path) -> None:
    with ChatServer(fault="truncated JSON", keep=True) as server:
        (answer,) = at(server, tmp_path).ask(requests(1), Verdict)
        limits = [json.loads(content)["max_tokens"] for _, _, content in server.received]
    assert answer.parsed and limits == [99, 4 * 99]
    with ChatServer(fault="truncated JSON", stubborn=True) as server:
        (answer,) = at(server, tmp_path / "b").ask(requests(1), Verdict)
        assert len(server.books.asked) == 2
    assert answer.error.startswith("invalid: cut off at the limit of tokens")


class Canned(ChatServer):
    """Sends the same status and body to whatever it is asked."""

    def __init__(self, status: int, content: str, kind: str = "application/json") -> None:
        super().__init__()
        self.asked = 0
        RequestHandler = self.RequestHandlerClass

        class Handler(RequestHandler):
            def _chat(self, body: Any) -> None:
                self.server.asked += 1
                self._raw(status, content.encode(), kind)

        self.RequestHandlerClass = Handler


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"error": {"message": "model not loaded"}}', "model not loaded"),
        ('{"error": "model not loaded"}', "model not loaded"),
        ('{"detail": "model not loaded"}', "model not loaded"),
        ('{"object": "error", "message": "model not loaded"}', "model not loaded"),
        ("<html><head><title>Sign in</title></head><p>to the proxy</p></html>", "Sign in to the"),
        ('{"choices": []}', "choices"),
        ('{"choices": null}', "choices"),
        ("upstream connect error", "upstream connect error"),
        ("", "nothing"),
        ("[" * 100_000, r"\[\[\["),
        ('{"choices": [{"message": {"content": null}}]}', "an answer without a word"),
        (
            '{"choices": [{"message": {"content": "H"}, "finish_reason": "error", "error":'
            ' {"message": "provider is down", "code": 502}}]}',
            "provider is down",
        ),
        ('data: {"choices": [{"delta": {"content": "Half"}}]}\n\n', "ended before the answer"),
        (
            'data: {"choices": [{"delta": {"content": "Half"}}]}\n\ndata: {"error": "no memory"}\n',
            "no memory",
        ),
        *(
            (f"data: {one}\n\ndata: [DONE]\n", "something else than an answer")
            for one in ("1", "[[]]", '{"choices": ["x"]}', '{"choices": 7}')
        ),
    ],
)
def test_the_servers_own_sentence_is_shown(tmp_path: Path, content: str, told: str) -> None:
    with Canned(200, content) as server:
        (answer,) = at(server, tmp_path, retries=0).ask(some(1, images=()))
        assert answer.failed and re.search(told, answer.error) and server.asked <= 2


@pytest.mark.parametrize(
    ("message", "finish", "words"),
    [
        ({"content": ""}, "SAFETY", "withheld by the content filter"),
        ({"content": "Well,"}, "content_filter", "withheld by the content filter"),
        ({"content": None, "refusal": {"reason": "policy"}}, "stop", "policy"),
        ({"content": None, "refusal": True}, "stop", "refused"),
    ],
)
def test_a_refusal_of_any_shape_is_one(
    tmp_path: Path, message: dict, finish: str, words: str
) -> None:
    content = json.dumps({"choices": [{"message": message, "finish_reason": finish}]})
    with Canned(200, content) as server:
        (answer,) = at(server, tmp_path).ask(some(1, images=()), Verdict)
        assert words in answer.refusal and not answer.error and server.asked == 1


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (402, '{"error": {"message": "Insufficient credits"}}'),
        (429, '{"error": {"message": "You exceeded your current quota", "code":'
              ' "insufficient_quota"}}'),
        (429, '{"error": {"message": "Your credit balance is too low"}}'),
    ],
)  # fmt: skip
def test_credit_that_is_used_up_is_no_busy_server(
    tmp_path: Path, status: int, content: str
) -> None:
    with Canned(status, content) as server:
        with pytest.raises(DataError, match="key: its credit is used up; add to it"):
            list(at(server, tmp_path).ask(some(1, images=())))
        assert server.asked == 1


LONG = "This model's maximum context length is 9 tokens."


@pytest.mark.parametrize(
    ("status", "said", "asked"),
    [
        *((status, LONG, 1) for status in (400, 413, 422, 500)),
        (429, "Rate limit reached: 3 requests per minute", 2),
        (413, "Request Entity Too Large", 1),
        (429, "You exceeded your current quota; retry in 13 s", 2),
        (500, "Internal server error", 2),
        (503, "image input is not supported while the model loads", 2),
        (524, "a timeout occurred", 2),
    ],
)
def test_what_may_pass_is_tried_again_and_what_is_final_is_not(
    tmp_path: Path, status: int, said: str, asked: int
) -> None:
    with Canned(status, json.dumps({"error": {"message": said}})) as server:
        (answer,) = at(server, tmp_path, retries=1).ask(some(1, images=()))
        assert answer.failed and said in answer.error and server.asked == asked
        assert ";" in answer.error.partition("(")[0], "what to do about it"
    with Store(tmp_path) as store:  # of trouble nobody knows whether it was charged
        assert store.spent.requests == (0 if status < 500 or said == LONG else asked)


@pytest.mark.parametrize("status", [500, 502, 504, 524])
def test_trouble_counts_at_its_worst_and_nobody_costs_nothing(tmp_path: Path, status: int) -> None:
    with Canned(status, "Gateway Time-out") as server, pytest.raises(CeilingReached):
        list(at(server, tmp_path, ceiling=Ceiling(requests=2)).ask(some(1, images=())))
    assert server.asked == 2
    nobody = Endpoint("model", "http://127.0.0.1:9/v1", cache=tmp_path / "b", retries=1)
    assert next(nobody.ask(some(1))).failed
    with Store(tmp_path / "b") as store:
        assert store.spent.requests == 0


@pytest.mark.parametrize("before", [0, 175, 181, 195])
def test_no_part_of_the_key_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    key = "sk-SECRETSECRET123456"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    said = f"\x1b[31m\x07{'x ' * (before // 2)}{'x' * (before % 2)}{key} {key[:12]}...{key[-9:]}"
    for status in (400, 401):
        with Canned(status, json.dumps({"error": {"message": said}})) as server:
            try:
                (answer,) = at(server, tmp_path, retries=0).ask(some(1, images=()))
                told = answer.error
            except DataError as error:
                told = str(error)
        assert "x" in told or "***" in told
        assert told.isprintable() and not any(key[i : i + 8] in told for i in range(len(key) - 7))


def test_a_key_that_a_model_says_is_neither_shown_nor_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-SECRETSECRET123456"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with ChatServer(reply=lambda body: f"You sent Bearer {key} to me.") as server:
        (answer,) = at(server, tmp_path / "a").ask(some(1))
        said = "".join(at(server, tmp_path / "b").stream(some(1)[0]))
    assert answer.text == said == "You sent Bearer *** to me."
    assert not any(key.encode() in file.read_bytes() for file in tmp_path.rglob("*.sqlite*"))


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nX-Pad: ", "HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_that_drips_is_too_late(tmp_path: Path, head: str) -> None:
    def drip(handler: Any, body: Any) -> None:
        handler.wfile.write(head.encode())
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)

    with Canned(200, "") as server:
        server.RequestHandlerClass._chat, begin = drip, time.monotonic()
        (answer,) = at(server, tmp_path, retries=0, timeout=0.5).ask(some(1, images=()))
        assert "no answer in time" in answer.error and time.monotonic() - begin < 3


# --- pictures


@pytest.mark.parametrize(
    "words",
    [
        "I'm sorry, but I cannot see any image.",
        "I can't view images directly.",
        "There is no image attached to your message.",
        "As a text-based AI, I don't have eyes.",
        "No picture was provided, so I cannot say whether it is forged.",
        "The image was not uploaded.",
        "I don\u2019t see an image in our conversation.",
        "I don't have the ability to view images.",
        "You haven't provided a picture.",
        "There is no image in your message; please upload the image.",
    ],
)
def test_a_model_that_says_it_sees_nothing_is_unable(tmp_path: Path, words: str) -> None:
    assert NO_PICTURE.search(spoken(words).replace("\u2019", "'"))
    with ChatServer(reply=lambda body: words) as server:
        (answer,) = at(server, tmp_path).ask(requests(1))
    assert answer.text is None and answer.refusal.startswith("unable: ")


@pytest.mark.parametrize(
    "words",
    ["I see no artifact in this picture.", "I do not see any blur in this image.",
     "I cannot find a blending boundary in the picture.", "No picture is free of noise.",
     "The picture does not show blur.", "I could not find any image artifacts.",
     "I can't see the image noise that a camera leaves.", "No photo manipulation is visible.",
     "I do not see any photo retouching at the jaw.", "I was not able to find an image seam.",
     "The image is not available in higher quality.",
     "Nothing in the image was altered.", "The eyes do not look natural in this image."],
)  # fmt: skip
def test_descriptions_are_not_taken_for_blindness(words: str) -> None:
    assert not NO_PICTURE.search(words)


@pytest.mark.parametrize(
    ("said", "counts", "looks"),
    [("Red.", True, 2), ("Blue.", True, 3), ("Blue.", False, 3), ("Please upload it.", False, 1)],
)
def test_a_server_that_drops_pictures_is_found_before_money_is_spent(
    tmp_path: Path, said: str, counts: bool, looks: int
) -> None:
    def count(body: Any) -> str:
        length = sum(len(part.get("text", "")) for part in body["messages"][0]["content"])
        usage = {"prompt_tokens": length // 4, "completion_tokens": 1}
        choices = [{"message": {"content": said}}]
        return json.dumps({"choices": choices} | ({"usage": usage} if counts else {}))

    with Canned(200, "") as server:
        handler = server.RequestHandlerClass
        handler._chat = lambda self, body: self._raw(200, count(body).encode(), "application/json")
        with pytest.raises(DataError, match=rf"unable to see pictures: .*'{said}'; use a model"):
            list(at(server, tmp_path).ask(requests(5)))
        assert len(list(at(server, tmp_path).ask(some(2, images=(), system="")))) == 2
    with Store(tmp_path) as store:
        assert store.spent.requests == looks + 2


def test_one_picture_that_is_refused_fails_alone(tmp_path: Path) -> None:
    asked = requests(5)
    with ChatServer() as server:
        chat = server.RequestHandlerClass._chat

        def picky(handler: Any, body: Any) -> None:
            if data_uri(asked[2].images[0]) in json.dumps(body):
                said = {"error": {"message": "Unable to process input image. Please retry"}}
                return handler._send(400, said)
            return chat(handler, body)

        handler = type("Picky", (server.RequestHandlerClass,), {"_chat": picky})
        server.RequestHandlerClass = handler
        answers = {answer.id: answer for answer in at(server, tmp_path).ask(asked, Verdict)}
    assert [answers[request.id].failed for request in asked] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "No endpoints found that support image input"),
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
    ],
)
def test_a_server_that_refuses_pictures_is_unable(tmp_path: Path, status: int, said: str) -> None:
    with Canned(status, json.dumps({"error": {"message": said, "code": status}})) as server:
        with pytest.raises(DataError, match="unable to see pictures"):
            list(at(server, tmp_path).ask(requests(1)))
        assert server.asked == 1


# --- addresses


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("localhost:8000", "http://localhost:8000/v1"),
        ("127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("http://a.b/v1/chat/completions", "http://a.b/v1"),
        ("http://a.b/v1/models", "http://a.b/v1"),
        ("models.example.org", "https://models.example.org/v1"),
        ("https://a.b/v1beta/openai/", "https://a.b/v1beta/openai"),
        ("https://a.b/api/v1//chat/completions/", "https://a.b/api/v1"),
        ("https://me.openai.azure.com", "https://me.openai.azure.com/openai/v1"),
        (
            "https://me.openai.azure.com/openai/deployments/x/chat/completions?api-version=2024-10-21",
            "https://me.openai.azure.com/openai/deployments/x",
        ),
    ],
)
def test_an_address_is_mended(given: str, url: str) -> None:
    assert Address.of(given).url == url


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_server_that_has_moved_is_followed_and_charged_once(tmp_path: Path, status: int) -> None:
    with ChatServer() as server, Canned(status, "") as old:
        end_headers = old.RequestHandlerClass.end_headers

        def moved(handler: Any) -> None:
            handler.send_header("Location", f"{server.url}/chat/completions")
            end_headers(handler)

        old.RequestHandlerClass.end_headers = moved
        (answer,) = at(old, tmp_path, ceiling=Ceiling(requests=1)).ask(some(1, images=()))
        assert "A text about" in answer.text and len(server.books.asked) == 1
    with Store(tmp_path) as store:
        assert store.spent.requests == 1


def test_an_empty_address_in_the_environment_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert Endpoint("gpt", cache=tmp_path).base_url is None


def test_azure_gets_its_header_and_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-azure")
    with ChatServer(keep=True) as server:
        url = f"{server.url}/chat/completions?api-version=2024-10-21"
        list(Endpoint("gpt", url, cache=tmp_path, retries=0).ask(some(1)))
        ((path, headers, _),) = server.received
    assert path.endswith("/chat/completions?api-version=2024-10-21")
    assert headers["api-key"] == "sk-azure" and "Authorization" not in headers


@pytest.mark.parametrize("given", ["http://", "http://[::1", "http://host:abc/v1"])
def test_no_address_is_told(given: str) -> None:
    with pytest.raises(DataError, match=r"base_url='http://.*: not an address; write it like"):
        Address.of(given)


@pytest.mark.parametrize("given", ["https://me:secret@host/v1", "me:secret@host"])
def test_a_password_in_an_address_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(DataError, match="holds a user or a password") as error:
        Address.of(given)
    assert "secret" not in str(error.value)


def test_a_key_does_not_cross_the_internet_in_the_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    with pytest.raises(DataError, match="could read OPENAI_API_KEY; use https, or unset"):
        list(Endpoint("gpt", "http://models.example.org/v1", cache=tmp_path).ask(requests(1)))
    for near in (
        "localhost:8000",
        "http://192.168.0.7",
        "http://gpu-1:8000",
        "https://a.org",
        "http://a.local",
    ):
        assert not Address.of(near).exposed


@pytest.mark.parametrize("key", ["a", "x", "max"])
def test_a_short_key_hides_no_word_of_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with ChatServer(quirks=["max_tokens"]) as server:
        assert next(at(server, tmp_path, retries=0).ask(some(1))).text


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ChatServer() as server:
        endpoint = at(server, tmp_path, retries=0)
        assert next(endpoint.ask(requests(1), Verdict)).parsed
        assert list(endpoint.stream(requests(1)[0]))


@pytest.mark.parametrize("table", ["answers", "dialects"])
def test_a_damaged_row_of_the_cache_is_as_good_as_none(tmp_path: Path, table: str) -> None:
    with ChatServer() as server:
        list(at(server, tmp_path).ask(some(3), Verdict))
        with sqlite3.connect(tmp_path / "answers.sqlite") as db:
            db.execute(f"UPDATE {table} SET {table[:-1].replace('answer', 'reply')} = '{{torn'")
        for _ in range(2):
            assert all(answer.parsed for answer in at(server, tmp_path).ask(some(3), Verdict))
        assert len(server.books.asked) == (6 if table == "answers" else 3)


def test_a_cache_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("x")
    with pytest.raises(DataError, match=r"answers.*; move it, or choose another cache"):
        list(Endpoint("m", "http://localhost", cache=tmp_path / "answers").ask(some(1)))


def test_a_dialect_ends() -> None:
    body = {"model": "m", "max_tokens": 9, "seed": 1, "temperature": 0, "response_format": {
        "type": "json_schema", "json_schema": {"schema": {}}},
        "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}],
    }  # fmt: skip
    dialect: Dialect | None = Dialect()
    for _ in range(9):
        dialect = dialect and dialect.after(dialect.write(body), 400, "invalid request")
    assert dialect is None
    optional = ["n", "seed", "stop", "temperature", "top_p", "user"]
    refused = "unknown parameters: " + ", ".join(optional)
    dropped = Dialect().after(body | dict.fromkeys(optional, 1), 400, refused).dropped
    assert dropped == tuple(optional), "in one order, whatever the run"


def test_a_stream_adapts_too(tmp_path: Path) -> None:
    with ChatServer(quirks=["max_tokens", "temperature", "system"]) as server:
        endpoint = at(server, tmp_path, options=OPTIONS, retries=0)
        assert "A text about" in "".join(endpoint.stream(some(1)[0]))
        assert server.refused == 3 and len(server.books.asked) == 1


@pytest.mark.parametrize("fault", ["truncated JSON", "reset after"])
def test_the_money_ceiling_holds_while_it_adapts(tmp_path: Path, fault: str) -> None:
    quirks, ceiling = ["max_tokens", "seed", "system", "json_schema", "json_object", *SHAPES], 0.1
    with ChatServer(quirks=quirks, fault=fault, share=0.3) as server:
        endpoint = at(server, tmp_path, options=OPTIONS, ceiling=Ceiling(money=ceiling))
        with pytest.raises(CeilingReached):
            list(endpoint.ask(some(60), Verdict))
        spent = PRICES.of(server.books.tokens_in, server.books.tokens_out)
    assert 0.2 * ceiling < spent <= ceiling
    with Store(tmp_path) as store:
        assert spent <= store.spent.money <= ceiling
