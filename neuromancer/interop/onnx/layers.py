"""Translation of the operations of ONNX with weights: convolutions, normalisation, linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuromancer.interop import layers
from neuromancer.interop.network import Network, Value, Weight, image
from neuromancer.interop.onnx.arguments import Arguments, operation, space_of

PADDED = "layers with strides are padded as for sizes of the example, modulo their strides"
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Grouped:
    """An image reshaped to (b, groups, rest): the first half of how exporters write group normalisation.

    Attributes
    ----------
    x : Value
    groups : int
    normed : tuple of Weight, Weight, float; or None
        Scale and shift per group, and epsilon, once it is normalised.
    """

    x: Value
    groups: int
    normed: tuple[Weight, Weight, float] | None = None


# ---- convolutions
def windows(
    net: Network, a: Arguments, x: Value, kernel: Sequence[int]
) -> tuple[tuple[int, ...], Pairs, tuple[int, ...]]:
    """Return strides, padding per side and dilations of an operation on windows."""
    ndim = len(kernel)
    if len(x.sizes) != ndim:
        raise a.refuse("the windows have another number of axes than the image", tuple(kernel), f"{len(x.sizes)} sizes")
    strides, dilations = a.ints("strides", ndim, 1), a.ints("dilations", ndim, 1)
    numbers = (*kernel, *strides, *dilations)
    if any(n < 1 for n in numbers):
        raise a.refuse("windows, strides and dilations must be positive", numbers, "positive integers")
    auto = a["auto_pad"] or "NOTSET"
    if auto in ("NOTSET", ""):
        pads = a.ints("pads", 2 * ndim, 0)
        return strides, tuple(zip(pads[:ndim], pads[ndim:], strict=True)), dilations
    if auto == "VALID":
        return strides, ((0, 0),) * ndim, dilations
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise a.refuse("an unknown kind of padding", auto, "NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    ends = []
    for n, k, s, d in zip(x.sizes, kernel, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        ends.append(_halves(total, auto == "SAME_UPPER"))
    if max(strides) > 1 and PADDED not in net.notes:
        net.notes.append(PADDED)
    return strides, tuple(ends), dilations


def _halves(total: int, more_behind: bool) -> tuple[int, int]:
    small = total // 2
    return (small, total - small) if more_behind else (total - small, small)


def _kernel(a: Arguments) -> Weight:
    w = a.needed(1)
    shape = w.array.shape
    if (
        len(shape) < 3
        or not w.array.size
        or a.ints("kernel_shape", len(shape) - 2, 0)
        not in (
            shape[2:],
            (0,) * (len(shape) - 2),
        )
    ):
        raise a.refuse("the kernel has the wrong shape", shape, "(n_out, n_in / groups, *kernel_shape)")
    return w


@operation("Conv")
def _conv(net: Network, place: str, a: Arguments) -> Value:
    x, w = image(a.x, place), _kernel(a)
    strides, ends, dilations = windows(net, a, x, w.array.shape[2:])
    return layers.conv(net, place, x, w, a.weight(2, 1), strides, ends, dilations, int(a["group"]))


@operation("ConvTranspose")
def _conv_transpose(net: Network, place: str, a: Arguments) -> Value:
    x, w = image(a.x, place), _kernel(a)
    kernel = w.array.shape[2:]
    ndim = len(kernel)
    if len(x.sizes) != ndim:
        raise a.refuse("the kernel has another number of axes than the image", kernel, f"{len(x.sizes)} sizes")
    strides, dilations = a.ints("strides", ndim, 1), a.ints("dilations", ndim, 1)
    more, pads = list(a.ints("output_padding", ndim, 0)), a.ints("pads", 2 * ndim, 0)
    ends = list(zip(pads[:ndim], pads[ndim:], strict=True))
    auto, sizes = a["auto_pad"] or "NOTSET", a["output_shape"]
    if sizes:
        a.file.note_size(False)
    if sizes or auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = a.ints("output_shape", ndim, 0) if sizes else [n * s for n, s in zip(x.sizes, strides, strict=True)]
        for k, (n, s, d) in enumerate(zip(x.sizes, strides, dilations, strict=True)):
            total = s * (n - 1) + more[k] + d * (kernel[k] - 1) + 1 - wanted[k]
            ends[k] = _halves(max(total, 0), auto == "SAME_UPPER")
            more[k] += max(-total, 0)
    elif auto == "VALID":
        ends = [(0, 0)] * ndim
    return layers.conv_transpose(net, place, x, w, a.weight(2, 1), strides, ends, more, dilations, int(a["group"]))


# ---- normalisation
@operation("BatchNormalization")
def _batch_norm(net: Network, place: str, a: Arguments) -> Value:
    if a["training_mode"] or a["spatial"] == 0:
        raise a.refuse(
            "batch normalisation by statistics of the batch, or per voxel, has no counterpart",
            f"training_mode={a['training_mode']}, spatial={a['spatial']}",
            "a network exported in evaluation mode",
        )
    gamma, beta, mean, var = (a.needed(k, 1) for k in range(1, 5))
    # ONNX keeps this part of the old statistics, the node takes this part of the new ones.
    momentum = 1 - float(a["momentum"])
    return layers.batch_norm(
        net, place, image(a.x, place), gamma, beta, mean, var, float(a["epsilon"]), min(max(momentum, 0.0), 1.0)
    )


@operation("InstanceNormalization")
def _instance_norm(net: Network, place: str, a: Arguments) -> Any:
    scale, shift, eps = a.needed(1, 1), a.needed(2, 1), float(a["epsilon"])
    x = a.given(0)
    if isinstance(x, Grouped):
        return replace(x, normed=(scale, shift, eps))
    gamma, beta = _unless_trivial(scale, shift)
    return layers.instance_norm(net, place, image(a.x, place), gamma, beta, eps)


def _unless_trivial(scale: Weight | None, shift: Weight | None) -> tuple[Weight | None, Weight | None]:
    """Return weights for normalisation, none if they are constants that change nothing."""
    trainable = any(w is not None and w.trainable for w in (scale, shift))
    changes = (scale is not None and (scale.array != 1).any()) or (shift is not None and (shift.array != 0).any())
    return (scale, shift) if trainable or changes else (None, None)


def regrouped(net: Network, place: str, a: Arguments, grouped: Grouped, after: Sequence[int]) -> Value:
    """Translate the second half of how exporters write group normalisation: back to an image, scale and shift."""
    x = grouped.x
    if grouped.normed is None or list(after) != list(x.shape):
        raise a.refuse("the axes cannot be rearranged so", f"{x.shape} -> {tuple(after)}", "group normalisation")
    scale, shift, eps = grouped.normed
    mul, add = a.file.follower(a.outputs[0], "Mul"), None
    if mul is not None and _per_channel(mul.weight, x):
        add = a.file.follower(mul.output, "Add")
    else:
        mul = None
    if add is not None and not _per_channel(add.weight, x):
        add = None
    gamma, beta = _unless_trivial(scale, shift)
    if mul is not None:
        gamma, beta = _together(scale, shift, mul.weight, None if add is None else add.weight, x.features)
        a.file.absorb(add.output if add is not None else mul.output)
        if add is not None:
            a.file.absorb(mul.output)
    elif gamma is not None and beta is not None:
        gamma, beta = (_spread(w, x.features) for w in (gamma, beta))
    return layers.group_norm(net, place, x, grouped.groups, gamma, beta, eps)


def _per_channel(weight: Weight, x: Value) -> bool:
    shape = (1,) * (len(x.shape) - weight.array.ndim) + weight.array.shape
    return shape == (1, x.features, *(1,) * len(x.sizes))


def _spread(weight: Weight, features: int) -> Weight:
    return Weight(np.repeat(weight.array.reshape(-1), features // weight.array.size), None, weight.trainable)


def _together(
    scale: Weight, shift: Weight, mul: Weight, add: Weight | None, features: int
) -> tuple[Weight, Weight | None]:
    """Return scale and shift per channel after scale and shift per group."""
    flat = lambda w: Weight(w.array.reshape(-1), w.key, w.trainable)  # noqa: E731
    gamma, beta = flat(mul), None if add is None else flat(add)
    if _unless_trivial(scale, shift) == (None, None):
        return gamma, beta
    above = _spread(shift, features).array * gamma.array + (0 if beta is None else beta.array)
    return Weight(_spread(scale, features).array * gamma.array), Weight(np.asarray(above, "float32"))


@operation("GroupNormalization")
def _group_norm(net: Network, place: str, a: Arguments) -> Value:
    x, groups = image(a.x, place), int(a["num_groups"])
    gamma, beta = a.needed(1, 1), a.needed(2, 1)
    if groups < 1 or x.features % groups:
        raise a.refuse("the groups do not divide the channels", f"{groups} groups, {x.features} channels", "a divisor")
    # Until opset 21, one number per group.
    if a.opset < 21 and gamma.array.size == beta.array.size == groups:
        gamma, beta = _spread(gamma, x.features), _spread(beta, x.features)
    return layers.group_norm(net, place, x, groups, gamma, beta, float(a["epsilon"]))


@operation("LayerNormalization")
def _layer_norm(net: Network, place: str, a: Arguments) -> Value:
    x = a.x
    tags = "".join(x.node.shape.tags[i] for i in x.node.shape.spatial_axes)
    order = {"image": "bf" + tags, "last": "b" + tags + "f", "vector": "bf"}.get(x.view, "")
    axis = a.axes([int(a["axis"])], len(x.shape))[0]
    axes = order[axis:]
    if not axis or not order:
        raise a.refuse("cannot be normalised over these axes", f"axis={a['axis']}", "axes without the batch")
    gamma, beta = (_laid_out(a, a.weight(k), x, axis, axes, tags) for k in (1, 2))
    if axes != "f" and not net.fixed:
        raise layers.SizesNeeded
    gamma, beta = _unless_trivial(gamma, beta)
    return layers.layer_norm(net, place, x, axes, gamma, beta, float(a["epsilon"]))


def _laid_out(a: Arguments, w: Weight | None, x: Value, axis: int, axes: str, tags: str) -> Weight | None:
    """Return a weight of layer normalisation with all axes, in the order of the node's."""
    if w is None:
        return None
    shape = x.shape[axis:]
    try:
        array = np.broadcast_to(w.array, shape)
    except ValueError as error:
        raise a.refuse("a weight has the wrong shape", w.array.shape, f"{shape}") from error
    key = w.key if w.array.shape == shape else None
    wanted = [axes.index(tag) for tag in "f" + tags if tag in axes]
    return Weight(array.transpose(wanted), key, w.trainable)


@operation("MeanVarianceNormalization")
def _mean_variance(net: Network, place: str, a: Arguments) -> Value:
    x = image(a.x, place)
    axes = sorted(a.axes(a.listed("axes") or [], len(x.shape)))
    if axes == space_of(x):
        return layers.instance_norm(net, place, x, None, None, 1e-9)
    if axes == [1, *space_of(x)]:
        return layers.group_norm(net, place, x, 1, None, None, 1e-9)
    raise a.refuse("cannot be normalised over these axes", axes, f"space, {space_of(x)}, with or without channels")


# ---- linear layers
def _transposed(w: Weight) -> Weight:
    return Weight(w.array.T, None if w.key is None else (w.key, "transposed"), w.trainable)


@operation("Gemm")
def _gemm(net: Network, place: str, a: Arguments) -> Value:
    if a["transA"]:
        raise a.refuse("the batch cannot become a channel", "transA=1", "transA=0")
    w = a.needed(1, 2)
    w = w if a["transB"] else _transposed(w)
    if a["alpha"] != 1:
        w = Weight(w.array * float(a["alpha"]), None, w.trainable)
    b = a.weight(2)
    if b is not None:
        b = _bias(a, b, w.array.shape[0])
        b = b if a["beta"] == 1 else Weight(b.array * float(a["beta"]), None, b.trainable)
    return layers.linear(net, place, as_vector(a.x), w, b)


def as_vector(x: Value) -> Value:
    """Return a value without spatial axes as a vector."""
    return replace(x, view="vector") if x.view == "image" and not x.sizes else x


def _bias(a: Arguments, b: Weight, n_out: int) -> Weight:
    if b.array.size == n_out and b.array.shape[-1:] in ((n_out,), ()):
        return Weight(b.array.reshape(n_out), b.key, b.trainable)
    if b.array.size == 1:
        return Weight(np.full(n_out, b.array.reshape(-1)[0]), None, b.trainable)
    raise a.refuse("the bias has the wrong shape", b.array.shape, f"({n_out},)")


@operation("MatMul")
def _matmul(net: Network, place: str, a: Arguments) -> Value:
    if isinstance(a.given(1), Value) or not isinstance(a.given(0), Value):
        raise a.refuse(
            "products of two computed matrices, as in attention, have no counterpart",
            "both operands depend on the image" if isinstance(a.given(0), Value) else "a constant on the left",
            "a constant matrix on the right",
        )
    w = _transposed(a.needed(1, 2))
    n_out = w.array.shape[0]
    add, b = a.file.follower(a.outputs[0], "Add"), None
    if add is not None and add.weight.array.size == n_out and add.weight.array.shape[-1:] == (n_out,):
        b = Weight(add.weight.array.reshape(n_out), add.weight.key, add.weight.trainable)
        a.file.absorb(add.output)
    return layers.linear(net, place, as_vector(a.x), w, b)
