"""Estimated cost of building a node, by which model files are limited before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

OPERATIONS = 32
"""Symbolic operations of a plain node; generous, as operations that are later optimised away take time, too."""
ENOUGH = 1 << 62
"""Limit at which products are cut off, larger than anything allowed."""


class Demand(NamedTuple):
    """Upper bound on the cost of building a node.

    Parameters
    ----------
    operations : int
        Number of symbolic operations created, each a fraction of a millisecond.
    numbers : int
        Number of values allocated in addition to the arrays passed to the node, 8 bytes each.

    Examples
    --------
    >>> Demand(operations=8) + Demand(operations=4, numbers=100)
    Demand(operations=12, numbers=100)
    """

    operations: int = OPERATIONS
    numbers: int = 0

    def __add__(self, other: object) -> Demand:
        if not isinstance(other, Demand):
            return NotImplemented
        return Demand(self.operations + other.operations, self.numbers + other.numbers)


def magnitude(value: Any) -> int:
    """Return the magnitude of an argument that should be an integer; 0 for anything else (constructors refuse it)."""
    return abs(int(value)) if isinstance(value, (int, np.integer)) else 0


def product(sizes: Any) -> int:
    """Return the product of an argument that should be one or several sizes, cut off at about :data:`ENOUGH` squared.

    Examples
    --------
    >>> product([3, 4]), product(5), product(None)
    (12, 5, 1)
    """
    several = sizes if isinstance(sizes, (list, tuple, np.ndarray)) else [sizes]
    result = 1
    for size in several:
        if isinstance(size, (int, np.integer)):
            result *= min(magnitude(size), ENOUGH)
        if result > ENOUGH:
            break
    return result


def nodes_in(value: Any) -> Iterator[Any]:
    """Yield the nodes in an argument: itself, or the entries of a list or tuple."""
    for entry in value if isinstance(value, (list, tuple)) else (value,):
        if hasattr(entry, "_calc_comp_cost"):
            yield entry


def inherited(arguments: Mapping[str, Any]) -> Demand:
    """Return the cost of a node's parents: references to them, and fragment offsets, which every node copies."""
    offsets = operations = 0
    for value in arguments.values():
        for node in nodes_in(value):
            operations += 1
            if node.shape is not None:
                offsets = max(offsets, node.shape.mfp_offsets.size)
    return Demand(operations, 4 * offsets)
