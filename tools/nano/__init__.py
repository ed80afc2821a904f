"""The embedded nano base: its recipe, from generic pictures and never from a forgery label."""
