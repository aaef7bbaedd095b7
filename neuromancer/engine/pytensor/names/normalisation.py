"""Batch normalisation with the arguments of Theano's ``theano.tensor.nnet.bn``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.errors import ArgumentError, ShapeError

Axes = str | Sequence[int]


def batch_normalization(inputs: Any, gamma: Any, beta: Any, mean: Any, std: Any, mode: str = "low_mem") -> Variable:
    """Return (inputs - mean) gamma / std + beta; `mode` has no effect."""
    return (inputs - mean) * (gamma / std) + beta


def batch_normalization_train(
    inputs: Any,
    gamma: Any,
    beta: Any,
    axes: Axes = "per-activation",
    epsilon: float = 1e-4,
    running_average_factor: float = 0.1,
    running_mean: Any = None,
    running_var: Any = None,
) -> tuple[Variable, ...]:
    """Normalise by the statistics of a batch (Ioffe & Szegedy 2015, arXiv:1502.03167).

    Parameters
    ----------
    inputs : tensor
    gamma, beta : tensor
        Scale and offset: without the axes that are averaged, or with length 1 there.
    axes : {'per-activation', 'spatial'} or tuple of int
        Axes that are averaged: (0,), or all but the second.
    epsilon : float
        Added to the variance.
    running_average_factor : float
        Weight of this batch in the running averages.
    running_mean, running_var : tensor, optional
        Running averages so far, with the axes of gamma.

    Returns
    -------
    tuple of Variable
        The result, the mean, 1 / sqrt(variance + epsilon), and the new running averages if there are any.

    Raises
    ------
    ArgumentError, ShapeError
        If an argument does not fit.
    """
    inputs = pt.as_tensor_variable(inputs)
    averaged = _averaged(axes, inputs.ndim)
    if (running_mean is None) != (running_var is None):
        raise ArgumentError("one without the other", where="running_mean and running_var", expected="both, or neither")
    scale, offset = (_aligned(v, averaged, inputs.ndim) for v in (gamma, beta))
    mean, variance = inputs.mean(averaged, keepdims=True), inputs.var(averaged, keepdims=True)
    inverse = 1 / pt.sqrt(variance + epsilon)
    result = [(inputs - mean) * scale * inverse + offset, mean, inverse]
    if running_mean is not None:
        count = pt.cast(pt.prod([inputs.shape[axis] for axis in averaged]), inputs.dtype)
        for old, new in ((running_mean, mean), (running_var, count / (count - 1) * variance)):
            old = _aligned(old, averaged, inputs.ndim)
            result.append(old * (1 - running_average_factor) + new * running_average_factor)
    if pt.as_tensor_variable(gamma).ndim != inputs.ndim:
        kept = [axis for axis in range(inputs.ndim) if axis not in averaged]
        result[1:] = [pt.specify_broadcastable(v, *averaged).dimshuffle(kept) for v in result[1:]]
    return tuple(result)


def batch_normalization_test(
    inputs: Any, gamma: Any, beta: Any, mean: Any, var: Any, axes: Axes = "per-activation", epsilon: float = 1e-4
) -> Variable:
    """Normalise by given statistics; arguments as in `batch_normalization_train`."""
    inputs = pt.as_tensor_variable(inputs)
    averaged = _averaged(axes, inputs.ndim)
    scale, offset, mean, var = (_aligned(v, averaged, inputs.ndim) for v in (gamma, beta, mean, var))
    return (inputs - mean) * scale / pt.sqrt(var + epsilon) + offset


def _averaged(axes: Axes, ndim: int) -> tuple[int, ...]:
    if axes == "per-activation":
        return (0,)
    if axes == "spatial":
        return (0, *range(2, ndim))
    if isinstance(axes, str) or not axes or any(not -ndim <= axis < ndim for axis in axes):
        raise ArgumentError(
            "no such axes",
            where="batch normalisation",
            got=axes,
            expected=f"'per-activation', 'spatial' or axes from {-ndim} to {ndim - 1}",
        )
    return tuple(sorted({axis % ndim for axis in axes}))


def _aligned(value: Any, averaged: tuple[int, ...], ndim: int) -> Variable:
    """Return a parameter with the axes of the inputs."""
    value = pt.as_tensor_variable(value)
    if value.ndim == ndim:
        return pt.specify_broadcastable(value, *averaged)
    if value.ndim != ndim - len(averaged):
        raise ShapeError(
            "a parameter does not fit",
            where="batch normalisation",
            got=f"{value.ndim} axes",
            expected=f"{ndim - len(averaged)} or {ndim}",
        )
    kept = iter(range(value.ndim))
    return value.dimshuffle(["x" if axis in averaged else next(kept) for axis in range(ndim)])
