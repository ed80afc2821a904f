"""Readers of research data sets: what lies in a tree, by our taxonomy; nothing is opened here."""
