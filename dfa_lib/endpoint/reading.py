"""Reading of model and server texts: reasoning, JSON, refusals and errors."""

import json
import re
from collections.abc import Iterator

import openai
from pydantic import BaseModel, ValidationError

UNABLE = "unable: the model says that it sees no picture"
_IMAGE = r"(\w+ )?(images?|pictures?|photos?|photographs?|attachments?)\b"
NO_PICTURE = re.compile(
    r"\b(can(no|')t|can not|could(n't| not)|(un|not )able to|do(es)?(n't| not)|did(n't| not))"
    r" (actually |currently |directly )?"
    r"(see|view|receive|access|display|have|find|process|open|read)"
    rf"( (or|and) \w+)?( access to| to)?( an?| any| the| this| that| your)? {_IMAGE}"
    rf"|\bno {_IMAGE} (was |is |were |has been |have been |seems |appears )?(to be )?"
    r"(attached|provided|uploaded|included|received|shared|visible|available|given)"
    rf"|\b{_IMAGE} (was|is|were|has|have)( not|n't)( been)?"
    r" (attached|provided|uploaded|included|received|shared|visible|available|loaded)"
    r"|\btext-(based|only) (ai|model|assistant|language)",
    re.IGNORECASE,
)
_THOUGHTS = re.compile(
    r"<(think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad)>.*?(</\1>|$)",
    re.DOTALL | re.IGNORECASE,
)
_END = re.compile(r".*</(think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)

FATAL = {
    402: "key: its credit is used up; add to it, or take another key",
    401: "key: missing or wrong; set it again",
    403: "key: not allowed here; ask for access or take another model",
    404: "model or base_url: not known to the server; check both",
}
_PASSING = {
    429: "busy: too many requests for now; wait a minute and ask again",
    500: "the server is in trouble; ask again in a while",
    503: "the server is in trouble; ask again in a while",
}


def spoken(text: str | None) -> str | None:
    """Return the text without the reasoning before it; None if nothing else is there."""
    if text is None:
        return None
    rest = _END.sub("", _THOUGHTS.sub("", text)).replace("\u2019", "'")
    return (rest if rest == text else rest.strip()) if rest.strip() or not text.strip() else None


def understood(
    text: str | None, schema: type[BaseModel] | None
) -> tuple[BaseModel | None, str | None]:
    """Return the last object of a text that fits the schema, if any, or what is wrong with it.

    An object may be fenced or stand after prose. Without a schema any text is right.
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
    if found:
        return found, None
    named = (f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in faults[:3])
    return None, "; ".join(named)


def _objects(text: str) -> Iterator[str]:
    """Every JSON object in a text that is in no other."""
    at, decoder = text.find("{"), json.JSONDecoder()
    while at >= 0:
        try:
            end = decoder.raw_decode(text, at)[1]
            yield text[at:end]
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)


def sentence_in(content: str) -> str:
    """What a server says in something that is no completion: an error object, or a page."""
    try:
        found = json.loads(content)
    except ValueError:
        return " ".join(_TAG.sub(" ", content).split())[:200] or "nothing"
    for name in ("error", "detail", "message", "msg"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return str(found)[:200]


def sentence(error: openai.OpenAIError, key: str) -> str:
    """What went wrong and what to do about it, then the server's own words without the ``key``."""
    reason = (FATAL | _PASSING).get(getattr(error, "status_code", 0))
    if isinstance(error, openai.APITimeoutError):
        reason = "no answer in time; ask again, or allow more by timeout"
    elif isinstance(error, openai.APIConnectionError):
        reason = f"no server answers at {error.request.url.host}; start it, or check base_url"
    response = getattr(error, "response", None)
    said = f"HTTP {response.status_code}: {sentence_in(response.text)}" if response else str(error)
    said = f"{said} {error.__cause__ or ''}"
    if len(key) >= 8:  # a shorter one is a word, no secret
        said = said.replace(key, "***")
    line = " ".join(said.split())[:300]
    return f"{reason} ({line})" if reason else line
