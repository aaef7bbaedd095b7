"""Parameters of nodes in the axis order of another library, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import NeuromancerError
from neuromancer.interop.leaving.registry import Unsupported
from neuromancer.nodes.node import Node

Steps = tuple[tuple[str, tuple[Any, ...]], ...]
"""Transpositions, ("transpose", axes), with 'x' for a new axis; and slices, ("slice", one index per axis): an int, or a
tuple (start, stop, step)."""


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter, or a view of one.

    Parameters
    ----------
    source : object
        What holds the values: a parameter of a node, or an object that stands for constant values.
    name : str
        Name of the source, ``<node>_<parameter>``.
    values : numpy.ndarray
        Values of the source.
    steps : tuple
        From the source to this view.
    trained : bool
    computed : bool
        Whether it is an expression of other parameters, on which it would no longer depend.
    """

    source: Any
    name: str
    values: np.ndarray
    steps: Steps = ()
    trained: bool = False
    computed: bool = False

    @property
    def array(self) -> np.ndarray:
        """Values of the view."""
        return viewed(self.values, self.steps)

    @property
    def key(self) -> tuple[int, Steps]:
        """Equal for views that always have equal values."""
        return id(self.source), self.steps

    def transposed(self, *axes: Any) -> Weight:
        """Reorder the axes; 'x' stands for a new axis of size 1."""
        return self if list(axes) == list(range(len(axes))) else self._then("transpose", axes)

    def flipped(self, axes: Sequence[int]) -> Weight:
        """Reverse some axes."""
        sizes = self.array.shape
        reverse = [axis in axes and sizes[axis] > 1 for axis in range(len(sizes))]
        index = tuple((None, None, -1) if r else (None, None, None) for r in reverse)
        return self._then("slice", index) if any(reverse) else self

    def named(self, name: str) -> Weight:
        """Give a part a name of its own."""
        return replace(self, name=name)

    def part(self, *index: Any) -> Weight:
        """Take a part; one index per axis, an int or a pair (start, stop)."""
        whole = ((None, None, None),) * self.array.ndim
        given = tuple(i if isinstance(i, int) else (*i, None) for i in index)
        return self._then("slice", (*given, *whole[len(given) :]))

    def _then(self, kind: str, content: Sequence[Any]) -> Weight:
        return replace(self, steps=(*self.steps, (kind, tuple(content))))


def viewed(array: np.ndarray, steps: Steps) -> np.ndarray:
    """Apply the steps of a view to an array.

    Examples
    --------
    >>> viewed(np.arange(6).reshape(2, 3), (("transpose", (1, 0)), ("slice", ((None, None, -1), 0)))).tolist()
    [2, 1, 0]
    """
    for kind, content in steps:
        if kind == "transpose":
            array = array.transpose([axis for axis in content if axis != "x"])
            array = np.expand_dims(array, tuple(k for k, axis in enumerate(content) if axis == "x"))
        else:
            array = array[tuple(slice(*part) if isinstance(part, tuple) else part for part in content)]
    return np.ascontiguousarray(array)


def constant(values: Any, name: str) -> Weight:
    """Return constant values in the form of a parameter."""
    array = np.asarray(values)
    return Weight(array, name, array)


def weight(node: Node, key: str) -> Weight:
    """Return a parameter of a node, which may be one of another node or a view of it.

    Raises
    ------
    Unsupported
        If its value depends on more than parameters.
    """
    variable = getattr(node, key, None)
    return _resolved(node.params[key] if variable is None else variable, f"{node.name}_{key}")


def maybe(node: Node, key: str) -> Weight | None:
    """Return a parameter of a node, None if the node has none of this name."""
    return None if getattr(node, key, None) is None else weight(node, key)


def _resolved(variable: Any, name: str) -> Weight:
    if hasattr(variable, "get_value"):
        return Weight(variable, name, np.array(variable.get_value()), (), bool(getattr(variable, "apply_train", True)))
    view = E.view_of(variable)
    if view is not None and hasattr(view[0], "get_value"):
        source = view[0]
        steps = tuple(
            (kind, tuple(tuple(p) if isinstance(p, list) else p for p in content)) for kind, content in view[1]
        )
        return Weight(source, name, np.array(source.get_value()), steps, bool(getattr(source, "apply_train", True)))
    try:
        values = np.asarray(E.function([], variable)())
    except NeuromancerError as error:
        raise Unsupported(f"its parameter {name} is computed from data") from error
    return Weight(variable, name, values, computed=True)
