"""What the losses share: fitting targets, weights and masks to predictions, and missing values."""

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
"""Added to probabilities inside logarithms, which bounds every penalty by ``-log(1e-5) = 11.5``."""

MISSING = -666.0
"""Value that marks a missing number in a regression target; NaN does so too."""


def require_tensor(value: Any, node: Node, what: str) -> None:
    """Raise InputTypeError unless `value` is a node with a tagged output."""
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
    """Raise ShapeError unless `other` fits the prediction `ref`.

    Parameters
    ----------
    node : Node
        The loss, for the message.
    role : str
        What `other` is, for the message.
    other, ref : Node
        The two nodes.
    n_f : int or sequence of int, optional
        Numbers of features that `other` may have; default: as many as `ref`.
    optional : sequence of str
        Tags that `other` may lack; it is then repeated along these axes.
    repeat : bool
        Whether a size of 1 is repeated along its axis, too.
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
    """Output of a node with the axes of `ref`; those that it lacks or has with size 1 broadcast."""
    shape = node.shape
    drop = [n == 1 and ref[t] != 1 for n, t in zip(shape.shape, shape.tags, strict=True)]
    x = node.output
    if any(drop):
        # A size of 1 that only the data has does not broadcast; an axis that is put in does.
        x = x[tuple(0 if d else slice(None) for d in drop)]
    kept = [t for t, d in zip(shape.tags, drop, strict=True) if not d]
    order = [kept.index(t) if t in kept else "x" for t in ref.tags]
    return x if order == list(range(x.ndim)) else x.dimshuffle(*order)


def labelled(target: Any) -> Any:
    """Where a floating point target is given: neither -666 nor NaN (boolean)."""
    return E.T.invert(E.T.or_(E.T.isnan(target), E.T.lt(E.T.abs(target - MISSING), 1e-2)))


def missing_scale(mask: Any) -> Any:
    """Factor by which the mean counts labelled elements only (nearly): size / (number labelled + 1)."""
    return E.T.cast(mask.size, mask.dtype) / (E.T.sum(mask) + 1)


def scalar_param(node: Node, key: str, value: Any) -> None:
    """Make a changeable non-trainable scalar parameter of a loss; None makes none."""
    if value is None:
        return
    if isinstance(value, bool) or np.ndim(value) or not np.isfinite(np.asarray(value, dtype="float64")) or value < 0:
        raise ArgumentError(f"{key} must be a number of at least 0, or None", node=node, got=value)
    node.params[key] = VariableParam(float(value), name=key, apply_train=False, apply_reg=False)


def finite_vector(node: Node, what: str, values: Any, length: int, dtype: str = "float64") -> np.ndarray:
    """Vector of floats of a given length without NaN or infinity, or ArgumentError."""
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
