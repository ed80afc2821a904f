"""The forgery methods by category, as plain functions, and the table that lists them.

A method is one function under one line, ``@register(Category.FE)``. It takes a random
generator ``rng``, a ``strength`` in [0, 1] and the portraits of its category (``MATERIAL``):
pictures uint8 RGB (S, S, 3), aligned, with 81 landmarks (x, y) in pixels. It returns the forged
portrait and the opacity float32 (S, S) in [0, 1] of what it laid over the picture; where that
is 0, the picture is untouched. It depends on nothing but its arguments.

``strength`` scales what betrays the forgery: at 1 a person finds it within seconds, and below
1/3 the manipulation itself fades with it, so that nothing is left at 0.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from dfa_lib.face.geometry import Portrait
from dfa_lib.taxonomy import Category
from facesim.pixels import Alpha

Operator = Callable[..., tuple[Portrait, Alpha]]

MATERIAL: dict[Category, tuple[str, ...]] = {
    Category.FS: ("target", "donor"),
    Category.FR: ("target", "driver"),
    Category.FE: ("target",),
    Category.EFS: ("person",),
}
"""The portraits an operator of each category takes: the face to forge, the other person whose
face is put on it, the face whose expression it gets (may be None), a drawn person (EFS)."""


@dataclass(frozen=True)
class Method:
    """One concrete generator inside a category."""

    name: str
    category: Category
    operate: Operator


METHODS: dict[str, Method] = {}


def register(category: Category) -> Callable[[Operator], Operator]:
    """Return a decorator that lists a function in ``METHODS`` under its own name.

    The table stays in the order of the categories. Raises TypeError where the parameters of the
    function are not those of the category.
    """

    def listed(operate: Operator) -> Operator:
        wanted = ["rng", "strength", *MATERIAL[category]]
        if list(inspect.signature(operate).parameters) != wanted:
            raise TypeError(f"{operate.__name__}: {category} takes ({', '.join(wanted)})")
        METHODS[operate.__name__] = Method(operate.__name__, category, operate)
        for one in sorted(METHODS.values(), key=lambda one: list(MATERIAL).index(one.category)):
            METHODS[one.name] = METHODS.pop(one.name)
        return operate

    return listed
