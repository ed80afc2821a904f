"""What a text means: reasoning, JSON that may be odd, and sentences about missing pictures."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from pydantic import BaseModel, ValidationError

from dfa_lib.endpoint.contract import Answer, Reply, Request
from dfa_lib.endpoint.wire import loaded, whole

Schema = type[BaseModel]
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


def meaning(reply: Reply, schema: Schema | None) -> tuple[BaseModel | None, str | None]:
    """What a reply says in terms of the schema, or what is wrong with it."""
    if reply.refusal:
        return None, None
    good, fault = understood(reply.text, schema)
    return good, f"cut off at the limit of tokens ({fault})" if fault and reply.cut else fault


def answer(request: Request, replies: list[Reply], schema: Schema | None, cached: bool) -> Answer:
    """Make one answer of the last reply and the cost of all."""
    last = replies[-1]
    good, fault = meaning(last, schema)
    text, refusal = spoken(last.text), last.refusal
    if request.images and not refusal and text and NO_PICTURE.search(text):
        text, good, fault, refusal = None, None, None, UNABLE
    if fault and text is None:
        text = last.text or None  # thoughts alone; without a text it would be asked for again
    total = {
        name: sum(getattr(reply, name) for reply in replies)
        for name in ("tokens_in", "tokens_out", "cost")
    }
    return Answer(
        id=request.id,
        parsed=good.model_dump(mode="json") if good else None,
        error=f"invalid: {fault}" if fault else None,
        cached=cached,
        **dict(last) | total | {"text": text, "refusal": refusal},
    )


def spoken(text: str | None) -> str | None:
    """Return the text without the reasoning before it; None if nothing else is there."""
    if text is None:
        return None
    rest = _END.sub("", _THOUGHTS.sub("", text)).replace("\u2019", "'")
    return (rest if rest == text else rest.strip()) if rest.strip() else None


def understood(text: str | None, schema: Schema | None) -> tuple[BaseModel | None, str | None]:
    """Return the last object of a text that fits the schema, if any, or what is wrong with it.

    An object may be fenced or stand after prose, in a JSON string, or under the schema's name;
    commas before a bracket and line ends in strings are forgiven. Without a schema any text is
    right.
    """
    said = spoken(text)
    if said is None or schema is None:
        return None, "there is no text" if said is None else None
    found, fault = _last_valid([said, *_objects(said)], schema)
    if not found:
        found, _ = _last_valid(_mended(said, schema.__name__), schema)
    return found, None if found else fault


def _last_valid(parts: Iterable[str], schema: Schema) -> tuple[BaseModel | None, str]:
    """Return the last part that fits, if any, and what is wrong with the last that does not."""
    found, fault = None, ""
    for part in parts:
        try:
            found = schema.model_validate_json(part)
        except ValidationError as error:
            told = error.errors(include_url=False, include_context=False, include_input=False)
            named = (f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in told)
            fault = "; ".join(islice(named, 3))
    return found, fault


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
