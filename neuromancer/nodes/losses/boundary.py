"""Boundary loss: probabilities weighted by the distance to the true boundary."""

from __future__ import annotations

from functools import partial
from typing import Any

from neuromancer import engine as E
from neuromancer.nodes.losses.common import align, require_fit, require_tensor
from neuromancer.nodes.losses.targets import Check, check_finite
from neuromancer.nodes.node import Node


class BoundaryLoss(Node):
    r"""Mean of the probabilities times signed distances to the true boundary.

    Parameters
    ----------
    pred : Node
        Probabilities, of any shape with an axis f.
    distance : Node
        Signed distance of every pixel to the boundary of each class, negative inside, in the shape of `pred`, as
        :func:`signed_distance` computes it. Classes whose distances are all 0, such as background, do not count.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, InputTypeError
        If the distances do not match the prediction.

    Notes
    -----
    .. math:: l = \mathrm{mean}_f\; p\,d

    (Kervadec et al. 2019, arXiv:1812.07032). It approximates the distance between the predicted and the true boundary,
    up to a constant, and may be negative. Its gradient is small where nothing is predicted: train with a region loss or
    cross-entropy, and let the weight of this loss grow. Axis f has size 1.

    Examples
    --------
    >>> from neuromancer import Input
    >>> p, d = (Input((1, 1, 4), "b,f,x", name=n, print_repr=False) for n in "pd")
    >>> loss = BoundaryLoss(p, d, print_repr=False)
    >>> loss([[[1, 1, 0.5, 0]]], [[[-1, 0, 1, 2]]]).tolist()
    [[[-1.0, 0.0, 0.5, 0.0]]]
    """

    def __init__(self, pred: Node, distance: Node, name: str = "boundary", print_repr: bool = True) -> None:
        super().__init__(None, name, print_repr)
        require_tensor(pred, self, "the prediction")
        require_tensor(distance, self, "the distance")
        require_fit(self, "distance", distance, pred, optional=())
        self.axis = pred.shape.tag2index("f")
        self.pred, self.distance = pred, distance
        self.parent = [pred, distance]

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the check of the distances: finite."""
        return [(self.distance, partial(check_finite, self, "the distance"))]

    def _make_output(self) -> None:
        p = self.pred.output
        distance: Any = E.T.cast(align(self.distance, self.pred.shape), p.dtype)
        self.output = E.T.mean(p * distance, axis=self.axis, keepdims=True)

    def _calc_shape(self) -> None:
        self.shape = self.pred.shape.updateshape("f", 1)
