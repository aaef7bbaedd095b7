"""Loads and stores of SIMD vectors of channels, as LLVM instructions for numba intrinsics.

The kernels emit vector instructions themselves: to vectorise a loop, LLVM would have to prove that arrays do not
alias, and where it cannot, the loop runs one channel at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels.simd import LANES

FloatArray = npt.NDArray[np.float32]
FLOATS = types.Array(types.float32, 1, "C")
INT = types.intp
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INT32 = ir.IntType(32)
FUSED = ("contract", "nsz")
"""Fast-math flags: a multiplication and an addition may be fused, and zeros have no sign."""

_BYTES = ir.IntType(8).as_pointer()
_FLOAT_ALIGNMENT, _CACHE_LINE = 4, 64


def array_data(context: Any, builder: Any, array: Any) -> Any:
    """Return the pointer to the first value of a `FLOATS` array."""
    return context.make_array(FLOATS)(context, builder, array).data


def vector_at(builder: Any, data: Any, index: Any) -> Any:
    """Return the pointer to the vector that starts at an index of `data`."""
    return builder.bitcast(builder.gep(data, [index]), VECTOR.as_pointer())


def constant(value: float) -> Any:
    """Return a vector with the same value in every lane."""
    return ir.Constant(VECTOR, [float(value)] * LANES)


def load(builder: Any, pointer: Any) -> Any:
    """Load a vector that is aligned to single values only."""
    return builder.load(pointer, align=_FLOAT_ALIGNMENT)


def store(builder: Any, value: Any, pointer: Any, nontemporal: bool = False) -> None:
    """Store a vector; `nontemporal` bypasses the caches and requires `pointer` to be aligned to a cache line."""
    instruction = builder.store(value, pointer, align=_CACHE_LINE if nontemporal else _FLOAT_ALIGNMENT)
    if nontemporal:
        instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INT32, 1)]))


class Rows:
    """Vectors of an array at regular distances.

    Parameters
    ----------
    context, builder
        Of the intrinsic that reads or writes them.
    array : value of type FLOATS
    start, step : value of type INT
        Index of the first vector, and distance between vectors.
    """

    def __init__(self, context: Any, builder: Any, array: Any, start: Any, step: Any) -> None:
        self.builder, self.start, self.step = builder, start, step
        self.data = array_data(context, builder, array)

    def _index(self, k: int, offset: Any) -> Any:
        index = self.builder.add(self.start, self.builder.mul(self.step, ir.Constant(self.step.type, k)))
        return self.builder.add(index, ir.Constant(index.type, offset) if isinstance(offset, int) else offset)

    def load(self, k: int, offset: int = 0) -> Any:
        """Load the k-th vector, or the one `offset` values behind it."""
        return load(self.builder, vector_at(self.builder, self.data, self._index(k, offset)))

    def store(self, k: int, value: Any, offset: int = 0, nontemporal: bool = False) -> None:
        """Store the k-th vector, or the one `offset` values behind it."""
        pointer = vector_at(self.builder, self.data, self._index(k, offset))
        store(self.builder, value, pointer, nontemporal)

    def prefetch(self, k: int, offset: Any) -> None:
        """Prefetch the cache line `offset` values behind the k-th vector into the second-level cache."""
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, INT32, INT32, INT32])
        function = self.builder.module.declare_intrinsic("llvm.prefetch", [_BYTES], kind)
        read, second_level, data = (ir.Constant(INT32, v) for v in (0, 2, 1))
        pointer = self.builder.bitcast(self.builder.gep(self.data, [self._index(k, offset)]), _BYTES)
        self.builder.call(function, [pointer, read, second_level, data])


@intrinsic
def fence(typing: Any) -> Any:
    """Make nontemporal stores visible to all threads."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate
