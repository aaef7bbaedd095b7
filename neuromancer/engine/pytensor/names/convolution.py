"""Convolutions with the arguments of Theano's ``theano.tensor.nnet``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.engine.pytensor.ops.borders import pad
from neuromancer.engine.pytensor.ops.conv import conv, conv_transpose
from neuromancer.errors import ArgumentError

BORDERS = "'valid', 'full', 'half' or a number, or one of these or a pair of numbers per axis"
Sizes = Sequence[int | None] | None
Borders = list[tuple[int, int]]


def conv2d(
    input: Any,
    filters: Any,
    input_shape: Sizes = None,
    filter_shape: Sizes = None,
    border_mode: Any = "valid",
    subsample: Sequence[int] = (1, 1),
    filter_flip: bool = True,
    image_shape: Sizes = None,
    filter_dilation: Sequence[int] = (1, 1),
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Convolve images (b, n_in, y, x) with filters (n_out, n_in / groups, y, x).

    Parameters
    ----------
    input, filters : tensor
    input_shape, filter_shape, image_shape : sequence of int, optional
        Sizes where they are known, else None; `image_shape` is an old name of `input_shape`.
    border_mode : {'valid', 'full', 'half'}, int, or sequence
        Zeros around the image: none, so many that every overlap counts, so many that sizes stay, or numbers.
    subsample : tuple of int
        Strides.
    filter_flip : bool
        Convolve, instead of cross-correlating.
    filter_dilation : tuple of int
    num_groups : int
    unshared : bool
        Filters of their own for every place are not available.

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        If an argument does not fit.
    """
    return _conv("conv2d", 2, input, filters, input_shape or image_shape, filter_shape, border_mode, subsample,
                 filter_flip, filter_dilation, num_groups, unshared)  # fmt: skip


def conv3d(
    input: Any,
    filters: Any,
    input_shape: Sizes = None,
    filter_shape: Sizes = None,
    border_mode: Any = "valid",
    subsample: Sequence[int] = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Sequence[int] = (1, 1, 1),
    num_groups: int = 1,
) -> Variable:
    """Convolve images (b, n_in, z, y, x) with filters (n_out, n_in / groups, z, y, x); arguments as in `conv2d`."""
    return _conv("conv3d", 3, input, filters, input_shape, filter_shape, border_mode, subsample, filter_flip,
                 filter_dilation, num_groups)  # fmt: skip


def separable_conv2d(
    input: Any,
    depthwise_filters: Any,
    pointwise_filters: Any,
    num_channels: int,
    input_shape: Sizes = None,
    depthwise_filter_shape: Sizes = None,
    pointwise_filter_shape: Sizes = None,
    border_mode: Any = "valid",
    subsample: Sequence[int] = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Sequence[int] = (1, 1),
) -> Variable:
    """Convolve each of `num_channels` channels by itself, then combine them by filters of size 1."""
    apart = conv2d(input, depthwise_filters, input_shape, depthwise_filter_shape, border_mode, subsample, filter_flip,
                   filter_dilation=filter_dilation, num_groups=num_channels)  # fmt: skip
    return conv2d(apart, pointwise_filters, None, pointwise_filter_shape)


def separable_conv3d(
    input: Any,
    depthwise_filters: Any,
    pointwise_filters: Any,
    num_channels: int,
    input_shape: Sizes = None,
    depthwise_filter_shape: Sizes = None,
    pointwise_filter_shape: Sizes = None,
    border_mode: Any = "valid",
    subsample: Sequence[int] = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Sequence[int] = (1, 1, 1),
) -> Variable:
    """Convolve each of `num_channels` channels by itself, then combine them by filters of size 1."""
    apart = conv3d(input, depthwise_filters, input_shape, depthwise_filter_shape, border_mode, subsample, filter_flip,
                   filter_dilation, num_channels)  # fmt: skip
    return conv3d(apart, pointwise_filters, None, pointwise_filter_shape)


def causal_conv1d(
    input: Any,
    filters: Any,
    filter_shape: Sizes,
    input_shape: Sizes = None,
    subsample: int = 1,
    filter_flip: bool = True,
    filter_dilation: int = 1,
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Convolve series (b, n_in, x) with filters (n_out, n_in / groups, x): nothing depends on later elements."""
    _refuse_unshared(unshared, "causal_conv1d")
    w = _sized(filters, filter_shape)
    return _conv("causal_conv1d", 1, input, w, input_shape, None, [((w.type.shape[2] - 1) * filter_dilation, 0)],
                 (subsample,), filter_flip, (filter_dilation,), num_groups)  # fmt: skip


def conv2d_transpose(
    input: Any,
    filters: Any,
    output_shape: Sequence[Any],
    filter_shape: Sizes = None,
    border_mode: Any = "valid",
    input_dilation: Sequence[int] = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Sequence[int] = (1, 1),
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Return the gradient of a `conv2d` for its image: an up-convolution.

    Parameters
    ----------
    input : tensor, (b, n_in, y, x)
    filters : tensor, (n_in, n_out / groups, y, x)
        Those of the convolution, whose result has n_in channels.
    output_shape : (b, n_out, y, x)
        Sizes of the result; the last two may be symbolic.
    border_mode, filter_flip, filter_dilation, num_groups
        As in `conv2d`.
    input_dilation : tuple of int
        Strides of the convolution.

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        If an argument does not fit.
    """
    return conv2d_grad_wrt_inputs(input, filters, output_shape, filter_shape, border_mode, input_dilation, filter_flip,
                                  filter_dilation, num_groups, unshared)  # fmt: skip


def conv2d_grad_wrt_inputs(
    output_grad: Any,
    filters: Any,
    input_shape: Sequence[Any],
    filter_shape: Sizes = None,
    border_mode: Any = "valid",
    subsample: Sequence[int] = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Sequence[int] = (1, 1),
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Return the gradient of a `conv2d` for its image, of which the last two sizes must be given."""
    _refuse_unshared(unshared, "conv2d_grad_wrt_inputs")
    return _for_inputs("conv2d_grad_wrt_inputs", 2, output_grad, filters, input_shape, filter_shape, border_mode,
                       subsample, filter_flip, filter_dilation, num_groups)  # fmt: skip


def conv3d_grad_wrt_inputs(
    output_grad: Any,
    filters: Any,
    input_shape: Sequence[Any],
    filter_shape: Sizes = None,
    border_mode: Any = "valid",
    subsample: Sequence[int] = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Sequence[int] = (1, 1, 1),
    num_groups: int = 1,
) -> Variable:
    """Return the gradient of a `conv3d` for its image, of which the last three sizes must be given."""
    return _for_inputs("conv3d_grad_wrt_inputs", 3, output_grad, filters, input_shape, filter_shape, border_mode,
                       subsample, filter_flip, filter_dilation, num_groups)  # fmt: skip


def conv2d_grad_wrt_weights(
    input: Any,
    output_grad: Any,
    filter_shape: Sequence[Any],
    input_shape: Sizes = None,
    border_mode: Any = "valid",
    subsample: Sequence[int] = (1, 1),
    filter_flip: bool = True,
    filter_dilation: Sequence[int] = (1, 1),
    num_groups: int = 1,
    unshared: bool = False,
) -> Variable:
    """Return the gradient of a `conv2d` for its filters, whose size must be given."""
    _refuse_unshared(unshared, "conv2d_grad_wrt_weights")
    return _for_weights("conv2d_grad_wrt_weights", 2, input, output_grad, filter_shape, input_shape, border_mode,
                        subsample, filter_flip, filter_dilation, num_groups)  # fmt: skip


def conv3d_grad_wrt_weights(
    input: Any,
    output_grad: Any,
    filter_shape: Sequence[Any],
    input_shape: Sizes = None,
    border_mode: Any = "valid",
    subsample: Sequence[int] = (1, 1, 1),
    filter_flip: bool = True,
    filter_dilation: Sequence[int] = (1, 1, 1),
    num_groups: int = 1,
) -> Variable:
    """Return the gradient of a `conv3d` for its filters, whose size must be given."""
    return _for_weights("conv3d_grad_wrt_weights", 3, input, output_grad, filter_shape, input_shape, border_mode,
                        subsample, filter_flip, filter_dilation, num_groups)  # fmt: skip


def _for_inputs(
    name: str,
    ndim: int,
    gradient: Any,
    filters: Any,
    shape: Sequence[Any],
    filter_shape: Sizes,
    border_mode: Any,
    stride: Sequence[int],
    flip: bool,
    dilation: Sequence[int],
    groups: int,
) -> Variable:
    y, w = pt.as_tensor_variable(gradient), _sized(filters, filter_shape)
    borders = _borders(border_mode, w, dilation, name, ndim)
    full = conv_transpose(y, _flipped(w, ndim) if flip else w, tuple(stride), tuple(dilation), groups=groups)
    # what the convolution skipped at the far end has gradient 0
    full = pad(full, (0,) * ndim, tuple(n - 1 for n in stride))
    inner = [slice(start, start + length) for (start, _), length in zip(borders, list(shape)[2:], strict=True)]
    return full[(slice(None), slice(None), *inner)]


def _for_weights(
    name: str,
    ndim: int,
    image: Any,
    gradient: Any,
    shape: Sequence[Any],
    image_shape: Sizes,
    border_mode: Any,
    stride: Sequence[int],
    flip: bool,
    dilation: Sequence[int],
    groups: int,
) -> Variable:
    x, y = _sized(image, image_shape), pt.as_tensor_variable(gradient)
    channels = (y.shape[1], x.shape[1] // groups)
    sizes = [n if given is None else given for given, n in zip(list(shape)[:2], channels, strict=True)]
    # the convolution is linear: its gradient is the same for any filters
    w = pt.zeros((*sizes, *list(shape)[2:]), x.dtype)
    result = _conv(name, ndim, x, w, None, None, border_mode, stride, flip, dilation, groups)
    return pt.grad(None, w, known_grads={result: y})


def _conv(
    name: str,
    ndim: int,
    image: Any,
    filters: Any,
    image_shape: Sizes,
    filter_shape: Sizes,
    border_mode: Any,
    stride: Sequence[int],
    flip: bool,
    dilation: Sequence[int],
    groups: int,
    unshared: bool = False,
) -> Variable:
    _refuse_unshared(unshared, name)
    x, w = _sized(image, image_shape), _sized(filters, filter_shape)
    borders = _borders(border_mode, w, dilation, name, ndim)
    if any(a != b for a, b in borders):
        x = pad(x, tuple(a for a, _ in borders), tuple(b for _, b in borders))
        borders = [(0, 0)] * ndim
    w = _flipped(w, ndim) if flip else w
    return conv(x, w, tuple(stride), tuple(dilation), tuple(a for a, _ in borders), groups)


def _refuse_unshared(unshared: bool, name: str) -> None:
    if unshared:
        raise ArgumentError(
            "filters that differ from place to place are not available",
            where=name,
            got="unshared=True",
            expected="unshared=False",
        )


def _sized(value: Any, sizes: Sizes) -> Variable:
    value = pt.as_tensor_variable(value)
    return value if sizes is None else pt.specify_shape(value, list(sizes))


def _flipped(w: Variable, ndim: int) -> Variable:
    return w[(slice(None), slice(None), *(slice(None, None, -1),) * ndim)]


def _borders(mode: Any, w: Variable, dilation: Sequence[int], name: str, ndim: int) -> Borders:
    """Return the zeros before and after the image per axis."""
    parts = list(mode) if isinstance(mode, tuple | list) else [mode] * ndim
    taps = w.type.shape[2:]
    if len(parts) != ndim:
        raise ArgumentError("unknown borders", where=f"border_mode of {name}", got=mode, expected=BORDERS)
    return [_ends(part, k, d, name) for part, k, d in zip(parts, taps, dilation, strict=True)]


def _ends(part: Any, taps: int | None, dilation: int, name: str) -> tuple[int, int]:
    """Return the zeros before and after the image along one axis."""
    if part == "valid":
        return (0, 0)
    if part in ("full", "half"):
        if taps is None:
            raise ArgumentError(
                f"the size of the filters must be known for border_mode={part!r}", where=name, expected="filter_shape"
            )
        reach = (taps - 1) * dilation
        return (reach, reach) if part == "full" else ((reach + 1) // 2,) * 2
    ends = (part, part) if isinstance(part, int) else tuple(part) if isinstance(part, tuple | list) else ()
    if len(ends) != 2 or not all(isinstance(n, int) and n >= 0 for n in ends):
        raise ArgumentError("unknown borders", where=f"border_mode of {name}", got=part, expected=BORDERS)
    return ends
