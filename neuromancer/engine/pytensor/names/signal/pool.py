"""Theano's ``theano.tensor.signal.pool``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.engine.pytensor.ops.borders import pad as extended
from neuromancer.engine.pytensor.ops.pool import pool
from neuromancer.errors import ArgumentError, ShapeError

Ints = tuple[int, ...]
MODES = ("max", "sum", "average_inc_pad", "average_exc_pad")


def pool_2d(
    input: Any,
    ws: Sequence[int] | None = None,
    ignore_border: bool | None = None,
    stride: Sequence[int] | None = None,
    pad: Sequence[int] = (0, 0),
    mode: str = "max",
    ds: Sequence[int] | None = None,
    st: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
) -> Variable:
    """Pool the last two axes.

    Parameters
    ----------
    input : tensor, (..., y, x)
    ws : tuple of int
        Size of the windows; formerly `ds`.
    ignore_border : bool, optional
        Leave out windows that reach beyond the end; by default they count with what they have.
    stride : tuple of int, optional
        Default: `ws`; formerly `st`.
    pad : tuple of int
        Elements added on both ends, below `ws`; only with `ignore_border`. Formerly `padding`.
    mode : {'max', 'sum', 'average_inc_pad', 'average_exc_pad'}
        Averages count the padding or leave it out.

    Raises
    ------
    ArgumentError, ShapeError
        If an argument does not fit.
    """
    ws, stride, pad = _renamed(ws, ds), _renamed(stride, st), _renamed(pad, padding)
    return _pool(input, ws, ignore_border, stride, pad, mode, 2)


def pool_3d(
    input: Any,
    ws: Sequence[int] | None = None,
    ignore_border: bool | None = None,
    stride: Sequence[int] | None = None,
    pad: Sequence[int] = (0, 0, 0),
    mode: str = "max",
    ds: Sequence[int] | None = None,
    st: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
) -> Variable:
    """Pool the last three axes; arguments as in `pool_2d`."""
    ws, stride, pad = _renamed(ws, ds), _renamed(stride, st), _renamed(pad, padding)
    return _pool(input, ws, ignore_border, stride, pad, mode, 3)


def max_pool_2d_same_size(input: Any, patch_size: Sequence[int]) -> Variable:
    """Return an image of the same size that is 0 but for the maximum of every patch."""
    x = pt.as_tensor_variable(input)
    winners = pool_2d(x, patch_size, ignore_border=True)
    spread = pt.repeat(pt.repeat(winners, patch_size[0], -2), patch_size[1], -1)
    ends = [pt.minimum(a, b) for a, b in zip(spread.shape[-2:], x.shape[-2:], strict=True)]
    inner = x[..., : ends[0], : ends[1]]
    return pt.set_subtensor(pt.zeros_like(x)[..., : ends[0], : ends[1]], pt.switch(pt.eq(inner, spread), inner, 0))


def _renamed(value: Any, old: Any) -> Any:
    """Return an argument that may have been given by its old name."""
    return value if old is None else old


def _pool(
    image: Any,
    ws: Sequence[int] | None,
    ignore_border: bool | None,
    stride: Sequence[int] | None,
    pad: Sequence[int],
    mode: str,
    ndim: int,
) -> Variable:
    where, x = f"pool_{ndim}d", pt.as_tensor_variable(image)
    if x.ndim < ndim:
        raise ShapeError("too few axes", where=where, got=x.ndim, expected=f"at least {ndim}")
    if mode not in MODES:
        raise ArgumentError("unknown mode", where=where, got=mode, expected=f"one of {MODES}")
    window, step, pad = _numbers(where, ndim, ws=ws, stride=ws if stride is None else stride, pad=pad)
    if any(pad) and not ignore_border:
        raise ArgumentError("padding needs ignore_border", where=where, got=ignore_border, expected=True)
    if any(p >= n for p, n in zip(pad, window, strict=True)):
        raise ArgumentError("the padding is as large as a window", where=where, got=pad, expected=f"below {window}")
    images = x.reshape((-1, 1, *(x.shape[k] for k in range(x.ndim - ndim, x.ndim))))
    after = tuple(p if ignore_border else p + n - 1 for p, n in zip(pad, window, strict=True))
    pooled = _values(images, pad, after, window, step, mode)
    if not ignore_border:
        pooled = pooled[(slice(None), slice(None), *_kept(images, window, step))]
    lead = [x.shape[k] for k in range(x.ndim - ndim)]
    return pooled.reshape((*lead, *(pooled.shape[k] for k in range(2, ndim + 2))))


def _numbers(where: str, ndim: int, **arguments: Sequence[int] | None) -> list[Ints]:
    """Return arguments as tuples of one number per axis."""
    for name, value in arguments.items():
        least = 0 if name == "pad" else 1
        if value is None or len(value) != ndim or min(value) < least:
            raise ArgumentError(f"{name} does not fit", where=where, got=value, expected=f"{ndim} numbers from {least}")
    return [tuple(value or ()) for value in arguments.values()]


def _values(
    x: Variable,
    before: tuple[int, ...],
    after: tuple[int, ...],
    ws: tuple[int, ...],
    stride: tuple[int, ...],
    mode: str,
) -> Variable:
    if mode == "max":
        return pool(extended(x, before, after, value=float("-inf")), ws, stride)
    total = pool(extended(x, before, after), ws, stride, mode="sum")
    if mode == "sum":
        return total
    ones = pt.ones_like(x)
    if mode == "average_inc_pad":  # the padding counts, but not what lies beyond it
        ones = extended(ones, before, before, value=1.0)
        rest = tuple(b - a for a, b in zip(before, after, strict=True))
        return total / pool(extended(ones, (0,) * len(before), rest), ws, stride, mode="sum")
    return total / pool(extended(ones, before, after), ws, stride, mode="sum")


def _kept(x: Variable, ws: Sequence[int], stride: Sequence[int]) -> list[slice]:
    """Return the windows that Theano counts: those needed to reach the end, and no more."""
    sizes = [x.shape[k] for k in range(2, x.ndim)]
    return [
        slice(None, (n - 1) // s + 1 if s >= w else pt.maximum(0, (n - 1 - w) // s + 1) + 1)
        for n, w, s in zip(sizes, ws, stride, strict=True)
    ]
