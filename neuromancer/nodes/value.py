"""Nodes that hold a value: constants, trainable values, initial states of recurrences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import KINDS, exact_cast
from neuromancer.config import config
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.demand import Demand, magnitude, product
from neuromancer.graph.tagged_shape import TaggedShape, require_tag
from neuromancer.nodes.inputs import check_dtype
from neuromancer.nodes.layout import positive_int, require_tensor
from neuromancer.nodes.node import Node
from neuromancer.utils import as_array
from neuromancer.variables import ConstantParam, VariableWeight

DTYPES = ("bool", *(f"{kind}int{n}" for kind in ("", "u") for n in (8, 16, 32, 64)), "float16", "float32", "float64")


class ValueNode(Node):
    """Constant or trainable value.

    Parameters
    ----------
    shape : sequence of int
        Shape; all sizes must be known.
    tags : str or sequence of str
        One per axis, see :class:`Input`.
    strides, fov : sequence of int, optional
        Stride and field of view per spatial axis. Default: 1.
    dtype : str, optional
        Default: ``config.floatX``.
    apply_train : bool
        Whether the value is trained; needs a floating-point dtype.
    value : scalar or array, optional
        Value, broadcast to the shape; a vector that cannot be is one number per feature. ``[value, 'const']`` is
        constant whatever `apply_train` is. Default: initialised by `init_kwargs`, else 0.
    init_kwargs : dict, optional
        Arguments of :func:`neuromancer.variables.initweights`.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError
        If a size is unknown, or the value cannot be broadcast to the shape.
    ArgumentError
        If both `value` and `init_kwargs` are given, or the dtype cannot be trained or cannot hold the value.
    InputTypeError
        If `dtype` is not the name of a numeric dtype.

    Examples
    --------
    >>> ValueNode((1, 3), "b,f", value=[1, 2, 3], print_repr=False).get_value().tolist()
    [[1.0, 2.0, 3.0]]
    """

    def __init__(
        self,
        shape: Sequence[int],
        tags: str | Sequence[str],
        strides: Sequence[int] | None = None,
        fov: Sequence[int] | None = None,
        dtype: str | None = None,
        apply_train: bool = False,
        value: Any = None,
        init_kwargs: dict[str, Any] | None = None,
        name: str = "value_state",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self.dtype = check_dtype(dtype, self)
        self._declared = TaggedShape(shape, tags, strides, fov=fov)
        if None in self._declared.shape:
            raise ShapeError("a value needs a known shape", node=self, got=self._declared.shape, expected="no None")
        if isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[1], str):
            if value[1] != "const":
                raise ArgumentError("unknown mark of a value", node=self, got=value[1], expected="[value, 'const']")
            value, apply_train = value[0], False
        if value is not None and init_kwargs is not None:
            raise ArgumentError("give either a value or init_kwargs", node=self, got=f"both, init_kwargs={init_kwargs}")
        if apply_train and np.dtype(self.dtype).kind != "f":
            raise ArgumentError(
                "only floating-point values can be trained",
                node=self,
                got=f"dtype={self.dtype}",
                expected="a float dtype or apply_train=False",
                nearest=f"dtype={config.floatX}",
            )
        sizes = tuple(self._declared.stripnone)
        if init_kwargs is not None:
            param: Any = VariableWeight(
                sizes, init_kwargs, name="value", apply_train=apply_train, apply_reg=False, dtype=self.dtype
            )
            if not apply_train:
                param = ConstantParam(param.get_value(), name="value", dtype=self.dtype)
        else:
            try:
                given = np.broadcast_to(self._per_feature(as_array(0 if value is None else value)), sizes)
                fits = given.dtype.kind in KINDS
            except ValueError:
                fits = False
            if not fits:
                raise ShapeError(
                    "the value does not fit the shape",
                    node=self,
                    got=getattr(value, "shape", None) or repr(value)[:200],
                    expected=sizes,
                )
            array = exact_cast(given, self.dtype, self, "the value")
            param = (
                VariableWeight(value=array, name="value", apply_reg=False, dtype=self.dtype)
                if apply_train
                else ConstantParam(array, name="value", dtype=self.dtype)
            )
        self.params["value"] = param

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        dtype = arguments.get("dtype")
        size = np.dtype(dtype).itemsize if isinstance(dtype, str) and dtype in DTYPES else 8
        return Demand(numbers=2 * product(arguments.get("shape")) * size // 8)

    def _per_feature(self, value: Any) -> Any:
        """Return a vector of one number per feature along axis f, unless it fits the last axis; anything else as is."""
        sizes, shape = self._declared.shape, np.shape(value)
        if (
            len(shape) != 1
            or not self._declared.hastag("f")
            or shape[0] in (1, sizes[-1])
            or shape[0] != self._declared["f"]
        ):
            return value
        return np.reshape(value, [-1 if tag == "f" else 1 for tag in self._declared.tags])

    def _make_output(self) -> None:
        self.output = self.params["value"]

    def _calc_shape(self) -> None:
        self.shape = self._declared.copy()

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def get_value(self) -> np.ndarray:
        """Return a copy of the value, an array of the declared shape."""
        return self.params["value"].get_value()


class InitialState_like(Node):
    """Trainable initial state of a recurrence: a vector of features, broadcast over the other axes of a node.

    Parameters
    ----------
    parent : Node
        Node whose axes, except f, determine the shape.
    override_f : int
        Number of features.
    dtype : str, optional
        Dtype of the vector. Default: dtype of the parent's output. ``config.floatX`` if it is not a floating-point
        dtype.
    name : str
    print_repr : bool
    init_kwargs : dict, optional
        Arguments of :func:`neuromancer.variables.initweights`. Default: constant 0.

    Raises
    ------
    ArgumentError
        If `override_f` is not a positive integer.
    UnknownNameError
        If the parent has no axis f.
    InputTypeError
        If the parent is not a node with a tensor output.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((2, 5), "b,f", print_repr=False)
    >>> InitialState_like(inp, 3, print_repr=False).shape
    [(2,b), (3,f)]
    """

    def __init__(
        self,
        parent: Node,
        override_f: int,
        dtype: str | None = None,
        name: str = "initial_state",
        print_repr: bool = True,
        init_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(parent, name, print_repr)
        self._f_axis = require_tag(require_tensor(parent, self), "f", self)
        self.override_f = positive_int(override_f, "override_f", self)
        self.dtype = check_dtype(dtype or parent.output.dtype, self)
        if np.dtype(self.dtype).kind != "f":
            self.dtype = config.floatX
        self.params["value"] = VariableWeight(
            (self.override_f,),
            init_kwargs or {"mode": "const", "scale": 0.0},
            name="value",
            apply_reg=False,
            dtype=self.dtype,
        )

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        return Demand(numbers=2 * magnitude(arguments.get("override_f")))

    def _make_output(self) -> None:
        x = self.parent.output
        order = ["x"] * x.ndim
        order[self._f_axis] = 0  # type: ignore[call-overload]
        sizes = [self.override_f if i == self._f_axis else x.shape[i] for i in range(x.ndim)]
        self.output = E.T.alloc(self.params["value"].dimshuffle(*order), *sizes)

    def _calc_shape(self) -> None:
        self.shape = self.parent.shape.updateshape("f", self.override_f)

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def get_value(self) -> np.ndarray:
        """Return a copy of the vector, (override_f,)."""
        return self.params["value"].get_value()
