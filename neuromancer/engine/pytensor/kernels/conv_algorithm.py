"""Selection of the fastest algorithm for a convolution by layer and image size: along rows, direct by oneDNN, Winograd
or Fourier."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from math import ceil, prod
from typing import Protocol

import torch

from neuromancer.config import config
from neuromancer.engine.common.costs import direct_conv_cost
from neuromancer.engine.pytensor.devices import resolve_device
from neuromancer.engine.pytensor.kernels import fourier, fragments, rows, winograd, winograd_gradient
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.winograd_gradient import KernelGradient

Ints = tuple[int, ...]

SAVES = 0.75
"""Maximum cost relative to direct convolution."""
START = 1e8
"""Dispatch overhead, in multiply-adds of a direct convolution."""


SINGLE, DEPTHWISE = 8.0, 6.0
"""Measured costs of oneDNN's product for a single input channel, and of a depthwise one."""


class ConvAlgorithm(Protocol):
    """How a convolution of one size is computed: a tiling of `winograd` or of `fourier`, or blocks of `rows`.

    Attributes
    ----------
    work, preparation : float
        Costs of a call and of the kernel transform: products of a direct convolution that take as long.
    prepared, scratch : int
        Sizes in bytes of the transformed kernel, and of the workspace in addition to input and result.
    key : hashable
        Key of the transformed kernel in a cache.
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
        """Transform a kernel for `conv`."""

    def conv(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, pad: Ints) -> torch.Tensor:
        """Convolve x.

        Parameters
        ----------
        x : Tensor, (b, n_in, [z,] y, x)
            Not padded, unlike the shape for which the algorithm was chosen.
        w : Tensor
            A `transformed` kernel.
        bias : Tensor, optional, (n_out,)
        pad : tuple of int, per spatial axis

        Returns
        -------
        Tensor, (b, n_out, [z,] y, x)
            In the channels-last memory format.
        """


def algorithm(
    x: torch.Tensor,
    w: torch.Tensor,
    stride: Ints,
    dilation: Ints,
    pad: Ints,
    prepared: bool = True,
    groups: int = 1,
) -> ConvAlgorithm | None:
    """Return the fastest algorithm for a convolution, or None if that is direct convolution by oneDNN.

    Parameters
    ----------
    x, w : Tensor
        Only shapes, device and dtype are used.
    stride, dilation, pad : tuple of int, per spatial axis
    prepared : bool
        Whether the transformed kernel is reused for several calls.
    groups : int
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return None
    padded = (*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], pad, strict=True)))
    return algorithm_for(padded, tuple(w.shape), tuple(dilation), prepared, tuple(stride), groups)


@lru_cache(maxsize=4096)
def algorithm_for(
    x_shape: Ints, w_shape: Ints, dilation: Ints, prepared: bool = True, stride: Ints = (), groups: int = 1
) -> ConvAlgorithm | None:
    """Return the same for a convolution on the CPU in float32 without padding, by shapes alone."""
    reach = [d * (k - 1) for d, k in zip(dilation, w_shape[2:], strict=True)]
    if len(w_shape) not in (4, 5) or x_shape[0] < 1 or any(n <= r for n, r in zip(x_shape[2:], reach, strict=True)):
        return None
    stride = stride or (1,) * len(dilation)
    ways: list[ConvAlgorithm | None] = [rows.best_geometry(x_shape, w_shape, stride, dilation, groups, prepared)]
    if set(stride) == {1} and groups == 1:
        ways += [module.best_tiling(x_shape, w_shape, dilation, prepared) for module in (winograd, fourier)]
    costs = {t.work + (0.0 if prepared else t.preparation): t for t in ways if t is not None}
    least = min(costs, default=0.0)
    direct = _direct_cost(x_shape, w_shape, dilation, stride, groups)
    return costs[least] if costs and least + START < SAVES * direct else None


def gradient(
    x: torch.Tensor, w: torch.Tensor, stride: Ints, dilation: Ints, pad: Ints, groups: int = 1
) -> KernelGradient | None:
    """Return the fastest algorithm for the gradient for the kernel `w`, or None if that is oneDNN; see `algorithm`."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return None
    padded = (*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], pad, strict=True)))
    return gradient_for(padded, tuple(w.shape), tuple(stride), tuple(dilation), groups)


@lru_cache(maxsize=4096)
def gradient_for(x_shape: Ints, w_shape: Ints, stride: Ints, dilation: Ints, groups: int = 1) -> KernelGradient | None:
    """Return how to compute the gradient for a kernel faster than oneDNN on the CPU in float32, by shapes alone.

    Parameters
    ----------
    x_shape : tuple of int
        With the padding.
    w_shape, stride, dilation, groups
        Of the convolution.
    """
    reach = [d * (k - 1) for d, k in zip(dilation, w_shape[2:], strict=True)]
    if x_shape[0] < 1 or any(n <= r for n, r in zip(x_shape[2:], reach, strict=True)):
        return None
    if set(stride) != {1} or groups > 1:
        return None
    best = winograd_gradient.best_gradient(x_shape, w_shape, dilation)
    direct = _direct_cost(x_shape, w_shape, dilation, stride, groups)
    return best if best is not None and best.work < SAVES * direct else None


def _direct_cost(x_shape: Ints, w_shape: Ints, dilation: Ints, stride: Ints, groups: int) -> float:
    """Return the cost of a convolution by oneDNN, which computes with whole vectors of output channels."""
    windows = [
        (n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(x_shape[2:], dilation, w_shape[2:], stride, strict=True)
    ]
    n_out = w_shape[0] // groups
    channels = groups * ceil(n_out / LANES) * LANES if groups == 1 or w_shape[1] > 1 else DEPTHWISE * groups
    factor = SINGLE if w_shape[1] == groups == 1 else 1.0
    return factor * x_shape[0] * prod(windows) * channels * prod(w_shape[1:])


def conv_cost(x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str, groups: int = 1) -> tuple[float, float, float]:
    """Return the cost of a convolution without padding on the configured device; see `engine.interface`."""
    device = resolve_device(config.device).type
    if device == "cuda" and groups == 1:
        return fragments.conv_cost(x_shape, w_shape, dilation, dtype)
    if dtype != "float32" or device != "cpu" or not prod(w_shape):
        return direct_conv_cost(x_shape, w_shape, dilation, dtype)
    best = algorithm_for(tuple(x_shape), tuple(w_shape), tuple(dilation), True, (), groups)
    if best is None:
        return _direct_cost(x_shape, w_shape, dilation, (1,) * len(dilation), groups), 0.0, 0.0
    return best.work, float(best.prepared), float(best.scratch)
