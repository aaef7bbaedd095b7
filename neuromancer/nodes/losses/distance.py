"""Distances between vectors of features, and ramps between distances."""

from __future__ import annotations

from functools import partial

from neuromancer import engine as E
from neuromancer.nodes.losses.common import (
    align,
    require_fit,
    require_tensor,
    scalar_param,
)
from neuromancer.nodes.losses.targets import MISSING_ONLY, Check, check_finite
from neuromancer.nodes.node import Node


class EuclideanDistance(Node):
    """Euclidean norm of the difference, over the features.

    Parameters
    ----------
    pred : Node
        Any shape with an axis f.
    target : Node
        pred's shape; an axis s of samples may be lacking.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, InputTypeError
        If the target does not fit the prediction.

    Notes
    -----
    Where a feature of prediction or target is NaN the distance is 0; an infinite target is refused. The gradient at
    distance 0 is 0. Axis f stays with size 1.

    Examples
    --------
    >>> from neuromancer import Input
    >>> p = Input((1, 2), "b,f", name="p", print_repr=False)
    >>> t = Input((1, 2), "b,f", name="t", print_repr=False)
    >>> EuclideanDistance(p, t, print_repr=False)([[0, 0]], [[3, 4]]).tolist()
    [[5.0]]
    """

    def __init__(self, pred: Node, target: Node, name: str = "se", print_repr: bool = True) -> None:
        super().__init__(None, name, print_repr)
        require_tensor(pred, self, "the prediction")
        require_tensor(target, self, "the target")
        require_fit(self, "target", target, pred)
        self.parent = [pred, target]

    def input_checks(self) -> list[tuple[Node, Check]]:
        """The target is finite or NaN."""
        return [(self.parent[1], partial(check_finite, self, "the target", besides=MISSING_ONLY))]

    def _make_output(self) -> None:
        pred, target = self.parent
        axis = pred.shape.tag2index("f")
        difference = align(target, pred.shape) - pred.output
        unknown = E.T.isnan(difference)
        # The values are made harmless before the root: a NaN or an infinite slope times 0 would still be NaN.
        known = E.T.switch(unknown, 0, difference)
        squares = E.T.sum(known**2, axis=axis, keepdims=True)
        count = E.T.sum(E.T.cast(unknown, pred.output.dtype), axis=axis, keepdims=True)
        use = E.T.and_(E.T.eq(count, 0), E.T.gt(squares, 0))
        self.output = E.T.switch(use, E.T.sqrt(E.T.switch(use, squares, 1)), 0)

    def _calc_shape(self) -> None:
        self.shape = self.parent[0].shape.updateshape("f", 1)


class RampLoss(Node):
    """How far one value fails to lie below another by a margin, averaged over the features.

    Parameters
    ----------
    d_low : Node
        What should be small, of any shape with an axis f.
    d_big : Node
        What should exceed it; same shape.
    name : str
    print_repr : bool
    margin : float, optional
        Wanted distance, default 0; changeable as parameter ``margin`` if given.

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError
        If the nodes do not fit each other, or the margin is negative.

    Notes
    -----
    ``mean_f max(0, d_low - d_big + margin)``, NaN counting as 0; infinite values that are fed are refused. Axis f
    stays with size 1.

    Examples
    --------
    >>> from neuromancer import Input
    >>> low = Input((2, 1), "b,f", name="low", print_repr=False)
    >>> big = Input((2, 1), "b,f", name="big", print_repr=False)
    >>> RampLoss(low, big, print_repr=False, margin=1)([[0], [2]], [[5], [2.5]]).tolist()
    [[0.0], [0.5]]
    """

    def __init__(
        self, d_low: Node, d_big: Node, name: str = "se", print_repr: bool = True, margin: float | None = None
    ) -> None:
        super().__init__(None, name, print_repr)
        require_tensor(d_low, self, "d_low")
        require_tensor(d_big, self, "d_big")
        require_fit(self, "d_big", d_big, d_low)
        self.parent = [d_low, d_big]
        scalar_param(self, "margin", margin)

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Both values are finite or NaN."""
        return [
            (node, partial(check_finite, self, what, besides=MISSING_ONLY))
            for what, node in zip(("d_low", "d_big"), self.parent, strict=True)
        ]

    def _make_output(self) -> None:
        low, big = self.parent
        difference = low.output - align(big, low.shape)
        if "margin" in self.params:
            difference = difference + self.params["margin"]
        ramp = E.T.maximum(E.T.switch(E.T.isnan(difference), 0, difference), 0)
        self.output = E.T.mean(ramp, axis=low.shape.tag2index("f"), keepdims=True)

    def _calc_shape(self) -> None:
        self.shape = self.parent[0].shape.updateshape("f", 1)
