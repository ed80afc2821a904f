"""The cache on disk: answers by content address, and how much has been spent.

One SQLite file: an answer and its price are stored in one transaction, a killed process
loses neither, and several processes on one machine share a cache and its ceiling.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Self
from weakref import WeakValueDictionary

from pydantic import ValidationError

from dfa_lib.endpoint.contract import Ceiling, CeilingReached, Prices, Reply, Spend
from dfa_lib.endpoint.dialect import Body, Call, Dialect, parts
from dfa_lib.endpoint.faults import masked
from dfa_lib.files import digest, turn
from dfa_lib.records import DataError

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, reply TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS dialects (name TEXT PRIMARY KEY, dialect TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS spent (requests INTEGER, tokens INTEGER, money REAL);
CREATE TABLE IF NOT EXISTS queued (key TEXT PRIMARY KEY, batch TEXT, vendor TEXT,
    requests INTEGER, tokens INTEGER, money REAL);
INSERT INTO spent SELECT 0, 0, 0.0 WHERE NOT EXISTS (SELECT 1 FROM spent);
"""
_MANNER = {"stream", "stream_options"}  # how an answer is sent decides nothing
_ADD = "UPDATE spent SET requests = requests + ?, tokens = tokens + ?, money = money + ?"
_FITS = " WHERE requests + ? <= ? AND tokens + ? <= ? AND money + ? <= ? + 1e-9"


class Store:
    """The cache of one folder, for one model and what it may cost.

    ``name`` is of the model and its server, of which it keeps the ``dialect``; ``spent`` counts
    what is settled and what is reserved. No reply is kept with the key ``secret`` in it.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "",
        prices: Prices | None = None,
        ceiling: Ceiling | None = None,
        secret: str = "",
    ) -> None:
        self._name, self.prices, self.ceiling = name, prices or Prices(), ceiling or Ceiling()
        self._lock, self.secret = RLock(), secret
        self._asked: WeakValueDictionary[str, Any] = WeakValueDictionary()
        path, self._turns = folder / "answers.sqlite", folder / "asked"
        try:
            self._turns.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._db.executescript(_TABLES)
            row = self._row("SELECT dialect FROM dialects WHERE name = ?", name)
        except (OSError, sqlite3.DatabaseError) as error:
            raise DataError(f"{path}: {error}; move it, or choose another cache") from None
        self.dialect = Dialect()
        with suppress(ValidationError):  # what is damaged is learned anew
            self.dialect = Dialect.model_validate_json(row[0]) if row else Dialect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _row(self, query: str, *values: str) -> tuple | None:
        with self._lock:  # one thread at a time: a transaction is of one of them
            return self._db.execute(query, values).fetchone()

    def get(self, key: str) -> Reply | None:
        """Return the stored reply to the call of this key."""
        row = self._row("SELECT reply FROM answers WHERE key = ?", key)
        with suppress(ValidationError):  # a damaged row is as good as none
            reply = Reply.model_validate_json(row[0]) if row else None
            return None if reply and reply.empty else reply

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Wait while anybody else asks the same, in this process or another."""
        with self._asked.setdefault(key, Lock()), turn(self._turns / key):
            yield

    def learn(self, dialect: Dialect) -> None:
        """Use a dialect from now on, in later runs too."""
        self.dialect = dialect
        with self._lock, self._db:
            row = (self._name, dialect.model_dump_json())
            self._db.execute("INSERT OR REPLACE INTO dialects VALUES (?, ?)", row)

    def call(self, asked: Body) -> Call:
        """Hash what is asked, write it for this model, and bound its cost: a byte is a token.

        The key covers all that is asked and nothing else: what is learned about a server later
        finds its answers, and so does a server that comes back under another address; another
        model under the same name needs another cache.
        """
        what = {name: value for name, value in asked.items() if name not in _MANNER}
        key = digest(json.dumps(what, sort_keys=True))
        dialect = self.dialect  # another thread may learn a better one meanwhile
        body = dialect.write(asked)
        sent = (part for turn in body["messages"] for part in parts(turn))
        pictures = [part["image_url"]["url"] for part in sent if "image_url" in part]
        text = len(json.dumps(body)) - sum(map(len, pictures))
        tokens_in = text + self.prices.image_tokens * len(pictures)
        tokens_out = body.get("max_tokens") or body["max_completion_tokens"]
        bound = Spend(1, tokens_in + tokens_out, self.prices.of(tokens_in, tokens_out))
        return Call(asked, body, key, bound, dialect, bool(pictures))

    @property
    def spent(self) -> Spend:
        """All that may have been paid so far: what never came back counts at its bound."""
        return Spend(*self._row("SELECT * FROM spent"))

    def reserve(self, bound: Spend) -> None:
        """Set ``bound`` aside. Raises CeilingReached instead if that would pass the ceiling."""
        with self._lock, self._db:
            self._reserve(bound)

    def _reserve(self, bound: Spend) -> None:
        checks = [number for pair in zip(bound, self.ceiling, strict=True) for number in pair]
        if self._db.execute(_ADD + _FITS, (*bound, *checks)).rowcount == 0:
            raise CeilingReached(self.spent, bound, self.ceiling)

    def release(self, bound: Spend) -> None:
        """Give back what was set aside: the server charged nothing."""
        with self._lock, self._db:
            self._db.execute(_ADD, Spend().plus(bound, -1))

    def settle(self, key: str, reply: Reply | None, bound: Spend) -> None:
        """Store a reply and replace its bound by its price, both or neither.

        None is one that was charged and came to nothing: its bound stays spent.
        """
        with self._lock, self._db:
            self._db.execute("DELETE FROM queued WHERE key = ?", (key,))
            if reply:
                price = Spend(1, reply.tokens_in + reply.tokens_out, reply.cost)
                row = (key, self._bare(reply).model_dump_json())
                how = "IGNORE" if self.get(key) else "REPLACE"
                self._db.execute(f"INSERT OR {how} INTO answers VALUES (?, ?)", row)
                self._db.execute(_ADD, price.plus(bound, -1))

    def _bare(self, reply: Reply) -> Reply:
        """Without the key, should the server have told it to the model."""
        told = {"text": reply.text, "refusal": reply.refusal}
        shown = {name: text and masked(text, self.secret) for name, text in told.items()}
        return reply.model_copy(update=shown)

    def waits(self, key: str) -> bool:
        """True for a call that was submitted in a batch and is not collected."""
        return self._row("SELECT 1 FROM queued WHERE key = ?", key) is not None

    def hold(self, batch: str, calls: Mapping[str, Spend]) -> None:
        """Reserve a whole batch before it is sent, or nothing. Raises CeilingReached."""
        total = reduce(Spend.plus, calls.values(), Spend())
        with self._lock, self._db:
            self._reserve(total)
            rows = ((key, batch, *bound) for key, bound in calls.items())
            self._db.executemany("INSERT INTO queued VALUES (?, ?, NULL, ?, ?, ?)", rows)

    def sent(self, batch: str, vendor: str) -> None:
        """Note the vendor's id of a batch."""
        with self._lock, self._db:
            self._db.execute("UPDATE queued SET vendor = ? WHERE batch = ?", (vendor, batch))

    @property
    def batches(self) -> dict[str, str | None]:
        """The batches that are not collected and the vendor's id of each, if it was noted."""
        return dict(self._db.execute("SELECT DISTINCT batch, vendor FROM queued"))

    def held(self, batch: str) -> dict[str, Spend]:
        """The calls of a batch that have no reply yet, and what is set aside for each."""
        rows = self._db.execute(
            "SELECT key, requests, tokens, money FROM queued WHERE batch = ?", (batch,)
        )
        return {key: Spend(*bound) for key, *bound in rows}

    def close(self, batch: str) -> None:
        """Forget a batch and give back what is still set aside for it."""
        gone = "DELETE FROM queued WHERE batch = ? RETURNING requests, tokens, money"
        with self._lock, self._db:
            for bound in self._db.execute(gone, (batch,)).fetchall():
                self._db.execute(_ADD, Spend().plus(Spend(*bound), -1))
