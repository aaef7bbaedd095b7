"""Sources: nodes that receive the arrays passed to a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.graph.feeding import check_arrays
from neuromancer.graph.tagged_shape import SPATIAL_TAGS, TaggedShape
from neuromancer.nodes.layout import positive_int
from neuromancer.nodes.node import Node

DEFAULT_TAGS = {2: "b,f", 3: "b,f,x", 4: "b,f,y,x", 5: "b,f,z,y,x"}
"""Default tags of an input, by number of axes."""


def check_dtype(dtype: Any, node: Any) -> str:
    """Return the name of a numeric dtype (default floatX); raise InputTypeError for others."""
    if dtype is None:
        return config.floatX
    if isinstance(dtype, str):
        try:
            kind = np.dtype(dtype)
        except TypeError:
            kind = None
        if kind is not None and kind.kind in "biuf":
            return kind.name
    raise InputTypeError(
        "dtype must be the name of a numeric dtype",
        node=node,
        got=dtype,
        expected="e.g. 'float32' or 'int64'",
    )


class Input(Node):
    """Source of a tensor: an array passed by the caller.

    Parameters
    ----------
    shape : sequence of int or None
        Sizes of the array; None for an axis of any size.
    tags : str or sequence of str
        One per axis, e.g. ``'b,f,z,y,x'``: ``r`` recurrence (time), ``b`` batch, ``f`` features, ``z``, ``y``, ``x``
        space, ``s`` samples of one item. Default for two to five axes: batch, features, then x; y, x; or z, y, x.
    strides, fov : sequence of int, optional
        Stride and field of view in raw voxels, per spatial axis, for data that is itself the output of a network.
        Default: 1.
    dtype : str, optional
        Any integer, unsigned, bool or floating-point dtype. Default: ``config.floatX``.
    hardcoded_shape : bool
        Compile the shape into the graph; all sizes must be known.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, ArgumentError
        If the shape or tags are invalid, or `hardcoded_shape` is used with an unknown size.
    InputTypeError
        If `dtype` is not the name of a numeric dtype.

    Examples
    --------
    >>> import numpy as np
    >>> inp = Input((1, 10), "b,f", print_repr=False)
    >>> data = np.random.rand(1, 10).astype("float32")
    >>> bool(np.allclose(inp(data), data))
    True
    """

    is_source = True

    def __init__(
        self,
        shape: Sequence[int | None],
        tags: str | Sequence[str] | None = None,
        strides: Sequence[int] | None = None,
        fov: Sequence[int] | None = None,
        dtype: str | None = None,
        hardcoded_shape: bool = False,
        name: str = "input",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self.dtype = check_dtype(dtype, self)
        if tags is None and len(shape) not in DEFAULT_TAGS:
            raise ShapeError(
                "an input of this rank needs tags", node=self, got=f"shape {tuple(shape)}", expected="one tag per axis"
            )
        self._declared = TaggedShape(shape, DEFAULT_TAGS[len(shape)] if tags is None else tags, strides, fov=fov)
        self.hardcoded_shape = hardcoded_shape
        if hardcoded_shape and None in self._declared.shape:
            raise ArgumentError(
                "all sizes of a hard-coded shape must be known",
                node=self,
                got=self._declared.shape,
                expected="no None",
            )

    def _make_output(self) -> None:
        # Sizes are compiled in only if hard-coded: otherwise one function serves batches of any size.
        known = self._declared.shape
        if not self.hardcoded_shape:
            known = [s if t == "f" else None for s, t in zip(known, self._declared.tags, strict=True)]
        self.output = E.tensor(self.name, tuple(known), self.dtype)

    def _calc_shape(self) -> None:
        self.shape = self._declared

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def free_sizes(self) -> None:
        """Make batch and spatial sizes unknown, and take this input's voxels as raw voxels."""
        sh = self._declared
        open_ = [None if t in (*SPATIAL_TAGS, "b") else s for s, t in zip(sh.shape, sh.tags, strict=True)]
        self._declared = TaggedShape(open_, sh.tags)
        self.hardcoded_shape = False
        self._make_output()
        self._calc_shape()


def Input_like(
    ref: Node | TaggedShape,
    dtype: str | None = None,
    name: str = "input",
    print_repr: bool = True,
    override_f: int | bool | None = False,
    hardcoded_shape: bool = False,
) -> Input:
    """Create a source with the shape, tags, strides and field of view of another node.

    Parameters
    ----------
    ref : Node or TaggedShape
        Template. For a TaggedShape, which has no dtype, `dtype` is required.
    dtype : str, optional
        Default: dtype of the node's output.
    name : str
    print_repr : bool
    override_f : int, optional
        Number of features that replaces the template's.
    hardcoded_shape : bool
        See :class:`Input`.

    Returns
    -------
    Input

    Raises
    ------
    InputTypeError
        If `ref` is neither a node with a shape nor a TaggedShape, or `dtype` is missing.
    ArgumentError
        If `override_f` is not a positive integer.

    Examples
    --------
    >>> inp = Input((2, 5), "b,f", print_repr=False)
    >>> Input_like(inp, override_f=1, print_repr=False).shape
    [(2,b), (1,f)]
    """
    if isinstance(ref, Node) and ref.shape is not None:
        shape, dtype = ref.shape, dtype or ref.output.dtype
    elif isinstance(ref, TaggedShape):
        shape = ref
        if dtype is None:
            raise InputTypeError(
                "a TaggedShape has no dtype, so one must be given",
                where=name,
                got=None,
                expected="e.g. 'float32'",
            )
    else:
        raise InputTypeError("needs a node with a shape, or a TaggedShape", where=name, got=type(ref).__name__)
    if override_f is not False and override_f is not None:
        shape = shape.updateshape("f", positive_int(override_f, "override_f", name))
    return Input(
        shape.shape,
        shape.tags,
        shape.strides.tolist(),
        shape.fov,
        dtype,
        hardcoded_shape,
        name=name,
        print_repr=print_repr,
    )


class GenericInput(Node):
    """Source of an arbitrary Python object, without a shape.

    Parameters
    ----------
    name : str
    print_repr : bool

    Examples
    --------
    >>> GenericInput(print_repr=False)({"any": "object"})
    {'any': 'object'}
    """

    is_source = True

    def __init__(self, name: str = "generic_input", print_repr: bool = True) -> None:
        super().__init__(None, name, print_repr)

    def _make_output(self) -> None:
        self.output = E.generic(self.name)

    def __call__(self, *args: Any) -> Any:
        """Return the object itself; a compiled function would return a copy."""
        return check_arrays(self, [self], args)[0]

    def _calc_shape(self) -> None:
        self.shape = None  # type: ignore[assignment]  # objects have no shape

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0
