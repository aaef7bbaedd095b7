"""What each step computes from a block of values and the statistics of the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.dense.processing.steps import EPS, Step
from neuromancer.errors import ArgumentError, PredictionError

PIECE = 1 << 18
"""Number of values that are computed at once."""
Statistics = tuple[np.ndarray, ...]
"""Statistics of a step, each broadcastable to the volume: sizes 1 along the axes over which they were taken."""


def apply_step(step: Step, values: np.ndarray, statistics: Statistics = ()) -> np.ndarray:
    """Return the result of a step for a block (f, ..., *space).

    Arithmetic is done in float64 and rounded to float32, or stays in float64 if the values are.

    Parameters
    ----------
    step : Step
    values : numpy.ndarray, (f, ..., *space)
    statistics : tuple of numpy.ndarray
        Those that :attr:`Step.measured` names, for this block.

    Raises
    ------
    PredictionError
        If the dtype of an ``ensure_dtype`` cannot represent a value.
    ArgumentError
        If a list does not have one number per channel.
    """
    function = _FUNCTIONS[step.name]
    if values.size <= PIECE or values.ndim < 2:
        return function(step, values, statistics)
    # Piece by piece, so that float64 takes little memory; the channels stay together.
    axis = max(range(1, values.ndim), key=lambda k: values.shape[k])
    length = max(1, values.shape[axis] * PIECE // values.size)
    result: np.ndarray | None = None
    for start in range(0, values.shape[axis], length):
        where = (slice(None),) * axis + (slice(start, start + length),)
        own = tuple(a[where] if a.ndim > axis and a.shape[axis] > 1 else a for a in statistics)
        piece = function(step, values[where], own)
        if result is None:
            result = np.empty(values.shape, piece.dtype)
        result[where] = piece
    assert result is not None
    return result


def _rounded(result: np.ndarray, values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = result.astype("float64" if values.dtype == np.float64 else "float32", copy=False)
    return rounded


def _per_channel(step: Step, key: str, values: np.ndarray) -> Any:
    """The numbers of an argument, one per channel if it is a list."""
    found = step[key]
    if not isinstance(found, tuple):
        return found
    if len(found) != len(values):
        raise ArgumentError(
            f"{key!r} needs one number per channel", where=step.name, got=len(found), expected=len(values)
        )
    return np.reshape(found, (-1, *(1,) * (values.ndim - 1)))


def _double(values: np.ndarray) -> np.ndarray:
    return values.astype("float64", copy=False)


def _ensure_dtype(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    dtype = np.dtype(step["dtype"])
    if dtype.kind == "b":
        return np.asarray(values != 0)
    if values.dtype.kind == "f" and dtype.kind in "iu":
        values = np.trunc(values)
    try:
        return exact_cast(values, dtype, "ensure_dtype", "the result of the steps so far")
    except ArgumentError as error:
        raise PredictionError(error.problem, where="ensure_dtype", got=error.got, expected=error.expected) from None


def _binarize(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    return np.asarray(values > _per_channel(step, "threshold", values))


def _clip(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    measured = iter(statistics)
    low = step["min"] if step["min_percentile"] is None else next(measured)
    high = step["max"] if step["max_percentile"] is None else next(measured)
    result = _double(values)
    if low is not None:
        result = np.maximum(result, low)
    if high is not None:
        result = np.minimum(result, high)
    return _rounded(result, values)


def _scale_linear(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    gain, offset = _per_channel(step, "gain", values), _per_channel(step, "offset", values)
    return _rounded(_double(values) * gain + offset, values)


def _sigmoid(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    from scipy.special import expit  # adds a filter of warnings

    return _rounded(expit(_double(values)), values)


def _softmax(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    from scipy.special import softmax

    return _rounded(softmax(_double(values), axis=0), values)


def _fixed(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    mean, std = _per_channel(step, "mean", values), _per_channel(step, "std", values)
    return _rounded((_double(values) - mean) / (std + EPS), values)


def _zero_mean(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    mean, std = statistics
    return _rounded((_double(values) - mean) / (std + step["eps"]), values)


def _scale_range(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    low, high = statistics
    return _rounded((_double(values) - low) / (high - low + step["eps"]), values)


def _scale_mean(step: Step, values: np.ndarray, statistics: Statistics) -> np.ndarray:
    mean, std, wanted_mean, wanted_std = statistics
    scaled = (_double(values) - mean) / (std + step["eps"])
    return _rounded(scaled * (wanted_std + step["eps"]) + wanted_mean, values)


_FUNCTIONS: dict[str, Callable[[Step, np.ndarray, Statistics], np.ndarray]] = {
    "ensure_dtype": _ensure_dtype,
    "binarize": _binarize,
    "clip": _clip,
    "scale_linear": _scale_linear,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "fixed_zero_mean_unit_variance": _fixed,
    "zero_mean_unit_variance": _zero_mean,
    "scale_range": _scale_range,
    "scale_mean_variance": _scale_mean,
}


def placeholders(step: Step) -> Statistics:
    """Return statistics with which a step can be tried before they are known."""
    if step.measured is None:
        return ()
    if step.name == "clip":
        return tuple(np.zeros(()) for end in ("min", "max") if step[f"{end}_percentile"] is not None)
    return tuple(np.asarray(v) for v in ((0.0, 1.0) if step.name != "scale_mean_variance" else (0.0, 1.0, 0.0, 1.0)))


def dtype_after(steps: Sequence[Step], features: int, dtype: Any) -> np.dtype:
    """Return the dtype of the result of some steps, tried on an example with `features` channels.

    Raises
    ------
    ArgumentError
        If a list does not have one number per channel.
    """
    example = np.ones((features, 1), dtype)
    for step in steps:
        example = apply_step(step, example, placeholders(step))
    found: np.dtype = example.dtype
    return found
