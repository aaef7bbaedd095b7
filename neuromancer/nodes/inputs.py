"""Sources: nodes into which data is fed."""

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
"""Tags of an input that is given none, by its number of axes."""


def check_dtype(dtype: Any, node: Any) -> str:
    """Name of a numeric dtype (default floatX), or InputTypeError."""
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
    """Source for a tensor.

    Parameters
    ----------
    shape : sequence of int or None
        Sizes of the array that will be fed; None where any size will do.
    tags : str or sequence of str
        One per axis: ``r`` recurrence, ``b`` batch, ``f`` features, ``z``, ``y``, ``x`` space, ``s`` samples; for
        instance ``'b,f,z,y,x'``. Default: batch, features, and the spatial axes x; y, x; or z, y, x.
    strides, fov : sequence of int, optional
        Per spatial axis, where the data is itself the output of something strided.
    dtype : str, optional
        Default ``config.floatX``.
    hardcoded_shape : bool
        Compile the shape into the graph; every size must then be known.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError
        For shapes, tags or a dtype that cannot be.

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
                "a hard-coded shape must be known in full",
                node=self,
                got=self._declared.shape,
                expected="no None",
            )

    def _make_output(self) -> None:
        # Only a hard-coded shape is compiled in: otherwise one function serves every batch.
        known = self._declared.shape
        if not self.hardcoded_shape:
            known = [s if t == "f" else None for s, t in zip(known, self._declared.tags, strict=True)]
        self.output = E.tensor(self.name, tuple(known), self.dtype)

    def _calc_shape(self) -> None:
        self.shape = self._declared

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def free_sizes(self) -> None:
        """Open the batch and spatial sizes, and count positions in units of this input's own voxels."""
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
    """Source with the shape, tags, strides and field of view of another node.

    Parameters
    ----------
    ref : Node or TaggedShape
        What to be like. A TaggedShape has no dtype, so `dtype` is then needed.
    dtype : str, optional
        Default: the dtype of the node's output.
    name : str
    print_repr : bool
    override_f : int, optional
        Another number of features.
    hardcoded_shape : bool
        See :class:`Input`.

    Returns
    -------
    Input

    Raises
    ------
    InputTypeError
        If `ref` is neither, or the dtype cannot be known.

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
    """Source for any Python object; it has no shape.

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
        """The object itself: a compiled function would hand back a copy."""
        return check_arrays(self, [self], args)[0]

    def _calc_shape(self) -> None:
        self.shape = None  # type: ignore[assignment]  # of objects there is none

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0
