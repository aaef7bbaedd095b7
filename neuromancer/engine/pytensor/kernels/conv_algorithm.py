"""Selection of the fastest algorithm for a convolution by layer and image size: along rows, direct by oneDNN, Winograd
or Fourier."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import ceil, inf, prod
from typing import Any, Protocol

import torch

from neuromancer.engine.pytensor.kernels import fourier, rows, winograd, winograd_gradient
from neuromancer.engine.pytensor.kernels.conv import WIDE
from neuromancer.engine.pytensor.kernels.joining import Parts
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.speed import Speed, Units, current, require
from neuromancer.engine.pytensor.kernels.winograd_gradient import KernelGradient
from neuromancer.engine.unit_costs import WORTH_MEASURING

Ints = tuple[int, ...]

GROUPS: dict[Any, str] = {
    rows.RowConv: "basic",
    rows.TiledRowConv: "basic",
    winograd.Tiling: "winograd",
    fourier.Tiling: "fourier",
}
"""Algorithm -> the group of `speed.TYPICAL` that it needs."""
READ_PARTS = (rows.RowConv, winograd.Tiling)
"""Algorithms that read an image in parts without joining them."""
MAPPED = 32 << 20
"""Size in bytes from which on memory that torch allocates is new each time, so that the system has to clear it."""
UNMEASURED = Speed()
SAVES, PRODUCT_SAVES = 0.85, 0.95
"""Maximum time relative to direct convolution, and to a matrix product, whose time is predicted better."""
START = 2e-3
"""Minimum seconds that an algorithm has to save per call: its machine code is compiled or loaded first."""


class ConvAlgorithm(Protocol):
    """How a convolution of one size is computed: a tiling of `winograd` or of `fourier`, or blocks of `rows`.

    Attributes
    ----------
    units, preparation : Units
        Work of a call, and of the kernel transform; see `speed`.
    prepared, scratch : int
        Sizes in bytes of the transformed kernel, and of the workspace in addition to input and result.
    key : hashable
        Key of the transformed kernel in a cache.
    """

    @property
    def units(self) -> Units: ...

    @property
    def preparation(self) -> Units: ...

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
            Not padded, unlike the shape for which the algorithm was chosen; for `READ_PARTS` it may be in parts.
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
    x: torch.Tensor | Parts,
    w: torch.Tensor,
    stride: Ints,
    dilation: Ints,
    pad: Ints,
    prepared: bool = True,
    groups: int = 1,
    operation: Hashable = None,
) -> ConvAlgorithm | None:
    """Return the fastest algorithm for a convolution, or None if that is direct convolution by oneDNN.

    Parameters
    ----------
    x, w : Tensor
        Only shapes, device and dtype are used; x may be in parts.
    stride, dilation, pad : tuple of int, per spatial axis
    prepared : bool
        Whether the transformed kernel is reused for several calls.
    groups : int
    operation : hashable, optional
        What computes this layer, for `direct_seconds`.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return None
    padded = (*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], pad, strict=True)))
    in_parts = isinstance(x, Parts)
    layer = Layer(padded, tuple(w.shape), tuple(stride), tuple(dilation), groups, prepared, in_parts=in_parts)
    if _passed.layers is not None and operation is not None:
        _passed.layers[operation] = layer
    return _decided(layer)


class _Passed(threading.local):
    """Layers that this thread computed lately, each by its operation."""

    def __init__(self) -> None:
        self.layers: dict[Hashable, Layer] | None = None


_passed = _Passed()


@contextmanager
def direct_seconds() -> Iterator[Callable[[], float]]:
    """Yield a function that returns how long oneDNN would take for the convolutions of the block.

    Those of an operation that is repeated count once. Without measurements of the machine it returns 0.
    """
    layers: dict[Hashable, Layer] = {}
    _passed.layers = layers

    def spent() -> float:
        speed = current()
        return sum((seconds(None, layer, speed) for layer in layers.values()), 0.0) if speed.measured else 0.0

    try:
        yield spent
    finally:
        _passed.layers = None


@dataclass(frozen=True)
class Layer:
    """A convolution on the CPU in float32, by shapes alone.

    Attributes
    ----------
    x_shape : tuple of int
        Padded.
    w_shape, stride, dilation : tuple of int
    groups : int
    prepared : bool
        Whether the transformed kernel is reused for several calls.
    planar : bool
        Whether the image comes in torch's default memory format; all algorithms but `rows` convert it.
    in_parts : bool
        Whether the image comes in parts; all algorithms but `READ_PARTS` concatenate them.
    """

    x_shape: Ints
    w_shape: Ints
    stride: Ints
    dilation: Ints
    groups: int = 1
    prepared: bool = True
    planar: bool = False
    in_parts: bool = False

    @cached_property
    def windows(self) -> Ints:
        """Number of windows along each spatial axis."""
        axes = zip(self.x_shape[2:], self.dilation, self.w_shape[2:], self.stride, strict=True)
        return tuple((n - d * (k - 1) - 1) // s + 1 for n, d, k, s in axes)

    @property
    def products(self) -> int:
        """Number of products of a direct convolution."""
        return self.x_shape[0] * prod(self.windows) * prod(self.w_shape)

    @property
    def is_head(self) -> bool:
        """Whether it computes few features of single voxels, from several."""
        n_out, n_in, *taps = self.w_shape
        return prod(taps) == max(self.stride) == self.groups == 1 and n_out < WIDE and n_in > 1

    @property
    def direct(self) -> Units:
        """Work of oneDNN, which computes with whole vectors of output channels, or of a matrix product."""
        n_out, n_in, *taps = self.w_shape
        outputs = self.x_shape[0] * prod(self.windows)
        if self.groups == prod(taps) == max(self.stride) == 1 and min(n_in, n_out) >= WIDE:
            return {"matrix": outputs * n_in * n_out, "matrix_value": outputs * (n_in + n_out)}
        new = {"page": nbytes} if (nbytes := 4 * outputs * n_out) >= MAPPED else {}
        if self.groups > 1 and n_in == 1:
            return new | {"direct_depthwise": outputs * n_out * prod(taps)}
        channels = self.groups * ceil(n_out // self.groups / LANES) * LANES
        kind = "grouped" if self.groups > 1 else "single" if n_in == 1 else "strided" if max(self.stride) > 1 else ""
        if prod(taps) == 1:
            new["point_value"] = outputs * (self.w_shape[1] * self.groups + n_out)
        return new | {f"direct_{kind}".rstrip("_"): outputs * channels * n_in * prod(taps)}

    def reordered(self, way: ConvAlgorithm | None) -> Units:
        """Return the work of converting the image to the channels-last format for an algorithm."""
        joins = self.in_parts and not isinstance(way, READ_PARTS)
        converts = self.planar and not isinstance(way, rows.RowConv)
        return {"reorder": prod(self.x_shape)} if joins or converts else {}


@lru_cache(maxsize=4096)
def _decided(layer: Layer) -> ConvAlgorithm | None:
    """Return the algorithm of a layer that is computed; it stays when the speed of the machine becomes known.

    The machine is measured before the first layer that takes about as long as that. Training never measures and always
    goes by typical speeds: it gives the same parameters in every process.
    """
    if not layer.prepared:
        return by_shape(layer, UNMEASURED)
    if layer.products >= WORTH_MEASURING:
        return by_shape(layer, require(), measuring=True)
    return by_shape(layer, current())


def by_shape(layer: Layer, speed: Speed, measuring: bool = False) -> ConvAlgorithm | None:
    """Return the algorithm of a layer whatever the memory format of its image, so that plans know it; see `fastest`.

    Layers of a network are alike: where rows are fastest for an image that rows made, they may have made it.
    """
    after_rows = fastest(replace(layer, planar=layer.x_shape[1] > 1), speed, measuring)
    if isinstance(after_rows, rows.RowConv):
        return after_rows
    return fastest(replace(layer, planar=False), speed, measuring)


def fastest(layer: Layer, speed: Speed, measuring: bool = False) -> ConvAlgorithm | None:
    """Return the fastest algorithm by the speed of a machine, or None if that is direct convolution.

    Parameters
    ----------
    layer : Layer
    speed : Speed
    measuring : bool
        If the machine was measured: measure the algorithm, too, before it is chosen. Its code, which then is compiled,
        is needed anyway.
    """
    while True:
        best = _fastest(layer, speed)
        group = GROUPS.get(type(best))
        if group is None or not measuring or not speed.measured or group in speed.measured:
            return best
        speed = require(group)


@lru_cache(maxsize=4096)
def _fastest(layer: Layer, speed: Speed) -> ConvAlgorithm | None:
    w_shape, dilation = layer.w_shape, layer.dilation
    if len(w_shape) not in (4, 5) or layer.x_shape[0] < 1 or min(layer.windows) < 1 or not prod(w_shape):
        return None
    direct = seconds(None, layer, speed)
    if direct < START:
        return None
    if layer.is_head:  # oneDNN would convert the whole image first, which takes memory, too
        return rows.RowConv(layer.x_shape, w_shape, layer.stride, dilation, layer.groups)
    ways: list[ConvAlgorithm | None] = [
        rows.best_geometry(layer.x_shape, w_shape, layer.stride, dilation, layer.groups, layer.prepared, speed)
    ]
    if set(layer.stride) == {1} and layer.groups == 1:
        ways += [m.best_tiling(layer.x_shape, w_shape, dilation, layer.prepared, speed) for m in (winograd, fourier)]
    times = {seconds(way, layer, speed): way for way in ways if way is not None}
    least = min(times, default=inf)
    return times[least] if least + START < (PRODUCT_SAVES if "matrix" in layer.direct else SAVES) * direct else None


def seconds(way: ConvAlgorithm | None, layer: Layer, speed: Speed) -> float:
    """Return the seconds of a layer by an algorithm, or directly."""
    units = (layer.direct if way is None else way.units) | layer.reordered(way)
    return speed.seconds(units) + (0.0 if layer.prepared or way is None else speed.seconds(way.preparation))


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

    Training goes by typical speeds, see `_decided`.

    Parameters
    ----------
    x_shape : tuple of int
        With the padding.
    w_shape, stride, dilation, groups
        Of the convolution.
    """
    layer = Layer(x_shape, w_shape, stride, dilation, groups, False, False)
    if x_shape[0] < 1 or min(layer.windows) < 1 or set(stride) != {1} or groups > 1:
        return None
    best = winograd_gradient.best_gradient(x_shape, w_shape, dilation)
    direct = UNMEASURED.seconds({kind: number for kind, number in layer.direct.items() if kind != "page"})
    return best if best is not None and best.work * UNMEASURED.per_unit["direct"] < SAVES * direct else None
