"""What an engine says of its costs where it has nothing special to say."""

from __future__ import annotations

from math import prod

from neuromancer.engine.common.arguments import Ints


def direct_conv_cost(x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str) -> tuple[float, float, float]:
    """What a direct convolution without padding costs: (products, no bytes kept, no scratch).

    Parameters
    ----------
    x_shape : (b, n_in, *spatial)
    w_shape : (n_out, n_in, *kernel)
    dilation : tuple of int, per spatial axis
    dtype : str
    """
    windows = [n - d * (k - 1) for n, d, k in zip(x_shape[2:], dilation, w_shape[2:], strict=True)]
    return float(x_shape[0] * prod(windows) * prod(w_shape)), 0.0, 0.0


def no_device_memory() -> None:
    """Everything lives in the memory of the host."""
    return None


def one_call_at_a_time() -> int:
    """A call is computed before the next one is started."""
    return 1


def copies_by_axes(axes: int, dtype: str) -> int:
    """Maxima over one axis after the other, each in an array of its own, made of the one before."""
    return min(axes, 2)
