"""Nodes for user-defined expressions: functions and existing tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import InputTypeError, ShapeError, node_label
from neuromancer.graph.demand import Demand, magnitude
from neuromancer.graph.node import require_node
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.functors import functor_name
from neuromancer.nodes.node import Node

PART = 8
"""Symbolic operations of a slice of a node, or per argument of a functor."""


class ApplyFunc(Node):
    """Apply a symbolic function that preserves the shape.

    Parameters
    ----------
    parent : Node
        Input.
    functor : callable
        Function of the parent's symbolic output, e.g. ``neuromancer.T.tanh``. Model files store it by name: the
        elementwise, reduction and shape functions of ``neuromancer.T`` and the activations of ``T.nnet`` are known;
        register your own with :func:`neuromancer.register_functor` or pass them to :func:`neuromancer.modelload`.
    args : tuple
        Positional arguments of `functor` after the first.
    kwargs : dict, optional
        Keyword arguments of `functor`.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError
        If `parent` is not a node, `functor` is not callable, or it does not return a symbolic variable.

    Examples
    --------
    >>> from neuromancer import Input, T
    >>> inp = Input((1, 2), "b,f", print_repr=False)
    >>> ApplyFunc(inp, T.sqr)([[2, 3]]).tolist()
    [[4.0, 9.0]]
    """

    functions = 1.0

    def __init__(
        self,
        parent: Node,
        functor: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        name: str = "apply",
        print_repr: bool = False,
    ) -> None:
        super().__init__(parent, name, print_repr)
        require_node(parent, self, "the parent")
        if not callable(functor):
            raise InputTypeError(
                "the functor must be callable",
                node=self,
                got=repr(functor),
                expected="e.g. neuromancer.T.tanh",
            )
        if not isinstance(args, (list, tuple)) or not isinstance(kwargs, (dict, NoneType)):
            raise InputTypeError(
                "args must be a tuple and kwargs a dict", node=self, got=f"args={args!r}, kwargs={kwargs!r}"[:200]
            )
        self.functor, self.args, self.kwargs = functor, tuple(args), dict(kwargs or {})

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        functor, args, kwargs = (arguments.get(key) for key in ("functor", "args", "kwargs"))
        values = [
            *(args if isinstance(args, (list, tuple)) else ()),
            *(kwargs if isinstance(kwargs, dict) else {}).values(),
        ]
        demand = Demand() + Demand(PART * len(values))
        # Elementwise operations take a number as a value, other functions of the engine as a rank or a count.
        if hasattr(functor, "scalar_op") or not any(functor is known for known in vars(E.T).values()):
            return demand
        return sum((_demand_of(value) for value in values), demand)

    @property
    def functor_path(self) -> str:
        """Name of the functor in model files, e.g. ``T:tanh``.

        Raises
        ------
        ArgumentError
            For a lambda, a local function or an object without a name, which cannot be stored in a file.
        """
        return functor_name(self.functor, self)

    def _make_output(self) -> None:
        self.output = _evaluate(self, "functor", lambda: self.functor(self.parent.output, *self.args, **self.kwargs))


class FromTensor(Node):
    """Node for an existing symbolic tensor; :func:`split` returns such nodes.

    Parameters
    ----------
    tensor : symbolic variable, or callable
        Tensor, or function that computes it from the output of `tensor_parent`.
    tensor_shape : TaggedShape
        Shape of the tensor.
    tensor_parent : Node
        Node that the tensor depends on.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError
        If an argument has the wrong type.
    ShapeError
        If the tensor and `tensor_shape` differ in rank.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 2), "b,f", print_repr=False)
    >>> FromTensor(inp.output + 1, inp.shape, inp)([[2, 3]]).tolist()
    [[3.0, 4.0]]
    """

    def __init__(
        self,
        tensor: Any,
        tensor_shape: TaggedShape,
        tensor_parent: Node,
        name: str = "from_tensor",
        print_repr: bool = False,
    ) -> None:
        super().__init__(tensor_parent, name, print_repr)
        require_node(tensor_parent, self, "tensor_parent")
        if not isinstance(tensor_shape, TaggedShape):
            raise InputTypeError("tensor_shape must be a TaggedShape", node=self, got=type(tensor_shape).__name__)
        if not callable(tensor):
            if not isinstance(tensor, E.Variable):
                raise InputTypeError("tensor must be a symbolic variable", node=self, got=type(tensor).__name__)
            _require_rank(self, tensor, tensor_shape)
        self.tensor, self.tensor_shape = tensor, tensor_shape
        self.selection: Callable[[Any], Any] | None = None  # slices a part of a split out of an array or tensor
        self.taken: tuple[int, int | slice] | None = None  # axis and range of a part of a split
        self._shape_of_parent = tensor_parent.shape

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        return Demand(PART)

    def _make_output(self) -> None:
        # In a rebuilt graph the tensor is already expressed in terms of the parent's copy.
        if not callable(self.tensor):
            self.output = self.tensor
            return
        result = _evaluate(self, "tensor function", lambda: self.tensor(self.parent.output))
        _require_rank(self, result, self.tensor_shape)
        self.output = result

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return the slice of the array, if this node is a part of a split."""
        return None if self.selection is None else self.selection(arrays[0])

    def _calc_shape(self) -> None:
        self.shape = self.tensor_shape.copy()
        if self._shape_of_parent is None:
            return
        # In a rebuilt graph, sizes of the parent may have become unknown; they are then unknown here, too.
        for tag, before, now in zip(self._shape_of_parent.tags, self._shape_of_parent, self.parent.shape, strict=True):
            if now is None and before is not None and self.shape.hastag(tag):
                self.shape = self.shape.updateshape(tag, None)

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0


def _demand_of(value: Any) -> Demand:
    """Bound what a function of the engine builds from an argument: numbers are ranks or counts, lists may be axes."""
    count, total = _numbers_in(value)
    # Every axis is compared with every other.
    return Demand(count**2 if count > 1 else 0, 8 * total)


def _numbers_in(value: Any) -> tuple[int, int]:
    """Return the number of integers in a nested argument, and the sum of their magnitudes."""
    if isinstance(value, E.Constant):
        value = value.data
    if isinstance(value, (np.ndarray, np.generic)):
        return (value.size, int(np.abs(value.astype("float64")).sum())) if value.dtype.kind in "biu" else (0, 0)
    if isinstance(value, (list, tuple, dict)):
        inner = [_numbers_in(entry) for entry in (value.values() if isinstance(value, dict) else value)]
        return sum(count for count, _ in inner), sum(total for _, total in inner)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (1, magnitude(value)) if isinstance(value, int) else (0, 0)


def _evaluate(node: Node, what: str, call: Callable[[], Any]) -> Any:
    """Call the user's function and check that it returns a symbolic variable."""
    try:
        result = call()
    except Exception as error:
        error.add_note(f"Raised by the {what} of {node_label(node)}.")
        raise
    if not isinstance(result, E.Variable):
        raise InputTypeError(
            f"the {what} must return a symbolic variable",
            node=node,
            got=f"{type(result).__name__} {result!r}"[:200],
        )
    return result


def _require_rank(node: Node, tensor: Any, shape: TaggedShape) -> None:
    rank = getattr(tensor, "ndim", None)
    if rank != len(shape):
        raise ShapeError("tensor and tensor_shape differ in rank", node=node, got=f"{rank} axes", expected=repr(shape))
