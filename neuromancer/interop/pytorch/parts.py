"""Translation of operations of PyTorch that join, cut and repeat tensors."""

from __future__ import annotations

from dataclasses import replace

from neuromancer.interop import elementwise, spatial
from neuromancer.interop.network import Network, Value, require_axis
from neuromancer.interop.pytorch.table import Arguments, operation, refuse


@operation("cat", "concat", "concatenate")
def _cat(net: Network, place: str, a: Arguments) -> Value:
    values = a["tensors"]
    require_axis(next(v for v in values if isinstance(v, Value)), a["dim"], place)
    return elementwise.concat(net, place, values)


@operation("chunk")
def _chunk(net: Network, place: str, a: Arguments) -> list[Value]:
    require_axis(a.x, a["dim"], place)
    size = -(-a.x.features // int(a["chunks"]))
    return _pieces(net, place, a.x, size)


@operation("split")
def _split(net: Network, place: str, a: Arguments) -> list[Value]:
    require_axis(a.x, a["dim"], place)
    size = a["split_size"]
    return _pieces(net, place, a.x, int(size)) if isinstance(size, int) else elementwise.parts(net, place, a.x, size)


def _pieces(net: Network, place: str, x: Value, size: int) -> list[Value]:
    sizes = [size] * (x.features // size) + ([x.features % size] if x.features % size else [])
    return elementwise.parts(net, place, x, sizes)


@operation("split_with_sizes")
def _split_with_sizes(net: Network, place: str, a: Arguments) -> list[Value]:
    require_axis(a.x, a["dim"], place)
    return elementwise.parts(net, place, a.x, a["split_sizes"])


@operation("select")
def _select(net: Network, place: str, a: Arguments) -> Value:
    require_axis(a.x, a["dim"], place)
    return _one(net, place, a.x, int(a["index"]) % a.x.features)


@operation("unbind")
def _unbind(net: Network, place: str, a: Arguments) -> list[Value]:
    require_axis(a.x, a["dim"], place)
    return [_without(part) for part in elementwise.parts(net, place, a.x, [1] * a.x.features)]


def _one(net: Network, place: str, x: Value, index: int) -> Value:
    return _without(elementwise.features(net, place, x, index, index + 1))


def _without(x: Value) -> Value:
    """Return a value of one feature without the axis of features."""
    return replace(x, view="scalar" if x.view == "vector" else "bare")


@operation("stack")
def _stack(net: Network, place: str, a: Arguments) -> Value:
    values = a["tensors"]
    if a["dim"] != 1 or any(not isinstance(v, Value) or v.view != "bare" for v in values):
        raise refuse(place, "only single channels can be stacked", f"dim={a['dim']}", "images (b, space), dim=1")
    return elementwise.concat(net, place, [replace(v, view="image") for v in values])


@operation("slice", "narrow")
def _slice(net: Network, place: str, a: Arguments) -> Value:
    x, axis, step = a.x, int(a["dim"] or 0) % len(a.x.shape), int(a["step"] or 1)
    size = x.shape[axis]
    start = int(a["start"] or 0)
    stop = start + int(a["length"]) if a["length"] is not None else size if a["end"] is None else int(a["end"])
    if start == 0 and stop >= size and step == 1:
        return x
    if axis == x.feature_axis and step == 1:
        return elementwise.features(net, place, x, start, stop)
    if axis == 0 or x.view != "image":
        raise refuse(place, "the batch cannot be sliced", (start, stop, step), "slices of channels or space")
    return spatial.window_slices(net, place, x, axis - 2, start, min(stop, size), step)


@operation("repeat", "tile")
def _repeat(net: Network, place: str, a: Arguments) -> Value:
    x, counts = a.x, list(a["repeats"] or a["dims"])
    others = [n for axis, n in enumerate(counts) if axis != x.feature_axis]
    if len(counts) != len(x.shape) or set(others) - {1}:
        raise refuse(place, "only channels can be repeated", counts, "1 on all other axes")
    return elementwise.repeat(net, place, x, int(counts[x.feature_axis]))


@operation("expand", "expand_as")
def _expand(net: Network, place: str, a: Arguments) -> Value:
    x = a.x
    size = a["other"].shape if isinstance(a["other"], Value) else a["size"]
    size = [m if n == -1 else int(n) for n, m in zip(size, x.shape, strict=False)]
    if len(size) != len(x.shape) or size[0] != 1:
        raise refuse(place, "the batch and new axes cannot be expanded", size, "axes of channels and space")
    if x.feature_axis > 0:
        x = elementwise.repeat(net, f"{place}.features", x, size[x.feature_axis] // x.features)
    if x.view == "image" and tuple(size[2:]) != x.sizes:
        return spatial.upsample(net, place, x, "nearest", size=size[2:])
    if size != list(x.shape):
        raise refuse(place, "only images and channels can be expanded", (x.shape, tuple(size)), "axes (b, f, space)")
    return x


@operation("repeat_interleave")
def _repeat_interleave(net: Network, place: str, a: Arguments) -> Value:
    x, axis = a.x, int(a["dim"] or 0)
    if axis % len(x.shape) == x.feature_axis:
        return elementwise.repeat(net, place, x, int(a["repeats"]), interleave=True)
    if x.view == "image" and axis % len(x.shape) > 1:
        factor = [int(a["repeats"]) if k == axis % len(x.shape) - 2 else 1 for k in range(len(x.sizes))]
        return spatial.upsample(net, place, x, "nearest", factor=factor)
    raise refuse(place, "the batch cannot be repeated", f"dim={axis}", "an axis of channels or space")
