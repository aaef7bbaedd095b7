"""Values repeated along new or broadcast axes, without PyTensor's search for their static shape."""

from __future__ import annotations

from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.basic import Alloc, get_scalar_constant_value
from pytensor.tensor.type import TensorType, integer_dtypes

from neuromancer.errors import InputTypeError, ShapeError


class QuickAlloc(Alloc):
    """PyTensor's `Alloc`, whose static shape is what can be seen without rewriting.

    PyTensor's copies and rewrites the whole graph behind the sizes to find what is constant there. In a network of a
    hundred layers that takes seconds for each such node.
    """

    def make_node(self, value: Any, *shape: Any) -> Apply:
        """Type value, broadcast to integers `shape`."""
        value = pt.as_tensor_variable(value)
        sizes = [pt.as_tensor_variable(size, ndim=0) for size in shape]
        for size in sizes:
            if size.type.dtype not in integer_dtypes:
                raise InputTypeError("sizes must be integers", where="alloc", got=size.type.dtype, expected="integers")
        if value.ndim > len(sizes):
            raise ShapeError(
                "has more axes than there are sizes",
                where="alloc",
                got=f"{value.ndim} axes and {len(sizes)} sizes",
                expected=f"at least {value.ndim} sizes",
            )
        own = (1,) * (len(sizes) - value.ndim) + value.type.shape
        return Apply(self, [value, *sizes], [TensorType(value.dtype, shape=map(_length, own, sizes))()])


def _length(own: int | None, size: Variable) -> int | None:
    """Return the static length of an axis of the result, whose operand has the length `own` there."""
    wanted = get_scalar_constant_value(size, raise_not_constant=False)
    if isinstance(wanted, Variable):
        return None if own == 1 else own
    if own not in (None, 1, wanted):
        raise ShapeError("cannot be repeated", where="alloc", got=f"length {own}", expected=f"length 1 or {wanted}")
    return int(wanted)


alloc = QuickAlloc()
