"""Translation of the operations of PyTorch that have weights, and of normalisation."""

from __future__ import annotations

from neuromancer.interop import layers
from neuromancer.interop.network import Network, Value, Weight, image
from neuromancer.interop.pytorch.table import Arguments, operation, refuse, weight_of


@operation("conv1d", "conv2d", "conv3d", "convolution", "_convolution")
def _conv(net: Network, place: str, a: Arguments) -> Value:
    w, b = weight_of(a["weight"], place), weight_of(a["bias"], place)
    assert w is not None
    ndim = w.array.ndim - 2
    stride, dilation = a.ints("stride", ndim, 1), a.ints("dilation", ndim, 1)
    if a["transposed"]:
        return _transposed(net, place, a)
    padding = a["padding"]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, w.array.shape[2:], strict=True)]
        ends = tuple((n // 2, n - n // 2) for n in total)
    else:
        ends = ((0, 0),) * ndim if padding == "valid" else a.pairs("padding", ndim)
    return layers.conv(net, place, a.x, w, b, stride, ends, dilation, int(a["groups"] or 1))


@operation("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(net: Network, place: str, a: Arguments) -> Value:
    w, b = weight_of(a["weight"], place), weight_of(a["bias"], place)
    assert w is not None
    ndim = w.array.ndim - 2
    return layers.conv_transpose(
        net,
        place,
        a.x,
        w,
        b,
        a.ints("stride", ndim, 1),
        a.pairs("padding", ndim),
        a.ints("output_padding", ndim, 0),
        a.ints("dilation", ndim, 1),
        int(a["groups"] or 1),
    )


@operation("linear")
def _linear(net: Network, place: str, a: Arguments) -> Value:
    w = weight_of(a["weight"], place)
    assert w is not None
    return layers.linear(net, place, a.x, w, weight_of(a["bias"], place))


@operation("addmm")
def _addmm(net: Network, place: str, a: Arguments) -> Value:
    w = weight_of(a["mat2"], place)
    assert w is not None
    return layers.linear(net, place, a["mat1"], Weight(w.array.T, w.key, w.trainable), weight_of(a["self"], place))


@operation("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def _batch_norm(net: Network, place: str, a: Arguments) -> Value:
    mean, var = weight_of(a["running_mean"], place), weight_of(a["running_var"], place)
    gamma, beta = weight_of(a["weight"], place), weight_of(a["bias"], place)
    if mean is None or var is None or a["training"]:
        x = image(a.x, place)
        out = net.add(
            layers.BatchNorm, place, x.node, like=x, eps=a["eps"], affine=gamma is not None, track_running_stats=False,
            **{key: net.weight(w, key) for key, w in (("gamma", gamma), ("beta", beta)) if w is not None},
        )  # fmt: skip
        return out
    return layers.batch_norm(net, place, a.x, gamma, beta, mean, var, a["eps"], a["momentum"] or 0.1)


@operation("instance_norm")
def _instance_norm(net: Network, place: str, a: Arguments) -> Value:
    gamma, beta = weight_of(a["weight"], place), weight_of(a["bias"], place)
    mean, var = weight_of(a["running_mean"], place), weight_of(a["running_var"], place)
    if not a["use_input_stats"] and mean is not None and var is not None:
        return layers.batch_norm(net, place, a.x, gamma, beta, mean, var, a["eps"], a["momentum"] or 0.1)
    return layers.instance_norm(net, place, a.x, gamma, beta, a["eps"])


@operation("group_norm")
def _group_norm(net: Network, place: str, a: Arguments) -> Value:
    gamma, beta = weight_of(a["weight"], place), weight_of(a["bias"], place)
    return layers.group_norm(net, place, a.x, a["num_groups"], gamma, beta, a["eps"])


@operation("layer_norm")
def _layer_norm(net: Network, place: str, a: Arguments) -> Value:
    x, count = a.x, len(a["normalized_shape"])
    tags = {"image": "bf" + _tags(x), "last": "b" + _tags(x) + "f", "vector": "bf"}.get(x.view)
    if tags is None or count >= len(tags):
        raise refuse(place, "cannot be normalised over these axes", a["normalized_shape"], "axes without the batch")
    gamma, beta = weight_of(a["weight"], place), weight_of(a["bias"], place)
    axes = tags[-count:]
    if x.view == "last" and count > 1 and gamma is not None:
        order = [axes.index(t) for t in "bf" + _tags(x) if t in axes]
        gamma = Weight(gamma.array.transpose(order), gamma.key, gamma.trainable)
        beta = beta and Weight(beta.array.transpose(order), beta.key, beta.trainable)
    if axes != "f" and not net.fixed and gamma is not None:
        raise layers.SizesNeeded
    return layers.layer_norm(net, place, x, axes, gamma, beta, a["eps"])


def _tags(x: Value) -> str:
    return "".join(x.node.shape.tags[i] for i in x.node.shape.spatial_axes)
