"""Moments of large arrays in one pass over memory, created only when a program for the CPU is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.kernels.moments import centred_sums, raw_moments
from neuromancer.engine.pytensor.ops.base import KernelOp, Shape


class RawMoments(KernelOp):
    """Sums of x over some axes, and an array from which `CentredSums` computes sums of deviations.

    Parameters
    ----------
    axes : tuple of int
    """

    __props__ = ("axes",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def make_node(self, x: Any) -> Apply:
        """Type x, float32."""
        rest = tuple(size for axis, size in enumerate(x.type.shape) if axis not in self.axes)
        return Apply(self, [x], [pt.TensorType(x.dtype, shape=rest)(), pt.TensorType("float64", shape=(4, *rest))()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(*rest), (4, *rest)"""
        rest = tuple(size for axis, size in enumerate(shapes[0]) if axis not in self.axes)
        return [rest, (4, *rest)]

    def kernel(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute both from a tensor."""
        return raw_moments(x, self.axes)


class CentredSums(KernelOp):
    """Sums of ``x - center`` and of its squares over some axes, from the second output of `RawMoments`.

    Parameters
    ----------
    axes : tuple of int
    """

    __props__ = ("axes",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def make_node(self, raw: Any, center: Any) -> Apply:
        """Type raw (4, *rest) and center, of length 1 along the axes."""
        kind = pt.TensorType("float32", shape=raw.type.shape[1:])
        return Apply(self, [raw, center], [kind(), kind()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(*rest), twice"""
        return [shapes[0][1:]] * 2

    def kernel(self, raw: torch.Tensor, center: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute both from tensors."""
        return centred_sums(raw, center, self.axes)
