"""Prompts, which are data files with a version, and what describing and conversing share.

A structured prompt has its answers parsed by a schema; a plain one is for servers that write
no JSON, and takes prose.
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from dfa_lib.endpoint import Answer, Endpoint, Request
from dfa_lib.instruct.answers import Unanswered
from dfa_lib.records import Annotator, DataError, Record

Item = TypeVar("Item")
Read = TypeVar("Read")
_VENDOR = "api.openai.com"


class Prompt(Record):
    """One prompt file: instructions, and a text for each kind of request, with {fields}."""

    name: str
    version: str
    structured: bool
    max_tokens: int
    system: str
    texts: dict[str, str]

    @property
    def signature(self) -> str:
        """What stands in the records: describe@1."""
        return f"{self.name}@{self.version}"


@cache
def prompt(name: str, folder: str = "instruct/prompts") -> Prompt:
    """Read a prompt file of the package by its name; DataError with the known ones if none."""
    path = files("dfa_lib").joinpath(folder) / f"{name}.toml"
    if not path.is_file():
        known = sorted(p.name.removesuffix(".toml") for p in path.parent.iterdir())
        raise DataError(f"prompt={name!r}: unknown; choose one of {', '.join(known)}")
    return Prompt(name=name, **tomllib.loads(path.read_text("utf-8")))


def author(endpoint: Endpoint, prompt: Prompt) -> Annotator:
    """Name who answers: the model, and the host it runs on unless that is the vendor's."""
    url = endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or f"https://{_VENDOR}"
    host = urlsplit(url).hostname
    name = "endpoint" if host == _VENDOR else f"endpoint at {host}"
    model = endpoint.model  # "owner/name" is whole; transformers serve wants a longer path
    model = model if model.count("/") == 1 else model.rsplit("/", 1)[-1]
    return Annotator(name=name, model=model, prompt_version=prompt.signature)


@dataclass(frozen=True)
class Requests(Generic[Item]):
    """Requests made when they are taken, so that pictures are in memory only on their way."""

    make: Callable[[Item], Request]
    items: Sequence[Item]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Request]:
        return map(self.make, self.items)


class Writer:
    """What asks a model by a prompt; ``schema`` parses its answers, None takes prose."""

    def __init__(self, endpoint: Endpoint, prompt_name: str, schema: type[BaseModel]) -> None:
        self._endpoint, self._prompt = endpoint, prompt(prompt_name)
        self.annotator = author(endpoint, self._prompt)
        self.schema = schema if self._prompt.structured else None

    def read(
        self, face: str, answers: Sequence[Answer], reader: Callable[[], Read]
    ) -> Read | Unanswered:
        """Return what ``reader`` makes of the answers on a face, or what is wrong with them."""
        for answer in answers:
            if answer.refusal or answer.error:
                kind = "invalid" if answer.text is not None else "error"
                reason = answer.refusal or answer.error.removeprefix("invalid: ")
                return self._unanswered(face, "refusal" if answer.refusal else kind, reason)
        try:
            return reader()
        except ValueError as error:
            return self._unanswered(face, "invalid", str(error))

    def _unanswered(self, face: str, kind: str, reason: str) -> Unanswered:
        return Unanswered(face=face, annotator=self.annotator, kind=kind, reason=reason)


def plain(text: str) -> str:
    """Return text on one line, without Markdown; ValueError for tags or nothing at all."""
    text = " ".join(re.sub(r"[*`#|]+", " ", text).split())
    if not text or re.search(r"[<>{}]", text):
        raise ValueError("write plain sentences, without tags or braces")
    return text if text[-1] in ".!?" else f"{text}."
