"""Reductions: what is computed from the values of a tile before they are stored."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.casts import KINDS, is_number, is_whole
from neuromancer.dense.fingerprint import function_text
from neuromancer.dense.processing.apply import apply_step
from neuromancer.dense.processing.steps import Step
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError

SCALES = {"uint8": 255, "uint16": 65535}
TRIAL, TRIAL_LAST = (2, 3, 4), 5
"""Shape of the example on which functions are tried, (images, *spatial), and size of its last axis; all differ."""
NAMES = (*SCALES, "argmax")
EXPECTED = f"one of {NAMES}, a channel, a list of channels, ('threshold', t), a function, or a list of these"


@dataclass(frozen=True)
class Reduction:
    """Sequence of steps applied to the values of a block, (f, images, *spatial).

    Parameters
    ----------
    steps : tuple
        Each ``'uint8'``, ``'uint16'``, ``'argmax'``, a tuple of channels, ``('threshold', t)``, a function or a Step.

    Examples
    --------
    >>> values = np.array([[[[0.25, 0.5]]], [[[0.75, 0.5]]]])
    >>> reduction([1, "uint8"]).apply(values)
    array([[[[191, 127]]]], dtype=uint8)
    """

    steps: tuple[Any, ...] = ()

    def after(self, steps: Sequence[Step]) -> Reduction:
        """Return the reduction of values to which some steps are applied first."""
        return Reduction((*steps, *self.steps))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the reduced block, (f', images, *spatial).

        Raises
        ------
        ShapeError
            If a function changed the size of the block.
        """
        for step in self.steps:
            before = values.shape[1:]
            values = _apply(step, values)
            if not isinstance(values, np.ndarray) or values.shape[1:] != before or values.ndim != len(before) + 1:
                raise ShapeError(
                    "a reduction function must preserve the voxels",
                    node=_label(step),
                    got=f"{getattr(values, 'shape', type(values).__name__)}",
                    expected=f"an array (f, {', '.join(map(str, before))})",
                )
            values = values.astype(values.dtype.newbyteorder("="), copy=False)  # stored in native byte order
        return values

    def stored(self, features: int, dtype: Any, ndim: int = 2, last: int = 1) -> tuple[int, np.dtype]:
        """Return number of channels and dtype of the reduced values; functions are tried on an example.

        Parameters
        ----------
        features : int
        dtype : numpy dtype
        ndim : int
            Number of spatial axes.
        last : int
            Size of the example along the last axis.

        Raises
        ------
        ArgumentError
            If a channel does not exist, a function fails, or the values to scale are integers.
        ShapeError, InputTypeError
            If a function does not preserve the voxels, or returns no numbers.
        """
        example = np.full((features, *TRIAL[:ndim], last), 0.5, dtype)
        for step in self.steps:
            if isinstance(step, tuple) and step[0] != "threshold" and max(step) >= len(example):
                raise ArgumentError(
                    "there is no such channel", where="reduce", got=max(step), expected=f"0 to {len(example) - 1}"
                )
            if isinstance(step, str) and step in SCALES and example.dtype.kind != "f":
                raise ArgumentError(
                    "only floating point values can be scaled",
                    where="reduce",
                    got=f"{step!r} of {example.dtype}",
                    expected="floating point",
                )
            example = _tried(step, example)
        return len(example), example.dtype

    @property
    def scales(self) -> bool:
        """Whether values are scaled to integers, which cannot represent NaN."""
        return any(isinstance(step, str) and step in SCALES for step in self.steps)

    def filling(self, value: Any) -> Any:
        """Return the stored fill value: a value between 0 and 1 is scaled like a prediction."""
        top = SCALES.get(self.steps[-1]) if self.steps and isinstance(self.steps[-1], str) else None
        return value if top is None or not 0 < value < 1 else int(value * top)

    @property
    def label(self) -> str:
        """Text of the steps, the same in every process; part of the fingerprint."""
        return " ".join(_label(step) for step in self.steps)

    def require_portable(self) -> None:
        """Raise ArgumentError if other processes cannot import one of the functions."""
        for step in self.steps:
            if callable(step):
                require_importable(step, "reduce")


def reduction(reduce: Any) -> Reduction:
    """Return the reduction for the argument `reduce` of ``predict_dense``.

    Raises
    ------
    ArgumentError, InputTypeError
    """
    if reduce is None:
        return Reduction()
    if isinstance(reduce, Reduction):
        return reduce
    listed = isinstance(reduce, (list, tuple))
    channels = listed and all(_is_index(v) for v in reduce)
    pair = isinstance(reduce, tuple) and len(reduce) == 2
    threshold = pair and isinstance(reduce[0], str) and reduce[0] == "threshold"
    chain = listed and not channels and not threshold
    return Reduction(tuple(_step(v) for v in (reduce if chain else [reduce])))


def _is_index(value: Any) -> bool:
    return is_whole(value)


def _is_finite(value: Any) -> bool:
    return is_number(value) and bool(np.isfinite(value))


def _tried(step: Any, example: np.ndarray) -> np.ndarray:
    """Result of a step for an example, to find its errors early."""
    try:
        with np.errstate(all="ignore"):
            result = Reduction((step,)).apply(example)
    except NeuromancerError:
        raise
    except Exception as error:
        raise ArgumentError(
            "the reduction function fails",
            where="reduce",
            got=f"{type(error).__name__}: {error}"[:200],
            expected=f"a function of an array such as (f, images, *spatial) = {example.shape}",
        ) from error
    if result.dtype.kind not in KINDS or not len(result):
        raise InputTypeError(
            "a reduction function must return channels of numbers",
            where="reduce",
            got=f"{result.shape} {result.dtype}",
            expected="bool, integer or floating point",
        )
    return result


def _step(step: Any) -> Any:
    if _is_index(step):
        step = [step]
    if (isinstance(step, str) and step in NAMES) or callable(step):
        return step
    if isinstance(step, (list, tuple)) and step:
        if isinstance(step[0], str) and step[0] == "threshold" and len(step) == 2 and _is_finite(step[1]):
            return ("threshold", float(step[1]))
        if all(_is_index(v) and v >= 0 for v in step):
            return tuple(int(v) for v in step)
    kind = ArgumentError if isinstance(step, (str, list, tuple)) else InputTypeError
    raise kind("unknown reduction", where="reduce", got=step, expected=EXPECTED)


def _apply(step: Any, values: np.ndarray) -> Any:
    if isinstance(step, Step):
        return apply_step(step, values)
    if callable(step):
        return step(values)
    if step == "argmax":
        return np.argmax(values, axis=0)[None].astype("uint8" if values.shape[0] <= 256 else "uint16")
    if isinstance(step, str):
        top = SCALES[step]
        return np.clip(np.floor(values * top), 0, top).astype(step)
    if step[0] == "threshold":
        return (values > step[1]).astype("uint8")
    return values[list(step)]


def require_importable(function: Callable[..., Any], where: str) -> None:
    """Raise ArgumentError if other processes cannot import a function."""
    if not _importable(function):
        raise ArgumentError(
            "other processes cannot import this function",
            where=where,
            got=getattr(function, "__qualname__", type(function).__qualname__),
            expected="a function at the top level of a module other than __main__",
        )


def _importable(function: Callable[..., Any]) -> bool:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or module == "__main__":
        return False
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is function


def _label(step: Any) -> str:
    if isinstance(step, Step):
        return step.label
    return function_text(step) if callable(step) else repr(step)
