"""Value-preserving casts: values that a dtype cannot represent are refused, not wrapped, truncated or made infinite."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer.arrays import as_array
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError

KINDS = "biuf"


def exact_cast(array: Any, dtype: Any, node: Any = None, what: str = "the array", ids: bool = False) -> np.ndarray:
    """Cast an array to a dtype, preserving all values; return it unchanged if it already has the dtype.

    Integers must be in range, floats that become integers must be whole, and finite values must stay finite. Floats
    may be rounded. If the dtypes alone guarantee this, the values are not inspected.

    Parameters
    ----------
    array : array-like of numbers, any shape
    dtype : numpy dtype
        bool, integer or floating point.
    node, what : optional
        For messages: the node at fault, and a name for the array.
    ids : bool
        Whether the values are integer identifiers (labels, object IDs), which must not be rounded either: float32
        represents them up to 2**24.

    Raises
    ------
    InputTypeError
        If the array does not contain real numbers.
    ArgumentError
        For a value that the dtype cannot represent; the message contains it.

    Examples
    --------
    >>> exact_cast(np.array([1.0, 2.0]), "uint8")
    array([1, 2], dtype=uint8)
    >>> exact_cast(np.array([7, 300]), "uint8")
    Traceback (most recent call last):
        ...
    neuromancer.errors.ArgumentError: the array does not fit uint8; got 300; expected whole numbers from 0 to 255
    """
    array, kind = numbers(array, node, what), np.dtype(dtype)
    if array.dtype == kind:
        return array
    if array.dtype.kind not in KINDS:
        raise InputTypeError(
            f"{what} does not contain real numbers", node=node, got=str(array.dtype), expected=str(kind)
        )
    if kind.kind == "f":
        return _as_float(array, kind, node, what, ids)
    if array.size and not np.can_cast(array.dtype, kind, "safe"):
        _require_integers(array, kind, node, what)
    return array.astype(kind)


def numbers(value: Any, node: Any = None, what: str = "the array") -> np.ndarray:
    """Return an array-like as an array of any dtype; raise InputTypeError for what is none, such as a ragged list."""
    try:
        return as_array(value)
    except ValueError as error:
        raise InputTypeError(f"{what} is not an array", node=node, got=str(error), expected="numbers") from None


def is_number(value: Any) -> bool:
    """Return whether `value` is a Python or NumPy real scalar; bools, arrays and strings are not.

    Examples
    --------
    >>> is_number(1), is_number(np.float32(0.5)), is_number(True), is_number(np.ones(1)), is_number(1j)
    (True, True, False, False, False)
    """
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Return whether `value` is a Python or NumPy integer; bools are not.

    Examples
    --------
    >>> is_whole(3), is_whole(np.int16(3)), is_whole(3.0), is_whole(True)
    (True, True, False, False)
    """
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def fits_kind(source: Any, target: Any) -> bool:
    """Return whether a declared dtype accepts arrays of another: floats are not ints, and numbers are not bools.

    Examples
    --------
    >>> fits_kind("int64", "uint8"), fits_kind("int64", "float32"), fits_kind("float32", "int64")
    (True, True, False)
    """
    a, b = np.dtype(source), np.dtype(target)
    return a.kind in KINDS and ((a.kind in "iu" and b.kind in "iu") or np.can_cast(a, b, "same_kind"))


def holds(dtype: Any, value: Any) -> bool:
    """Return whether a dtype can represent a number: integers exactly, floats up to rounding.

    Examples
    --------
    >>> holds("uint8", 255), holds("uint8", 0.5), holds("float32", 0.1), holds("float32", 1e300), holds("int8", np.nan)
    (True, False, True, False, False)
    """
    try:
        exact_cast(value, dtype)
    except NeuromancerError:
        return False
    return True


def vanishes(dtype: Any, value: Any) -> bool:
    """Return whether a nonzero number underflows to 0 in a dtype, where 0 may have a special meaning.

    Examples
    --------
    >>> vanishes("float32", 1e-50), vanishes("float64", 1e-50), vanishes("float32", 0), vanishes("float32", 1e-30)
    (True, False, False, False)
    """
    number = np.asarray(value)
    return bool((number != 0) & (number.astype(dtype) == 0))


def limits(dtype: Any) -> str:
    """Describe the range of a dtype in words.

    Examples
    --------
    >>> limits("int16"), limits("float32")
    ('whole numbers from -32768 to 32767', 'magnitudes up to 3.40282e+38')
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return f"magnitudes up to {np.finfo(kind).max:g}"
    low, high = _range(kind)
    return f"whole numbers from {low} to {high}"


def _as_float(array: np.ndarray, kind: np.dtype, node: Any, what: str, ids: bool) -> np.ndarray:
    with np.errstate(over="ignore"):
        result = array.astype(kind)
    if not array.size or array.dtype.kind == "b":
        return result
    if ids and (array.dtype.kind in "iu" or array.dtype.itemsize > kind.itemsize):
        exact = 2 ** (np.finfo(kind).nmant + 1)
        outlier = _out_of_range(array, -exact, exact)
        if outlier is not None:
            raise _refused(node, what, kind, outlier, f"up to {exact}, so that identifiers are not rounded")
    if not np.can_cast(array.dtype, kind, "safe") and not np.isfinite(result).all():
        lost = array[np.isinf(result) & np.isfinite(array)]
        if lost.size:
            raise _refused(node, what, kind, lost[0], limits(kind))
    return result


def _require_integers(array: np.ndarray, kind: np.dtype, node: Any, what: str) -> None:
    wrong = None
    if array.dtype.kind == "f":
        fractions = array[~(np.isfinite(array) & (array == np.floor(array)))]
        wrong = fractions[0] if fractions.size else None
    wrong = _out_of_range(array, *_range(kind)) if wrong is None else wrong
    if wrong is not None:
        raise _refused(node, what, kind, wrong, limits(kind))


def _range(kind: np.dtype) -> tuple[int, int]:
    if kind.kind == "b":
        return 0, 1
    info = np.iinfo(kind)
    return int(info.min), int(info.max)


def _out_of_range(array: np.ndarray, low: int, high: int) -> Any:
    """Return the most extreme value outside of a range; None if there is none."""
    largest, smallest = np.max(array).item(), np.min(array).item()
    return largest if largest > high else smallest if smallest < low else None


def _refused(node: Any, what: str, kind: np.dtype, value: Any, expected: str) -> ArgumentError:
    return ArgumentError(f"{what} does not fit {kind}", node=node, got=value, expected=expected)
