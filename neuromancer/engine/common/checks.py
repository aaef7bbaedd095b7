"""Checks of values, arguments and graphs: what may go into shared variables and compiled functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast, fits_kind
from neuromancer.config import config
from neuromancer.engine.common.arguments import array_argument
from neuromancer.errors import EngineError, InputTypeError, ShapeError
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
            "a shared variable holds a numeric array", where=name, got=f"{type(value).__name__} of {array.dtype}"
        )
    return array


def constant_array(value: Any, dtype: str | None) -> np.ndarray:
    """Return `value` as an array of `dtype`; default: its own for arrays, `config.floatX` for Python floats.

    Raises
    ------
    InputTypeError, ArgumentError
        If the dtype cannot hold it.
    """
    array = np.asarray(unmasked(value, "constant"))
    if dtype is None and array.dtype == np.float64 and not isinstance(value, np.ndarray | np.generic):
        dtype = config.floatX
    return array if dtype is None else exact_cast(array, dtype, "constant", "the value")


def new_value(value: Any, node: str, dtype: str, shape: Sizes) -> np.ndarray:
    """Return a contiguous copy of `value` that fits a shared variable of this dtype and shape.

    Raises
    ------
    ShapeError
        If its shape differs.
    InputTypeError
        If it is not numeric or of another kind.
    ArgumentError
        If the dtype cannot hold a value.
    """
    array = np.array(unmasked(value, node))
    if not fits_kind(array.dtype, dtype):
        raise InputTypeError("value of another kind", node=node, got=array.dtype.name, expected=dtype)
    if array.shape != tuple(shape):
        raise ShapeError("value of another shape", node=node, got=array.shape, expected=shape)
    return np.ascontiguousarray(exact_cast(array, dtype, node, "the value")).reshape(array.shape)


def argument(value: Any, variable: Any, node: str, shape: Sizes) -> np.ndarray:
    """Return `value` as an array of the input's dtype, number of axes and known sizes.

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
        If it does not fit, or a value does not.
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


def check_graph(
    node: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    updates: dict[Any, Any],
    variable_class: Any,
    shared_class: Any,
    missing: Callable[[Iterable[Any]], Sequence[Any]],
) -> None:
    """Raise if no function can be made of these variables.

    Parameters
    ----------
    node : str
        What messages call the function.
    inputs, outputs : sequences of variables
    updates : dict of shared variable -> variable
    variable_class, shared_class : type
        The engine's.
    missing : callable
        Returns the inputs of a graph, given its outputs, that are neither given nor shared nor constant.

    Raises
    ------
    InputTypeError
        If something is not a symbolic variable, or an update does not fit.
    EngineError
        If an output depends on a variable that is not given.
    """
    for variable in (*inputs, *outputs, *updates, *updates.values()):
        if not isinstance(variable, variable_class):
            raise InputTypeError(
                "not a symbolic variable", node=node, got=type(variable).__name__, expected="a symbolic variable"
            )
    for shared, value in updates.items():
        if not isinstance(shared, shared_class):
            raise InputTypeError("only shared variables have updates", node=node, got=str(shared.type))
        if value.type.dtype != shared.type.dtype or value.ndim != shared.ndim:
            raise InputTypeError(
                f"update of {shared} has another type", node=node, got=str(value.type), expected=str(shared.type)
            )
    absent = missing([*outputs, *updates.values()])
    if absent:
        raise EngineError(
            "outputs depend on variables that are not given",
            node=node,
            got=f"inputs {[str(v) for v in inputs]}",
            expected=f"also {[str(v) for v in absent]}",
        )


def check_scalar(cost: Any) -> None:
    """Raise ShapeError if `cost` has axes: only a scalar has a gradient."""
    if cost.ndim:
        raise ShapeError("only a scalar has a gradient", where=str(cost), got=f"{cost.ndim} axes", expected="0 axes")


def rewire(outputs: Any, replacements: dict[Any, Any], variable_class: Any, toposort: Callable[..., Any]) -> Any:
    """Return `outputs` with variables replaced, all at once; what does not depend on them stays as it is.

    Parameters
    ----------
    outputs : variable or list of variables
    replacements : dict
        Old variable -> new variable.
    variable_class : type
        The engine's.
    toposort : callable
        ``toposort(inputs, outputs)``: operations between them in order of execution.

    Raises
    ------
    InputTypeError
        If dtype or number of axes of a replacement differ.
    """
    for old, new in replacements.items():
        if (new.ndim, new.dtype) != (old.ndim, old.dtype):
            raise InputTypeError(
                "cannot stand in for the other variable", where=str(old), got=str(new.type), expected=str(old.type)
            )
    single = isinstance(outputs, variable_class)
    wanted = [outputs] if single else list(outputs)
    now = dict(replacements)
    for node in toposort(list(replacements), wanted):
        if any(v in now for v in node.inputs):
            # Not strict: known sizes may have become unknown, and the types of what follows with them.
            moved = node.clone_with_new_inputs([now.get(v, v) for v in node.inputs], strict=False)
            for old, new in zip(node.outputs, moved.outputs, strict=True):
                now.setdefault(old, new)
    results = [now.get(v, v) for v in wanted]
    return results[0] if single else results
