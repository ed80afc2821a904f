"""What comes back on the wire, live or from a batch: an answer or a fault."""

import json
import re
from contextlib import suppress
from typing import Any

from dfa_lib.endpoint.contract import Prices, Reply, Spend

_WITHHELD = {"content_filter", "safety", "image_safety", "recitation", "blocklist", "spii"}
_WITHHELD |= {"prohibited_content"}
_ABSURD = 10**9
_TAG = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class Fault(Exception):
    """What came instead of an answer: the status it speaks of, and what the server ``said``.

    The status is 400 if it speaks of none, 406 for what is no JSON and for an answer without a
    word, and 502 for a stream that broke off.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


def read(
    content: str,
    bound: Spend,
    prices: Prices,
    settings: tuple[str, ...] = (),
    batch: bool = False,
) -> Reply:
    """Read a chat completion that costs ``bound`` at most.

    Only the text has to be where it belongs: it is paid for, whatever stands beside it. Raises
    Fault for an answer without a word, with an error in it, or broken off in mid-stream.
    """
    got = _parsed(content)
    try:
        choice = got["choices"][0]
        message = choice.get("message") or {"content": choice["text"]}
        text, refusal = _said_in(message), message.get("refusal") or None
    except (LookupError, TypeError, AttributeError):
        raise _fault_in(got) from None
    finish = str(choice.get("finish_reason")).lower()
    if finish == "error" or choice.get("error"):
        raise _fault_in(got)
    if refusal and not isinstance(refusal, str):
        refusal = None if text else f"refused: {json.dumps(refusal)}"
    if finish in _WITHHELD:
        refusal = refusal or "withheld by the content filter"
    reply = Reply(
        text=text and whole(text),
        refusal=refusal and whole(refusal),
        first=_first_token(choice),
        cut=finish in {"length", "max_tokens"},
        settings=settings,
        **_counted(got.get("usage"), bound, prices, batch),
    )
    if reply.empty:
        raise _fault_in(got)
    return reply


def words(content: str) -> str:
    """Return what a server says beside a status: the sentence of an error object, or a page."""
    try:
        return _fault_in(_parsed(content)).said
    except Fault as fault:
        return fault.said


def _fault_in(found: Any) -> Fault:
    """Return what an object that is no answer says: its error, or that of its choice."""
    with suppress(LookupError, TypeError, AttributeError):
        choice = found["choices"][0]
        if not choice.get("error"):
            return Fault(406, "an answer without a word")
        found = choice
    code = ""
    with suppress(LookupError, TypeError):
        code = str(found["error"]["code"])
    for name in ("error", "detail", "message", "msg"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return Fault(int(code) if re.fullmatch(r"[45]\d\d", code) else 400, str(found))


def _first_token(choice: Any) -> dict[str, float] | None:
    """Return the log-probabilities of the first token, if they are there."""
    with suppress(LookupError, TypeError, AttributeError, ValueError):
        token = choice["logprobs"]["content"][0]
        listed = token.get("top_logprobs") or [token]
        return {whole(one["token"]): float(one["logprob"]) for one in listed}
    return None


def _counted(usage: Any, bound: Spend, prices: Prices, batch: bool = False) -> dict[str, float]:
    """Return tokens and cost of a Reply; what was not counted took as much as it was allowed."""
    with suppress(LookupError, TypeError, ValueError, ArithmeticError):
        used = int(float(usage["prompt_tokens"])), int(float(usage.get("completion_tokens") or 0))
        if 0 <= min(used) and max(used) < _ABSURD:
            return {"tokens_in": used[0], "tokens_out": used[1], "cost": prices.of(*used, batch)}
    return {"tokens_in": int(bound.tokens), "tokens_out": 0, "cost": bound.money}


def piece(line: str) -> str:
    """Return the words in one line of a stream."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        delta = loaded(line.removeprefix("data:"))["choices"][0]["delta"]
        return _joined(delta.get("content")) or _joined(delta.get("refusal")) or ""
    return ""


def loaded(content: str) -> Any:
    """Parse JSON. Raises ValueError also for what is nested too deep to be anything."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _parsed(content: str) -> Any:
    """Parse a body behind a byte order mark, between comments, or sent as a stream.

    Raises Fault for what is no JSON, and for a stream without an end or of something else.
    """
    lines = [line for line in content.lstrip("\ufeff").split("\n") if not line.startswith(":")]
    events = [line[5:].strip() for line in lines if line.startswith("data:")]
    try:
        return _streamed(events) if events else loaded("\n".join(lines))
    except ValueError:
        raise Fault(406, " ".join(_TAG.sub(" ", content).split()) or "nothing") from None
    except (LookupError, TypeError, AttributeError):
        raise Fault(502, "a stream of something else than an answer") from None


def _streamed(events: list[str]) -> Any:
    """Make one completion of the events of a stream."""
    chunks, rest = [], ""
    for event in events:
        rest += event if event != "[DONE]" else ""
        with suppress(ValueError):  # one event may stand on several lines
            chunks.append(loaded(rest))
            rest = ""
    if found := [chunk for chunk in chunks if "error" in chunk]:
        return found[0]
    pieces = [chunk["choices"][0] for chunk in chunks if chunk.get("choices")]
    if len(pieces) == 1 and pieces[0].get("message"):
        return chunks[0]
    ended = [piece["finish_reason"] for piece in pieces if piece.get("finish_reason")]
    if rest or not (ended or "[DONE]" in events):
        raise Fault(502, "the stream ended before the answer did")
    failed = [piece["error"] for piece in pieces if piece.get("error")]
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    choice = {"message": _put_together(pieces), "finish_reason": ended[-1] if ended else None}
    choice |= {"error": failed[0]} if failed else {}
    return {"choices": pieces and [choice], "usage": usage[-1] if usage else None}


def _put_together(pieces: list[Any]) -> dict[str, Any]:
    """Return the message whose parts a stream brought."""
    deltas = [p.get("delta") or p.get("message") or {"content": p.get("text")} for p in pieces]
    names = ("content", "refusal", "reasoning_content", "reasoning")
    message = {name: "".join(_joined(delta.get(name)) or "" for delta in deltas) for name in names}
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls") or ()]
    arguments = "".join(call.get("arguments") or "" for call in calls)
    return message | ({"function_call": {"arguments": arguments}} if arguments else {})


def _said_in(message: dict[str, Any]) -> str | None:
    """Return the text of a message: its content, else the one tool call, object or thought."""
    text = _joined(message.get("content"))
    if text and text.strip():
        return text
    calls = [message.get("function_call")]
    calls += [call.get("function") for call in message.get("tool_calls") or ()]
    called = [call["arguments"] for call in calls if call]
    thought = message.get("reasoning_content") or message.get("reasoning")
    other = (called[0] if len(called) == 1 else None) or message.get("parsed") or thought
    return other if other is None or isinstance(other, str) else json.dumps(other)


def _joined(content: Any) -> str | None:
    """Some servers send the text as a part, as a list of parts, or as the object it stands for."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content if "text" in content else json.dumps(content)]
    parts = [part if isinstance(part, dict) else {"text": part} for part in content]
    texts = [p.get("text") for p in parts if p.get("type") not in {"thinking", "reasoning"}]
    texts = [t.get("value") if isinstance(t, dict) else t for t in texts]
    return "".join(text for text in texts if isinstance(text, str))


def whole(text: str) -> str:
    """Return a text that UTF-8 can hold: half a surrogate pair becomes a replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
