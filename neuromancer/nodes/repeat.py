"""Repeating features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.tagged_shape import MAX_SIZE, SPATIAL_TAGS
from neuromancer.nodes.layout import positive_int, require_features
from neuromancer.nodes.node import Node


class Repeat(Node):
    """Repeat the features.

    Parameters
    ----------
    parent : Node
        Input with an axis f, in any layout.
    n : int
        Number of copies.
    axis : str or int
        Tag or position of the axis, which must be f. :class:`Upsample` repeats voxels.
    interleave : bool
        Repeat every feature n times, a a b b, as ``torch.repeat_interleave``; else all features, a b a b, as
        ``torch.Tensor.repeat``.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        If `n` is not a positive integer, `axis` is not f, or `interleave` is not a bool.
    ShapeError
        If there is no such axis, or the number of features is unknown.
    InputTypeError
        If the parent is not a node with a tensor output.
    UnknownNameError
        If the parent has no axis f.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 2), "b,f", print_repr=False)
    >>> Repeat(inp, 2, print_repr=False)([[1, 2]]).tolist()
    [[1.0, 2.0, 1.0, 2.0]]
    >>> Repeat(inp, 2, interleave=True, print_repr=False)([[1, 2]]).tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """

    def __init__(
        self,
        parent: Node,
        n: int,
        axis: str | int = "f",
        interleave: bool = False,
        name: str = "repeat",
        print_repr: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        n_f = require_features(parent, self)
        self.n = positive_int(n, "n", self)
        if n_f * self.n >= MAX_SIZE:
            raise ShapeError("too many features", node=self, got=f"{n} times {n_f}", expected=f"less than {MAX_SIZE}")
        tag = parent.shape.tags[parent.shape.axis(axis)]
        if tag != "f":
            spatial = tag in SPATIAL_TAGS
            raise ArgumentError(
                "only features can be repeated",
                node=self,
                got=f"axis {tag!r}",
                expected="axis 'f'",
                nearest=f"Upsample(parent, {n}), which repeats voxels" if spatial else "'f'",
            )
        if not isinstance(interleave, bool):
            raise ArgumentError("interleave must be a bool", node=self, got=interleave, expected="True or False")
        self.interleave = interleave

    def _make_output(self) -> None:
        x, axis = self.parent.output, self.parent.shape.tag2index("f")
        before, sizes = axis + self.interleave, [x.shape[i] for i in range(x.ndim)]
        order = [*range(before), "x", *range(before, x.ndim)]
        spread = E.T.alloc(x.dimshuffle(*order), *sizes[:before], self.n, *sizes[before:])
        features = self.parent.shape["f"] * self.n
        self.output = spread.reshape([*sizes[:axis], features, *sizes[axis + 1 :]], ndim=x.ndim)

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return the repeated array."""
        axis = self.parent.shape.tag2index("f")
        if self.interleave:
            return np.repeat(arrays[0], self.n, axis)
        return np.concatenate([arrays[0]] * self.n, axis)

    def _calc_shape(self) -> None:
        self.shape = self.parent.shape.updateshape("f", self.n, "mult")

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def _repr_extra(self) -> str:
        return f"n={self.n}, " + ("interleaved, " if self.interleave else "")
