"""The chat of lesson 04: a pure session, and the widgets that show it."""

from dfa_lib.chat.session import ChatSession
from dfa_lib.chat.view import ChatView

__all__ = ["ChatSession", "ChatView"]
