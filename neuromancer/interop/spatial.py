"""Operations on space: pools, interpolation, padding and cropping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromancer.errors import TranslationError
from neuromancer.interop.layers import Ends, SizesNeeded
from neuromancer.interop.network import Network, Value, image
from neuromancer.nodes.crop_pad import Crop, Pad
from neuromancer.nodes.global_pool import AdaptivePool, GlobalPool
from neuromancer.nodes.pool import Pool
from neuromancer.nodes.upsample import PixelShuffle, Upsample


def pool(
    net: Network,
    name: str,
    x: Value,
    mode: str,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Ends = (),
    dilation: Sequence[int] = (),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Value:
    """Pool over windows; mode 'max' or 'average'."""
    x = image(x, name)
    options: dict[str, Any] = {"count_include_pad": count_include_pad} if mode == "average" else {}
    return net.add(
        Pool,
        name,
        x.node,
        tuple(size),
        tuple(stride),
        mode=mode,
        padding=tuple(padding) or 0,
        dilation=tuple(dilation) or 1,
        ceil_mode=ceil_mode,
        **options,
    )


def global_pool(net: Network, name: str, x: Value, mode: str, keepdims: bool = True) -> Value:
    """Pool over all of space; without `keepdims`, the source has no spatial axes any more."""
    x = image(x, name)
    with net.at(name):
        node = GlobalPool(x.node, mode, name=name, print_repr=False)
    return net.added(node, (1,) * len(x.sizes), "image" if keepdims else "vector")


def adaptive_pool(net: Network, name: str, x: Value, mode: str, sizes: Sequence[int | None]) -> Value:
    """Pool to a number of voxels per axis."""
    x = image(x, name)
    target = [n if m is None else int(m) for n, m in zip(x.sizes, sizes, strict=True)]
    if all(n == 1 for n in target):
        return global_pool(net, name, x, mode)
    if target == list(x.sizes):
        return x
    with net.at(name):
        node = AdaptivePool(x.node, tuple(target), mode, name=name, print_repr=False)
    return net.added(node, target)


def upsample(
    net: Network,
    name: str,
    x: Value,
    mode: str,
    factor: Sequence[float] | None = None,
    size: Sequence[int] | None = None,
    align_corners: bool = False,
) -> Value:
    """Interpolate by factors, or to sizes in the example, which other sizes of the input change."""
    x = image(x, name)
    if size is None:
        size = [int(n * f) for n, f in zip(x.sizes, factor or (), strict=True)]
    sizes = [int(n) for n in size]
    if sizes == list(x.sizes):
        return x
    whole = all(m % n == 0 for n, m in zip(x.sizes, sizes, strict=True))
    options: dict[str, Any] = {"mode": mode, "align_corners": align_corners}
    reference = net.of_size(sizes, x.node.shape.strides.tolist()) if factor is None else None
    with net.at(name):
        if reference is not None:
            node = Upsample(x.node, size=reference, name=name, print_repr=False, **options)
        elif whole:
            factors = tuple(m // n for n, m in zip(x.sizes, sizes, strict=True))
            node = Upsample(x.node, factors, name=name, print_repr=False, **options)
        elif not net.fixed:
            raise SizesNeeded
        else:
            node = Upsample(x.node, size=tuple(sizes), name=name, print_repr=False, **options)
    return net.added(node, sizes)


def pad(net: Network, name: str, x: Value, ends: Ends, mode: str = "zeros", value: float = 0.0) -> Value:
    """Pad (or, by negative numbers, crop) both ends of every spatial axis."""
    x = image(x, name)
    cut = [(max(-a, 0), max(-b, 0)) for a, b in ends]
    if any(map(any, cut)):
        x = net.add(Crop, f"{name}.crop", x.node, tuple(cut))
    more = [(max(a, 0), max(b, 0)) for a, b in ends]
    if not any(map(any, more)):
        return x
    options: dict[str, Any] = {"value": float(value)} if mode == "zeros" else {}
    return net.add(Pad, name, x.node, tuple(more), padding_mode=mode, **options)


def crop(net: Network, name: str, x: Value, ends: Ends) -> Value:
    """Remove voxels from both ends of every spatial axis."""
    x = image(x, name)
    return net.add(Crop, name, x.node, tuple(ends)) if any(map(any, ends)) else x


def pixel_shuffle(net: Network, name: str, x: Value, factor: int | Sequence[int]) -> Value:
    """Spread features over a finer grid."""
    x = image(x, name)
    factors = (int(factor),) * len(x.sizes) if isinstance(factor, int) else tuple(int(f) for f in factor)
    return net.add(PixelShuffle, name, x.node, factors)


def window_slices(net: Network, name: str, x: Value, axis: int, start: int, stop: int, step: int) -> Value:
    """Take a range of a spatial axis, as far from both ends as in the example."""
    size = x.sizes[axis]
    start, stop = (n + size if n < 0 else n for n in (start, stop))
    start, stop = min(max(start, 0), size), min(max(stop, 0), size)
    if step != 1:
        if stop == size and start < step:
            ends = [(start if k == axis else 0, 0) for k in range(len(x.sizes))]
            taken = crop(net, f"{name}.crop", x, ends)
            ones = [step if k == axis else 1 for k in range(len(x.sizes))]
            return pool(net, name, taken, "max", (1,) * len(ones), ones, ceil_mode=True)
        raise TranslationError("slices with steps need to span the axis", where=name, got=(start, stop, step))
    ends = [(start, size - stop) if k == axis else (0, 0) for k in range(len(x.sizes))]
    return crop(net, name, x, ends)
