"""Functions shared by the losses: matching targets, weights and masks to predictions, and missing values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.graph.node import is_shaped, require_node
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.node import Node
from neuromancer.variables import VariableParam

EPS = 1e-5
"""Added to probabilities in logarithms that are not computed from scores; bounds such penalties by 11.5."""

MISSING = -666.0
"""Marks a missing value in a regression target, as does NaN."""


def require_tensor(value: Any, node: Node, what: str) -> None:
    """Raise InputTypeError unless `value` is a node with a tensor output."""
    require_node(value, node, what)
    if not is_shaped(value):
        raise InputTypeError(f"{what} has no shape", node=node, got=repr(value), expected="a node with a tensor output")


def require_fit(
    node: Node,
    role: str,
    other: Node,
    ref: Node,
    n_f: int | Sequence[int] | None = None,
    optional: Sequence[str] = ("s",),
    repeat: bool = False,
) -> None:
    """Raise ShapeError unless the shape of `other` matches the prediction `ref`.

    Parameters
    ----------
    node : Node
        Loss, for the message.
    role : str
        Role of `other`, for the message.
    other, ref : Node
        Nodes to compare.
    n_f : int or sequence of int, optional
        Allowed numbers of features of `other`. Default: that of `ref`.
    optional : sequence of str
        Tags that `other` may lack; it is broadcast along these axes.
    repeat : bool
        Whether axes of size 1 are broadcast, too.
    """
    expected = {t: ref.shape[t] for t in ref.shape.tags}
    if n_f is not None and "f" in expected:
        expected["f"] = n_f
    have = {t: other.shape[t] for t in other.shape.tags}
    lacking = [t for t in expected if t not in have and t not in optional]
    fits = not lacking and all(
        t in expected and ((repeat and n == 1) or _same(n, expected[t])) for t, n in have.items()
    )
    if fits and [t for t in expected if t in have] == list(have):
        return
    text = ", ".join(f"({n},{t})" for t, n in expected.items() if t in have or t not in optional)
    raise ShapeError(
        f"the {role} {other.name!r} does not fit {ref.name!r}",
        node=node,
        got=f"{other.shape!r}{_place(other.shape)}",
        expected=f"[{text}]{_place(ref.shape)}",
    )


def _same(size: int | None, expected: int | Sequence[int] | None) -> bool:
    if size is None or expected is None:
        return True
    return size in expected if isinstance(expected, (list, tuple)) else size == expected


def _place(shape: TaggedShape) -> str:
    if not shape.ndim:
        return ""
    strides = [int(s) if s == int(s) else float(s) for s in shape.strides]
    return (
        f" with voxel i at raw voxel offset + stride * i, offsets {[int(o) for o in shape.offsets]}, strides {strides}"
    )


def align(node: Node, ref: TaggedShape) -> Any:
    """Return the output of a node with the axes of `ref`; missing axes and axes of size 1 broadcast."""
    shape = node.shape
    drop = [n == 1 and ref[t] != 1 for n, t in zip(shape.shape, shape.tags, strict=True)]
    x = node.output
    if any(drop):
        # An axis of size 1 at run time does not broadcast, an inserted axis does.
        x = x[tuple(0 if d else slice(None) for d in drop)]
    tags = [t for t, d in zip(shape.tags, drop, strict=True) if not d]
    order = [tags.index(t) if t in tags else "x" for t in ref.tags]
    return x if order == list(range(x.ndim)) else x.dimshuffle(*order)


def labelled(target: Any) -> Any:
    """Return a boolean mask of the labelled values of a floating-point target: neither -666 nor NaN."""
    return E.T.invert(E.T.or_(E.T.isnan(target), E.T.lt(E.T.abs(target - MISSING), 1e-2)))


def missing_scale(mask: Any) -> Any:
    """Return size / (number of labelled elements + 1), which turns a mean into one over labelled elements (nearly)."""
    return E.T.cast(mask.size, mask.dtype) / (E.T.sum(mask) + 1)


def scalar_param(node: Node, key: str, value: Any) -> None:
    """Create a non-trainable scalar parameter of a loss, unless the value is None."""
    if value is None:
        return
    if isinstance(value, bool) or np.ndim(value) or not np.isfinite(np.asarray(value, dtype="float64")) or value < 0:
        raise ArgumentError(f"{key} must be a number >= 0, or None", node=node, got=value)
    node.params[key] = VariableParam(float(value), name=key, apply_train=False, apply_reg=False)


def finite_vector(node: Node, what: str, values: Any, length: int, dtype: str = "float64") -> np.ndarray:
    """Return values as a finite vector of a given length and dtype, or raise ArgumentError."""
    try:
        array = np.atleast_1d(np.asarray(values, dtype="float64"))
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{what} must be numbers", node=node, got=repr(values), expected=f"{length} numbers"
        ) from None
    if array.shape != (length,):
        raise ArgumentError(
            f"wrong number of {what}", node=node, got=f"{array.size} ({values!r})", expected=f"{length}"
        )
    if not np.isfinite(array).all():
        raise ArgumentError(f"{what} must be finite", node=node, got=values)
    return exact_cast(array, dtype, node, what)
