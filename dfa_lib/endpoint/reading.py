"""Reading of model and server texts: reasoning, JSON, refusals and errors."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import openai
from pydantic import BaseModel, ValidationError

UNABLE = "unable: the model says that it sees no picture"
_IMAGE = r"(images?|pictures?|photos?|photographs?|attachments?)\b"
_ALONE = (  # "image artifacts" and "photo retouching" are no pictures
    r"(?=\s*([^\w\s-]|$)|\s(in|on|at|to|from|with|here|that|which|you|so|and|or|but|as|because|for"
    r"|was|is|were|are|has|have|files?|data|contents?|inputs?|directly|yet|attached|provided)\b)"
)
_GIVEN = r"(attached|provided|uploaded|included|received|shared|visible|available|given|loaded)"
_BEEN = r"((was|is|were|has been|have been|seems|appears) )?(to be )?"
_ONE = r"( an?| any| the| this| that| your)? (\w+ )?"
NO_PICTURE = re.compile(
    r"\b(can(no|')t|can not|could(n't| not)|(un|not )able to|do(es)?(n't| not)|did(n't| not)"
    r"|the ability to|not) (actually |currently |directly )?"
    r"(see|view|receive|access|display|have|find|process|open|read|seeing|viewing|receiving)"
    rf"( (or|and) \w+)?( access to| to)?{_ONE}{_IMAGE}{_ALONE}"
    rf"|\bno (\w+ )?{_IMAGE} {_BEEN}{_GIVEN}"
    rf"|\bno {_IMAGE} in (your|the|our|this) (message|conversation|chat|prompt)"
    rf"|\b{_IMAGE} (was|is|were|has|have)( not|n't)( been)? {_GIVEN}(?! (in|at) (higher|full))"
    rf"|\b(have|did)( not|n't) ({_GIVEN}|attach|provide|upload|share){_ONE}{_IMAGE}"
    rf"|\bplease (attach|provide|upload|share|send){_ONE}{_IMAGE}"
    r"|\btext-(based|only) (ai|model|assistant|language)",
    re.IGNORECASE,
)
"""What a model without eyes says; sentences about parts of a picture are none of it."""
BLIND = re.compile(
    rf"{NO_PICTURE.pattern}|\b(upload|attach|provide|share|send|missing)"
    rf"|\b(no|not|cannot|unable|without)\b|n't\b|\b(nicht|kein\w*|no puedo)\b|无法|不能|没有",
    re.IGNORECASE,
)
"""What is said instead of a colour where a picture did not arrive."""
_THOUGHTS = re.compile(
    r"<(think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad)>.*?(</\1>|$)",
    re.DOTALL | re.IGNORECASE,
)
_END = re.compile(r".*</(think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)
_TRIES = 1000  # braces without an end would take long
_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
_TAG = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)

FATAL = {
    402: "key: its credit is used up; add to it, or take another key",
    401: "key: missing or wrong; set it again",
    403: "key: not allowed here; ask for access or take another model",
    404: "model or base_url: not known to the server; check both",
    451: "base_url: the server may not answer where you are; take another",
}
_LATE = "a gateway did not wait for the model; ask again, or ask for a shorter answer"
_PASSING = {
    408: _LATE,
    413: "the request is too large for the server; take smaller pictures, or raise its limit",
    429: "busy: too many requests for now; wait a minute and ask again",
    504: _LATE,
    524: _LATE,
}
_TROUBLE = "the server is in trouble; ask again in a while"
_BROKEN = {
    "DecodingError": "the answer is packed so that it cannot be read; ask the server's owner",
}
_LONG = re.compile(r"context.?(length|window|size)", re.IGNORECASE)
_TOKEN = re.compile(r"[\w-]{8,}")


def spoken(text: str | None) -> str | None:
    """Return the text without the reasoning before it; None if nothing else is there."""
    if text is None:
        return None
    rest = _END.sub("", _THOUGHTS.sub("", text)).replace("\u2019", "'")
    return (rest if rest == text else rest.strip()) if rest.strip() else None


def understood(
    text: str | None, schema: type[BaseModel] | None
) -> tuple[BaseModel | None, str | None]:
    """Return the last object of a text that fits the schema, if any, or what is wrong with it.

    An object may be fenced or stand after prose, in a JSON string, or under the schema's name;
    commas before a bracket and line ends in strings are forgiven. Without a schema any text is
    right.
    """
    said = spoken(text)
    if said is None or schema is None:
        return None, "there is no text" if said is None else None
    found = None
    for part in [said, *_objects(said)]:
        try:
            found = schema.model_validate_json(part)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
    for part in () if found else _mended(said, schema.__name__):
        with suppress(ValidationError):
            found = schema.model_validate_json(part)
    if found:
        return found, None
    named = (f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in faults[:3])
    return None, "; ".join(named)


def _mended(text: str, name: str) -> Iterator[str]:
    """Yield the objects of a text as JSON, without the slips of models."""
    with suppress(ValueError):
        inner = loaded(text)
        text = inner if isinstance(inner, str) else text
    text = _COMMA.sub(lambda found: found[1] or "", text)
    for part in _objects(text, strict=False):
        found = json.loads(part, strict=False)
        under = [key for key in found if key.lower() == name.lower()] if len(found) == 1 else []
        yield whole(json.dumps(found[under[0]] if under else found, ensure_ascii=False))


def _objects(text: str, strict: bool = True) -> Iterator[str]:
    """Every JSON object in a text that is in no other."""
    at, decoder = text.find("{"), json.JSONDecoder(strict=strict)
    for _ in range(_TRIES):
        if at < 0:
            return
        try:
            end = decoder.raw_decode(text, at)[1]
            yield text[at:end]
        except ValueError:
            end = at + 1
        except RecursionError:  # nor would the rest be anything
            return
        at = text.find("{", end)


def loaded(content: str) -> Any:
    """Parse JSON. Raises ValueError also for what is nested too deep to be anything."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None


def parsed(content: str) -> Any:
    """Parse a body behind a byte order mark, between comments, or sent as a stream.

    Raises ValueError for a stream that ends before the answer does.
    """
    lines = [line for line in content.lstrip("\ufeff").split("\n") if not line.startswith(":")]
    events = [line[5:].strip() for line in lines if line.startswith("data:")]
    if not events:
        return loaded("\n".join(lines))
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
        raise ValueError("the stream ended before the answer did")
    failed = [piece["error"] for piece in pieces if piece.get("error")]
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    choice = {"message": _put_together(pieces), "finish_reason": ended[-1] if ended else None}
    choice |= {"error": failed[0]} if failed else {}
    return {"choices": pieces and [choice], "usage": usage[-1] if usage else None}


def _put_together(pieces: list[Any]) -> dict[str, Any]:
    """Return the message whose parts a stream brought."""
    deltas = [p.get("delta") or p.get("message") or {"content": p.get("text")} for p in pieces]
    names = ("content", "refusal", "reasoning_content", "reasoning")
    message = {name: "".join(joined(delta.get(name)) or "" for delta in deltas) for name in names}
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls") or ()]
    arguments = "".join(call.get("arguments") or "" for call in calls)
    return message | ({"function_call": {"arguments": arguments}} if arguments else {})


def said_in(message: dict[str, Any]) -> str | None:
    """Return the text of a message: its content, else the one tool call, object or thought."""
    text = joined(message.get("content"))
    if text and text.strip():
        return text
    calls = [message.get("function_call")]
    calls += [call.get("function") for call in message.get("tool_calls") or ()]
    called = [call["arguments"] for call in calls if call]
    thought = message.get("reasoning_content") or message.get("reasoning")
    other = (called[0] if len(called) == 1 else None) or message.get("parsed") or thought
    return other if other is None or isinstance(other, str) else json.dumps(other)


def joined(content: Any) -> str | None:
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


def sentence_in(content: str) -> str:
    """What a server says in something that is no completion: an error object, or a page."""
    try:
        found = parsed(content)
    except ValueError as error:
        if "data:" in content:
            return str(error)
        return " ".join(_TAG.sub(" ", content).split()) or "nothing"
    with suppress(LookupError, TypeError, AttributeError):
        found = found["choices"][0].get("error") or "an answer without a word"
    for name in ("error", "detail", "message", "msg"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return str(found)


def sentence(error: openai.OpenAIError, key: str) -> str:
    """What went wrong and what to do about it, then the server's own words without the ``key``."""
    response = getattr(error, "response", None)
    if response:
        said = f"HTTP {response.status_code}: {sentence_in(response.text)}"
    else:
        said = f"{error} {error.__cause__ or ''}"
    line, reason = plain(said, key), _reason(error, said)
    return f"{reason} ({line})" if reason else line


def _reason(error: openai.OpenAIError, said: str) -> str | None:
    """What to do about an error, as far as its kind tells."""
    if isinstance(error, openai.APITimeoutError):
        return "no answer in time; ask again, or allow more by timeout"
    if isinstance(error, openai.APIConnectionError):
        host, cause = error.request.url.host, type(error.__cause__).__name__
        if cause in {"ConnectError", "NoneType"}:
            return f"no server answers at {host}; start it, or check base_url"
        return _BROKEN.get(cause, f"{host} broke the connection off before its answer; ask again")
    status = getattr(error, "status_code", 0)
    if _LONG.search(said) and status not in FATAL:
        return "longer than the model reads; take smaller pictures, fewer turns or a larger context"
    passing = _TROUBLE if status >= 500 else None
    return (FATAL | _PASSING).get(status, passing)
