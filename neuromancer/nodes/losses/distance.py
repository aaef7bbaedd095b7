"""Distances between feature vectors, and the ramp loss between distances."""

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
    """Euclidean distance between feature vectors.

    Parameters
    ----------
    pred : Node
        Prediction, of any shape with an axis f.
    target : Node
        Target in the shape of `pred`; an axis s of samples may be missing.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, InputTypeError
        If the target does not match the prediction.

    Notes
    -----
    The distance is 0 where a feature of prediction or target is NaN; an infinite target is an error. The gradient at
    distance 0 is 0. Axis f has size 1.

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
        """Return the check of the target: finite or NaN."""
        return [(self.parent[1], partial(check_finite, self, "the target", special=MISSING_ONLY))]

    def _make_output(self) -> None:
        pred, target = self.parent
        axis = pred.shape.tag2index("f")
        difference = align(target, pred.shape) - pred.output
        unknown = E.T.isnan(difference)
        # Replaced before the square root: NaN or an infinite slope times 0 would still be NaN.
        known = E.T.switch(unknown, 0, difference)
        squares = E.T.sum(known**2, axis=axis, keepdims=True)
        count = E.T.sum(E.T.cast(unknown, pred.output.dtype), axis=axis, keepdims=True)
        use = E.T.and_(E.T.eq(count, 0), E.T.gt(squares, 0))
        self.output = E.T.switch(use, E.T.sqrt(E.T.switch(use, squares, 1)), 0)

    def _calc_shape(self) -> None:
        self.shape = self.parent[0].shape.updateshape("f", 1)


class RampLoss(Node):
    """Ramp (hinge) loss: by how much one value fails to be a margin below another, averaged over the features.

    Parameters
    ----------
    d_low : Node
        Value that should be small, of any shape with an axis f.
    d_big : Node
        Value that should exceed it, in the same shape; an axis s of samples may be missing.
    name : str
    print_repr : bool
    margin : float, optional
        Margin. Default: 0. If given, can be changed through parameter ``margin``.

    Raises
    ------
    ShapeError, InputTypeError
        If the nodes do not match.
    ArgumentError
        If the margin is negative.

    Notes
    -----
    Computes ``mean_f max(0, d_low - d_big + margin)``, where NaN counts as 0. Infinite inputs are an error. Axis f has
    size 1.

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
        """Return the checks of both values: finite or NaN."""
        return [
            (node, partial(check_finite, self, what, special=MISSING_ONLY))
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
