"""Fully connected layer."""

from __future__ import annotations

from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.layout import as_float, flag, require_features, require_tensor
from neuromancer.nodes.neural_layer import NeuralLayer
from neuromancer.nodes.node import Node


def dot_features(x: Any, w: Any, axis: int) -> Any:
    """Contract `axis` of x, n_in features, with w, (n_in, n_out); the result has the n_out features on `axis`."""
    last = x.ndim - 1
    if axis == last:
        return E.T.dot(x, w)
    if axis == 1 and last <= 4:
        # A 1x1 convolution needs no transposed copies.
        return E.conv(x, w.dimshuffle(1, 0, *["x"] * (last - 1)))
    others = [i for i in range(x.ndim) if i != axis]
    y = E.T.dot(x.dimshuffle(*others, axis), w)
    return y.dimshuffle(*range(axis), last, *range(axis, last))


class Perceptron(NeuralLayer):
    """Fully connected layer over the features; on images, applied at every position (a 1x1 convolution).

    Parameters
    ----------
    parent : Node
        Input in any layout with an axis f that is not the first; f must be known.
    n_f : int
        Number of output features; for maxout the number of linear responses, see
        :class:`neuromancer.nodes.activation.ActivationFunction`.
    activation_func : str
        Name of the activation function, see :class:`neuromancer.nodes.activation.ActivationFunction`.
    flatten : bool
        Flatten all axes except b into features; needs tags b,f,... and known sizes. The output has axes b,f.
    batch_normalisation : False, None, 'train', 'fadeout' or 'predict'
        'train' normalises the linear responses by batch statistics and tracks running statistics for the inference
        form; 'fadeout' interpolates between normalised (parameter ``gradnet_rate`` = 1) and plain (0) responses;
        'predict' normalises by the parameters ``mean`` and ``std``.
    dropout_rate : float
        Probability of dropping a feature, for all items and positions, after the activation; the others are scaled by
        ``1 / (1 - rate)``. There is no dropout in the inference form. With 0, the layer has no parameter
        ``dropout_rate`` that could be changed later.
    name : str
    print_repr : bool
    w : see NeuralLayer, optional
        Weights, (n_in, n_f). Default: normal distribution (Glorot & Bengio 2010).
    b : see NeuralLayer, optional
        Bias, (n_f,); for prelu bias and slope, (n_f, 2).
    gamma, mean, std : see NeuralLayer, optional
        Scale and statistics of batch normalisation, (n_f,).
    gradnet_mode : optional
        If true, the layer has a parameter ``gradnet_rate``, as it always has with 'fadeout'.

    Raises
    ------
    ArgumentError
        For an unknown option or a value out of range.
    ShapeError
        If the number of features is unknown, a parameter has the wrong shape, or the layout cannot be flattened.
    InputTypeError
        If the parent is not a node with a tensor output.
    UnknownNameError
        If the parent has no axis f.

    Notes
    -----
    The cost is the number of elements of the parent (batch included, if known) times `n_f`.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromancer import Input
    >>> inp = Input((2, 3), "b,f", print_repr=False)
    >>> ones = Perceptron(inp, 4, "lin", w=np.ones((3, 4)), b=np.zeros(4), print_repr=False)
    >>> ones([[1, 2, 3], [0, 0, 1]]).tolist()
    [[6.0, 6.0, 6.0, 6.0], [1.0, 1.0, 1.0, 1.0]]
    """

    def __init__(
        self,
        parent: Node,
        n_f: int,
        activation_func: str = "relu",
        flatten: bool = False,
        batch_normalisation: bool | str | None = False,
        dropout_rate: float = 0,
        name: str = "dot",
        print_repr: bool = True,
        w: Any = None,
        b: Any = None,
        gamma: Any = None,
        mean: Any = None,
        std: Any = None,
        gradnet_mode: Any = None,
    ) -> None:
        super().__init__(parent, name, print_repr)
        self._setup(n_f, activation_func, batch_normalisation, dropout_rate, gradnet_mode)
        self.flatten = flag(flatten, "flatten", self)
        self.n_in = self._count_inputs()
        self.axis = 1 if self.flatten else parent.shape.tag2index("f")
        given = {"w": w, "b": b, "gamma": gamma, "mean": mean, "std": std}
        self._make_params((self.n_in, self.n_f), {}, 1, given)

    def _count_inputs(self) -> int:
        shape = require_tensor(self.parent, self)
        if self.flatten:
            if list(shape.tags[:2]) != ["b", "f"]:
                raise ShapeError(
                    "flattening needs axis f directly after axis b",
                    node=self,
                    got=",".join(shape.tags),
                    expected="tags b,f,...",
                    nearest=",".join(["b", "f", *(t for t in shape.tags if t not in "bf")]),
                )
            n_in = shape.stripbatch_prod
            if n_in is None:
                raise ShapeError(
                    "flattening needs known sizes", node=self, got=repr(shape), expected="only the batch size unknown"
                )
            return n_in
        n_in = require_features(self.parent, self)
        if shape.tag2index("f") == 0:
            raise ShapeError(
                "the features must not be on the first axis", node=self, got=",".join(shape.tags), expected="b,f,..."
            )
        return n_in

    def _make_output(self) -> None:
        x = as_float(self.parent.output)
        if self.flatten:
            x = x.reshape((x.shape[0], self.n_in))
        self.output = self._respond(dot_features(x, self.w, self.axis), self.axis, gate_per_feature=True)

    def _calc_shape(self) -> None:
        n_out = self.activation.outputs(self.n_f)
        shape = self.parent.shape
        self.shape = TaggedShape([shape["b"], n_out], "b,f") if self.flatten else shape.updateshape("f", n_out)

    def _calc_comp_cost(self) -> None:
        self.computational_cost = self.parent.shape.stripnone_prod * self.n_f

    def _repr_extra(self) -> str:
        flat = "input was flattened, " if self.flatten else ""
        return f"n_f={self.n_f}, {self._repr_options(flat)}"

    def make_dual(self, parent: Node, share_w: bool = False, **kwargs: Any) -> Perceptron:
        """Create the dual of this layer, which maps back to `n_in` features.

        Parameters
        ----------
        parent : Node
            Input of the dual, with as many features as this layer's output.
        share_w : bool
            Share this layer's weights, transposed.
        **kwargs
            Further arguments of :class:`Perceptron`; `name` defaults to ``<name>.T``.

        Returns
        -------
        Perceptron

        Raises
        ------
        ArgumentError
            If this layer flattens its input, or the weights cannot be shared.
        ShapeError
            If the parent has the wrong number of features.

        Examples
        --------
        >>> from neuromancer import Input
        >>> inp = Input((1, 6), "b,f", print_repr=False)
        >>> code = Perceptron(inp, 2, name="code", print_repr=False)
        >>> dual = code.make_dual(code, share_w=True, print_repr=False)
        >>> dual.name, dual.shape
        ('code.T', [(1,b), (6,f)])
        """
        if self.flatten:
            raise ArgumentError("a layer that flattens its input has no dual", node=self, got="flatten=True")
        check_dual_parent(self, parent)
        if share_w:
            check_shared_dual(self, kwargs)
            kwargs["w"] = self.w.T
        kwargs.setdefault("name", f"{self.name}.T")
        return Perceptron(parent, self.n_in, **kwargs)


Dot = Perceptron


def check_dual_parent(layer: NeuralLayer, parent: Node) -> None:
    """Raise ShapeError unless `parent` has as many features as the layer."""
    n_f = require_features(parent, layer, "the dual's parent")
    if n_f != layer.shape["f"]:
        raise ShapeError(
            "the parent of the dual needs as many features as the output of this layer",
            node=layer,
            got=f"{parent.name}: f={n_f}",
            expected=f"f={layer.shape['f']}",
        )


def check_shared_dual(layer: NeuralLayer, kwargs: dict[str, Any]) -> None:
    """Raise ArgumentError unless a dual can share the layer's weights."""
    if "w" in kwargs:
        raise ArgumentError("weights can be shared or given, not both", node=layer, got="share_w=True and w")
    if layer.activation.group > 1:
        raise ArgumentError("weights of a maxout layer cannot be shared", node=layer, got=layer.activation_func)
