"""The endpoint against a real server that misbehaves: nothing lost, nothing paid for twice."""

import asyncio
import base64
import io
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np
import pytest
from chat_server import ChatServer, remote
from PIL import Image
from pydantic import BaseModel, ValidationError

from benchmarks import endpoint_faults
from dfa_lib.endpoint import Answer, Ceiling, Endpoint, Prices, Request
from dfa_lib.endpoint.contract import CeilingReached
from dfa_lib.endpoint.store import Store
from dfa_lib.endpoint.wire import Fault, read
from dfa_lib.files import png
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError

ROOT = Path(__file__).resolve().parents[1]
PRICES = Prices(tokens_in=2.50, tokens_out=10.00)


class Verdict(BaseModel):
    """A schema as an annotator may use it."""

    verdict: Literal["bona fide", "forged"]
    reasons: list[str]


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def requests(n: int) -> list[Request]:
    """``n`` requests, each about a picture of its own."""
    return endpoint_faults.requests(n)


def at(server: ChatServer, cache: Path, **more: object) -> Endpoint:
    """An endpoint of that server, with prices."""
    return Endpoint("model", server.url, cache=cache, **{"prices": PRICES, "timeout": 5.0} | more)


def told(answers: list[Answer]) -> list[dict]:
    """The answers in the order of their ids, without whether they came from the cache."""
    ordered = sorted(answers, key=lambda answer: answer.id)
    return [answer.model_dump(exclude={"cached"}) for answer in ordered]


# --- faults


def test_every_kind_of_fault_is_survived(tmp_path: Path) -> None:
    asked = requests(150)
    with ChatServer(fault="any", share=0.9, hang=5.0, stall=0.3) as server:
        first = list(at(server, tmp_path, timeout=3.0).ask(asked, Verdict))
        books, struck = server.books, server.struck
        again = list(at(server, tmp_path).ask(asked, Verdict))
        assert len(server.books.asked) == len(books.asked), "the second run paid for nothing"
    assert sorted(a.id for a in first) == [r.id for r in asked]
    assert all(answer.parsed or answer.refusal for answer in first)
    assert set(books.delivered.values()) == {1} and len(struck) > 80
    assert told(again) == told(first) and all(answer.cached for answer in again)
    lost = sum(books.charged.values()) - sum(books.delivered.values())
    assert 0 < lost <= len(struck), "resets after the work, time-outs and torn bodies"


@pytest.mark.parametrize("fault", ["truncated JSON", "invalid schema"])
def test_an_invalid_answer_is_complained_about_once(tmp_path: Path, fault: str) -> None:
    with ChatServer(fault=fault, keep=True) as server:
        (answer,) = at(server, tmp_path).ask(requests(1), Verdict)
        second = json.loads(server.received[1][2])["messages"]
    assert answer.parsed and not answer.error and len(server.books.asked) == 2
    assert answer.cost == pytest.approx(PRICES.of(server.books.tokens_in, server.books.tokens_out))
    assert [turn["role"] for turn in second] == ["user", "assistant", "user"]
    assert ("Field required" in second[2]["content"]) == (fault == "invalid schema")


def test_what_stays_invalid_or_is_refused_is_set_aside(tmp_path: Path) -> None:
    for fault, attempts in (("invalid schema", 2), ("refusal", 1)):
        with ChatServer(fault=fault, stubborn=True) as server:
            for _ in range(2):
                (answer,) = at(server, tmp_path / fault).ask(requests(1), Verdict)
                assert answer.parsed is None and not answer.failed
                assert len(server.books.asked) == attempts, "recorded, and not asked again"
        assert (answer.refusal or "")[:8] == ("I cannot" if fault == "refusal" else "")
        assert (answer.error or "")[:8] == ("" if fault == "refusal" else "invalid:")


def test_a_dead_server_ends_the_run_in_one_line(tmp_path: Path) -> None:
    address = "http://127.0.0.1:9/v1"
    nobody = Endpoint("model", address, cache=tmp_path, concurrency=4, retries=0)
    answers = []
    with pytest.raises(DataError, match=r"16 requests in a row failed.*Connection error"):
        answers += nobody.ask(requests(100))
    few = list(nobody.ask(requests(3)))
    assert all(answer.failed and "onnect" in answer.error for answer in few)


# --- cache


def test_the_cache_knows_whatever_decides_the_answer(tmp_path: Path) -> None:
    base = Request(id="a", text="Is it?", images=(png(np.zeros((8, 8, 3), np.uint8)),))
    others = [
        base.model_copy(update=change)
        for change in (
            {"text": "Is it not?"}, {"system": "Be brief."}, {"seed": 1}, {"max_tokens": 9},
            {"images": (png(np.ones((8, 8, 3), np.uint8)),)}, {"images": ()},
        )
    ]  # fmt: skip
    with ChatServer() as server:
        list(at(server, tmp_path).ask([base, *others]))
        assert next(at(server, tmp_path).ask([base], Verdict)).parsed
        list(at(server, tmp_path, options={"temperature": 0}).ask([base]))
        list(Endpoint("other", server.url, cache=tmp_path).ask([base]))
        assert len(server.books.asked) == len({*server.books.asked}) == 10
    with ChatServer() as elsewhere:  # the address decides nothing, nor does the id
        (answer,) = at(elsewhere, tmp_path).ask([base.model_copy(update={"id": "b"})])
        assert answer.cached and answer.id == "b" and not elsewhere.books.asked


def test_equal_requests_are_paid_for_once(tmp_path: Path) -> None:
    twins = [Request(id=str(i), text="The same.") for i in range(20)]
    with ChatServer(latency=0.1) as server:
        answers = list(at(server, tmp_path).ask(twins))
    assert len(server.books.asked) == 1 and len({answer.text for answer in answers}) == 1
    assert sum(not answer.cached for answer in answers) == 1


ASK = """
import sys
from pathlib import Path
from benchmarks.endpoint_faults import Verdict, requests
from dfa_lib.endpoint import Endpoint
url, cache = sys.argv[1:]
endpoint = Endpoint("model", url, cache=Path(cache), concurrency=4)
print("ready", flush=True)
input()
print(sum(not answer.cached for answer in endpoint.ask(requests(12), Verdict)))
"""


def asking(server: ChatServer, cache: Path) -> subprocess.Popen:
    """A process that asks twelve requests once it reads a line."""
    command = [sys.executable, "-c", ASK, server.url, str(cache)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}  # its errors are to be seen
    process = subprocess.Popen(command, cwd=ROOT, text=True, bufsize=1, **pipes)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_that_ask_the_same_at_once_pay_once(tmp_path: Path) -> None:
    with ChatServer(latency=0.6) as server:
        pair = [asking(server, tmp_path) for _ in range(2)]
        for process in pair:
            process.stdin.write("\n")
        paid = [int(process.communicate(timeout=60)[0]) for process in pair]
        assert sum(paid) == len(server.books.asked) == 12
    with Store(tmp_path) as store:
        assert store.spent.requests == 12 + 2, "and the first two looks"


def test_nobody_waits_for_a_process_that_is_gone(tmp_path: Path) -> None:
    with ChatServer(latency=60.0) as server:
        gone = asking(server, tmp_path)
        gone.stdin.write("\n")
        while not server.books.asked:
            time.sleep(0.01)
        server.latency = 0.0
        gone.kill()
        gone.wait()
        assert len(list((tmp_path / "asked").iterdir())) == 1
        assert all(answer.parsed for answer in at(server, tmp_path).ask(requests(12), Verdict))
    assert not list((tmp_path / "asked").iterdir())


@pytest.mark.slow
def test_killed_and_resumed_to_the_same_bytes() -> None:
    with remote() as server:
        found, price = endpoint_faults.kill(server, n=60, kills=2)
    assert found["unequal"] == found["paid_twice"] == 0 and found["kept"] > 0 and price > 0


def test_leaving_early_keeps_what_is_under_way(tmp_path: Path) -> None:
    taken = []

    def lazily() -> Iterator[Request]:
        for request in requests(100):
            taken.append(request)
            yield request

    with ChatServer(latency=0.3) as server:
        endpoint = at(server, tmp_path, concurrency=4)
        list(endpoint.ask(requests(1)))
        known, alone, beside = islice(endpoint.ask(lazily()), 3)
        assert known.cached and not alone.cached and not beside.cached
        sent = len(server.books.asked)
        assert len(taken) <= 2 * 4 + 3 and 3 < sent <= 3 + 4, "what was only queued is not sent"
        assert endpoint.estimate(taken).answered == sent
        assert sum(answer.cached for answer in endpoint.ask(taken)) == sent
        assert server.books.most_at_once == 4


def test_a_foreign_cache_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_text(
        "not a database, but long enough to be read as one" * 9
    )
    with pytest.raises(DataError, match=r"answers.sqlite: .*; move it, or"):
        Endpoint("model", "http://localhost/v1", cache=tmp_path).estimate(requests(1))


# --- money


def test_the_estimate_is_an_upper_bound(tmp_path: Path) -> None:
    asked = requests(20)
    with ChatServer() as server:
        endpoint = at(server, tmp_path)
        list(endpoint.ask(asked[:5], Verdict))
        estimate = endpoint.estimate(asked, Verdict)
        cost = sum(answer.cost for answer in endpoint.ask(asked, Verdict) if not answer.cached)
    assert estimate.requests == 20 and estimate.answered == 5 and 0 < cost <= estimate.money
    assert str(estimate).startswith("20 requests, 5 answered already; 15 to send: at most ")
    assert Endpoint("unknown", server.url, cache=tmp_path).estimate(asked).money is None


def test_a_ceiling_on_requests_is_exact_and_can_be_raised(tmp_path: Path) -> None:
    asked, answers = requests(40), []
    with ChatServer(latency=0.05, fault="429", share=0.3) as server:
        with pytest.raises(CeilingReached, match=r"ceiling: 10 of 10 requests, .* nothing is paid"):
            for answer in at(server, tmp_path, ceiling=Ceiling(requests=10)).ask(asked):
                answers.append(answer)
        assert len(answers) == sum(server.books.charged.values()) == 8, "a 429 costs nothing"
        rest = list(at(server, tmp_path, ceiling=Ceiling(requests=42)).ask(asked))
        assert len(rest) == sum(server.books.charged.values()) == 40, "and two looks"


@pytest.mark.parametrize("fault", [None, "reset after", "torn body", "invalid schema"])
def test_a_money_ceiling_holds_even_for_answers_that_never_arrive(
    tmp_path: Path, fault: str | None
) -> None:
    asked, ceiling = requests(40), 0.06
    with ChatServer(fault=fault, share=0.3, latency=0.05) as server:
        for _ in range(2):
            with pytest.raises(CeilingReached):
                list(at(server, tmp_path, ceiling=Ceiling(money=ceiling)).ask(asked, Verdict))
        spent = PRICES.of(server.books.tokens_in, server.books.tokens_out)
        kept = at(server, tmp_path).estimate(asked, Verdict).answered
    assert 0.4 * ceiling < spent <= ceiling and kept >= 5
    with Store(tmp_path) as store:
        assert spent <= store.spent.money + 1e-9 and store.spent.money <= ceiling


def test_the_sentence_of_a_ceiling_names_what_would_pass_it(tmp_path: Path) -> None:
    with ChatServer() as server:
        with pytest.raises(CeilingReached) as error:
            list(at(server, tmp_path, ceiling=Ceiling(money=0.01, requests=99)).ask(requests(9)))
    with Store(tmp_path) as store:
        spent = store.spent.money
    said = re.fullmatch(
        r"ceiling: ([\d.]+) of 0.01 dollars, and what comes next may take ([\d.]+);"
        " raise it and run again, nothing is paid for twice",
        str(error.value),
    )
    assert said, "of the ceiling of requests, which is far, nothing"
    used, more = map(float, said.groups())
    assert used == pytest.approx(spent, abs=1e-6) and used <= 0.01 < used + more


def test_a_ceiling_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="model='unknown': no price known"):
        Endpoint("unknown", cache=tmp_path, ceiling=Ceiling(money=1))
    cheap = PRICES.model_copy(update={"image_tokens": 1})
    with ChatServer() as server, pytest.raises(DataError, match=r"image_tokens: too low"):
        list(at(server, tmp_path, prices=cheap, ceiling=Ceiling(tokens=9999)).ask(requests(1)))


def test_a_server_that_counts_no_tokens_is_paid_the_most(tmp_path: Path) -> None:
    asked = Endpoint("model", "http://localhost/v1", cache=tmp_path, prices=PRICES)
    with asked._store() as store:
        call = asked._next(store, requests(1)[0], None)
    reply = read('{"choices": [{"message": {"content": "Yes"}}]}', call.bound, PRICES)
    assert reply.cost == call.bound.money and reply.tokens_in == call.bound.tokens
    with pytest.raises(Fault, match="choices"):
        read('{"choices": []}', call.bound, PRICES)


# --- what leaves this machine


def test_the_key_is_sent_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = f"sk-{uuid4().hex}"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with ChatServer(key=key) as server:
        endpoint = at(server, tmp_path)
        assert next(endpoint.ask(requests(1), Verdict)).parsed
    with ChatServer(key="another") as server, pytest.raises(DataError) as error:
        list(at(server, tmp_path).ask(requests(2), Verdict))
    assert str(error.value).startswith("key: missing or wrong; set it again")
    assert "Incorrect API key provided: ***" in str(error.value) and "\n" not in str(error.value)
    chain = (str(error.getrepr()), caplog.text, repr(vars(endpoint)))
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert not any(key in text for text in chain) and key.encode() not in written


def test_without_a_key_the_vendor_is_not_asked_but_the_cache_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChatServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)  # it plays the vendor
        vendor = Endpoint("model", cache=tmp_path)
        with pytest.raises(DataError, match="key: none found"):
            list(vendor.ask(requests(2)))
        with pytest.raises(DataError, match="key: none found"):
            vendor.submit(requests(2))
        assert not server.books.asked
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        list(Endpoint("model", cache=tmp_path).ask(requests(2)))
        monkeypatch.delenv("OPENAI_API_KEY")
        assert all(answer.cached for answer in vendor.ask(requests(2)))


def test_no_metadata_of_a_photograph_reaches_the_server(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET-CAMERA"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2)})
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", exif=exif, comment=b"SECRET-COMMENT")
    photo = (tmp_path / "a.jpg").read_bytes()
    assert b"SECRET-CAMERA" in photo and Image.open(io.BytesIO(photo)).getexif().get_ifd(0x8825)
    with pytest.raises(ValidationError, match=r"png"):
        Request(id="a", text="?", images=(photo,))
    marked = io.BytesIO()
    Image.fromarray(noise).save(marked, "PNG", exif=exif)
    with pytest.raises(ValidationError, match=r"png"):
        Request(id="a", text="?", images=(marked.getvalue(),))
    request = Request(id="secret-id", text="?", images=(png(open_photo(photo)),))
    with ChatServer(keep=True) as server:
        list(at(server, tmp_path / "cache").ask([request]))
        ((_, headers, content),) = server.received
    url = json.loads(content)["messages"][0]["content"][0]["image_url"]["url"]
    sent = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert not sent.getexif() and not sent.info and sent.size == (80, 80)
    everything = repr(headers).encode() + content + base64.b64decode(url.partition(",")[2])
    assert not any(word in everything for word in (b"SECRET", b"Exif", b"eXIf", b"secret-id"))


# --- where it runs


def test_it_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    async def cell() -> list[Answer]:
        return list(at(server, tmp_path).ask(requests(5), Verdict))

    with ChatServer() as server:
        assert all(answer.parsed for answer in asyncio.run(cell()))


@pytest.mark.slow
def test_a_script_that_leaves_a_run_open_does_end(tmp_path: Path) -> None:
    script = f"""
from itertools import islice
from pathlib import Path
from benchmarks.endpoint_faults import requests
from dfa_lib.endpoint import Endpoint
with_one = Endpoint("model", "URL", cache=Path({str(tmp_path)!r})).ask(requests(300))
print(next(with_one).text)
"""
    with ChatServer(latency=0.2) as server:
        code = script.replace("URL", server.url)
        ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=-1, timeout=60)
    assert ended.returncode == 0 and ended.stdout.startswith(b"A text about")


def test_first_token_probabilities_can_be_asked_for(tmp_path: Path) -> None:
    options = {"logprobs": True, "top_logprobs": 20}
    with ChatServer() as server:
        (answer,) = at(server, tmp_path, options=options).ask(requests(1))
        assert answer.first == {"Yes": -0.1, "No": -2.4}
