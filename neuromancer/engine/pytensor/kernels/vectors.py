"""Loads and stores of SIMD vectors of channels.

The kernels write vector instructions themselves: to vectorise a loop, LLVM would have to prove that arrays do not
overlap, and where it cannot, the loop runs one channel at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from neuromancer.engine.pytensor.kernels import native
from neuromancer.engine.pytensor.kernels.native import FLOAT, FLOAT_BYTES
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.values import Number, Value, loop

VECTOR = ir.VectorType(FLOAT, LANES)
INT32 = ir.IntType(32)
FUSED = ("contract", "nsz")
"""Fast-math flags: a multiplication and an addition may be fused, and zeros have no sign."""
_BYTES = ir.IntType(8).as_pointer()


def constant(value: float, kind: Any = VECTOR) -> Any:
    """Return a vector with the same value in every lane."""
    return ir.Constant(kind, [float(value)] * kind.count)


def load(address: Value, kind: Any = VECTOR) -> Any:
    """Load a vector that is aligned to single values only."""
    return address.builder.load(address.builder.bitcast(address.raw, kind.as_pointer()), align=FLOAT_BYTES)


def store(value: Any, address: Value, nontemporal: bool = False) -> None:
    """Store a vector; `nontemporal` bypasses the caches and requires an address that is aligned to vectors."""
    builder = address.builder
    pointer = builder.bitcast(address.raw, value.type.as_pointer())
    instruction = builder.store(value, pointer, align=FLOAT_BYTES * (value.type.count if nontemporal else 1))
    if nontemporal:
        instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INT32, 1)]))


def prefetch(address: Value) -> None:
    """Prefetch a cache line into the second-level cache."""
    builder = address.builder
    kind = ir.FunctionType(ir.VoidType(), [_BYTES, INT32, INT32, INT32])
    function = builder.module.declare_intrinsic("llvm.prefetch", [_BYTES], kind)
    read, second_level, data = (ir.Constant(INT32, v) for v in (0, 2, 1))
    builder.call(function, [builder.bitcast(address.raw, _BYTES), read, second_level, data])


@contextmanager
def vectors(count: Value) -> Iterator[Value]:
    """Write a loop over the vectors of a row of at least LANES values; the block has the index of the first value.

    The last vector may overlap the one before.
    """
    with loop((count + LANES - 1) // LANES) as k:
        yield (k * LANES).least(count - LANES)


@contextmanager
def registers(address: Value) -> Iterator[tuple[Value, Any]]:
    """Write a loop over the parts of vectors that fill a register; the block has the first channel and the type.

    Programs with many vectors are shorter and keep more of them in registers than if LLVM splits every instruction.
    """
    lanes = min(LANES, native.vectors().lanes)
    with loop(address.constant(LANES // lanes)) as part:
        yield part * lanes, ir.VectorType(FLOAT, lanes)


class Rows:
    """Vectors of an array at regular distances.

    Parameters
    ----------
    start : Value
        Address of the first vector.
    step : Value or int
        Distance between vectors.
    kind : llvmlite.ir.VectorType
    """

    def __init__(self, start: Value, step: Number, kind: Any = VECTOR) -> None:
        self.start, self.step, self.kind = start, step, kind

    def at(self, k: int, offset: Number = 0) -> Value:
        """Return the address of the k-th vector, or the one `offset` values behind it."""
        return self.start + (self.step * k + offset)

    def load(self, k: int) -> Any:
        """Load the k-th vector."""
        return load(self.at(k), self.kind)

    def store(self, k: int, value: Any, nontemporal: bool = False) -> None:
        """Store the k-th vector."""
        store(value, self.at(k), nontemporal)
