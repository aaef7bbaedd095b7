"""Squared and absolute errors, with margins and missing values."""

from __future__ import annotations

from functools import partial
from typing import Any

from neuromancer import engine as E
from neuromancer.nodes.conv import Conv
from neuromancer.nodes.losses.common import (
    align,
    labelled,
    missing_scale,
    require_fit,
    require_tensor,
    scalar_param,
)
from neuromancer.nodes.losses.targets import MISSING_NUMBERS, Check, check_finite
from neuromancer.nodes.node import Node


class _DeviationLoss(Node):
    """Base of the regression losses: checks, missing values, margin, mean over the features."""

    pred: Node
    target: Node

    def _connect(self, pred: Node, target: Node, margin: float | None, scale_correction: float | None) -> None:
        require_tensor(pred, self, "the prediction")
        require_tensor(target, self, "the target")
        require_fit(self, "target", target, pred)
        self.pred, self.target = pred, target
        self.parent = [pred, target]
        self.axis = pred.shape.tag2index("f")
        scalar_param(self, "margin", margin)
        scalar_param(self, "scale_correction", scale_correction)

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the check of the target: finite or missing; a convolved target cannot have missing values."""
        if isinstance(self.target, Conv):
            return [(self.target.parent, partial(check_finite, self, "the target that is convolved"))]
        return [(self.target, partial(check_finite, self, "the target", special=MISSING_NUMBERS))]

    def _penalty(self, deviation: Any) -> Any:
        """Return the penalty of a deviation >= 0."""
        raise NotImplementedError

    def _correction(self, size: Any, c: Any) -> Any:
        """Return the weight of targets of magnitude `size`."""
        raise NotImplementedError

    def _make_output(self) -> None:
        p = self.pred.output
        t = E.T.cast(align(self.target, self.pred.shape), p.dtype) + E.T.zeros_like(p)
        known = labelled(t)
        t = E.T.switch(known, t, 0)
        deviation = E.T.abs(E.T.switch(known, t - p, 0))
        if "margin" in self.params:
            deviation = E.T.maximum(deviation - self.params["margin"], 0)
        loss = self._penalty(deviation)
        if "scale_correction" in self.params:
            loss = loss * self._correction(E.T.abs(t), self.params["scale_correction"])
        mask = E.T.cast(known, p.dtype)
        self.output = E.T.mean(loss * mask * missing_scale(mask), axis=self.axis, keepdims=True)

    def _calc_shape(self) -> None:
        self.shape = self.pred.shape.updateshape("f", 1)


class SquaredLoss(_DeviationLoss):
    r"""Half the squared error, averaged over the features.

    Parameters
    ----------
    pred : Node
        Prediction, of any shape with an axis f.
    target : Node
        Target in the shape of `pred`; an axis s of samples may be missing. -666 and NaN mark missing values; infinite
        values are an error.
    margin : float, optional
        Errors up to the margin m are not penalised. If given, can be changed through parameter ``margin``.
    scale_correction : float, optional
        Target magnitude c at which the weight of the loss is one half: the weight is :math:`c / (|t| + c)`. If given,
        can be changed through parameter ``scale_correction``.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, InputTypeError
        If the target does not match the prediction.
    ArgumentError
        If `margin` or `scale_correction` is negative or not finite.

    Notes
    -----
    .. math:: l = s \cdot \mathrm{mean}_f\; \tfrac12 \max(|t - p| - m, 0)^2

    with s = size / (number of labelled elements + 1); missing elements give 0. Axis f has size 1.

    Examples
    --------
    >>> from neuromancer import Input
    >>> p = Input((3, 1), "b,f", name="p", print_repr=False)
    >>> t = Input((3, 1), "b,f", name="t", print_repr=False)
    >>> SquaredLoss(p, t, print_repr=False)([[1], [2], [3]], [[1], [4], [-666]]).tolist()
    [[0.0], [2.0], [0.0]]
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        margin: float | None = None,
        scale_correction: float | None = None,
        name: str = "se",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self._connect(pred, target, margin, scale_correction)

    def _penalty(self, deviation: Any) -> Any:
        return 0.5 * deviation**2

    def _correction(self, size: Any, c: Any) -> Any:
        return c / (size + c)


class AbsLoss(_DeviationLoss):
    r"""Absolute error, averaged over the features.

    Parameters
    ----------
    pred, target, margin, name, print_repr
        See :class:`SquaredLoss`.
    scale_correction : float, optional
        Coefficient c of the weight :math:`c\,|t| + 1` of a target t. If given, can be changed through parameter
        ``scale_correction``.

    Raises
    ------
    ShapeError, InputTypeError
        If the target does not match the prediction.
    ArgumentError
        If `margin` or `scale_correction` is negative or not finite.

    Notes
    -----
    .. math:: l = s \cdot \mathrm{mean}_f\; \max(|t - p| - m, 0)

    with s = size / (number of labelled elements + 1); missing elements give 0. Axis f has size 1.

    Examples
    --------
    >>> from neuromancer import Input
    >>> p = Input((3, 1), "b,f", name="p", print_repr=False)
    >>> t = Input((3, 1), "b,f", name="t", print_repr=False)
    >>> AbsLoss(p, t, margin=0.5, print_repr=False)([[1], [2], [3]], [[1], [4], [-666]]).tolist()
    [[0.0], [1.5], [0.0]]
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        margin: float | None = None,
        scale_correction: float | None = None,
        name: str = "absloss",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self._connect(pred, target, margin, scale_correction)

    def _penalty(self, deviation: Any) -> Any:
        return deviation

    def _correction(self, size: Any, c: Any) -> Any:
        return c * size + 1
