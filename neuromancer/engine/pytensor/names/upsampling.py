"""Bilinear interpolation with the arguments of Theano's ``theano.tensor.nnet.abstract_conv``."""

from __future__ import annotations

from math import gcd
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.config import config
from neuromancer.engine.pytensor.names.convolution import conv2d_transpose
from neuromancer.engine.pytensor.ops.borders import pad
from neuromancer.errors import ArgumentError


def bilinear_kernel_1D(ratio: Any, normalize: bool = True) -> Variable:
    """Return a triangle of 2 ratio - 1 elements, with the maximum 1, or `ratio` if not normalised."""
    rising = pt.arange(1, ratio + 1, dtype=config.floatX)
    triangle = pt.concatenate([rising, rising[-2::-1]])
    return triangle / pt.cast(ratio, config.floatX) if normalize else triangle


def bilinear_kernel_2D(ratio: Any, normalize: bool = True) -> Variable:
    """Return the outer product of two triangles; `ratio` may be a pair."""
    along_y, along_x = ratio if isinstance(ratio, tuple) else (ratio, ratio)
    return pt.outer(bilinear_kernel_1D(along_y, normalize), bilinear_kernel_1D(along_x, normalize))


def bilinear_upsampling(
    input: Any,
    ratio: int | None = None,
    frac_ratio: Any = None,
    batch_size: int | None = None,
    num_input_channels: int | None = None,
    use_1D_kernel: bool = True,
) -> Variable:
    """Enlarge the last two axes of images (b, channels, y, x) by linear interpolation; beyond the ends, they repeat.

    Parameters
    ----------
    input : tensor
    ratio : int, optional
        Factor.
    frac_ratio : pair of int, or pair of pairs, optional
        Fractions (numerator, denominator), instead of `ratio`.
    batch_size, num_input_channels : int, optional
        Without effect.
    use_1D_kernel : bool
        Must be false with `frac_ratio`, and has no effect otherwise.

    Raises
    ------
    ArgumentError
        If not exactly one of `ratio` and `frac_ratio` is given.
    """
    if (ratio is None) == (frac_ratio is None):
        raise ArgumentError("one ratio is needed", where="bilinear_upsampling", got=f"{ratio=}, {frac_ratio=}",
                            expected="ratio or frac_ratio")  # fmt: skip
    if ratio is not None:
        return _enlarged(input, (ratio, ratio))
    if use_1D_kernel:
        raise ArgumentError("not available for fractions", where="bilinear_upsampling", got="use_1D_kernel=True",
                            expected="use_1D_kernel=False")  # fmt: skip
    return frac_bilinear_upsampling(input, frac_ratio)


def frac_bilinear_upsampling(input: Any, frac_ratio: Any) -> Variable:
    """Enlarge images by one fraction (numerator, denominator), or by one per axis; see `bilinear_upsampling`."""
    (a, b), (c, d) = frac_ratio if isinstance(frac_ratio[0], tuple) else (frac_ratio, frac_ratio)
    y, x = gcd(a, b), gcd(c, d)
    return _enlarged(input, (a // y, c // x))[:, :, :: b // y, :: d // x]


def _enlarged(image: Any, ratio: tuple[int, int]) -> Variable:
    image = pt.as_tensor_variable(image)
    batch, channels, height, width = (image.shape[k] for k in range(4))
    single = pad(image.reshape((-1, 1, height, width)), 1, 1, mode="replicate")
    kernel = pt.cast(bilinear_kernel_2D(ratio), image.dtype).dimshuffle("x", "x", 0, 1)
    borders = tuple(2 * r - (r - 1) // 2 - 1 for r in ratio)
    sizes = (height * ratio[0], width * ratio[1])
    shape = (1, 1, *(2 * r - 1 for r in ratio))
    result = conv2d_transpose(single, kernel, (None, 1, *sizes), shape, borders, ratio)
    return result.reshape((batch, channels, *sizes))
