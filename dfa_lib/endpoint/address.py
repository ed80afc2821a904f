"""The address of a server, completed from what people copy."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dfa_lib.records import DataError


@dataclass(frozen=True)
class Address:
    """The base address of an OpenAI-compatible server and the query of each request.

    A missing scheme or /v1 is added and a trailing /chat/completions is taken off. Azure is
    known by its host or by an api-version: it wants the key in a header of its own.
    """

    url: str | None
    query: dict[str, str]

    @classmethod
    def of(cls, given: str | None) -> "Address":
        """Mend what was given; None is the vendor. Raises DataError where there is no host."""
        if given is None:
            return cls(None, {})
        text = given.strip()
        if "://" not in text:
            local = re.match(r"(localhost|127\.|0\.0\.0\.0|\[)", text)
            text = f"{'http' if local else 'https'}://{text}"
        parts = urlsplit(text)
        if not parts.hostname or parts.scheme not in {"http", "https"}:
            raise DataError(
                f"base_url={given!r}: not an address; write it like http://localhost:8000/v1"
            )
        path = re.sub(r"/(chat/completions|completions|chat|models|responses)/*$", "", parts.path)
        path = re.sub(r"/{2,}", "/", path).rstrip("/")
        if parts.hostname.endswith(".azure.com") and path in {"", "/openai"}:
            path = "/openai/v1"
        url = f"{parts.scheme}://{parts.netloc}{path or '/v1'}"
        return cls(url, dict(parse_qsl(parts.query)))

    @property
    def loopback(self) -> bool:
        """True for this machine: proxies of the environment are not for it."""
        host = urlsplit(self.url or "").hostname or ""
        return host in {"localhost", "::1", "0.0.0.0"} or host.startswith("127.")

    def auth(self, key: str) -> Callable[[Any], Any] | None:
        """How an HTTP request is signed, where that is not by a bearer token."""
        if "api-version" not in self.query and ".azure.com" not in (self.url or ""):
            return None

        def sign(request: Any) -> Any:
            request.headers.pop("Authorization", None)
            request.headers["api-key"] = key
            return request

        return sign
