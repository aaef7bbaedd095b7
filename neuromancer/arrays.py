"""Conversion of other libraries' arrays to NumPy, without importing those libraries."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from neuromancer.errors import NeuromancerError, reason

SMALL_FLOATS = ("bfloat16", "float8_", "float6_", "float4_")
"""Prefixes of dtype names that NumPy cannot compute with; float32 represents all of their values."""


def library(array: Any) -> str:
    """Return the name of the library that defines the class of an array.

    Examples
    --------
    >>> library(np.zeros(3))
    'numpy'
    """
    return type(array).__module__.partition(".")[0]


def offers(value: Any, *names: str) -> bool:
    """Return whether an object has all of these attributes; one whose access raises counts as missing.

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
    """Convert to a NumPy array, like ``numpy.asarray``, but for more types and with a single type of error.

    Also accepts torch tensors (on any device, with or without gradient), in-memory arrays of other libraries, and lists
    of these. Ragged lists are refused with every version of NumPy.

    Raises
    ------
    ValueError
        If `value` is not an array or cannot be read; the message gives the reason.

    Examples
    --------
    >>> as_array([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    if type(value) is np.ndarray:
        return value
    with warnings.catch_warnings():  # NumPy before 1.24 warns and returns an object array
        warnings.filterwarnings("error", "Creating an ndarray from ragged")
        try:
            return _small_floats(np.asarray(in_memory(value)))
        except (NeuromancerError, MemoryError):
            raise
        except Exception as error:  # of any type, from the library of the object
            raise ValueError(reason(error)) from None


def in_memory(value: Any) -> Any:
    """Convert an in-memory array of another library to NumPy; return anything else unchanged.

    Raises
    ------
    Exception
        Whatever the library raises if the values are not available.
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
    """Convert a tensor, to a view if possible: dense tensors in host memory are not copied."""
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
