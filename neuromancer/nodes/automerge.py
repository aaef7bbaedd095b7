"""Merge branches of different resolution and size, as in a U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from neuromancer.errors import ArgumentError, ShapeError, nearest_name
from neuromancer.graph.registry import model_manager
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.crop_pad import Crop
from neuromancer.nodes.layout import axis_name, require_tensor
from neuromancer.nodes.merge import Add, Concat
from neuromancer.nodes.node import Node
from neuromancer.nodes.upconv import UpConv

MERGE_MODES = ("concat", "add")
LABEL = "AutoMerge"


def AutoMerge(
    parent1: Node,
    parent2: Node,
    upconv_n_f: int | None = None,
    merge_mode: str = "concat",
    disable_upconv: bool = False,
    upconv_kwargs: dict[str, Any] | None = None,
    name: str = "merge",
    print_repr: bool = True,
) -> Node:
    """Merge two branches of different resolution and size: up-convolve the coarser, crop the larger, then join them.

    Parameters
    ----------
    parent1, parent2 : Node
        Branches with the same tags, in any order. The one with the larger strides is the coarser (`parent2` if equal).
    upconv_n_f : int, optional
        Number of features of the up-convolution; required if there is one.
    merge_mode : {'concat', 'add'}
        Concatenate the features (coarser branch first), or add them.
    disable_upconv : bool
        Crop and join only, without an up-convolution.
    upconv_kwargs : dict, optional
        Further arguments of :class:`UpConv`.
    name : str
        Name of the merging node; the others are named ``upconv...`` and ``crop...``.
    print_repr : bool

    Returns
    -------
    Concat or Add
        Merged branches.

    Raises
    ------
    ShapeError
        If tags differ, the strides of one branch are not multiples of the other's, or sizes differ by an odd number.
    ArgumentError
        For an unknown `merge_mode` or a missing `upconv_n_f`.
    InputTypeError
        If a parent is not a node with a tensor output.

    Notes
    -----
    If an error is raised, no node is added to the model. Where a size is unknown, the crop aligns the centres of the
    branches' fields of view.

    Examples
    --------
    >>> from neuromancer import Conv, Input, Pool
    >>> inp = Input((1, 1, 20), "b,f,x", print_repr=False)
    >>> low = Conv(Pool(inp, (2,), print_repr=False), 3, (3,), print_repr=False)
    >>> AutoMerge(inp, low, upconv_n_f=4, print_repr=False).shape
    [(1,b), (5,f), (16,x)]
    """
    if merge_mode not in MERGE_MODES:
        raise ArgumentError(
            "unknown merge_mode",
            where=LABEL,
            got=merge_mode,
            expected=f"one of {MERGE_MODES}",
            nearest=nearest_name(merge_mode, MERGE_MODES),
        )
    low, high, factor = _resolutions(parent1, parent2)
    upsample = max(factor, default=1) > 1 and not disable_upconv
    if upsample and upconv_n_f is None:
        raise ArgumentError(
            "the up-convolution of the coarser branch needs a number of features",
            where=LABEL,
            got="upconv_n_f=None",
            expected=f"an int, to up-convolve {low.name!r} by {factor}",
        )
    crop_low, crop_high = _crops(low, high, factor if upsample else (1,) * len(factor))
    with model_manager.all_or_nothing():
        if upsample:
            kwargs = {"print_repr": print_repr, **(upconv_kwargs or {})}
            low = UpConv(low, upconv_n_f, factor, **kwargs)  # type: ignore[arg-type]
        if any(crop_high):
            high = Crop(high, crop_high, print_repr=print_repr)
        if any(crop_low):
            low = Crop(low, crop_low, print_repr=print_repr)
        if merge_mode == "concat":
            return Concat((low, high), axis="f", name=name, print_repr=print_repr)
        return Add(low, high, name=name, print_repr=print_repr)


UpConvMerge = AutoMerge


def _resolutions(parent1: Node, parent2: Node) -> tuple[Node, Node, tuple[int, ...]]:
    """Return the coarser node, the finer node, and the factor between them per spatial axis."""
    shapes = [require_tensor(p, LABEL, "every parent") for p in (parent1, parent2)]  # type: ignore[arg-type]
    got = "; ".join(f"{p.name}: {p.shape!r}, strides {p.shape.strides.tolist()}" for p in (parent1, parent2))
    if list(shapes[0].tags) != list(shapes[1].tags) or not shapes[0].hastag("f"):
        raise ShapeError("the branches have different axes", where=LABEL, got=got, expected="equal tags, f among them")
    ratios = [
        Fraction(b).limit_denominator(1 << 16) / Fraction(a).limit_denominator(1 << 16)
        for a, b in zip(shapes[0].strides.tolist(), shapes[1].strides.tolist(), strict=True)
    ]
    low, high = parent2, parent1
    if any(r < 1 for r in ratios):
        low, high, ratios = parent1, parent2, [1 / r for r in ratios]
    if any(r.denominator != 1 for r in ratios):
        raise ShapeError(
            "the resolutions of the branches do not match",
            where=LABEL,
            got=got,
            expected="strides of one branch to be multiples of the other's on all axes",
        )
    return low, high, tuple(int(r) for r in ratios)


def _crops(low: Node, high: Node, factor: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return how many voxels to crop from each end of the (up-convolved) coarser branch and of the finer branch."""
    crop_low, crop_high = [], []
    for k, p in enumerate(factor):
        s_low, s_high = low.shape.spatial_shape[k], high.shape.spatial_shape[k]
        if s_low is None or s_high is None:
            excess = Fraction(2 * _excess_per_side(low.shape, high.shape, p, k))
        else:
            excess = Fraction(s_high - s_low * p)
        if excess % 2:
            raise ShapeError(
                "sizes differ by an odd number, which cannot be cropped evenly",
                where=LABEL,
                got=f"{s_low and s_low * p} ({low.name!r}) and {s_high} ({high.name!r}) on axis "
                f"{axis_name(low.shape, k)}",
                expected="an even difference",
                nearest=s_high and f"size {s_high - 1} or {s_high + 1} of {high.name!r}",
            )
        crop_high.append(max(0, int(excess) // 2))
        crop_low.append(max(0, int(-excess) // 2))
    return crop_low, crop_high


def _excess_per_side(low: TaggedShape, high: TaggedShape, p: int, k: int) -> Fraction:
    """Return by how many voxels the finer branch starts before the up-convolved coarser one, from fields of view."""
    c_low, c_high = low.centre[k], high.centre[k]
    if c_low is None or c_high is None:
        raise ShapeError(
            "sizes and fields of view are unknown",
            where=LABEL,
            got=f"{low!r} and {high!r}",
            expected=f"known sizes on axis {axis_name(low, k)}",
        )
    step = Fraction(high.strides[k]).limit_denominator(1 << 16)
    first = c_low - step * Fraction(p - 1, 2)
    return (first - c_high) / step
