"""Requests and replies as the chat-completions protocol writes them, live and in batches."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import openai
from pydantic import BaseModel, JsonValue

from dfa_lib.endpoint.contract import Answer, Prices, Reply, Request, Spend
from dfa_lib.endpoint.dialect import LIMITS, Body, Dialect
from dfa_lib.endpoint.reading import (
    NO_PICTURE,
    UNABLE,
    joined,
    loaded,
    parsed,
    said_in,
    spoken,
    understood,
    whole,
)
from dfa_lib.files import data_uri

Schema = type[BaseModel]
_WITHHELD = {"content_filter", "safety", "image_safety", "recitation", "blocklist", "spii"}
_WITHHELD |= {"prohibited_content"}
_ABSURD = 10**9


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
    content = [*shown, {"type": "text", "text": request.text}]
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
    asked = [{"type": "text", "text": question} for question, _ in turns] + [text]
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
    total = {
        name: sum(getattr(reply, name) for reply in replies)
        for name in ("tokens_in", "tokens_out", "cost")
    }
    changed = {"text": last.text or None if fault and text is None else text, "refusal": refusal}
    return Answer(
        id=request.id,
        parsed=good.model_dump(mode="json") if good else None,
        error=f"invalid: {fault}" if fault else None,
        cached=cached,
        **dict(last) | total | changed,
    )


def read(
    completion: str,
    bound: Spend,
    prices: Prices,
    settings: tuple[str, ...] = (),
    batch: bool = False,
) -> Reply | None:
    """Read a chat completion that costs ``bound`` at most; None if it is none.

    Only the text has to be where it belongs: it is paid for, whatever stands beside it. An answer
    without a word, with an error in it, or broken off in mid-stream is none.
    """
    first = None
    try:
        got = parsed(completion)
        choice = got["choices"][0]
        message = choice.get("message") or {"content": choice["text"]}
        text, refusal = said_in(message), message.get("refusal") or None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    finish = str(choice.get("finish_reason")).lower()
    if finish == "error" or choice.get("error"):
        return None
    with suppress(LookupError, TypeError, AttributeError, ValueError):
        token = choice["logprobs"]["content"][0]
        listed = token.get("top_logprobs") or [token]
        first = {whole(o["token"]): float(o["logprob"]) for o in listed}
    if refusal and not isinstance(refusal, str):
        refusal = None if text else f"refused: {json.dumps(refusal)}"
    if finish in _WITHHELD:
        refusal = refusal or "withheld by the content filter"
    reply = Reply(
        text=text and whole(text),
        refusal=refusal and whole(refusal),
        first=first,
        cut=finish in {"length", "max_tokens"},
        settings=settings,
        **counted(got.get("usage"), bound, prices, batch),
    )
    return None if reply.empty else reply


def piece(line: str) -> str:
    """Return the words in one line of a stream."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        delta = loaded(line.removeprefix("data:"))["choices"][0]["delta"]
        return joined(delta.get("content")) or joined(delta.get("refusal")) or ""
    return ""


def counted(usage: Any, bound: Spend, prices: Prices, batch: bool = False) -> dict[str, float]:
    """Return tokens and cost of a Reply; what was not counted took as much as it was allowed."""
    with suppress(LookupError, TypeError, ValueError, ArithmeticError):
        used = int(float(usage["prompt_tokens"])), int(float(usage.get("completion_tokens") or 0))
        if 0 <= min(used) and max(used) < _ABSURD:
            return {"tokens_in": used[0], "tokens_out": used[1], "cost": prices.of(*used, batch)}
    return {"tokens_in": int(bound.tokens), "tokens_out": 0, "cost": bound.money}


def status_in(content: str) -> int:
    """Return the status that an error inside HTTP 200 speaks of, 400 if none.

    406 is for what is no JSON, and for an answer without text; 502 for a stream that broke off.
    """
    try:
        found = parsed(content)
    except ValueError:
        return 502 if "data:" in content else 406
    with suppress(LookupError, TypeError, AttributeError):
        found = found["choices"][0]
        if not found.get("error"):
            return 406
    try:
        code = str(found["error"]["code"])
    except (LookupError, TypeError):
        return 400
    return int(code) if re.fullmatch(r"[45]\d\d", code) else 400
