"""The fastest algorithm for a convolution, by layer and size of an image: direct, Winograd or Fourier."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from math import prod
from typing import Protocol

import torch

from neuromancer.config import config
from neuromancer.engine.common.costs import direct_conv_cost
from neuromancer.engine.pytensor.devices import resolve_device
from neuromancer.engine.pytensor.kernels import fourier, fragments, winograd

Ints = tuple[int, ...]

SAVES = 0.75
"""Maximum cost relative to direct convolution."""
START = 1e8
"""Dispatch overhead, in multiply-adds of a direct convolution."""
LANES = 16
"""Channels of a result up to which a direct convolution takes the same time."""


class ConvAlgorithm(Protocol):
    """How a convolution of one size is computed: a tiling of `winograd` or of `fourier`.

    Attributes
    ----------
    work, preparation : float
        Products of a direct convolution that take as long, as transforming the kernel does.
    prepared, scratch : int
        Bytes of the transformed kernel, and in use beside input and result.
    key : hashable
        What a transformed kernel depends on.
    """

    work: float
    preparation: float

    @property
    def prepared(self) -> int: ...

    @property
    def scratch(self) -> int: ...

    @property
    def key(self) -> Hashable: ...

    def transformed(self, w: torch.Tensor) -> torch.Tensor:
        """The kernel as `conv` wants it."""

    def conv(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, pad: Ints) -> torch.Tensor:
        """The convolution of x.

        Parameters
        ----------
        x : Tensor, (b, n_in, [z,] y, x)
            Without the padding for which the algorithm was chosen.
        w : Tensor
            A kernel that has been `transformed`.
        bias : Tensor, optional, (n_out,)
        pad : tuple of int, per spatial axis

        Returns
        -------
        Tensor, (b, n_out, [z,] y, x)
            In the channels-last memory format.
        """


def algorithm(
    x: torch.Tensor, w: torch.Tensor, stride: Ints, dilation: Ints, pad: Ints, prepared: bool = True
) -> ConvAlgorithm | None:
    """The algorithm that is faster than a direct convolution; None if there is none.

    Parameters
    ----------
    x, w : Tensor
        Of which the shapes count, where they are, and their dtype.
    stride, dilation, pad : tuple of int, per spatial axis
    prepared : bool
        The transformed kernel is used for several calls.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or set(stride) != {1}:
        return None
    padded = (*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], pad, strict=True)))
    return algorithm_for(padded, tuple(w.shape), tuple(dilation), prepared)


@lru_cache(maxsize=4096)
def algorithm_for(x_shape: Ints, w_shape: Ints, dilation: Ints, prepared: bool = True) -> ConvAlgorithm | None:
    """The same for a convolution in float32 without padding and strides, by the shapes alone."""
    reach = [d * (k - 1) for d, k in zip(dilation, w_shape[2:], strict=True)]
    if len(w_shape) not in (4, 5) or x_shape[0] < 1 or any(n <= r for n, r in zip(x_shape[2:], reach, strict=True)):
        return None
    found = (module.best_tiling(x_shape, w_shape, dilation, prepared) for module in (winograd, fourier))
    costs = {t.work + (0.0 if prepared else t.preparation): t for t in found if t is not None}
    least = min(costs, default=0.0)
    return costs[least] if costs and least + START < SAVES * _direct(x_shape, w_shape, dilation) else None


def _direct(x_shape: Ints, w_shape: Ints, dilation: Ints) -> float:
    """Time of a direct convolution in products of one with many channels."""
    products = direct_conv_cost(x_shape, w_shape, dilation, "float32")[0]
    return products * max(LANES, w_shape[0]) / w_shape[0]


def conv_cost(x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str) -> tuple[float, float, float]:
    """What a convolution without padding costs on the configured device; see the interface of engines."""
    device = resolve_device(config.device).type
    if device == "cuda":
        return fragments.conv_cost(x_shape, w_shape, dilation, dtype)
    if dtype != "float32" or device != "cpu" or not prod(w_shape):
        return direct_conv_cost(x_shape, w_shape, dilation, dtype)
    best = algorithm_for(tuple(x_shape), tuple(w_shape), tuple(dilation))
    if best is None:
        return _direct(x_shape, w_shape, dilation), 0.0, 0.0
    return best.work, float(best.prepared), float(best.scratch)
