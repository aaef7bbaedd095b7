"""What is made of the values of a tile before they are stored."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.casts import KINDS, is_number, is_whole
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError

SCALES = {"uint8": 255, "uint16": 65535}
TRIAL, TRIAL_LAST = (2, 3, 4), 5
"""Images and voxels per axis of the example on which functions are tried, and along the last axis; no two alike."""
NAMES = (*SCALES, "argmax")
EXPECTED = f"one of {NAMES}, a channel, a list of channels, ('threshold', t), a function, or a list of these"


@dataclass(frozen=True)
class Reduction:
    """Steps from the values of a block, (f, images, *spatial), to what is stored of it.

    Parameters
    ----------
    steps : tuple
        Of ``'uint8'``, ``'uint16'``, ``'argmax'``, tuples of channels, ``('threshold', t)`` and functions.

    Examples
    --------
    >>> values = np.array([[[[0.25, 0.5]]], [[[0.75, 0.5]]]])
    >>> reduction([1, "uint8"]).apply(values)
    array([[[[191, 127]]]], dtype=uint8)
    """

    steps: tuple[Any, ...] = ()

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Reduced block, (f', images, *spatial).

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
                    "a function for reducing has to keep the voxels",
                    node=_label(step),
                    got=f"{getattr(values, 'shape', type(values).__name__)}",
                    expected=f"an array (f, {', '.join(map(str, before))})",
                )
            values = values.astype(values.dtype.newbyteorder("="), copy=False)  # as which all are stored
        return values

    def stored(self, features: int, dtype: Any, ndim: int = 2, last: int = 1) -> tuple[int, np.dtype]:
        """Number of channels and dtype that are stored of so many values of a dtype; functions are tried.

        Parameters
        ----------
        features : int
        dtype : numpy dtype
        ndim : int
            Number of spatial axes.
        last : int
            Voxels of the example along the last axis.

        Raises
        ------
        ArgumentError
            If a channel does not exist, a function fails, or integers would be scaled like fractions.
        ShapeError, InputTypeError
            If a function does not keep the voxels, or returns no numbers.
        """
        example = np.full((features, *TRIAL[:ndim], last), 0.5, dtype)
        for step in self.steps:
            if isinstance(step, tuple) and step[0] != "threshold" and max(step) >= len(example):
                raise ArgumentError(
                    "there is no such channel", where="reduce", got=max(step), expected=f"0 to {len(example) - 1}"
                )
            if isinstance(step, str) and step in SCALES and example.dtype.kind != "f":
                raise ArgumentError(
                    "only fractions are scaled", where="reduce", got=f"{step!r} of {example.dtype}", expected="floats"
                )
            example = _tried(step, example)
        return len(example), example.dtype

    @property
    def scales(self) -> bool:
        """Whether fractions become integers by their size, so that there is none for what is not a number."""
        return any(isinstance(step, str) and step in SCALES for step in self.steps)

    def filling(self, value: Any) -> Any:
        """What stands for a value where nothing is predicted: of a fraction, what such a prediction is stored as."""
        top = SCALES.get(self.steps[-1]) if self.steps and isinstance(self.steps[-1], str) else None
        return value if top is None or not 0 < value < 1 else int(value * top)

    @property
    def label(self) -> str:
        """What is done, as text that is the same in every process; part of the fingerprint."""
        return " ".join(_label(step) for step in self.steps)

    def require_portable(self) -> None:
        """Raise ArgumentError if a function cannot be found by its name in another process."""
        for step in self.steps:
            if callable(step):
                require_importable(step, "reduce")


def reduction(wish: Any) -> Reduction:
    """Reduction described by an argument of ``predict_dense``.

    Raises
    ------
    ArgumentError, InputTypeError
    """
    if wish is None:
        return Reduction()
    if isinstance(wish, Reduction):
        return wish
    channels = isinstance(wish, (list, tuple)) and all(_is_index(v) for v in wish)
    threshold = isinstance(wish, tuple) and len(wish) == 2 and isinstance(wish[0], str) and wish[0] == "threshold"
    chain = isinstance(wish, (list, tuple)) and not channels and not threshold
    return Reduction(tuple(_step(v) for v in (wish if chain else [wish])))


def _is_index(value: Any) -> bool:
    return is_whole(value)


def _is_finite(value: Any) -> bool:
    return is_number(value) and bool(np.isfinite(value))


def _tried(step: Any, example: np.ndarray) -> np.ndarray:
    """What a step makes of an example, before anything depends on it."""
    try:
        with np.errstate(all="ignore"):
            result = Reduction((step,)).apply(example)
    except NeuromancerError:
        raise
    except Exception as error:
        raise ArgumentError(
            "the function for reducing fails",
            where="reduce",
            got=f"{type(error).__name__}: {error}"[:200],
            expected=f"a function of an array such as (f, images, *spatial) = {example.shape}",
        ) from error
    if result.dtype.kind not in KINDS or not len(result):
        raise InputTypeError(
            "a function for reducing has to return channels of numbers",
            node=_label(step),
            got=f"{result.shape} {result.dtype}",
            expected="bool, integer or floating point",
        )
    return result


def _step(wish: Any) -> Any:
    if _is_index(wish):
        wish = [wish]
    if (isinstance(wish, str) and wish in NAMES) or callable(wish):
        return wish
    if isinstance(wish, (list, tuple)) and wish:
        if isinstance(wish[0], str) and wish[0] == "threshold" and len(wish) == 2 and _is_finite(wish[1]):
            return ("threshold", float(wish[1]))
        if all(_is_index(v) and v >= 0 for v in wish):
            return tuple(int(v) for v in wish)
    kind = ArgumentError if isinstance(wish, (str, list, tuple)) else InputTypeError
    raise kind("unknown reduction", where="reduce", got=wish, expected=EXPECTED)


def _apply(step: Any, values: np.ndarray) -> Any:
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
    """Raise ArgumentError if a function cannot be found by its name in another process."""
    if not _importable(function):
        raise ArgumentError(
            "other processes cannot import this function",
            where=where,
            got=_label(function),
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
    if not callable(step):
        return repr(step)
    name = f"{getattr(step, '__module__', '')}:{getattr(step, '__qualname__', type(step).__name__)}"
    code = getattr(step, "__code__", None)
    if code is None:
        return name
    # two lambdas have the same name
    return f"{name} {hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()[:16]}"
