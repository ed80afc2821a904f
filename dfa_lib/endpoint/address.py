"""The address of a server, completed from what people copy."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from dfa_lib.records import DataError

_PRIVATE = r"^(10|192\.168|172\.(1[6-9]|2\d|3[01])|169\.254)\.|\.(local|lan|internal|home\.arpa)$"


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
        """Mend what was given; None is the vendor. Raises DataError for no host, or a password."""
        if given is None:
            return cls(None, {})
        text = given.strip()
        if "://" not in text:
            local = re.match(r"(localhost|127\.|0\.0\.0\.0|\[)", text)
            text = f"{'http' if local else 'https'}://{text}"
        try:
            parts = urlsplit(text)
            sound = parts.hostname and parts.scheme in {"http", "https"} and parts.port != 0
        except ValueError:  # brackets without an end, or a port that is no number
            sound = False
        if "@" in text.partition("://")[2].partition("/")[0]:  # would be shown, and stored
            raise DataError("base_url: holds a user or a password; give the key by the environment")
        if not sound:
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
    def _host(self) -> str:
        return urlsplit(self.url or "").hostname or ""

    @property
    def loopback(self) -> bool:
        """True for this machine: proxies of the environment are not for it."""
        return self._host in {"localhost", "::1", "0.0.0.0"} or self._host.startswith("127.")

    @property
    def exposed(self) -> bool:
        """True for plain HTTP to a host beyond this machine and its own network."""
        near = self.loopback or "." not in self._host or re.search(_PRIVATE, self._host)
        return (self.url or "").startswith("http:") and not near

    @property
    def azure(self) -> bool:
        """True for a server that wants its key as ``api-key``, not as a bearer token."""
        return "api-version" in self.query or ".azure.com" in (self.url or "")
