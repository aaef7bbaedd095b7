"""N-d convolution and its adjoint with Theano's own operations (CorrMM, Corr3dMM: C code around a BLAS)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
from theano.gof import Variable
from theano.tensor import as_tensor_variable, cast
from theano.tensor.nnet import conv2d, conv3d
from theano.tensor.nnet.abstract_conv import AbstractConv2d_gradInputs, AbstractConv3d_gradInputs

from neuromancer.engine.common.arguments import (
    Ints,
    axes_tuple,
    check_channels,
    check_filled,
    check_floats,
    check_window,
    full_length,
    positive,
    static_shape,
    window_length,
)
from neuromancer.engine.common.benchmark import known_costs, measured_costs
from neuromancer.engine.common.costs import direct_conv_cost
from neuromancer.engine.common.measurements import versions
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.theano.library import require_compiler
from neuromancer.engine.theano.tensors import known_shape, with_ones
from neuromancer.engine.unit_costs import UnitCosts
from neuromancer.errors import ArgumentError

_FORWARD = {2: conv2d, 3: conv3d}
_ADJOINT = {2: AbstractConv2d_gradInputs, 3: AbstractConv3d_gradInputs}


@implements(Engine.unit_costs)
def unit_costs(dtype: str) -> UnitCosts:
    return known_costs(_speed_key(dtype))


@implements(Engine.measure_speed)
def measure_speed(dtype: str) -> bool:
    return measured_costs(_speed_key(dtype), import_module("neuromancer.engine.theano"), dtype)


def _speed_key(dtype: str) -> tuple[str, ...]:
    return "theano", dtype, os.environ.get("OMP_NUM_THREADS", ""), versions("Theano")


@implements(Engine.conv_cost)
def conv_cost(
    x_shape: Ints,
    w_shape: Ints,
    dilation: Ints,
    dtype: str,
    groups: int = 1,
    stride: Ints = (),
    in_parts: bool = False,
) -> tuple[float, float, float]:
    # Scratch holds the windows of one image (im2col), and the result without the bias.
    products, kept, _ = direct_conv_cost(x_shape, w_shape, dilation, dtype, stride)
    windows, result = products / max(1, x_shape[0] * w_shape[0]), products / prod(w_shape[1:]) if products else 0.0
    return products * unit_costs(dtype).product, kept, (windows + result) * np.dtype(dtype).itemsize


@implements(Engine.reads_parts)
def reads_parts(x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str, groups: int = 1, stride: Ints = ()) -> bool:
    return False


@implements(Engine.is_planar)
def is_planar(
    x_shape: Ints,
    w_shape: Ints,
    dilation: Ints,
    dtype: str,
    groups: int = 1,
    stride: Ints = (),
    in_parts: bool = False,
) -> None:
    return None


def _prepared(
    name: str, x: Any, w: Any, w_axis: int, stride: Any, dilation: Any, pad: Any, groups: int
) -> tuple[Variable, Variable, dict[str, tuple[int, ...]]]:
    """Return the checked operands in one dtype, and stride, dilation and padding per axis."""
    x, w = as_tensor_variable(x), as_tensor_variable(w)
    ndim = x.ndim - 2
    if ndim not in (1, 2, 3):
        raise ArgumentError("unsupported number of spatial axes", where=name, got=ndim, expected="1, 2 or 3")
    dtype = check_floats(name, ndim, x=x, w=w)
    require_compiler(name)
    geometry = {
        "stride": axes_tuple(stride, ndim, "stride", name),
        "dilation": axes_tuple(dilation, ndim, "dilation", name),
        "pad": axes_tuple(pad, ndim, "pad", name, least=0),
    }
    check_channels(name, known_shape(x) or (), known_shape(w) or (), w_axis, positive(groups, "groups", name))
    return *(v if v.dtype == dtype else cast(v, dtype) for v in (x, w)), geometry


def _with_unit_axis(
    *tensors: Variable, **geometry: tuple[int, ...]
) -> tuple[list[Variable], dict[str, tuple[int, ...]]]:
    """Add a spatial axis of length 1: Theano has no convolution over a single axis."""
    wide = {key: (0 if key == "pad" else 1, *value) for key, value in geometry.items()}
    return [t.dimshuffle(0, 1, "x", 2) for t in tensors], wide


@implements(Engine.conv)
def conv(x: Variable, w: Variable, stride: Any = 1, dilation: Any = 1, pad: Any = 0, groups: int = 1) -> Variable:
    x, w, geometry = _prepared("Conv", x, w, 1, stride, dilation, pad, groups)
    sizes = static_shape(window_length, (known_shape(x) or ())[2:], (known_shape(w) or ())[2:], *geometry.values())
    extents = static_shape(
        lambda k, d, p: d * (k - 1) + 1 - 2 * p, (known_shape(w) or ())[2:], geometry["dilation"], geometry["pad"]
    )
    check_window("Conv", (known_shape(x) or ())[2:], extents)
    if x.ndim == 3:
        (x, w), geometry = _with_unit_axis(x, w, **geometry)
        return with_ones(_forward(x, w, groups, **geometry)[:, :, 0], sizes)
    return with_ones(_forward(x, w, groups, **geometry), sizes)


def _forward(x: Variable, w: Variable, groups: int, stride: Any, dilation: Any, pad: Any) -> Variable:
    options = {"border_mode": pad, "subsample": stride, "filter_dilation": dilation, "num_groups": groups}
    return _FORWARD[x.ndim - 2](x, w, filter_flip=False, **options)


@implements(Engine.conv_transpose)
def conv_transpose(
    x: Variable,
    w: Variable,
    stride: Any = 1,
    dilation: Any = 1,
    pad: Any = 0,
    groups: int = 1,
    output_padding: Any = 0,
) -> Variable:
    x, w, geometry = _prepared("ConvTranspose", x, w, 0, stride, dilation, pad, groups)
    extra = axes_tuple(output_padding, x.ndim - 2, "output_padding", "ConvTranspose", least=0)
    known = (known_shape(x) or ())[2:], (known_shape(w) or ())[2:]
    sizes = static_shape(full_length, *known, *geometry.values(), extra)
    check_filled("ConvTranspose", sizes)
    if x.ndim == 3:
        (x, w), geometry = _with_unit_axis(x, w, **geometry)
        return with_ones(_adjoint(x, w, groups, (0, *extra), **geometry)[:, :, 0], sizes)
    return with_ones(_adjoint(x, w, groups, extra, **geometry), sizes)


def _adjoint(x: Variable, w: Variable, groups: int, extra: Ints, stride: Any, dilation: Any, pad: Any) -> Variable:
    ndim = x.ndim - 2
    sizes: Sequence[Any] = [
        full_length(x.shape[i + 2], w.shape[i + 2], stride[i], dilation[i], pad[i], extra[i]) for i in range(ndim)
    ]
    options = {"border_mode": pad, "subsample": stride, "filter_dilation": dilation, "num_groups": groups}
    return _ADJOINT[ndim](filter_flip=False, **options)(w, x, sizes)
