"""Arrays of other libraries as NumPy's; none of those libraries is imported for it."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from neuromancer.errors import NeuromancerError, reason

SMALL_FLOATS = ("bfloat16", "float8_", "float6_", "float4_")
"""Beginnings of the names of dtypes that NumPy does not compute with; all their values are float32 numbers."""


def library(array: Any) -> str:
    """Name of the library whose class an array is of.

    Examples
    --------
    >>> library(np.zeros(3))
    'numpy'
    """
    return type(array).__module__.partition(".")[0]


def offers(value: Any, *names: str) -> bool:
    """Whether an object of any class has all of these attributes; one that it cannot give, it has not.

    Examples
    --------
    >>> offers(np.zeros(3), "shape", "dtype"), offers([], "shape")
    (True, False)
    """
    try:
        return all(hasattr(value, name) for name in names)
    except Exception:  # such as a property of a closed file
        return False


def as_array(value: Any) -> np.ndarray:
    """`value` as an array, like ``numpy.asarray``, from more kinds of objects and with one kind of error.

    Tensors of torch, on any device and with a gradient or not, arrays of other libraries that lie in memory, and lists
    of them. Lists of different lengths are refused by every version of NumPy.

    Raises
    ------
    ValueError
        If `value` is no array, or cannot be read; says why.

    Examples
    --------
    >>> as_array([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    if type(value) is np.ndarray:
        return value
    with warnings.catch_warnings():  # NumPy before 1.24 warns and makes an array of objects
        warnings.filterwarnings("error", "Creating an ndarray from ragged")
        try:
            return _small_floats(np.asarray(in_memory(value)))
        except (NeuromancerError, MemoryError):
            raise
        except Exception as refused:  # of whatever library the object is of
            raise ValueError(reason(refused)) from None


def in_memory(value: Any) -> Any:
    """`value` as a NumPy array if it is an array of another library that lies in memory; else as it is.

    Raises
    ------
    Exception
        Whatever its library says if its values cannot be had.
    """
    kind = library(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_torch(value, torch)
    if kind == "pandas" and hasattr(value, "to_numpy"):
        return value.to_numpy()
    if hasattr(value, "__cuda_array_interface__") and callable(getattr(value, "get", None)):
        return np.asarray(value.get())
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (int, float, np.generic)):
        return [in_memory(item) for item in value]
    if isinstance(value, (np.ndarray, str, bytes)) or hasattr(type(value), "__getitem__"):
        return value
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return _small_floats(np.asarray(value))
    return np.from_dlpack(value) if hasattr(value, "__dlpack__") else value


def _from_torch(tensor: Any, torch: Any) -> np.ndarray:
    """A view where that is possible: of dense tensors in the host's memory."""
    if tensor.is_meta:
        raise ValueError("a tensor on device 'meta' has no values")
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.dtype.is_floating_point and str(tensor.dtype).removeprefix("torch.").startswith(SMALL_FLOATS):
        tensor = tensor.float()
    return tensor.cpu().resolve_conj().resolve_neg().numpy()


def _small_floats(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name.startswith(SMALL_FLOATS) else array
