"""Colab's secrets as its documentation describes them: a value, or one of two refusals."""

GRANTED: dict[str, str | None] = {}
"""What a person has stored; None for a secret this notebook may not read."""


class SecretNotFoundError(Exception):
    """No secret of this name."""


class NotebookAccessError(Exception):
    """The notebook has not been allowed to read it."""


def get(name: str) -> str:
    """Return the secret, as google.colab.userdata does."""
    if name not in GRANTED:
        raise SecretNotFoundError(name)
    value = GRANTED[name]
    if value is None:
        raise NotebookAccessError(name)
    return value
