"""Arrays and files from which lazy or wrapped arrays read: a walk through graphs of dask, xarray and wrappers."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from neuromancer.arrays import library, offers
from neuromancer.volumes.stored import StoredArray

STORES = ("h5py", "zarr", "tensorstore")
IN_MEMORY = ("torch", "pandas", "cupy")
INNER = ("array", "hidden", "_array", "there")
"""Attributes in which wrappers of this package and of xarray store the wrapped array."""
ATOMS = (str, bytes, int, float, complex, type(None), slice, type, FunctionType, BuiltinFunctionType, ModuleType)
"""Objects that refer to no arrays; the most frequent ones in graphs."""
MOST_EACH = 10_000
"""Maximum number of objects of one container in a bounded walk, so that a layer of many tasks does not hide others."""


def sources_behind(value: Any, most: int | None = None, own: bool = True) -> Iterator[Any]:
    """Iterate over the arrays and files behind an array, each once, breadth first.

    Parameters
    ----------
    value : object
    most : int, optional
        Maximum number of objects visited; default: no limit, for graphs of any size.
    own : bool
        Whether to look into volumes of this package, which check their files themselves.

    Yields
    ------
    object
        Arrays of NumPy, torch, pandas and CuPy, objects of h5py, zarr and tensorstore, paths of files, and
        :class:`StoredArray`.
    """
    seen: dict[int, Any] = {}
    waiting = deque([value])
    while waiting and (most is None or len(seen) < most):
        value = waiting.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value  # keep it alive, or its id would be reused
        if not own and library(value) == "neuromancer" and offers(value, "on_missing"):
            continue
        if isinstance(value, (np.ndarray, Path, StoredArray)) or library(value) in (*STORES, *IN_MEMORY):
            yield value
        else:
            found = _referents(value) if most is None else islice(_referents(value), MOST_EACH)
            waiting.extend(inner for inner in found if not isinstance(inner, ATOMS))


def _referents(value: Any) -> Iterable[Any]:
    """Return the objects through which an object reads."""
    kind = library(value)
    if kind == "dask":
        # A collection also holds an empty array, its `_meta`.
        return [value.dask] if offers(value, "dask") else gc.get_referents(value)
    if kind == "xarray":
        return _referents_of_xarray(value)
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, Mapping):  # its values may be files that are read on access
        return gc.get_referents(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    return _wrapped(value, INNER)


def _referents_of_xarray(value: Any) -> list[Any]:
    if offers(value, "variable", "encoding"):
        source = value.encoding.get("source")
        folder = isinstance(source, str) and Path(source).is_dir()
        path = [Path(source, str(value.name)) if folder else Path(source)] if isinstance(source, str) else []
        return [*path, value.variable]
    if offers(value, "get_array"):  # opens the file
        with suppress(Exception):  # raised again by whatever reads the array
            array = value.get_array()
            return [getattr(array, "_h5ds", array)]
        return []
    return _wrapped(value, ("_variables", "_data", *INNER))


def _wrapped(value: Any, names: Iterable[str]) -> list[Any]:
    """Return attributes, without those of the same class that every access creates: they would never end."""
    found = []
    for name in names:
        if offers(value, name):
            inner = getattr(value, name)
            if type(inner) is not type(value) or inner is getattr(value, name):
                found.append(inner)
    return found
