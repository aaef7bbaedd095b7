"""Activation functions as nodes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuromancer.errors import ArgumentError
from neuromancer.graph.demand import Demand
from neuromancer.graph.tagged_shape import require_tag
from neuromancer.nodes.activation import OVER_FEATURES, SLOPE, find_activation
from neuromancer.nodes.layout import as_float, require_features, require_tensor
from neuromancer.nodes.node import Node
from neuromancer.nodes.parameters import ParameterNode


class Activation(ParameterNode):
    """Activation function by itself, where it does not directly follow a layer's bias.

    Parameters
    ----------
    parent : Node
        Input in any layout; with an axis f for prelu, log_softmax and maxout.
    activation_func : str
        Name of the activation function, see :class:`neuromancer.nodes.activation.ActivationFunction`.
    name : str
    print_repr : bool
    slope : optional
        Slopes of prelu, (n_f,), or of ``prelu shared``, (1,), in one of the forms of
        :class:`neuromancer.nodes.parameters.ParameterNode`. Default: trainable, initially 0.25.

    Attributes
    ----------
    activation_func : str
    slope : parameter or None
    logits : symbolic variable
        What the function is applied to.

    Raises
    ------
    ArgumentError
        If the name is unknown, the numbers after it do not fit, or a slope is given for a function without one.
    ShapeError
        If the number of features is unknown for prelu or maxout or not divisible by the group size, or the slope has
        the wrong shape.
    UnknownNameError
        If the function needs features and the parent has no axis f.
    InputTypeError
        If the parent is not a node with a tensor output.

    Notes
    -----
    Integers are converted to ``config.floatX``. The output has the parent's shape; for maxout, axis f is divided by the
    group size. The cost is the number of elements.

    A :class:`~neuromancer.nodes.softmax.Softmax` takes this node with any function, but layers only without one.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 3), "b,f", print_repr=False)
    >>> Activation(inp, "leaky_relu 0.5", print_repr=False)([[-2, 0, 4]]).tolist()
    [[-1.0, 0.0, 4.0]]
    >>> Activation(inp, "prelu shared", print_repr=False)([[-2, 0, 4]]).tolist()
    [[-0.5, 0.0, 4.0]]
    """

    slope: Any = None

    def __init__(
        self,
        parent: Node,
        activation_func: str = "relu",
        name: str = "activation",
        print_repr: bool = True,
        slope: Any = None,
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = require_tensor(parent, self)
        n_f = shape["f"] if shape.hastag("f") else None
        self.activation = find_activation(activation_func, n_f, self)
        self.functions = self.activation.functions
        self.activation_func = activation_func
        self.axis = 0 if self.activation.is_elementwise else require_tag(shape, "f", self)
        if self.activation.name in ("prelu", "maxout"):
            n_f = require_features(parent, self)
        slope_shape = self.activation.slope_shape(n_f or 1)
        if slope_shape is not None:
            self.slope = self._param("slope", slope, slope_shape, {"mode": "const", "scale": SLOPE}, reg=False)
        elif slope is not None:
            raise ArgumentError(
                "only prelu has a slope that can be given",
                node=self,
                got=f"slope with activation_func={activation_func!r}",
                nearest="'prelu', 'prelu shared' or 'leaky_relu <slope>'",
            )

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        shape, slopes = getattr(arguments.get("parent"), "shape", None), 1
        if arguments.get("activation_func") in OVER_FEATURES and shape is not None and shape.hastag("f"):
            slopes = shape["f"] or 1
        return super().demand(arguments) + Demand(0, 2 * slopes)

    @property
    def logits(self) -> Any:
        """What the function is applied to."""
        return as_float(self.parent.output)

    def _make_output(self) -> None:
        self.output = self.activation(self.logits, self.axis, self.slope)

    def _calc_shape(self) -> None:
        shape = self.parent.shape
        if self.activation.group > 1:
            self.shape = shape.updateshape("f", self.activation.outputs(shape["f"]))
        else:
            self.shape = shape.copy()

    def _repr_extra(self) -> str:
        return f"act={self.activation_func!r}, "
