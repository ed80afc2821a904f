"""How close to ideal is the endpoint's client? A server that takes 1 s, 64 connections.

Run from the repository root: ``python -m benchmarks.endpoint_rate`` (about 3 minutes). The server
(tests/chat_server.py) is a process of its own on loopback; each request has a picture of its own
and a schema. Ideal is ceil(images / 64) seconds. Last line: one JSON object {"ratio_to_ideal",
"images", "exponent"}: ideal over measured time, median of RUNS runs of the largest size, and the
slope of log time against log images.
"""

import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from dfa_lib.endpoint import Endpoint, Request
from dfa_lib.files import png

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from chat_server import Remote, remote

CONNECTIONS, LATENCY, RUNS = 64, 1.0, 3
SIZES = (256, 512, 1_024, 2_048)


class Verdict(BaseModel):
    """A schema as an annotator may use it."""

    verdict: Literal["bona fide", "forged"]
    reasons: list[str]


def requests(n: int) -> list[Request]:
    """Write ``n`` requests, each with a picture of 64 x 64 random pixels."""
    pixels = np.random.default_rng(0)
    pictures = (pixels.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(n))
    return [
        Request(id=str(i), text="Is this face forged?", images=(png(picture),))
        for i, picture in enumerate(pictures)
    ]


def seconds(server: Remote, asked: list[Request]) -> float:
    """Ask all of them into an empty cache and return the wall time."""
    server.settle_in(latency=LATENCY)
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint("any", server.url, cache=Path(folder), concurrency=CONNECTIONS)
        begin = time.perf_counter()
        answers = list(endpoint.ask(asked, Verdict))
        took = time.perf_counter() - begin
    assert all(answer.parsed for answer in answers) and len(answers) == len(asked)
    assert server.books.most_at_once <= CONNECTIONS
    return took


def main() -> None:
    """Print a table of sizes and the JSON line."""
    asked, times, ratios = requests(max(SIZES)), {}, []
    with remote() as server:
        print(f"{'images':>8}{'seconds':>10}{'ideal':>8}{'ratio':>8}")
        for n in (*SIZES, *[max(SIZES)] * (RUNS - 1)):
            took, ideal = seconds(server, asked[:n]), LATENCY * math.ceil(n / CONNECTIONS)
            times.setdefault(n, []).append(took)
            ratios += [ideal / took] if n == max(SIZES) else []
            print(f"{n:>8,}{took:>10.2f}{ideal:>8.0f}{ideal / took:>8.3f}", flush=True)
    typical = [statistics.median(times[n]) for n in SIZES]
    exponent = float(np.polyfit(np.log(SIZES), np.log(typical), 1)[0])
    ratio = statistics.median(ratios)
    found = {
        "ratio_to_ideal": round(ratio, 4),
        "images": max(SIZES),
        "exponent": round(exponent, 3),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
