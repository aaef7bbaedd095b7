"""Splitting of a node into several nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, blame
from neuromancer.graph.node import is_shaped
from neuromancer.graph.registry import model_manager
from neuromancer.graph.tagged_shape import SPATIAL_TAGS
from neuromancer.nodes.apply import FromTensor
from neuromancer.nodes.node import Node
from neuromancer.utils import check_name

LABEL = "split"
SEARCH = 1 << 12
"""Maximum distance at which a valid number of parts is searched for."""


def split(
    node: Node,
    axis: str | int = "f",
    index: int | Sequence[int] | None = None,
    n_out: int | None = None,
    strip_singleton_dims: bool = False,
    name: str | Sequence[str] = "split",
) -> tuple[FromTensor, ...]:
    """Split a node along an axis.

    Parameters
    ----------
    node : Node
        Node to split.
    axis : str or int
        Tag or position of the axis.
    index : int or sequence of int, optional
        Ascending positions at which to split; takes precedence over `n_out`.
    n_out : int, optional
        Number of equal parts.
    strip_singleton_dims : bool
        Remove the axis from parts of length one.
    name : str or sequence of str
        Stem, to which numbers are appended, or one name per part.

    Returns
    -------
    tuple of FromTensor
        The parts, in order.

    Raises
    ------
    ArgumentError
        If `index` or `n_out` is missing or invalid, or names are invalid.
    ShapeError
        If the axis does not exist, a position is out of range, or `n_out` does not divide the size.
    InputTypeError
        If `node` is not a node with a tensor output.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((2, 6), "b,f", print_repr=False)
    >>> [part.shape["f"] for part in split(inp, index=[1, 4])]
    [1, 3, 2]
    """
    if not isinstance(node, Node) or not is_shaped(node):
        raise InputTypeError("can only split a node with a tensor output", where=LABEL, got=repr(node)[:200])
    with blame(f"{LABEL} of {node.name!r}"):
        position = node.shape.axis(axis)
    cuts = _cuts(node, position, index, n_out)
    bounds = list(zip([0, *cuts], [*cuts, node.shape[position]], strict=True))
    if not isinstance(name, str) and (not isinstance(name, (list, tuple)) or len(name) != len(bounds)):
        raise ArgumentError("one name per part is needed", where=LABEL, got=name, expected=f"{len(bounds)} names")
    for each in [name] if isinstance(name, str) else name:
        check_name(each, LABEL)
    if not isinstance(name, str) and len(set(name)) != len(name):
        raise ArgumentError("the parts' names clash", where=LABEL, got=list(name), expected="different names")
    names = [name] * len(bounds) if isinstance(name, str) else name
    with model_manager.all_or_nothing() as model:
        label = model.unique_name(name if isinstance(name, str) else LABEL)
        model.splits[label] = dict(
            node=node.name,
            axis=position,
            index=index,
            n_out=n_out,
            strip_singleton_dims=strip_singleton_dims,
            name=name,
        )
        parts: list[FromTensor] = []
        for k, (low, high) in enumerate(bounds):
            # Numbers up to the previous part's are taken, so searching for a free name starts there.
            part_name = names[k] if k == 0 or not isinstance(name, str) else parts[-1].name
            parts.append(_part(node, position, low, high, strip_singleton_dims, part_name))
        model.splits[label]["parts"] = [part.name for part in parts]
        return tuple(parts)


def _part(node: Node, axis: int, low: int, high: int | None, strip: bool, name: str) -> FromTensor:
    size = None if high is None else high - low
    drop = strip and size == 1
    # The last part has no upper bound, so that it is correct for any size of an axis of unknown size.
    stop = None if high == node.shape[axis] else high
    take: Any = low if drop else slice(low, stop)

    def select(tensor: Any) -> Any:
        return tensor[(slice(None),) * axis + (take,)]

    shape = node.shape.delaxis(axis) if drop else node.shape.updateshape(axis, size)
    part = FromTensor(select, shape, node, name=name)
    part.selection, part.taken = select, (axis, take)
    part.equivariant = node.shape.tags[axis] not in SPATIAL_TAGS
    return part


def _cuts(node: Node, axis: int, index: int | Sequence[int] | None, n_out: int | None) -> list[int]:
    """Return the positions of the cuts, validated."""
    size, tag = node.shape[axis], node.shape.tags[axis]
    where = f"{LABEL} of {node.name!r} on axis {tag!r}"
    if index is not None:
        cuts = [index] if isinstance(index, (int, np.integer)) and not isinstance(index, bool) else index
        if not isinstance(cuts, (list, tuple, np.ndarray)) or not len(cuts):
            raise ArgumentError("index must be a position or a list of positions", where=where, got=index)
        if any(isinstance(c, bool) or not isinstance(c, (int, np.integer)) for c in cuts):
            raise ArgumentError("index must hold integers", where=where, got=index)
        cuts = [int(c) for c in cuts]
        if cuts != sorted(set(cuts)):
            raise ArgumentError("cuts must be ascending", where=where, got=cuts, nearest=str(sorted(set(cuts))))
        limit = f"cuts from 1 to {'the size' if size is None else size - 1}"
        if cuts[0] < 1 or (size is not None and cuts[-1] >= size):
            inside = sorted({min(max(c, 1), c if size is None else size - 1) for c in cuts})
            raise ShapeError(
                "a cut is out of range",
                where=where,
                got=f"{cuts} for size {size}",
                expected=limit,
                nearest=str(inside) if size is None or size > 1 else None,
            )
        return cuts
    if n_out is None:
        raise ArgumentError(
            "needs index or n_out", where=where, got="neither", expected="positions or a number of parts"
        )
    if isinstance(n_out, bool) or not isinstance(n_out, (int, np.integer)) or n_out < 1:
        raise ArgumentError("n_out must be a number of parts", where=where, got=n_out, expected="an int >= 1")
    if size is None:
        raise ShapeError("an axis of unknown size can only be split by index", where=where, got=f"n_out={n_out}")
    if size % n_out:
        divisors = _divisors(size, int(n_out))
        raise ShapeError(
            f"size {size} cannot be divided into {n_out} equal parts",
            where=where,
            got=f"n_out={n_out}",
            expected=f"one of {divisors}" if size <= SEARCH else "a divisor of the size",
            nearest=str(min(divisors, key=lambda d: abs(d - n_out))),
        )
    return [size // n_out * k for k in range(1, int(n_out))]


def _divisors(size: int, n_out: int) -> list[int]:
    """Return the divisors of a size; for a large size only those near `n_out`, 1 and the size."""
    if size <= SEARCH:
        return [d for d in range(1, size + 1) if size % d == 0]
    near = range(max(2, n_out - SEARCH), min(size, n_out + SEARCH))
    return [1, *(d for d in near if size % d == 0), size]
