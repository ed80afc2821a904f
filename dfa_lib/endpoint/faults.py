"""What goes wrong between here and a server, in one line and without the key."""

import re

import openai

from dfa_lib.endpoint.wire import words
from dfa_lib.records import DataError

HOPELESS = {401, 403, 406, 407, 408, 409, 410, 429, 502, 503, 504, 529}
"""Statuses that are about something else than the way of asking."""
UNCHARGED = set(range(400, 500)) - {408, 499}
"""Statuses of refusals; the two others speak of waiting for what may be done, and so be paid."""
_FATAL = {401, 402, 403, 404, 451}  # no other request would do better
_LATE = "a gateway did not wait for the model; ask again, or ask for a shorter answer"
_ADVICE = {
    401: "key: missing or wrong; set it again",
    402: "key: its credit is used up; add to it, or take another key",
    403: "key: not allowed here; ask for access or take another model",
    404: "model or base_url: not known to the server; check both",
    408: _LATE,
    413: "the request is too large for the server; take smaller pictures, or raise its limit",
    429: "busy: too many requests for now; wait a minute and ask again",
    451: "base_url: the server may not answer where you are; take another",
    504: _LATE,
    524: _LATE,
}
_TROUBLE = "the server is in trouble; ask again in a while"
_LONG = re.compile(r"context.?(length|window|size)", re.IGNORECASE)
_CREDIT = r"insufficient.?(quota|funds|balance|credit)|billing.?(hard.?)?limit|credit balance"
_NEVER = r"(not|n't) (supported?|implemented)\b|unsupported|context (length|window|size)"
_TOKEN = re.compile(r"[\w-]{8,}")


class Failed(Exception):
    """A request that stayed without an answer; the message is one line without the key."""


class Stopped(openai.OpenAIError):
    """Carries ``reason`` through the openai library, which passes on its own errors at once."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def meant(status: int, said: str) -> int:
    """Return the status of what is said: 402 or 400 where "busy" or "trouble" would not pass."""
    kind = {429: (_CREDIT, 402), 500: (_NEVER, 400), 501: ("", 400)}.get(status)
    return kind[1] if kind and re.search(kind[0], said.lower()) else status


def masked(text: str, key: str) -> str:
    """Return a text without the key and without the pieces of it, such as "sk-abcdefgh...".

    A key of a few letters, such as "anything" for a server that wants none, is a word, no secret.
    """
    if len(key) < 8 or (len(key) < 16 and key.isalpha()):
        return text
    return _TOKEN.sub(lambda m: "***" if m[0] in key else m[0], text.replace(key, "***"))


def plain(text: str, key: str) -> str:
    """Return a server's words as one line: masked, then cut, with nothing that moves a terminal."""
    line = "".join(c if c.isprintable() else " " for c in masked(text, key))
    return " ".join(line.split())[:300]


def shown(text: str, key: str) -> str:
    """Return what may be shown of a text that goes on: its end may be the begin of the key."""
    begun = (n for n in range(min(len(key) - 1, len(text)), 0, -1) if text.endswith(key[:n]))
    return masked(text[: len(text) - next(begun, 0)], key)


def told(error: openai.OpenAIError, key: str) -> Exception:
    """Return what to raise instead: DataError if no other request would do better, else Failed."""
    if isinstance(error, Stopped):
        return error.reason
    fatal = getattr(error, "status_code", 0) in _FATAL
    return (DataError if fatal else Failed)(_sentence(error, key))


def _sentence(error: openai.OpenAIError, key: str) -> str:
    """What went wrong and what to do about it, then the server's own words without the ``key``."""
    response = getattr(error, "response", None)
    if response:
        own = response.extensions.get("said") or words(response.text)
        said = f"HTTP {response.status_code}: {own}"
    else:
        said = f"{error} {error.__cause__ or ''}"
    line, advice = plain(said, key), _advice(error, said)
    return f"{advice} ({line})" if advice else line


def _advice(error: openai.OpenAIError, said: str) -> str | None:
    """What to do about an error, as far as its kind tells."""
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time; ask again, or allow more by timeout"
    if isinstance(error, openai.APIConnectionError):
        host, cause = error.request.url.host, type(error.__cause__).__name__
        if cause in {"ConnectError", "NoneType"}:
            return f"no server answers at {host}; start it, or check base_url"
        if cause == "DecodingError":
            return "the answer is packed so that it cannot be read; ask the server's owner"
        return f"{host} broke the connection off before its answer; ask again"
    status = getattr(error, "status_code", 0)
    if _LONG.search(said) and status not in _FATAL:
        return "longer than the model reads; take smaller pictures, fewer turns or a larger context"
    return _ADVICE.get(status, _TROUBLE if status >= 500 else None)
