"""Is anything lost, doubled or paid for twice when the server misbehaves and the process dies?

Run from the repository root: ``python -m benchmarks.endpoint_faults`` (about 5 minutes). The
server (tests/chat_server.py) is a process of its own on loopback and keeps a vendor's books.

1. IMAGES images per fault; the fault strikes a tenth of them.
2. All faults mixed, and the client's process killed (SIGKILL) at KILLS random moments and started
   again; its records are compared byte by byte with those of a run that was left alone.
3. All faults mixed under money ceilings, killed once and resumed; the server's books count.
4. Servers that refuse a random half of what tests/quirks.py knows and answer in all its shapes,
   all faults mixed in; ``python -m benchmarks.endpoint_faults quirks`` is this part alone.

What "paid twice" can mean: an answer that was sent and never arrived (connection reset, time-out,
process killed while it was under way) may have been charged, and no client can know. It has to be
asked for again, and counts against the ceiling at its worst case. So a content counts as paid
twice if its answer was delivered in full more than once (part 1), or if it was asked for again
after it lay in the cache (part 2). What was charged and lost on the way is printed beside it.

Last line: one JSON object {"images", "faults", "lost", "duplicated", "paid_twice", "kills",
"byte_equal", "over_budget"}.
"""

import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from dfa_lib.endpoint import Answer, Ceiling, Endpoint, Prices, Request
from dfa_lib.files import png

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from chat_server import FAULTS, Remote, remote
from quirks import BODIES, REFUSALS, SHAPES

IMAGES, SHARE, KILLS = 1_000, 0.125, 20  # the share of all contents; of these, 102
CEILINGS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of what all answers cost
PRICES = Prices(tokens_in=2.50, tokens_out=10.00)
FREE, RECORDS = 1e9, "records.jsonl"
SLOW = {"latency": 0.2, "fault": "any", "share": SHARE, "hang": 5.0, "stall": 1.5}


class Verdict(BaseModel):
    """A schema as an annotator may use it."""

    verdict: Literal["bona fide", "forged"]
    reasons: list[str]


def requests(n: int) -> list[Request]:
    """Write ``n`` requests, each with a picture of its own."""
    pixels = np.random.default_rng(0)
    pictures = (pixels.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(n))
    return [
        Request(id=f"{i:04}", text="Is this face forged?", images=(png(picture),), max_tokens=99)
        for i, picture in enumerate(pictures)
    ]


def strike(server: Remote, fault: str, asked: list[Request]) -> Counter:
    """Part 1: one fault, a tenth of the images; count what came of them."""
    server.settle_in(fault=fault, share=SHARE, hang=12.0)
    patience = 8.0 if fault == "time-out" else 60.0
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint("any", server.url, cache=Path(folder), prices=PRICES, timeout=patience)
        answers = list(endpoint.ask(asked, Verdict))
    times = Counter(answer.id for answer in answers)
    good = {answer.id for answer in answers if answer.parsed or answer.refusal}
    books = server.books
    return Counter(
        lost=len(asked) - len(good),
        duplicated=sum(n > 1 for n in times.values()),
        paid_twice=sum(n > 1 for n in books.delivered.values()),
        undelivered=sum(books.charged.values()) - sum(books.delivered.values()),
        retried=len(books.asked) - len(asked),
    )


def work(url: str, cache: Path, out: Path, n: int, money: float) -> None:
    """What the killed process does: ask, and write the records in order."""
    ceiling = Ceiling(money=money)
    endpoint = Endpoint(
        "any", url, cache=cache, ceiling=ceiling, prices=PRICES, concurrency=8, timeout=2.0
    )
    answers = sorted(endpoint.ask(requests(n), Verdict), key=lambda answer: answer.id)
    lines = (answer.model_dump_json(exclude={"cached"}) + "\n" for answer in answers)
    out.write_text("".join(lines))


def worker(server: Remote, folder: Path, n: int, money: float) -> subprocess.Popen:
    """Start ``work`` in a process of its own."""
    arguments = (server.url, folder, folder / RECORDS, n, money)
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def cached(folder: Path) -> set[str]:
    """The contents whose answers lie in the cache."""
    with sqlite3.connect(folder / "answers.sqlite") as db:
        return {key for (key,) in db.execute("SELECT key FROM answers")}


def killed_once(server: Remote, folder: Path, n: int, money: float, moment: float) -> None:
    """Start the worker and kill it so many seconds after its first request."""
    process, before = worker(server, folder, n, money), len(server.books.asked)
    while len(server.books.asked) == before and process.poll() is None:  # it still imports
        time.sleep(0.02)
    time.sleep(moment)
    process.kill()
    process.wait()


def kill(server: Remote, n: int, kills: int) -> tuple[Counter, float]:
    """Part 2: kill and resume, then compare with a run left alone, whose price is returned."""
    moments, seen = random.Random(0), []
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        killed, alone = Path(one), Path(two)
        server.settle_in(**SLOW)
        for _ in range(kills):
            killed_once(server, killed, n, FREE, moments.uniform(0.0, 0.9))
            seen.append((cached(killed), len(server.books.asked)))
        worker(server, killed, n, FREE).wait()
        books = server.books
        server.settle_in(**SLOW)
        worker(server, alone, n, FREE).wait()
        records, wanted = ((folder / RECORDS).read_bytes() for folder in (killed, alone))
        answers = [Answer.model_validate_json(line) for line in wanted.splitlines()]
    again = {key for have, asked in seen for key in have & set(books.asked[asked:])}
    found = Counter(
        paid_twice=len(again),
        unequal=int(records != wanted or len(answers) != n),
        undelivered=sum(books.charged.values()) - len(books.charged),
        kept=len(seen[-1][0]),
    )
    return found, sum(answer.cost for answer in answers)


def spend(server: Remote, n: int, ceiling: float) -> tuple[float, int]:
    """Part 3: run into a ceiling, killed once on the way; the server's sum and the answers."""
    server.settle_in(**SLOW)
    with tempfile.TemporaryDirectory() as folder:
        killed_once(server, Path(folder), n, ceiling, 0.5)
        ended = worker(server, Path(folder), n, ceiling).wait()
        assert ended, "the worker ends with CeilingReached"
        books = server.books
        return PRICES.of(books.tokens_in, books.tokens_out), len(cached(Path(folder)))


def quirky(server: Remote, asked: list[Request], dice: random.Random) -> Counter:
    """Part 4: one server of random quirks; count what came of the images."""
    odd = {"strings only", "null", "max_completion_tokens", "max_completion_tokens, prose"}
    names = [name for name in REFUSALS if name not in odd and dice.random() < 0.5]
    options = {"temperature": 0, "logprobs": True, "top_logprobs": 5, "presence_penalty": 0}
    server.settle_in(**SLOW | {"latency": 0.0, "quirks": [*names, *SHAPES, *BODIES]})
    many = (one.model_copy(update={"system": "Examine.", "seed": 7}) for one in asked)
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint(
            "any", server.url, cache=Path(folder), prices=PRICES, timeout=3.0,
            options=options | {"top_k": 1},
        )  # fmt: skip
        answers = list(endpoint.ask(many, Verdict))
    books = server.books
    return Counter(
        lost=len(asked) - sum(bool(answer.parsed or answer.refusal) for answer in answers),
        paid_twice=sum(n > 1 for n in books.delivered.values()),
        undelivered=sum(books.charged.values()) - sum(books.delivered.values()),
        refusals=len(names),
    )


def quirks(server: Remote, asked: list[Request], servers: int = 5) -> Counter:
    """Part 4: print a line for each server; return the sums."""
    dice, total = random.Random(0), Counter()
    for _ in range(servers):
        found = quirky(server, asked, dice)
        total.update(found)
        print("quirks:", json.dumps(found), flush=True)
    return total


def main() -> None:
    """Print three tables and the JSON line."""
    asked, total = requests(IMAGES), Counter()
    with remote() as server:
        columns = ("lost", "duplicated", "paid_twice", "undelivered", "retried")
        print(f"{'fault':<24}", *(f"{name:>12}" for name in columns), f"{'seconds':>9}", sep="")
        for fault in FAULTS:
            begin = time.perf_counter()
            found = strike(server, fault, asked)
            total.update(found)
            row = "".join(f"{found[name]:>12}" for name in columns)
            print(f"{fault:<24}{row}{time.perf_counter() - begin:>9.1f}", flush=True)
        found, price = kill(server, IMAGES, KILLS)
        total.update(found)
        print(
            f"\n{KILLS} kills: {found['kept']} of {IMAGES} answers had reached the cache;", end=" "
        )
        print(f"{found['undelivered']} charged answers never arrived (kills and faults);", end=" ")
        print(f"records {'differ' if found['unequal'] else 'byte-identical'}\n", flush=True)
        print(f"{'ceiling':>10}{'charged':>10}{'answers':>10}")
        for share in CEILINGS:
            ceiling = share * price
            charged, answers = spend(server, IMAGES, ceiling)
            total["over_budget"] += charged > ceiling
            print(f"{ceiling:>10.4f}{charged:>10.4f}{answers:>10,}", flush=True)
        total.update(quirks(server, asked))
    known = {name: total[name] for name in ("lost", "duplicated", "paid_twice")}
    rest = {"byte_equal": not total["unequal"], "over_budget": total["over_budget"]}
    print(json.dumps({"images": IMAGES, "faults": len(FAULTS)} | known | {"kills": KILLS} | rest))


if __name__ == "__main__":
    if sys.argv[1:] == ["quirks"]:
        with remote() as alone:
            quirks(alone, requests(IMAGES))
    elif len(sys.argv) > 1:
        address, cache, out, n, money = sys.argv[1:]
        work(address, Path(cache), Path(out), int(n), float(money))
    else:
        main()
