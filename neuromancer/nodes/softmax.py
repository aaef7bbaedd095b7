"""Class probabilities from class scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.tagged_shape import require_tag
from neuromancer.nodes.activate import Activation
from neuromancer.nodes.layout import as_float, positive_int, require_tensor
from neuromancer.nodes.node import Node

LINEAR = ("lin", "linear")


class Softmax(Node):
    """Softmax over the classes of each independent label, ``exp(x_c) / sum_k exp(x_k)``.

    Parameters
    ----------
    parent : Node
        Class scores on axis f, in any layout. A layer must have activation function 'lin'; of a node
        :class:`~neuromancer.nodes.activate.Activation`, which stands there on purpose, any function is taken.
    n_class : int or 'auto'
        Number of classes per label; 'auto' divides the number of features by `n_indep`.
    n_indep : int
        Number of independent labels, each with a group of `n_class` consecutive features.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        If the parent is a layer whose activation function is not linear, or `n_class` or `n_indep` is not a positive
        integer.
    ShapeError
        If the number of features is not ``n_class * n_indep``.
    UnknownNameError
        If the parent has no axis f.

    Notes
    -----
    The maximum score of each group is subtracted before the exponential, so that large scores do not overflow. The
    output has the parent's shape.

    Examples
    --------
    >>> from neuromancer import Input
    >>> scores = Input((1, 2), "b,f", print_repr=False)
    >>> Softmax(scores, print_repr=False)([[1000, 1000]]).tolist()
    [[0.5, 0.5]]
    """

    functions = 1.0

    def __init__(
        self,
        parent: Node,
        n_class: int | str = "auto",
        n_indep: int = 1,
        name: str = "softmax",
        print_repr: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        self.axis = require_tag(require_tensor(parent, self), "f", self)
        activation = None if isinstance(parent, Activation) else getattr(parent, "activation_func", None)
        if activation is not None and activation not in LINEAR:
            raise ArgumentError(
                "class scores must be linear",
                node=self,
                got=f"activation_func={activation!r} of {parent.name!r}",
                expected=f"one of {LINEAR}",
                nearest="'lin'",
            )
        self.n_indep = positive_int(n_indep, "n_indep", self)
        self.n_class = class_count(self, parent, n_class, self.n_indep)

    def _make_output(self) -> None:
        self.output = grouped(as_float(self.parent.output), self.axis, self.n_indep, self.n_class, _normalise)


def _normalise(x: Any, axis: int) -> Any:
    return E.softmax(x, axis)


def grouped(x: Any, axis: int, n_indep: int, n_class: int, function: Callable[[Any, int], Any]) -> Any:
    """Apply ``function(x, axis)``, which must preserve the shape, to each group of `n_class` entries of `axis`."""
    if n_indep == 1:
        return function(x, axis)
    sizes = [x.shape[i] for i in range(x.ndim)]
    split = x.reshape([*sizes[:axis], n_indep, n_class, *sizes[axis + 1 :]])
    result = function(split, axis + 1)
    return result.reshape([*sizes[:axis], n_indep * n_class, *sizes[axis + 1 :]])


def class_count(node: Node, parent: Node, n_class: int | str, n_indep: int) -> int:
    """Return the number of classes on the parent's axis f, checked against `n_class` unless 'auto'."""
    n_f = parent.shape["f"]
    if n_class == "auto":
        if n_f is None or n_f % n_indep:
            raise ShapeError(
                f"the features cannot be divided into {n_indep} independent labels",
                node=node,
                got=f"f={n_f}",
                expected=f"a multiple of n_indep={n_indep}",
                nearest=None if n_f is None else f"f={max(1, round(n_f / n_indep)) * n_indep}",
            )
        return int(n_f) // n_indep
    count = positive_int(n_class, "n_class", node)
    if n_f is not None and n_f != count * n_indep:
        raise ShapeError(
            "the number of features does not match",
            node=node,
            got=f"f={n_f}",
            expected=f"n_class * n_indep = {count} * {n_indep} = {count * n_indep}",
        )
    return count
