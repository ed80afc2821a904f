"""The chat of lesson 04: a pure session, and the widgets that show it."""
