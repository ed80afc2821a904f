"""The vendor's Batch API: same requests, same cache, half the price, and started once."""

import sqlite3
from pathlib import Path

import pytest
from chat_server import ChatServer
from test_endpoint import PRICES, Verdict, at, requests, told

from dfa_lib.endpoint import Ceiling, batch, client
from dfa_lib.endpoint.contract import CeilingReached, Spend
from dfa_lib.endpoint.store import Store
from dfa_lib.records import DataError


def test_a_batch_gives_the_same_answers_for_half_the_price(tmp_path: Path) -> None:
    asked = requests(30)
    with ChatServer(polls=2) as server:
        live = list(at(server, tmp_path / "live").ask(asked, Verdict))
        whole = len(server.books.asked)
        endpoint = at(server, tmp_path / "batch")
        assert endpoint.submit(asked, Verdict) == 30 and endpoint.submit(asked, Verdict) == 0
        waiting = list(endpoint.ask(asked[:3], Verdict))
        assert all("call collect() first" in answer.error for answer in waiting)
        assert endpoint.collect(poll=0.01) == 30 and endpoint.collect(poll=0.01) == 0
        answers = list(endpoint.ask(asked, Verdict))
        assert len(server.books.asked) == whole, "asked live for nothing"
    assert sum(a.cost for a in answers) == pytest.approx(sum(a.cost for a in live) / 2)
    parsed = [[row["parsed"] for row in told(some)] for some in (answers, live)]
    assert parsed[0] == parsed[1] and all(parsed[0])
    with Store(tmp_path / "batch") as store:
        assert store.spent.money == pytest.approx(sum(a.cost for a in answers))
        assert not store.batches


def test_what_a_batch_did_not_do_is_sent_again(tmp_path: Path) -> None:
    asked = requests(40)
    for fault, again in (("500", 12), ("invalid schema", 12), ("batch expired", 20)):
        cache = tmp_path / fault
        with ChatServer(fault=fault, share=0.3) as server:
            endpoint = at(server, cache)
            endpoint.submit(asked, Verdict)
            endpoint.collect(poll=0.01)
            server.fault = None if fault == "batch expired" else fault
            assert endpoint.submit(asked, Verdict) == pytest.approx(again, abs=5)
            endpoint.collect(poll=0.01)
            assert all(answer.parsed and answer.cached for answer in endpoint.ask(asked, Verdict))
            assert set(server.books.delivered.values()) == {1}
            paid = PRICES.of(server.books.tokens_in, server.books.tokens_out, batch=True)
        with Store(cache) as store:
            assert store.spent.money == pytest.approx(paid)


def test_a_batch_that_started_unnoticed_is_found_again(tmp_path: Path) -> None:
    asked = requests(10)
    with ChatServer(fault="batch lost") as server:
        endpoint = at(server, tmp_path)
        with pytest.raises(DataError, match=r"broke the connection off .*Connection error"):
            endpoint.submit(asked, Verdict)
        assert len(server.batches) == 1
        others = {name: {"id": name, "object": "batch"} for name in ("newer", "newest")}
        server.batches |= others  # it is on the second page
        server.fault = None
        assert endpoint.collect(poll=0.01) == 10
        assert endpoint.submit(asked, Verdict) == 0 and len(server.batches) == 3
    assert max(server.books.charged.values()) == 1


def test_a_batch_on_its_way_is_not_taken_for_lost(tmp_path: Path) -> None:
    with ChatServer() as server:
        mine, other = at(server, tmp_path), at(server, tmp_path)
        store = server.store

        def meanwhile(content: bytes) -> str:
            with pytest.raises(DataError, match="another run is writing it"):
                other.submit(requests(2))
            return store(content)

        server.store = meanwhile
        assert mine.submit(requests(3)) == 3
        server.store = store
        assert other.collect(poll=0.01) == 3


def test_a_batch_is_held_whole_or_not_at_all(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        bounds = {"a": Spend(1, 10, 0.1)}
        store.hold("first", bounds)
        before = store.spent
        with pytest.raises(sqlite3.IntegrityError):  # queued by another process meanwhile
            store.hold("second", {"b": Spend(1, 5, 0.5)} | bounds)
        assert store.spent == before and store.held("second") == {}


def test_a_batch_that_never_started_is_sent_again(tmp_path: Path) -> None:
    with ChatServer(fault="upload lost") as server:
        endpoint = at(server, tmp_path, retries=0)
        with pytest.raises(DataError, match="broke the connection off"):
            endpoint.submit(requests(5))
        assert not server.batches
        server.fault = None
        assert endpoint.submit(requests(5)) == 5


def test_a_refused_batch_frees_its_money(tmp_path: Path) -> None:
    with ChatServer(fault="batch refused") as server:
        endpoint = at(server, tmp_path)
        endpoint.submit(requests(3))
        with pytest.raises(DataError, match="refused it: no such model"):
            endpoint.collect(poll=0.01)
    with Store(tmp_path) as store:
        assert tuple(store.spent) == (0, 0, pytest.approx(0)) and not store.batches


def test_a_batch_beyond_the_ceiling_is_not_sent(tmp_path: Path) -> None:
    with ChatServer() as server:
        most = at(server, tmp_path).estimate(requests(20)).money / 2
        with pytest.raises(CeilingReached):
            at(server, tmp_path, ceiling=Ceiling(money=most * 0.99)).submit(requests(20))
        assert not server.files and not server.batches
        assert at(server, tmp_path, ceiling=Ceiling(money=most)).submit(requests(20)) == 20


def test_large_batches_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_BYTES", 5_000)
    with ChatServer() as server:
        endpoint = at(server, tmp_path)
        endpoint.submit(requests(20))
        assert len(server.batches) > 2
        assert max(map(len, server.files.values())) < 5_000 + 2_000
        assert endpoint.collect(poll=0.01) == 20
    assert client.batch is batch
