"""What a convolution computes from its sums before they are stored: elementwise operations that need no own pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from llvmlite import ir

from neuromancer.engine.pytensor.kernels.expressions import Expression, emit
from neuromancer.engine.pytensor.kernels.native import FLOAT, FLOAT_BYTES, INT, vectors

CHANNEL, FULL = "channel", "full"
"""Kinds of operands: one value per output channel; a value for each value of the result, in the same format."""


@dataclass(frozen=True)
class Epilogue:
    """Elementwise operations on the result of a convolution.

    Attributes
    ----------
    expression : Expression
        Operand 0 is the sum, with the bias.
    kinds : tuple of {'channel', 'full'}
        Kinds of the further operands.
    """

    expression: Expression
    kinds: tuple[str, ...] = ()

    def fits(self, shape: tuple[int, ...], operands: Sequence[torch.Tensor], dense: bool) -> bool:
        """Return whether operands fit a result (b, c, *spatial).

        Parameters
        ----------
        shape : tuple of int
            Of the result.
        operands : sequence of Tensor
        dense : bool
            Also whether they are in the channels-last memory format.
        """
        shapes = {CHANNEL: (1, shape[1], *(1,) * (len(shape) - 2)), FULL: tuple(shape)}
        return all(
            tuple(v.shape) == shapes[kind] and (not dense or v.movedim(1, -1).is_contiguous())
            for kind, v in zip(self.kinds, operands, strict=True)
        )


PLAIN = Epilogue(Expression.operand(0))


class Operands:
    """The operands beside the sum, as addresses that move with the output that is computed.

    Parameters
    ----------
    epilogue : Epilogue
    pointers : sequence
        Addresses of the values for the current channel and voxel.
    """

    def __init__(self, epilogue: Epilogue, pointers: Sequence[Any]) -> None:
        self.epilogue, self.pointers = epilogue, list(pointers)

    def moved(self, builder: Any, channels: Any, *steps: tuple[Any, Any]) -> Operands:
        """Return the operands for another output.

        Parameters
        ----------
        builder
        channels : INT
            Number of channels further.
        *steps : (INT, INT)
            Products by which the values of the result are further in memory.
        """
        pointers = []
        for kind, pointer in zip(self.epilogue.kinds, self.pointers, strict=True):
            moves = [(channels, INT(1))] if kind == CHANNEL else steps
            for index, apart in moves:
                pointer = builder.gep(pointer, [builder.mul(index, apart)])
            pointers.append(pointer)
        return Operands(self.epilogue, pointers)

    def applied(self, builder: Any, value: Any, offset: int = 0, mask: Any = None) -> Any:
        """Return the result for a vector of sums, `offset` voxels further; where `mask` is false, it is undefined."""
        if self.epilogue == PLAIN:
            return value
        beside = []
        for kind, pointer in zip(self.epilogue.kinds, self.pointers, strict=True):
            if kind == CHANNEL:
                beside.append(repeated(builder, builder.load(pointer), value.type))
            else:
                beside.append(masked_load(builder, builder.gep(pointer, [INT(offset)]), value.type, mask))
        return emit(builder, self.epilogue.expression, [value, *beside], vectors().lanes)


def repeated(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector with the same value in every lane."""
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), lanes)


def masked_load(builder: Any, data: Any, vector: Any, mask: Any) -> Any:
    """Load a vector; the values for which `mask` is false are not read and are zero."""
    pointer = builder.bitcast(data, vector.as_pointer())
    if mask is None:
        return builder.load(pointer, align=FLOAT_BYTES)
    kind = ir.FunctionType(vector, [pointer.type, ir.IntType(32), mask.type, vector])
    name = f"llvm.masked.load.v{vector.count}f32.p0"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    zeros = ir.Constant(vector, [FLOAT(0.0)] * vector.count)
    return builder.call(function, [pointer, ir.IntType(32)(FLOAT_BYTES), mask, zeros])
