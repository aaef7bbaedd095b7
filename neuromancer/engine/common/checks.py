"""Checks of values, arguments and replacements: what shared variables, functions and graphs accept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast, fits_kind
from neuromancer.config import config
from neuromancer.engine.common.arguments import array_argument
from neuromancer.errors import InputTypeError, ShapeError
from neuromancer.masked import unmasked

Sizes = Sequence[int | None]


def numeric_array(value: Any, name: str | None) -> np.ndarray:
    """Return a copy of `value` as an array.

    Raises
    ------
    InputTypeError
        If it is not numeric.
    """
    array = np.array(unmasked(value, name))
    if array.dtype.kind not in "biuf":
        raise InputTypeError(
            "a shared variable must be a numeric array", where=name, got=f"{type(value).__name__} of {array.dtype}"
        )
    return array


def constant_array(value: Any, dtype: str | None) -> np.ndarray:
    """Return `value` as an array of `dtype`; default: its own for arrays, `config.floatX` for Python floats.

    Raises
    ------
    InputTypeError, ArgumentError
        If the dtype cannot represent it.
    """
    array = np.asarray(unmasked(value, "constant"))
    if dtype is None and array.dtype == np.float64 and not isinstance(value, np.ndarray | np.generic):
        dtype = config.floatX
    return array if dtype is None else exact_cast(array, dtype, "constant", "the value")


def new_value(value: Any, node: str, dtype: str, shape: Sizes) -> np.ndarray:
    """Return a contiguous copy of `value` for a shared variable of this dtype and shape.

    Raises
    ------
    ShapeError
        If its shape differs.
    InputTypeError
        If it is not numeric, or its kind (integer, float) does not fit the dtype.
    ArgumentError
        If the dtype cannot represent a value.
    """
    array = np.array(unmasked(value, node))
    if not fits_kind(array.dtype, dtype):
        raise InputTypeError("value has the wrong kind of dtype", node=node, got=array.dtype.name, expected=dtype)
    if array.shape != tuple(shape):
        raise ShapeError("value has the wrong shape", node=node, got=array.shape, expected=shape)
    return np.ascontiguousarray(exact_cast(array, dtype, node, "the value")).reshape(array.shape)


def argument(value: Any, variable: Any, node: str, shape: Sizes) -> np.ndarray:
    """Return `value` as an array of the input's dtype, number of axes and known sizes.

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
        If the array does not fit, or the dtype cannot represent a value.
    """
    dtype = variable.type.dtype
    value = unmasked(value, node)
    array = value if isinstance(value, np.ndarray) else array_argument(value, f"argument {variable}", node)
    if array.dtype != dtype:
        if not fits_kind(array.dtype, dtype):
            raise InputTypeError(
                f"argument {variable} has the wrong dtype", node=node, got=array.dtype.name, expected=dtype
            )
        array = exact_cast(array, dtype, node, f"argument {variable}")
    if array.ndim != len(shape) or any(s is not None and s != n for s, n in zip(shape, array.shape, strict=True)):
        raise ShapeError(f"argument {variable} has the wrong shape", node=node, got=array.shape, expected=str(shape))
    return array


def check_scalar(cost: Any) -> None:
    """Raise ShapeError if `cost` has axes: only a scalar has a gradient."""
    if cost.ndim:
        raise ShapeError("only a scalar has a gradient", where=str(cost), got=f"{cost.ndim} axes", expected="0 axes")


def rewire(outputs: Any, replacements: dict[Any, Any], variable_class: Any, toposort: Callable[..., Any]) -> Any:
    """Replace variables as `Engine.rewire` does.

    Parameters
    ----------
    outputs : variable or list of variables
    replacements : dict of variable -> variable
    variable_class : type
        The engine's class of variables.
    toposort : callable
        ``toposort(inputs, outputs)``: operations between them in order of execution.
    """
    for old, new in replacements.items():
        if (new.ndim, new.dtype) != (old.ndim, old.dtype):
            raise InputTypeError(
                "cannot stand in for the other variable", where=str(old), got=str(new.type), expected=str(old.type)
            )
    single = isinstance(outputs, variable_class)
    listed = [outputs] if single else list(outputs)
    new_of = dict(replacements)
    for node in toposort(list(replacements), listed):
        if any(v in new_of for v in node.inputs):
            # Not strict: a replacement may have unknown sizes where the old variable had known ones, and then the types
            # of everything downstream change.
            copied = node.clone_with_new_inputs([new_of.get(v, v) for v in node.inputs], strict=False)
            for old, new in zip(node.outputs, copied.outputs, strict=True):
                new_of.setdefault(old, new)
    results = [new_of.get(v, v) for v in listed]
    return results[0] if single else results
