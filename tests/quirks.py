"""What servers refuse, each in the words of its kind, and the shapes their answers come in."""

import json
from collections.abc import Callable, Sequence
from typing import Any

Json = dict[str, Any]


def _openai(message: str, param: str | None = None) -> tuple[int, Json]:
    return 400, {"error": {"message": message, "type": "invalid_request_error", "param": param}}


def _field(name: str, refuse: Callable[[str], tuple[int, Json]]) -> Callable[[Json], Any]:
    return lambda body: refuse(name) if name in body else None


def _unsupported(name: str) -> tuple[int, Json]:
    return _openai(f"Unsupported parameter: '{name}' is not supported with this model.", name)


def _system(status: int, words: str) -> Callable[[Json], Any]:
    def refuse(body: Json) -> Any:
        first = body["messages"][0]["role"] == "system"
        return (status, {"error": {"message": words}}) if first else None

    return refuse


def _format(kind: str, words: str) -> Callable[[Json], Any]:
    def refuse(body: Json) -> Any:
        return _openai(words) if body.get("response_format", {}).get("type") == kind else None

    return refuse


def _strings_only(body: Json) -> Any:
    lists = any(isinstance(turn["content"], list) for turn in body["messages"])
    return (
        (422, {"detail": "messages.0.content: Input should be a valid string"}) if lists else None
    )


def _null(body: Json) -> Any:
    nulls = [name for name, value in body.items() if value is None]
    return _openai(f"{nulls[0]}: null is no integer") if nulls else None


def _unnamed(body: Json) -> Any:
    return (400, {"error": "Bad request: unsupported option"}) if "seed" in body else None


REFUSALS: dict[str, Callable[[Json], Any]] = {
    "max_tokens": _field("max_tokens", lambda name: _openai(
        f"Unsupported parameter: '{name}' is not supported with this model."
        " Use 'max_completion_tokens' instead.", name)),
    "max_completion_tokens": _field("max_completion_tokens", lambda name: (
        422, {"detail": [{"type": "extra_forbidden", "loc": ["body", name],
                          "msg": "Extra inputs are not permitted", "input": 99}]})),
    "max_completion_tokens, prose": _field("max_completion_tokens", lambda name: (
        400, {"message": f"Unknown request argument supplied: {name}"})),
    "temperature": _field("temperature", lambda name: _openai(
        f"Unsupported value: '{name}' does not support 0 with this model."
        " Only the default (1) value is supported.", name)),
    "seed": _field("seed", lambda name: (
        422, {"detail": [{"loc": ["body", name], "msg": "extra fields not permitted"}]})),
    "seed, keys allowed": _field("seed", lambda name: (
        400, {"error": f"unexpected key {name}. Allowed keys are: model, messages, max_tokens,"
                       " max_completion_tokens, temperature, top_p"})),
    "seed, unnamed": _unnamed,
    "seed, inside HTTP 200": _field("seed", lambda name: (
        200, {"error": {"code": 400, "message": f"property '{name}' is unsupported"}})),
    "logprobs": _field("logprobs", _unsupported),
    "top_logprobs": _field("top_logprobs", lambda name: _openai(
        f"Invalid value for '{name}': must be null unless logprobs is true", name)),
    "presence_penalty": _field("presence_penalty", lambda name: (
        400, {"error": f"Unknown name \"{name}\": Cannot find field."})),
    "top_k": _field("top_k", lambda name: (400, {"detail": f"Unexpected keys: {{'{name}'}}"})),
    "null": _null,
    "system": _system(400, "System role not supported"),
    "system, template": _system(500, "Conversation roles must alternate user/assistant/user/..."),
    "developer": _system(400, "Developer instruction is not enabled for models/small"),
    "json_schema": _format("json_schema", "'response_format.type' must be 'json_object' or 'text'"),
    "json_schema, prose": _format("json_schema", "This model does not support structured outputs"),
    "json_object": _format("json_object", "response_format is not supported by this model"),
    "strings only": _strings_only,
}  # fmt: skip


def refusal(quirks: Sequence[str], body: Json) -> tuple[int, Json] | None:
    """The status and body with which a request is refused, if it is."""
    for name in quirks:
        if name in REFUSALS and (refused := REFUSALS[name](body)):
            return refused
    return None


def _content(change: Callable[[str], Any]) -> Callable[[Json], Json]:
    def shape(completion: Json) -> Json:
        made = json.loads(json.dumps(completion))
        message = made["choices"][0]["message"]
        if message["content"] is not None:
            message["content"] = change(message["content"])
        return made

    return shape


def _refused(completion: Json) -> str | None:
    return completion["choices"][0]["message"].get("refusal")


def _elsewhere(place: Callable[[str], Json]) -> Callable[[Json], Json]:
    """The answer stands in another field of the message than its content."""

    def shape(completion: Json) -> Json:
        (choice,) = completion["choices"]
        message = choice["message"]
        if message["content"] is not None:
            message = message | {"content": ""} | place(message["content"])
        return completion | {"choices": [choice | {"message": message}]}

    return shape


SHAPES: dict[str, Callable[[Json], Json]] = {
    "plain": lambda completion: completion,
    "fence": _content(lambda text: f"```json\n{text}\n```"),
    "prose before": _content(lambda text: f"Here is the {{JSON}} you asked for:\n\n{text}\nDone."),
    "reasoning tags": _content(lambda text: f'<think>Maybe {{"a": 1}}?</think>\n{text}'),
    "end of reasoning alone": _content(lambda text: f"Let me look.\n</think>\n\n{text}"),
    "parts": _content(lambda text: [{"type": "text", "text": text}]),
    "parts with thoughts": _content(
        lambda text: [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": text}]
    ),
    "no usage": lambda completion: {k: v for k, v in completion.items() if k != "usage"},
    "usage in floats": lambda completion: completion | {
        "usage": {name: float(n) for name, n in completion["usage"].items()}},
    "usage that is no usage": lambda completion: completion | {"usage": [1, "two"]},
    "finish as a number": lambda completion: completion | {
        "choices": [completion["choices"][0] | {"finish_reason": 0}]},
    "logprobs of another kind": lambda completion: completion | {
        "choices": [completion["choices"][0] | {"logprobs": {"tokens": ["A"]}}]},
    "trailing comma": _content(lambda text: text.replace("}", ",}")),
    "line end in a string": _content(lambda text: text.replace("words of", "words\nof")),
    "half a surrogate pair": _content(lambda text: text.replace("words of", "words \ud800 of")),
    "escaped half of a pair": _content(lambda text: text.replace("words of", r"words \ud800 of")),
    "JSON in a string": _content(json.dumps),
    "under the schema's name": _content(lambda text: f'{{"Verdict": {text}}}'),
    "tool call": _elsewhere(lambda text: {"tool_calls": [
        {"type": "function", "function": {"name": "Verdict", "arguments": text}}]}),
    "function call": _elsewhere(lambda text: {"function_call": {"arguments": text}}),
    "parsed": _elsewhere(lambda text: {"parsed": text}),
    "all in the reasoning": _elsewhere(lambda text: {"reasoning_content": text}),
    "infinite usage": lambda completion: completion | {"usage": {"prompt_tokens": 1e999}},
    "absurd usage": lambda completion: completion | {"usage": {"prompt_tokens": 10**30}},
    "one part": _content(lambda text: {"type": "text", "text": text}),
    "text of old": lambda completion: completion if _refused(completion) else completion | {
        "choices": [{"text": completion["choices"][0]["message"]["content"]}]},
    "null top_logprobs": lambda completion: completion | {"choices": [
        completion["choices"][0] | {"logprobs": {"content": [
            {"token": "A", "logprob": -0.5, "top_logprobs": None}]}}]},
}  # fmt: skip


def _stream(content: str) -> str:
    completion = json.loads(content)
    text = completion["choices"][0]["message"]["content"] or ""
    deltas = [{"role": "assistant"}, {"content": text[:5]}, {"content": text[5:]}]
    if _refused(completion):
        deltas[1:] = [{"refusal": _refused(completion)}]
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    chunks.append({"choices": [], "usage": completion["usage"]})
    return "\n\n".join([*(f"data: {json.dumps(chunk)}" for chunk in chunks), "data: [DONE]", ""])


BODIES: dict[str, Callable[[str], str]] = {
    "byte order mark": lambda content: f"\ufeff{content}",
    "comments before": lambda content: f": PROCESSING\n\n: PROCESSING\n\n{content}",
    "blank lines before": lambda content: f"\n\n   \n{content}",
    "a stream unasked": _stream,
    "one event": lambda content: f"data: {content}\n\n",
    "one event on many lines": lambda content: "".join(
        f"data: {line}\n" for line in json.dumps(json.loads(content), indent=1).split("\n")
    ),
}
"""What stands around an answer on the wire."""
