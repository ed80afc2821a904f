"""Requests as they are written: for the protocol as documented, and as one server takes them.

What a server wants is learned from its refusals.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai
from pydantic import JsonValue

from dfa_lib.endpoint.contract import Reply, Request, Spend
from dfa_lib.endpoint.reading import Schema, spoken
from dfa_lib.files import data_uri
from dfa_lib.records import Record

Body = dict[str, Any]

LIMITS = ("max_tokens", "max_completion_tokens")
_CORE = {"model", "messages", "stream", "stream_options", *LIMITS}
_SYSTEM = r"system|developer (role|message|instruct)|roles? must alternate|unexpected role"
_FORMAT = r"response.?format|json.?(schema|object|mode)|structured.?output|grammar|guided|strict"
_LIMIT = r"max.?(\w+.?)?tokens"
_PARTS = r"content.{0,40}(must|should|expected).{0,20}str|(valid|expected).{0,20}string"
NO_PICTURES = re.compile(
    r"image_url|(image|picture|vision|multi.?modal).{0,40}(support|unable|cannot|not |fail|disab)"
    r"|(support|accept|understand|process|handle|read|take).{0,30}(image|picture|vision|multi.?modal)",
    re.IGNORECASE,
)
"""A refusal that is about pictures."""
_PARAMETER = (
    r"param|argument|field|keys?\b|option|support|unknown|unrecogni|unexpect|extra|permit|implement"
    r"|invalid (request|input|value)|bad request|validation|unprocessable"
)
_ELSEWHERE = r"context (length|window|size)|too (long|large|big)|policy|quota|billing|balance"
_INSTEAD = (
    r"\b(allowed|permitted|accepted|valid|supported|known) (\w+ )?(are|is|one of|keys|param)"
    r"|\binstead\b|\b(allowed|accepted|valid|supported|expected):"
)
_ASKED = (
    "Answer with one JSON object and nothing else: no Markdown, no comment."
    " It must be valid against this JSON schema: "
)


class Dialect(Record):
    """How a request is written for one model. The defaults are the protocol as documented.

    ``dropped`` are optional fields that are not sent, ``swapped`` tells that the limit of
    tokens goes by its other name, ``folded`` that instructions stand in the user's message,
    ``flat`` that texts are strings instead of lists of parts. ``format`` is the step of
    structured output: 0 json_schema, 1 json_object, 2 instructions alone.
    """

    dropped: tuple[str, ...] = ()
    swapped: bool = False
    folded: bool = False
    flat: bool = False
    format: int = 0
    sees: bool | None = None

    @property
    def settings(self) -> tuple[str, ...]:
        """The departures from the request as asked, in words for records and cards."""
        steps = ("", "structured output: json_object", "structured output: by instructions")
        told = [f"{name}: not sent" for name in self.dropped]
        told += [steps[self.format]] if self.format else []
        told += ["system message: in the user's"] if self.folded else []
        told += ["limit of tokens: by its other name"] if self.swapped else []
        told += ["texts: as strings"] if self.flat else []
        return tuple(told)

    def write(self, body: Body) -> Body:
        """Return ``body`` as this model takes it; a null is never sent."""
        body = {k: v for k, v in body.items() if k not in self.dropped and v is not None}
        for old, new in zip(LIMITS, reversed(LIMITS), strict=True):
            if self.swapped and old in body:
                body[new] = body.pop(old)
                break
        messages = [dict(turn) for turn in body["messages"]]
        if self.format and "response_format" in body:
            _instruct(messages, body["response_format"]["json_schema"]["schema"])
            body["response_format"] = {"type": "json_object"}
            if self.format == 2:
                del body["response_format"]
        if self.folded and messages[0]["role"] == "system":
            system = messages.pop(0)
            messages[0]["content"] = [*parts(system), *parts(messages[0])]
        for turn in messages if self.flat else ():
            if isinstance(turn["content"], list) and all("text" in p for p in turn["content"]):
                turn["content"] = "\n".join(part["text"] for part in turn["content"])
        return body | {"messages": messages}

    def after(self, body: Body, status: int, said: str) -> "Dialect | None":
        """Return what to try after ``body``, as it was sent, was refused; None if nothing is left.

        What the refusal names is changed. One that speaks of parameters but names none has
        the optional fields dropped one after the other.
        """
        names, words = _told(said)
        optional = [name for name in body if name not in _CORE and name != "response_format"]
        if found := [name for name in optional if name in names]:
            return self._without(found)
        elsewhere = re.search(_ELSEWHERE, words)
        formatted, system = "response_format" in body, body["messages"][0]["role"] == "system"
        shorter = [
            (_FORMAT, formatted, {"format": self.format + 1}),
            (_SYSTEM, system, {"folded": True}),
        ]
        limit = (_LIMIT, not self.swapped and not elsewhere, {"swapped": True})
        for pattern, possible, change in [limit, *shorter, (_PARTS, not self.flat, {"flat": True})]:
            if possible and re.search(pattern, words):
                return self.model_copy(update=change)
        vague = len(words) < 5 or (re.search(_PARAMETER, words) and not elsewhere)
        if status not in {400, 422} or not vague:
            return None
        if optional:
            return self._without(optional[-1:])
        changes = (change for _, possible, change in shorter if possible)
        return next((self.model_copy(update=change) for change in changes), None)

    def _without(self, names: list[str]) -> "Dialect":
        pair = ["top_logprobs"] if "logprobs" in names else []  # it is refused alone
        return self.model_copy(update={"dropped": tuple(sorted({*self.dropped, *names, *pair}))})


@dataclass(frozen=True)
class Call:
    """What is asked, the body that is sent for it in a dialect, its key and highest cost.

    ``shows`` is True for a body with pictures.
    """

    asked: Body
    body: Body
    key: str
    bound: Spend
    dialect: Dialect
    shows: bool


def write(
    request: Request, model: str, schema: Schema | None, fields: Mapping[str, JsonValue]
) -> Body:
    """Write a request as a body; ``fields`` are further ones of it, the limit of tokens too."""
    system = [{"role": "system", "content": request.system}] if request.system else []
    shown = [{"type": "image_url", "image_url": {"url": data_uri(png)}} for png in request.images]
    content = [*shown, _text(request.text)]
    body: Body = {"model": model, "messages": [*system, {"role": "user", "content": content}]}
    if request.seed is not None:
        body["seed"] = request.seed
    if schema:
        tool = openai.pydantic_function_tool(schema)["function"]
        strict = {"name": tool["name"], "strict": True, "schema": tool["parameters"]}
        body["response_format"] = {"type": "json_schema", "json_schema": strict}
    return body | dict(fields)


def after(body: Body, turns: Sequence[tuple[str, str]]) -> Body:
    """The request as the end of a conversation; its pictures stay with the first question."""
    *head, last = body["messages"]
    *pictures, text = last["content"]
    asked = [_text(question) for question, _ in turns] + [text]
    users = [{"role": "user", "content": [part]} for part in asked]
    users[0]["content"] = [*pictures, asked[0]]
    said = [{"role": "assistant", "content": answer} for _, answer in turns]
    pairs = [turn for pair in zip(users, said, strict=False) for turn in pair]
    return body | {"messages": [*head, *pairs, users[-1]]}


def again(body: Body, reply: Reply, problem: str) -> Body:
    """The second attempt: the conversation goes on with what was wrong, with room if it was cut."""
    complaint = f"That answer is not valid: {problem}. Answer again, with valid JSON only."
    turns = [{"role": "assistant", "content": reply.text or ""}]
    turns += [{"role": "user", "content": complaint}]
    if reply.cut and spoken(reply.text) is None:  # it never came to an answer
        turns = []
    limit = {k: v * 4 for k, v in body.items() if k in LIMITS and reply.cut}
    return body | {"messages": [*body["messages"], *turns]} | limit


def _told(said: str) -> tuple[set[str], str]:
    """Return the names in a refusal, without those it offers instead, and its words."""
    try:
        error = json.loads(said)
    except (ValueError, RecursionError):
        error = said
    parts = sorted(_texts(error), key=len)  # a field, then the sentence about it
    words = (" ".join(parts) or said).lower()
    before = re.split(_INSTEAD, words)[0]
    return set(re.findall(r"\w+", before if len(before) > 20 else words)), words


def _texts(part: object) -> Iterator[str]:
    """Yield what a refusal says, without its labels and what it repeats of the request."""
    if isinstance(part, str):
        yield part
    if isinstance(part, list):
        part = dict(enumerate(part))
    if isinstance(part, dict):
        for name, value in part.items():
            if name not in {"type", "code", "object", "input", "url"}:
                yield from _texts(value)


def _instruct(messages: list[Body], schema: Body) -> None:
    """Write the schema below the last message of the user."""
    messages[-1]["content"] = [*parts(messages[-1]), _text(_ASKED + json.dumps(schema))]


def parts(turn: Body) -> list[Body]:
    """Return the content of a message as a list of parts."""
    content = turn["content"]
    return [_text(content)] if isinstance(content, str) else content


def _text(text: str) -> Body:
    return {"type": "text", "text": text}
