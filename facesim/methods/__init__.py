"""The forgery methods by category, as plain functions.

Each takes a random generator, a strength and its material, and returns the forged portrait
with the opacity (S, S) of what it laid over the picture.
"""
