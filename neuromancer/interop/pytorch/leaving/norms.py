"""Normalisations in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn import functional as F

from neuromancer.interop.leaving.target import ResponseNorm, Standardisation
from neuromancer.interop.leaving.weights import Weight
from neuromancer.interop.pytorch.leaving import modules
from neuromancer.interop.pytorch.leaving.graph import ModuleBuilder


def response_norm(b: ModuleBuilder, x: Any, axis: int, ndim: int, norm: ResponseNorm) -> Any:
    """Batch normalisation of a layer."""
    weight, bias = b.require(norm.gamma), b.require(norm.bias)
    mean, std = b.buffer(norm.mean), b.buffer(norm.std)
    fading, frozen = norm.mode == "fadeout", norm.mode == "predict"
    return b.module(lambda: modules.ResponseNorm(weight, bias, mean, std, axis, ndim, norm.rate, fading, frozen), x)


def _filled(b: ModuleBuilder, layer: Any, s: Standardisation) -> nn.Module:
    """Give a layer of torch.nn its parameters and running statistics."""
    if layer.weight is not None:
        if s.gamma is not None and s.beta is not None:
            layer.weight, layer.bias = b.require(s.gamma), b.require(s.beta)
    if s.mean is not None and s.var is not None:
        layer.running_mean, layer.running_var = b.buffer(s.mean), b.buffer(s.var)
        layer.num_batches_tracked.zero_()
    result: nn.Module = layer
    return result


def batch_norm(b: ModuleBuilder, x: Any, ndim: int, s: Standardisation) -> Any:
    """Normalise axis 1 over all others."""
    rank = max(1, ndim - 2)
    kind = getattr(modules, f"FrozenBatchNorm{rank}d") if s.frozen else getattr(nn, f"BatchNorm{rank}d")
    return b.module(lambda: _running(b, kind, s), x)


def instance_norm(b: ModuleBuilder, x: Any, ndim: int, s: Standardisation) -> Any:
    """Normalise axis 1 over space."""
    if s.frozen:
        return batch_norm(b, x, ndim, s)
    kind = getattr(nn, f"InstanceNorm{ndim - 2}d")
    return b.module(lambda: _running(b, kind, s), x)


def _running(b: ModuleBuilder, kind: Any, s: Standardisation) -> nn.Module:
    return _filled(b, kind(s.features, s.eps, s.momentum, s.gamma is not None, s.mean is not None), s)


def group_norm(b: ModuleBuilder, x: Any, n_groups: int, features: int, s: Standardisation) -> Any:
    """Normalise groups of features over space."""
    return b.module(lambda: _filled(b, nn.GroupNorm(n_groups, features, s.eps, s.gamma is not None), s), x)


def layer_norm(b: ModuleBuilder, x: Any, n_axes: int, sizes: Sequence[int | None], s: Standardisation) -> Any:
    """Normalise over the last axes."""
    gamma: Weight | None = s.gamma
    if gamma is None:
        open_sizes = [b.method("size", x, k - n_axes) for k in range(n_axes)]
        return b.call(F.layer_norm, x, open_sizes, None, None, s.eps)
    return b.module(lambda: _filled(b, nn.LayerNorm(gamma.array.shape, s.eps), s), x)
