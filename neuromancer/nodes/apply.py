"""Nodes around expressions that the user writes: functions and ready tensors."""

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
"""Symbolic operations of a part of a node."""


class ApplyFunc(Node):
    """Apply a symbolic function that keeps the shape.

    Parameters
    ----------
    parent : Node
        Input.
    functor : callable
        Called with the parent's symbolic output, e.g. ``neuromancer.T.tanh``. Model files can name the elementwise,
        reduction and shape functions of ``neuromancer.T``; register your own with
        :func:`neuromancer.register_functor`, or hand them to :func:`neuromancer.modelload`.
    args : tuple
        Further arguments of `functor`.
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
        given = [
            *(args if isinstance(args, (list, tuple)) else ()),
            *(kwargs if isinstance(kwargs, dict) else {}).values(),
        ]
        demand = Demand() + Demand(PART * len(given))
        # To elementwise operations a number is a value, to other functions of the engine a rank or a count.
        if hasattr(functor, "scalar_op") or not any(functor is known for known in vars(E.T).values()):
            return demand
        return sum((_demand_of(value) for value in given), demand)

    @property
    def functor_path(self) -> str:
        """Name of the functor in model files, such as ``T:tanh``.

        Raises
        ------
        ArgumentError
            For a lambda, a local function or an object without a name, which no file can hold.
        """
        return functor_name(self.functor, self)

    def _make_output(self) -> None:
        self.output = _evaluate(self, "functor", lambda: self.functor(self.parent.output, *self.args, **self.kwargs))


class FromTensor(Node):
    """Node around a symbolic tensor that already exists; :func:`split` is made of these.

    Parameters
    ----------
    tensor : symbolic variable, or callable
        The tensor, or a function that computes it from the parent's output.
    tensor_shape : TaggedShape
        Its shape.
    tensor_parent : Node
        The node that the tensor is computed from.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError, ShapeError
        If the arguments are of other types, or rank and shape disagree.

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
        self.selection: Callable[[Any], Any] | None = None  # what `split` takes, of arrays as of tensors
        self._shape_of_parent = tensor_parent.shape

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        return Demand(PART)

    def _make_output(self) -> None:
        # In a rebuilt graph the tensor is already written in terms of the parent's copy.
        if not callable(self.tensor):
            self.output = self.tensor
            return
        result = _evaluate(self, "tensor function", lambda: self.tensor(self.parent.output))
        _require_rank(self, result, self.tensor_shape)
        self.output = result

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
        """The part that is taken, in a part of a split."""
        return None if self.selection is None else self.selection(arrays[0])

    def _calc_shape(self) -> None:
        self.shape = self.tensor_shape.copy()
        if self._shape_of_parent is None:
            return
        # In a rebuilt graph sizes of the parent may have become open; those are open here too.
        for tag, before, now in zip(self._shape_of_parent.tags, self._shape_of_parent, self.parent.shape, strict=True):
            if now is None and before is not None and self.shape.hastag(tag):
                self.shape = self.shape.updateshape(tag, None)

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0


def _demand_of(value: Any) -> Demand:
    """What a function of the engine may make of an argument: a number is a rank or a count, a list may be axes."""
    count, total = _numbers_in(value)
    # Every axis is compared with every other one.
    return Demand(count**2 if count > 1 else 0, 8 * total)


def _numbers_in(value: Any) -> tuple[int, int]:
    """How many whole numbers there are in an argument of any depth, and their sum."""
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
    """What the user's function returns, if it is a symbolic variable."""
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
        raise ShapeError("tensor and shape differ in rank", node=node, got=f"{rank} axes", expected=repr(shape))
