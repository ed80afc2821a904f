"""The forgery methods by category, as plain functions, and the table that lists them.

A method is one function under one line, ``@register(Category.FE)``. It takes a random
generator, a ``strength`` in [0, 1] and the portraits of its category (``MATERIAL``), all by
name, and returns the forged portrait with the opacity (S, S) in [0, 1] of what it laid over
the picture; where that is 0 the picture is untouched. At strength 1 a person finds the traces
within seconds, at 0 there are none: below a third even the manipulation itself fades.
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

    Raises TypeError where its parameters are not those of the category.
    """

    def listed(operate: Operator) -> Operator:
        wanted = ["rng", "strength", *MATERIAL[category]]
        if list(inspect.signature(operate).parameters) != wanted:
            raise TypeError(f"{operate.__name__}: {category} takes ({', '.join(wanted)})")
        METHODS[operate.__name__] = Method(operate.__name__, category, operate)
        return operate

    return listed
