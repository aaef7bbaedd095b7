"""Layers with weights: convolutions, normalisation, linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.errors import TranslationError
from neuromancer.interop.network import Network, Value, Weight, image
from neuromancer.nodes.conv import Conv
from neuromancer.nodes.conv_transpose import ConvTranspose
from neuromancer.nodes.group_norm import GroupNorm, LayerNorm
from neuromancer.nodes.normalisation import BatchNorm, InstanceNorm
from neuromancer.nodes.perceptron import Perceptron

Ends = Sequence[tuple[int, int]]


class SizesNeeded(Exception):
    """The network can be built only for the sizes of the example."""


def _bias(net: Network, b: Weight | None, n_f: int) -> Any:
    return [np.zeros(n_f, "float32"), "const"] if b is None else net.weight(b, "bias")


def _remember(net: Network, value: Value, **weights: tuple[Weight | None, str]) -> Value:
    for key, (weight, role) in weights.items():
        net.share(weight, role, value.node.params.get(key))
    return value


def conv(
    net: Network,
    name: str,
    x: Value,
    w: Weight,
    b: Weight | None = None,
    stride: Sequence[int] = (),
    padding: Ends = (),
    dilation: Sequence[int] = (),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Value:
    """Cross-correlate with kernels (n_out, n_in / groups, *kernel)."""
    x = image(x, name)
    n_f, _, *kernel = w.array.shape
    ones = (1,) * len(kernel)

    def flipped(array: np.ndarray) -> np.ndarray:
        # The nodes convolve, so kernels are stored flipped.
        return array[(slice(None), slice(None), *(slice(None, None, -1),) * len(kernel))]

    out = net.add(
        Conv,
        name,
        x.node,
        n_f,
        tuple(kernel),
        activation_func="lin",
        w=net.weight(w, "kernel", flipped),
        b=_bias(net, b, n_f),
        stride=tuple(stride) or ones,
        dilation=tuple(dilation) or ones,
        groups=groups,
        padding=tuple(padding) or 0,
        padding_mode=padding_mode,
    )
    return _remember(net, out, w=(w, "kernel"), b=(b, "bias"))


def conv_transpose(
    net: Network,
    name: str,
    x: Value,
    w: Weight,
    b: Weight | None = None,
    stride: Sequence[int] = (),
    padding: Ends = (),
    output_padding: Sequence[int] = (),
    dilation: Sequence[int] = (),
    groups: int = 1,
) -> Value:
    """Transposed convolution with kernels (n_in, n_out / groups, *kernel)."""
    x = image(x, name)
    _, n_part, *kernel = w.array.shape
    ones = (1,) * len(kernel)
    out = net.add(
        ConvTranspose,
        name,
        x.node,
        n_part * groups,
        tuple(kernel),
        activation_func="lin",
        w=net.weight(w, "transposed", lambda array: array.swapaxes(0, 1)),
        b=_bias(net, b, n_part * groups),
        stride=tuple(stride) or ones,
        padding=tuple(padding) or 0,
        output_padding=tuple(output_padding) or 0,
        dilation=tuple(dilation) or ones,
        groups=groups,
    )
    return _remember(net, out, w=(w, "transposed"), b=(b, "bias"))


def linear(net: Network, name: str, x: Value, w: Weight, b: Weight | None = None) -> Value:
    """Fully connected layer with weights (n_out, n_in), over the features at every position or over all elements."""
    n_f = w.array.shape[0]
    arguments: dict[str, Any] = {"activation_func": "lin", "b": _bias(net, b, n_f)}
    if x.view == "flat":
        if not net.fixed:
            raise SizesNeeded
        w_, like = net.weight(w, "linear", np.transpose), None
        with net.at(name):
            node = Perceptron(x.node, n_f, flatten=True, name=name, print_repr=False, w=w_, **arguments)
        out = net.added(node, (), "vector")
    elif x.view in ("last", "vector") or not x.sizes:
        w_, like = net.weight(w, "linear", np.transpose), x
        out = net.add(Perceptron, name, x.node, n_f, like=like, w=w_, **arguments)
    else:
        raise TranslationError(
            "a linear layer over a spatial axis has no counterpart",
            where=name,
            got=f"axes batch, channel, {len(x.sizes)} of space",
            expected="features on the last axis",
        )
    return _remember(net, out, w=(w, "linear"), b=(b, "bias"))


def affine(net: Network, name: str, x: Value, scale: Weight | None, shift: Weight | None) -> Value:
    """Multiply every feature by a number and add one, as a convolution of every feature by itself."""
    x = image(x, name)
    n_f, ndim = x.features, len(x.sizes)

    def spread(weight: Weight) -> Weight:
        wide = np.broadcast_to(np.asarray(weight.array, "float32").reshape(-1), (n_f,))
        return Weight(wide, None, weight.trainable)

    ones = Weight(np.ones(n_f, "float32"), None, False)
    w = spread(scale) if scale is not None else ones
    kernel = Weight(w.array.reshape((n_f, 1, *(1,) * ndim)), None, w.trainable)
    return conv(net, name, x, kernel, None if shift is None else spread(shift), groups=n_f)


def _norm_params(net: Network, **given: Weight | None) -> dict[str, Any]:
    return {key: net.weight(weight, key) for key, weight in given.items() if weight is not None}


def batch_norm(
    net: Network,
    name: str,
    x: Value,
    gamma: Weight | None,
    beta: Weight | None,
    mean: Weight,
    var: Weight,
    eps: float,
    momentum: float = 0.1,
) -> Value:
    """Batch normalisation by running statistics."""
    n_f = x.features
    if gamma is None and beta is not None:
        gamma = Weight(np.ones(n_f, "float32"), None, False)
    if beta is None and gamma is not None:
        beta = Weight(np.zeros(n_f, "float32"), None, False)
    statistics = {"mean": np.asarray(mean.array, "float32"), "var": np.asarray(var.array, "float32")}
    params = _norm_params(net, gamma=gamma, beta=beta)
    out = net.add(
        BatchNorm,
        name,
        x.node,
        like=x,
        affine=gamma is not None,
        eps=eps,
        momentum=momentum,
        **params,
        **statistics,
    )
    return _remember(net, out, gamma=(gamma, "gamma"), beta=(beta, "beta"))


def instance_norm(net: Network, name: str, x: Value, gamma: Weight | None, beta: Weight | None, eps: float) -> Value:
    """Normalisation of every feature of every image by itself."""
    params = _norm_params(net, gamma=gamma, beta=beta)
    out = net.add(InstanceNorm, name, image(x, name).node, like=x, affine=bool(params), eps=eps, **params)
    return _remember(net, out, gamma=(gamma, "gamma"), beta=(beta, "beta"))


def group_norm(
    net: Network, name: str, x: Value, groups: int, gamma: Weight | None, beta: Weight | None, eps: float
) -> Value:
    """Normalisation over groups of features and space."""
    params = _norm_params(net, gamma=gamma, beta=beta)
    out = net.add(GroupNorm, name, image(x, name).node, groups, like=x, affine=bool(params), eps=eps, **params)
    return _remember(net, out, gamma=(gamma, "gamma"), beta=(beta, "beta"))


def layer_norm(
    net: Network, name: str, x: Value, axes: str, gamma: Weight | None, beta: Weight | None, eps: float
) -> Value:
    """Normalisation over the axes with some tags, e.g. ``'f'``; gamma and beta in the order of the node's axes."""
    params = _norm_params(net, gamma=gamma, beta=beta)
    out = net.add(LayerNorm, name, x.node, ",".join(axes), like=x, affine=bool(params), eps=eps, **params)
    return _remember(net, out, gamma=(gamma, "gamma"), beta=(beta, "beta"))
