"""Prompts as versioned data files, and the base of the language-model annotators."""

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from dfa_lib.endpoint import Answer, Endpoint, Request
from dfa_lib.instruct.annotate import Unanswered
from dfa_lib.records import Annotator, DataError, Record

Item = TypeVar("Item")
Read = TypeVar("Read")
_VENDOR = "api.openai.com"


class Prompt(Record):
    """One prompt file: instructions, and a text for each kind of request, with {fields}."""

    name: str
    version: str
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
    url = endpoint.address.url or f"https://{_VENDOR}"
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
    """Base of the language-model annotators: ask by a prompt, parse answers by ``schema``."""

    def __init__(self, endpoint: Endpoint, prompt_name: str, schema: type[Record]) -> None:
        self._endpoint = endpoint
        self._prompt = prompt(prompt_name)
        self.schema = schema
        self.annotator = author(endpoint, self._prompt)

    def ask(
        self, requests: Requests, read: Callable[[Answer], Read]
    ) -> Iterator[Read | Unanswered]:
        """Yield what ``read`` makes of each answer, or what is wrong with it.

        The ids of ``requests`` are those of faces; ``read`` raises ValueError for what is no
        answer to what was asked. Raises DataError where ten in a row are none.
        """
        row = 0
        for answer in self._endpoint.ask(requests, self.schema) if len(requests) else ():
            try:
                if not (answer.refusal or answer.error):
                    yield read(answer)
                    row = 0
                    continue
                kind = "refusal" if answer.refusal else "error" if answer.failed else "invalid"
                reason = answer.refusal or answer.error.removeprefix("invalid: ")
            except ValueError as error:
                kind, reason = "invalid", str(error)
            row = row + 1 if kind == "invalid" else 0
            if row == 10:
                raise DataError(
                    f"model: ten answers in a row are not as asked ({reason}); try another"
                )
            yield Unanswered(face=answer.id, annotator=self.annotator, kind=kind, reason=reason)


def plain(text: str) -> str:
    """Return text on one line, without Markdown; ValueError for tags or nothing at all."""
    text = " ".join(re.sub(r"[*`#|]+", " ", text).split())
    if not text or re.search(r"[<>{}]", text):
        raise ValueError("write plain sentences, without tags or braces")
    return text if text[-1] in ".!?" else f"{text}."
