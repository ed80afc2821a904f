"""The chat of lesson 04: a pure session, and the widgets that show it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfa_lib.chat.session import ChatSession
    from dfa_lib.chat.view import ChatView

__all__ = ["ChatSession", "ChatView"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only: a verdict in a shell needs no widgets."""
    if name == "ChatSession":
        from dfa_lib.chat.session import ChatSession as found
    elif name == "ChatView":
        from dfa_lib.chat.view import ChatView as found
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
