"""Operations of PyTorch that change nothing but how a tensor is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from neuromancer.interop import spatial
from neuromancer.interop.network import VECTORS, Network, Value, Weight
from neuromancer.interop.pytorch.table import PLAIN, Arguments, operation, refuse


def _same(net: Network, place: str, a: Arguments) -> Any:
    return a.x


def _dropout(net: Network, place: str, a: Arguments) -> Any:
    if a["train"]:
        raise refuse(place, "drops values in evaluation mode, too", "training=True", "training=self.training")
    return a.x


operation(
    "dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout", "alpha_dropout_", "native_dropout",
    "feature_alpha_dropout", table=PLAIN,
)(_dropout)  # fmt: skip
operation(
    "identity", "contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy",
    "lift_fresh", "_to_copy", "to", "type_as", "requires_grad_", table=PLAIN,
)(_same)  # fmt: skip


@operation("_assert_tensor_metadata", "_assert_async", "_assert_scalar", table=PLAIN)
def _nothing(net: Network, place: str, a: Arguments) -> None:
    """Assertions of the traced code, which held for the example."""


@operation("getitem", table=PLAIN)
def _getitem(net: Network, place: str, a: Arguments) -> Any:
    return a["0"][a["1"]]


@operation("sym_size", table=PLAIN)
def _size(net: Network, place: str, a: Arguments) -> int:
    return int(a.x.shape[a["dim"]])


@operation("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", table=PLAIN)
def _reshape(net: Network, place: str, a: Arguments) -> Value:
    x: Value = a.x
    before, kind = list(x.shape), net.place.rpartition("(")[2].rstrip(")_")
    if kind == "flatten":
        start, end = int(a["start_dim"]) % len(before), int(a["end_dim"]) % len(before)
        after = [*before[:start], prod(before[start : end + 1]), *before[end + 1 :]]
    elif kind == "squeeze":
        dims = a["dim"]
        axes = range(1, len(before)) if dims is None else [d % len(before) for d in _several(dims)]
        after = [n for axis, n in enumerate(before) if axis not in axes or n != 1]
    elif kind == "unsqueeze":
        place_ = int(a["dim"]) % (len(before) + 1)
        after = [*before[:place_], 1, *before[place_:]]
    else:
        after = [int(n) for n in (a["size"] if a["size"] is not None else a["shape"])]
        known = prod(n for n in after if n != -1)
        after = [prod(before) // known if n == -1 else n for n in after]
    cells = _cells(net, place, x, after)
    return viewed(x, after, place) if cells is None else cells


@dataclass(frozen=True)
class Cells(Value):
    """Features that are about to be spread over a finer grid: (b, f, *factors, *space), or the two interleaved."""

    factors: tuple[int, ...] = ()
    interleaved: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in the source for the example."""
        pairs = zip(self.sizes, self.factors, strict=True)
        axes = [n for pair in pairs for n in pair] if self.interleaved else [*self.factors, *self.sizes]
        return (1, self.features // prod(self.factors), *axes)


@dataclass(frozen=True)
class Framed(Value):
    """A value with one more axis in front, which dropout of a wrong rank adds and removes."""

    inner: Value | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in the source for the example."""
        return (1, *(self.inner.shape if self.inner is not None else ()))


def _cells(net: Network, place: str, x: Value, after: list[int]) -> Value | None:
    """Return what the first and the last step of a pixel shuffle yield, or None for other changes of the view."""
    n = len(x.sizes)
    if isinstance(x, Cells):
        fine = [size * f for size, f in zip(x.sizes, x.factors, strict=True)]
        if x.interleaved and after == [*x.shape[:2], *fine]:
            return spatial.pixel_shuffle(net, place, Value(x.node, x.sizes), x.factors)
        return None
    factors = tuple(after[2 : 2 + n])
    spread = n > 0 and x.view == "image" and after[2 + n :] == list(x.sizes) and prod(factors) > 1
    return Cells(x.node, x.sizes, "cells", factors) if spread and after[1] * prod(factors) == x.features else None


def _several(dims: Any) -> Sequence[int]:
    return [dims] if isinstance(dims, int) else dims


def viewed(x: Value, after: Sequence[int], place: str) -> Value:
    """Return a value seen in another shape; TranslationError if that is more than leaving out or adding axes."""
    after = list(after)
    if after == list(x.shape):
        return x
    if isinstance(x, Framed) and x.inner is not None and after == list(x.inner.shape):
        return x.inner
    if _bare(x, after) is not None:
        return Value(x.node, x.sizes, _bare(x, after) or x.view)
    single = all(n == 1 for n in x.sizes)
    if single and x.view in ("image", *VECTORS) and after[:2] == [1, x.features] and set(after[2:]) <= {1}:
        more = len(after) - 2
        if more <= len(x.sizes):
            return Value(x.node, x.sizes, "image" if more == len(x.sizes) else VECTORS[more])
    if x.features == 1 and x.view in ("image", "last") and after in ([1, 1, *x.sizes], [1, *x.sizes, 1]):
        # A single channel is at the end as well as in the second place.
        return Value(x.node, x.sizes, "image" if x.view == "last" else "last")
    if x.view == "image" and x.sizes and after == [1, prod(x.shape)]:
        return Value(x.node, x.sizes, "flat")
    if x.view == "image" and after == [1, *x.shape]:
        return Framed(x.node, x.sizes, "framed", x)
    raise refuse(
        place,
        "the axes cannot be rearranged so",
        f"{tuple(x.shape)} -> {tuple(after)}",
        "leaving out or adding axes of size 1, or flattening before a linear layer",
    )


def _bare(x: Value, after: list[int]) -> str | None:
    """Return the view of a value of one feature if only the axis of features comes or goes, or None."""
    if x.features != 1:
        return None
    if x.view == "image" and x.sizes and after == [1, *x.sizes]:
        # Of one voxel, nobody knows whether it is an image or a vector; vectors are common.
        return None if after == [1, 1] else "bare"
    if x.view == "vector" and after == [1]:
        return "scalar"
    if x.view == "bare" and after == [1, 1, *x.sizes]:
        return "image"
    return "vector" if x.view == "scalar" and after == [1, 1] else None


@operation("zeros_like", "ones_like", "full_like", table=PLAIN)
def _filled(net: Network, place: str, a: Arguments) -> Weight:
    value = {"zeros": 0, "ones": 1}.get(net.place.rpartition("(")[2][:-6], a["fill_value"])
    return Weight(np.full(a.x.shape, float(value), "float32"), None, False)


@operation("permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", table=PLAIN)
def _permute(net: Network, place: str, a: Arguments) -> Value:
    x: Value = a.x
    rank = len(x.shape)
    order = list(range(rank))
    if a["dims"] is not None:
        order = [d % rank for d in a["dims"]]
    elif a["source"] is not None:
        source, target = ([d % rank for d in _several(a[key])] for key in ("source", "destination"))
        order = [axis for axis in order if axis not in source]
        for place_, axis in sorted(zip(target, source, strict=True)):
            order.insert(place_, axis)
    else:
        i, j = (int(a[f"dim{k}"] if a["axis0"] is None else a[f"axis{k}"]) % rank for k in (0, 1))
        order[i], order[j] = order[j], order[i]
    if order == list(range(rank)):
        return x
    n = len(x.sizes)
    if (
        isinstance(x, Cells)
        and not x.interleaved
        and order == [0, 1, *(i for k in range(n) for i in (2 + n + k, 2 + k))]
    ):
        return replace(x, interleaved=True)
    if x.view == "image" and order == [0, *range(2, rank), 1]:
        return Value(x.node, x.sizes, "last")
    if x.view == "last" and order == [0, rank - 1, *range(1, rank - 1)]:
        return Value(x.node, x.sizes, "image")
    raise refuse(place, "the axes cannot be permuted so", order, "moving the channels to the last axis and back")
