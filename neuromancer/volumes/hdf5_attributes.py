"""Attributes and dimensions of HDF5 datasets, of any type and content.

The library's functions for dimension scales trust the content of other attributes and crash the process if it is
malformed; they are not used for reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from neuromancer.errors import reason

LABELS, SCALES, BACK = "DIMENSION_LABELS", "DIMENSION_LIST", "REFERENCE_LIST"
SCALE_CLASS = "DIMENSION_SCALE"


@dataclass(frozen=True)
class Dimension:
    """One axis of a dataset, as its attributes describe it.

    Parameters
    ----------
    size : int
    label : str
        Empty if it has none.
    scale : h5py.Dataset or None
        The first attached scale.
    """

    size: int
    label: str = ""
    scale: Any = None

    @property
    def name(self) -> str:
        """Label, or else name of the scale; empty if there is neither."""
        name = "" if self.scale is None else self.scale.name or ""
        return self.label or name.rpartition("/")[2]


def attributes_of(array: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return attributes by name, without references, and messages on those that cannot be read.

    Some HDF5 types have no NumPy equivalent.
    """
    found: dict[str, Any] = {}
    doubts: list[str] = []
    for name in array.attrs:
        if name in (LABELS, SCALES, BACK):
            continue
        try:
            found[name] = array.attrs[name]
        except Exception as error:  # the library may raise anything
            doubts.append(f"attribute {name}: {reason(error)}"[:120])
    return found, tuple(doubts)


def dimensions_of(array: Any) -> tuple[list[Dimension], tuple[str, ...]]:
    """Return all dimensions of a dataset, and messages on malformed attributes about them."""
    doubts: list[str] = []
    rank = array.ndim
    labels: list[Any] = [""] * rank
    scales: list[Any] = [None] * rank
    if LABELS in array.attrs:
        if _holds(array, LABELS, _is_text):
            labels = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in array.attrs[LABELS]]
        else:
            doubts.append(f"attribute {LABELS}: no labels of {rank} axes")
    if SCALES in array.attrs:
        if _holds(array, SCALES, _is_list_of_references):
            scales = [_scale(array, k, some, doubts) for k, some in enumerate(array.attrs[SCALES])]
        else:
            doubts.append(f"attribute {SCALES}: no scales of {rank} axes")
    sizes = (int(n) for n in array.shape)
    return [Dimension(*found) for found in zip(sizes, labels, scales, strict=True)], tuple(doubts)


def is_scale(array: Any) -> bool:
    """Return whether a dataset is a dimension scale (coordinates)."""
    try:
        return text_of(array.attrs.get("CLASS")) == SCALE_CLASS
    except Exception:  # a type without NumPy equivalent
        return False


def text_of(value: Any) -> str:
    """Return a string attribute of fixed or variable length; empty for anything else.

    Examples
    --------
    >>> text_of(np.bytes_(b"y")), text_of("y"), text_of(np.array([b"y"])), text_of(5)
    ('y', 'y', 'y', '')
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _holds(array: Any, name: str, wanted: Any) -> bool:
    """Return whether an attribute has one value of the expected type per axis."""
    found = h5py.h5a.open(array.id, name.encode())
    space = found.get_space()
    simple = space.get_simple_extent_type() == h5py.h5s.SIMPLE and space.get_simple_extent_dims() == (array.ndim,)
    return simple and wanted(found.get_type())


def _is_text(kind: Any) -> bool:
    return kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()


def _is_list_of_references(kind: Any) -> bool:
    return kind.get_class() == h5py.h5t.VLEN and kind.get_super().equal(h5py.h5t.STD_REF_OBJ)


def _scale(array: Any, axis: int, references: Any, doubts: list[str]) -> Any:
    """Return the first scale of an axis; None if there is none or it was deleted."""
    if not len(references):
        return None
    try:
        found = array.file[references[0]]
    except Exception as error:  # the library may raise anything for a dangling reference
        doubts.append(f"scale of axis {axis}: {reason(error)}")
        return None
    if isinstance(found, h5py.Dataset):
        return found
    doubts.append(f"scale of axis {axis}: not a dataset")
    return None
