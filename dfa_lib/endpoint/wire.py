"""Requests and replies as the chat-completions protocol writes them, live and in batches."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, Field, JsonValue, ValidationError

from dfa_lib.endpoint.contract import Answer, Prices, Request, Spend
from dfa_lib.records import Record

Body = dict[str, Any]
Schema = type[BaseModel]


class Reply(Record):
    """One answer of the server as it is kept: enough to build an Answer without asking again."""

    text: str | None
    refusal: str | None = None
    first: dict[str, float] | None = None
    tokens_in: int
    tokens_out: int
    cost: float


@dataclass(frozen=True)
class Call:
    """A request body, its content address, and what it costs at most."""

    body: Body
    key: str
    bound: Spend

    @classmethod
    def of(cls, body: Body, prices: Prices) -> "Call":
        """Hash and bound a body. A token is at least one byte, so bytes bound the tokens.

        The key covers all that is sent and nothing else: a server that comes back under
        another address finds its answers; another model under the same name needs another cache.
        """
        text = json.dumps(body, sort_keys=True)
        pictures = [part["image_url"]["url"] for part in _parts(body) if "image_url" in part]
        tokens_in = len(text) - sum(map(len, pictures)) + prices.image_tokens * len(pictures)
        tokens_out = body.get("max_tokens") or body["max_completion_tokens"]
        money = prices.of(tokens_in, tokens_out)
        key = sha256(text.encode()).hexdigest()
        return cls(body, key, Spend(1, tokens_in + tokens_out, money))


def _parts(body: Body) -> list[dict[str, Any]]:
    turns = (turn["content"] for turn in body["messages"])
    return [part for turn in turns if isinstance(turn, list) for part in turn]


def write(
    request: Request, model: str, schema: Schema | None, fields: Mapping[str, JsonValue]
) -> Body:
    """Write a request as a body; ``fields`` are further ones of it, the limit of tokens too."""
    system = [{"role": "system", "content": request.system}] if request.system else []
    content = [*map(_picture, request.images), {"type": "text", "text": request.text}]
    body: Body = {"model": model, "messages": [*system, {"role": "user", "content": content}]}
    if request.seed is not None:
        body["seed"] = request.seed
    if schema:
        body["response_format"] = _format(schema)
    return body | dict(fields)


def _picture(png: bytes) -> dict[str, Any]:
    data = base64.b64encode(png).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def _format(schema: Schema) -> dict[str, Any]:
    tool = openai.pydantic_function_tool(schema)["function"]
    strict = {"name": tool["name"], "strict": True, "schema": tool["parameters"]}
    return {"type": "json_schema", "json_schema": strict}


def after(body: Body, turns: Sequence[tuple[str, str]]) -> Body:
    """The request as the end of a conversation; its pictures stay with the first question."""
    *head, last = body["messages"]
    *pictures, text = last["content"]
    asked = [{"type": "text", "text": question} for question, _ in turns] + [text]
    users = [{"role": "user", "content": [part]} for part in asked]
    users[0]["content"] = [*pictures, asked[0]]
    said = [{"role": "assistant", "content": answer} for _, answer in turns]
    pairs = [turn for pair in zip(users, said, strict=False) for turn in pair]
    return body | {"messages": [*head, *pairs, users[-1]]}


def again(body: Body, text: str, problem: str) -> Body:
    """The second attempt: the conversation goes on with what was wrong."""
    complaint = f"That answer is not valid: {problem}. Answer again, with valid JSON only."
    turns = [{"role": "assistant", "content": text}, {"role": "user", "content": complaint}]
    return body | {"messages": [*body["messages"], *turns]}


def progress(
    body: Body, schema: Schema | None, prices: Prices, get: Callable[[str], Reply | None]
) -> tuple[list[Reply], Call | None]:
    """The replies that ``get`` knows by their key, and the call to make next, if any.

    An invalid reply is complained about once; a refusal is taken as it is.
    """
    replies: list[Reply] = []
    for _ in range(2):
        call = Call.of(body, prices)
        reply = get(call.key)
        if reply is None:
            return replies, call
        replies.append(reply)
        fault = None if reply.refusal else problem(reply.text, schema)
        if fault is None:
            break
        body = again(body, reply.text or "", fault)
    return replies, None


def problem(text: str | None, schema: Schema | None) -> str | None:
    """What the schema has against a text; None when it is valid."""
    if text is None:
        return "there is no text"
    try:
        if schema:
            schema.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:3]
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in found)
    return None


def answer(request: Request, replies: list[Reply], schema: Schema | None, cached: bool) -> Answer:
    """Make one answer of the last reply and the cost of all."""
    last = replies[-1]
    fault = None if last.refusal else problem(last.text, schema)
    good = schema and last.text and not fault and not last.refusal
    return Answer(
        id=request.id,
        text=last.text,
        parsed=schema.model_validate_json(last.text).model_dump(mode="json") if good else None,
        refusal=last.refusal,
        error=f"invalid: {fault}" if fault else None,
        first=last.first,
        tokens_in=sum(reply.tokens_in for reply in replies),
        tokens_out=sum(reply.tokens_out for reply in replies),
        cost=sum(reply.cost for reply in replies),
        cached=cached,
    )


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Option(BaseModel):
    token: str
    logprob: float


class _Token(BaseModel):
    top_logprobs: list[_Option] = []


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def read(completion: str | bytes, bound: Spend, prices: Prices, batch: bool = False) -> Reply:
    """Read a chat completion; raise ValidationError if it is none.

    A server that does not count tokens is taken to have used as many as it was allowed.
    """
    got = _Completion.model_validate_json(completion)
    choice, usage = got.choices[0], got.usage
    refusal = choice.message.refusal
    if choice.finish_reason == "content_filter":
        refusal = refusal or "withheld by the content filter"
    tokens = choice.logprobs.content if choice.logprobs else None
    first = {o.token: o.logprob for o in tokens[0].top_logprobs} if tokens else None
    used = usage or _Usage(prompt_tokens=int(bound.tokens))
    cost = prices.of(used.prompt_tokens, used.completion_tokens, batch) if usage else bound.money
    return Reply(
        text=choice.message.content, refusal=refusal, first=first,
        tokens_in=used.prompt_tokens, tokens_out=used.completion_tokens, cost=cost,
    )  # fmt: skip


class Streamed:
    """A completion that comes in chunks, put together as it comes."""

    def __init__(self, bound: Spend, prices: Prices) -> None:
        self._bound, self._prices = bound, prices
        self._text, self._refusal = "", ""
        self._usage: CompletionUsage | None = None

    def add(self, chunk: ChatCompletionChunk) -> str:
        """Take a chunk; return the words in it, of an answer or of a refusal."""
        self._usage = chunk.usage or self._usage
        delta = chunk.choices[0].delta if chunk.choices else None
        text, refusal = (delta and delta.content) or "", (delta and delta.refusal) or ""
        self._text, self._refusal = self._text + text, self._refusal + refusal
        return text or refusal

    @property
    def whole(self) -> Reply:
        """What has come; without a count it took as many tokens as it was allowed."""
        used = self._usage
        return Reply(
            text=self._text or None, refusal=self._refusal or None,
            tokens_in=used.prompt_tokens if used else int(self._bound.tokens),
            tokens_out=used.completion_tokens if used else 0,
            cost=self._prices.of(used.prompt_tokens, used.completion_tokens)
            if used else self._bound.money,
        )  # fmt: skip
