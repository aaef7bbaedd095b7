"""Translation of the operations of ONNX on space: pools, reductions, interpolation, padding, slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from neuromancer.interop import elementwise, layers, spatial
from neuromancer.interop.network import Network, Value, Weight, image
from neuromancer.interop.onnx.arguments import Arguments, as_image, operation, seen_as, space_of
from neuromancer.interop.onnx.elementwise import MAX_CHOICE, chosen
from neuromancer.interop.onnx.layers import windows


# ---- pools
@operation("MaxPool", "AveragePool")
def _pool(net: Network, place: str, a: Arguments) -> Any:
    x, kernel = image(a.x, place), tuple(int(n) for n in a["kernel_shape"])
    strides, ends, dilations = windows(net, a, x, kernel)
    ceil = bool(a["ceil_mode"])
    if a.op == "AveragePool":
        included = bool(a["count_include_pad"])
        return spatial.pool(net, place, x, "average", kernel, strides, ends, dilations, ceil, included)
    if a["storage_order"] and len(a.outputs) > 1:
        raise a.refuse("positions of the maxima have no counterpart", "storage_order=1", "storage_order=0")
    out = spatial.pool(net, place, x, "max", kernel, strides, ends, dilations, ceil)
    return [out, None]


@operation("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(net: Network, place: str, a: Arguments) -> Value:
    return spatial.global_pool(net, place, image(a.x, place), "max" if "Max" in a.op else "average")


@operation("ReduceMean", "ReduceMax", "ReduceSum")
def _reduced(net: Network, place: str, a: Arguments) -> Value:
    x, rank = a.x, len(a.x.shape)
    axes = a.listed("axes", 1)
    if not axes and a["noop_with_empty_axes"]:
        return x
    axes = sorted(a.axes(axes, rank) if axes else range(rank))
    keep = bool(a["keepdims"])
    kind = {"ReduceMean": "average", "ReduceMax": "max", "ReduceSum": "sum"}[a.op]
    if axes and axes == space_of(x):
        out = spatial.global_pool(net, place, as_image(x), kind, keep)
        return seen_as(out, x) if keep else out
    if axes == [x.feature_axis] and keep and x.view in ("image", "last"):
        return seen_as(elementwise.over_features(net, place, as_image(x), kind), x)
    raise a.refuse(
        "cannot be reduced over these axes",
        f"axes {axes} of {x.shape}, keepdims={int(keep)}",
        f"all of space, {space_of(x)}, or the channels with keepdims=1",
    )


# ---- interpolation
@operation("Upsample", "Resize")
def _resize(net: Network, place: str, a: Arguments) -> Value:
    x, mode = a.x, a["mode"]
    if mode not in ("nearest", "linear"):
        raise a.refuse("this interpolation has no counterpart", f"mode={mode}", "nearest or linear")
    if a["keep_aspect_ratio_policy"] not in (None, "stretch"):
        raise a.refuse("sizes that keep the aspect ratio have no counterpart", a["keep_aspect_ratio_policy"], "stretch")
    factors, sizes, given = _target(a, x)
    new = sizes or [int(n * f + 1e-6) for n, f in zip(x.sizes, factors or (), strict=True)]
    if new == list(x.sizes) and all(f == 1 for f in factors or [1]):
        return x
    whole = all(m % n == 0 for n, m in zip(x.sizes, new, strict=True))
    factors = [m // n for n, m in zip(x.sizes, new, strict=True)] if factors and whole else None
    aligned = _aligned(a, mode, x.sizes, new, whole)
    if factors is None:
        a.file.note_size(given)
    out = spatial.upsample(net, place, as_image(x), mode, factors, None if factors else new, aligned)
    return seen_as(out, x)


def _target(a: Arguments, x: Value) -> tuple[list[float] | None, list[int] | None, bool]:
    """Return factors or sizes of the spatial axes, and whether they follow from the size of the image."""
    first = 1 if a.op == "Upsample" or a.opset < 11 else 2
    scales = a.listed("scales", first)
    sizes = a.listed("", 3) if first == 2 else None
    numbers, neutral = (sizes, x.shape) if sizes else (scales, (1,) * len(x.shape))
    axes = a.axes(a["axes"] or range(len(x.shape)), len(x.shape))
    if not numbers or len(numbers) != len(axes) or not all(0 < n < 1 << 31 for n in numbers):
        raise a.refuse("factors or sizes do not fit", numbers, f"{len(axes)} positive numbers")
    found = list(neutral)
    for axis, number in zip(axes, numbers, strict=True):
        found[axis] = number
    space = space_of(x)
    if any(found[k] != neutral[k] for k in range(len(found)) if k not in space):
        raise a.refuse("only space can be resized", found, "1 on the other axes")
    own = [found[k] for k in space]
    if sizes:
        return None, [int(n) for n in own], a.derived(3)
    return [float(n) for n in own], None, a.derived(first)


def _aligned(a: Arguments, mode: str, before: Sequence[int], after: Sequence[int], whole: bool) -> bool:
    """Return whether corners are aligned; refuse positions that have no counterpart."""
    positions = a["coordinate_transformation_mode"] or "asymmetric"
    rounding = a["nearest_mode"] or "floor"
    shrinks = any(m < n for n, m in zip(before, after, strict=True))
    if a["antialias"] and shrinks:
        raise a.refuse("smoothing before shrinking has no counterpart", "antialias=1", "antialias=0")
    centred = positions in ("half_pixel", "half_pixel_symmetric") or (
        positions == "pytorch_half_pixel" and all(m > 1 for m in after)
    )
    if mode == "linear":
        if centred or positions == "align_corners":
            return positions == "align_corners"
        raise a.refuse(
            "linear interpolation at these positions has no counterpart",
            f"coordinate_transformation_mode={positions}",
            "half_pixel, pytorch_half_pixel or align_corners",
        )
    twice = all(m <= 2 * n for n, m in zip(before, after, strict=True))
    same = {
        "asymmetric": rounding == "floor" or (rounding == "round_prefer_floor" and whole and twice),
        "tf_half_pixel_for_nn": rounding == "floor" and whole,
    }.get(positions, centred and whole and rounding.startswith("round"))
    if not same:
        raise a.refuse(
            "nearest neighbours at these positions have no counterpart",
            f"coordinate_transformation_mode={positions}, nearest_mode={rounding}, {tuple(before)} to {tuple(after)}",
            "asymmetric with floor; or half_pixel with round_prefer_floor for whole factors",
        )
    return False


@operation("DepthToSpace")
def _depth_to_space(net: Network, place: str, a: Arguments) -> Value:
    x, block = image(a.x, place), int(a["blocksize"])
    if block < 1 or len(x.sizes) != 2 or x.features % block**2:
        raise a.refuse("the channels cannot be spread over space", f"{block} of {x.shape}", "channels / blocksize**2")
    if (a["mode"] or "DCR") == "DCR":
        if x.features**2 > MAX_CHOICE:
            raise a.refuse("too many channels to reorder", x.features, f"at most {int(MAX_CHOICE**0.5)}, or mode CRD")
        order = np.arange(x.features).reshape(block**2, -1).T.reshape(-1).tolist()
        x = chosen(net, f"{place}.order", x, order)
    return spatial.pixel_shuffle(net, place, x, block)


@operation("SpaceToDepth")
def _space_to_depth(net: Network, place: str, a: Arguments) -> Value:
    x, block = image(a.x, place), int(a["blocksize"])
    if block < 1 or len(x.sizes) != 2 or (block * x.features) ** 2 * block**2 > MAX_CHOICE:
        raise a.refuse("space cannot be gathered into channels", f"{block} of {x.shape}", "fewer channels")
    identity = np.eye(x.features * block**2, dtype="float32")  # output (row, column, channel)
    kernel = identity.reshape(-1, block, block, x.features).transpose(0, 3, 1, 2)
    return layers.conv(net, place, x, Weight(kernel, None, False), stride=(block, block))


# ---- padding and slices
@operation("Pad")
def _pad(net: Network, place: str, a: Arguments) -> Value:
    x, rank = a.x, len(a.x.shape)
    pads, axes = a.listed("pads", 1) or [], a.listed("", 3)
    axes = a.axes([int(n) for n in axes] if axes else range(rank), rank)
    if len(pads) != 2 * len(axes):
        raise a.refuse("the pads do not fit", pads, f"{2 * len(axes)} integers")
    ends = {axis: (int(pads[k]), int(pads[k + len(axes)])) for k, axis in enumerate(axes)}
    space, mode = space_of(x), a["mode"] or "constant"
    if any(any(pair) and axis not in space for axis, pair in ends.items()):
        raise a.refuse("only space can be padded", pads, "0 on the other axes")
    names = {"constant": "zeros", "reflect": "reflect", "edge": "replicate"}
    if mode not in names:
        raise a.refuse("this padding has no counterpart", mode, f"one of {list(names)}")
    value = a["value"] if "value" in a.attributes else a.number(2)
    own = [ends.get(axis, (0, 0)) for axis in space]
    return seen_as(spatial.pad(net, place, as_image(x), own, names[mode], float(value or 0)), x)


@operation("Slice")
def _slice(net: Network, place: str, a: Arguments) -> Value:
    x, rank = a.x, len(a.x.shape)
    starts, stops = a.listed("starts", 1) or [], a.listed("ends", 2) or []
    axes = a.axes(a.listed("axes", 3) or range(len(starts)), rank)
    steps = a.listed("steps", 4) or [1] * len(starts)
    if not len(starts) == len(stops) == len(axes) == len(steps):
        raise a.refuse("starts, ends, axes and steps do not fit", (starts, stops, axes, steps), "equal lengths")
    cuts = [
        _Cut.of(axis, int(start), int(stop), int(step), x.shape[axis])
        for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True)
    ]
    cuts = [cut for cut in cuts if (cut.start, cut.stop, cut.step) != (0, x.shape[cut.axis], 1)]
    for done, cut in enumerate(cuts, 1):
        x = _sliced(net, place if done == len(cuts) else f"{place}.{done}", a, x, cut)
    return x


class _Cut(NamedTuple):
    """Slice of an axis, and whether the file counts its ends from the ends of the axis on which they lie."""

    axis: int
    start: int
    stop: int
    step: int
    anchored: tuple[bool, bool]

    @classmethod
    def of(cls, axis: int, start: int, stop: int, step: int, size: int) -> _Cut:
        first, last = (n + size if n < 0 else n for n in (start, stop))
        return cls(
            axis, min(max(first, 0), size), min(max(last, 0), size), step, (start >= 0, stop < 0 or last >= size)
        )


def _sliced(net: Network, place: str, a: Arguments, x: Value, cut: _Cut) -> Value:
    axis, start, stop, step, (from_front, from_end) = cut
    if start >= stop or step < 1:
        raise a.refuse("slices must take something, forwards", (start, stop, step), "start < end, step > 0")
    if axis == x.feature_axis and x.view != "flat":
        return chosen(net, place, x, range(start, stop, step))
    if axis not in space_of(x):
        raise a.refuse("only channels and space can be sliced", f"axis {axis}", f"{[x.feature_axis, *space_of(x)]}")
    # Nodes cut images as far from both ends as in the example, whatever their size.
    if not (from_front and from_end):
        a.file.note_size((from_front or a.derived(1)) and (from_end or a.derived(2)))
    k = axis - space_of(x)[0]
    return seen_as(spatial.window_slices(net, place, as_image(x), k, start, stop, step), x)
