"""Default costs of an engine: direct convolution on the host, one call at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import prod

from neuromancer.engine.common.arguments import Ints


def direct_conv_cost(
    x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str, stride: Ints = ()
) -> tuple[float, float, float]:
    """Return the cost of a direct convolution without padding: (multiply-adds, 0 bytes kept, 0 bytes of scratch).

    Parameters
    ----------
    x_shape : (b, n_in, *spatial)
    w_shape : (n_out, n_in, *kernel)
    dilation : tuple of int, per spatial axis
    dtype : str
    stride : tuple of int, per spatial axis
        Default: 1.
    """
    axes = zip(x_shape[2:], dilation, w_shape[2:], stride or (1,) * len(dilation), strict=True)
    windows = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in axes]
    return float(x_shape[0] * prod(windows) * prod(w_shape)), 0.0, 0.0


def no_device_memory() -> None:
    """Return None: there is no memory but the host's."""
    return None


def nothing_kept() -> int:
    """Return 0: no memory is kept for further calls."""
    return 0


def nothing_to_return() -> None:
    """Do nothing: no memory is kept for further calls."""


def all_cores(parts: int) -> AbstractContextManager[None]:
    """Return a context without effect: the number of threads is that with which the process was started."""
    return nullcontext()


def one_call_at_a_time() -> int:
    """Return 1: a call has finished before the next one starts."""
    return 1


def copies_by_axes(axes: int, dtype: str) -> int:
    """Return the arrays of a maximum taken axis by axis: each result is computed from the previous one."""
    return min(axes, 2)
