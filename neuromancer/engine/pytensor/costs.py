"""Costs that plans are told, in seconds: the cost model of the kernels, or a plain one for other devices and dtypes."""

from __future__ import annotations

from importlib import import_module

import torch

from neuromancer.config import config
from neuromancer.engine.common.arguments import Ints
from neuromancer.engine.common.benchmark import known_costs, measured_costs
from neuromancer.engine.common.costs import direct_conv_cost
from neuromancer.engine.common.measurements import versions
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.devices import resolve_device
from neuromancer.engine.pytensor.kernels import fragments
from neuromancer.engine.pytensor.kernels.conv_algorithm import READ_PARTS, ConvAlgorithm, Layer, by_shape, seconds
from neuromancer.engine.pytensor.kernels.rows import RowConv
from neuromancer.engine.pytensor.kernels.speed import current, require
from neuromancer.engine.unit_costs import UnitCosts


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
    layer = _layer(x_shape, w_shape, dilation, dtype, groups, stride, in_parts)
    if layer is not None:
        way = _way(layer)
        took = seconds(way, layer, current())
        return (took, 0.0, 0.0) if way is None else (took, float(way.prepared), float(way.scratch))
    stride = tuple(stride) or (1,) * len(dilation)
    if resolve_device(config.device).type == "cuda" and groups == 1 and set(stride) == {1}:
        products, kept, scratch = fragments.conv_cost(x_shape, w_shape, dilation, dtype)
    else:
        products, kept, scratch = direct_conv_cost(x_shape, w_shape, dilation, dtype, stride)
    return products * unit_costs(dtype).product, kept, scratch


@implements(Engine.reads_parts)
def reads_parts(x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str, groups: int = 1, stride: Ints = ()) -> bool:
    layer = _layer(x_shape, w_shape, dilation, dtype, groups, stride, in_parts=True)
    return layer is not None and isinstance(_way(layer), READ_PARTS)


@implements(Engine.is_planar)
def is_planar(
    x_shape: Ints,
    w_shape: Ints,
    dilation: Ints,
    dtype: str,
    groups: int = 1,
    stride: Ints = (),
    in_parts: bool = False,
) -> bool | None:
    layer = _layer(x_shape, w_shape, dilation, dtype, groups, stride, in_parts)
    return None if layer is None else isinstance(_way(layer), RowConv)


def _layer(
    x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str, groups: int, stride: Ints, in_parts: bool
) -> Layer | None:
    """Return a convolution without padding as the kernels know it; None if they do not compute it."""
    if not _has_kernels(dtype) or 0 in w_shape:
        return None
    stride = tuple(stride) or (1,) * len(dilation)
    return Layer(tuple(x_shape), tuple(w_shape), stride, tuple(dilation), groups, in_parts=in_parts)


def _way(layer: Layer) -> ConvAlgorithm | None:
    return by_shape(layer, current(), measuring=True)


@implements(Engine.unit_costs)
def unit_costs(dtype: str) -> UnitCosts:
    if not _has_kernels(dtype):
        return known_costs(_key(dtype))
    known = current().per_unit
    return UnitCosts(
        product=known["direct"], **{k: known[k] for k in ("transposed", "byte", "page", "step", "function")}
    )


@implements(Engine.measure_speed)
def measure_speed(dtype: str) -> bool:
    if _has_kernels(dtype):
        before = current()
        return require() is not before
    if resolve_device(config.device).type == "meta":
        return False
    return measured_costs(_key(dtype), import_module("neuromancer.engine.pytensor"), dtype)


def _has_kernels(dtype: str) -> bool:
    """Whether the kernels of `kernels.conv_algorithm` compute convolutions."""
    return dtype == "float32" and resolve_device(config.device).type == "cpu"


def _key(dtype: str) -> tuple[str, ...]:
    """Return what the speed depends on, besides the processor."""
    device = resolve_device(config.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return "pytensor", name, dtype, str(torch.get_num_threads()), versions("torch")
