"""Shapes with tagged axes, and the position of a tensor's voxels in the raw data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from math import floor, prod
from typing import Any

import numpy as np

from neuromancer.errors import ShapeError, UnknownNameError, short

TAGS = ("r", "b", "f", "z", "y", "x", "s")
SPATIAL_TAGS = ("z", "y", "x")
MAX_SIZE = 1 << 62
"""Exclusive upper limit of sizes, strides and fields of view, so that they fit the integers of array libraries."""


def parse_tags(tags: Any) -> list[str]:
    """Parse and validate tags given as a comma-separated string or a sequence of strings."""
    if isinstance(tags, str):
        parts = [t.strip() for t in tags.split(",")]
    elif isinstance(tags, (list, tuple)):
        parts = list(tags)
    else:
        raise ShapeError(
            "tags must be a list, a tuple or a comma-separated string",
            where="TaggedShape",
            got=tags,
            expected="'b,f,z,y,x'",
        )
    for tag in parts:
        if tag not in TAGS:
            small = [str(t).lower() for t in parts]
            raise ShapeError(
                f"unknown tag {tag!r}",
                where="TaggedShape",
                got=parts,
                expected=f"tags from {TAGS}",
                nearest=",".join(small) if set(small) <= set(TAGS) else None,
            )
    if len(set(parts)) != len(parts):
        raise ShapeError("duplicate tags", where="TaggedShape", got=parts, expected="each tag at most once")
    return parts


class TaggedShape:
    """Shape of a tensor, the meaning of its axes and its spatial relation to the raw data.

    Spatial axes are those tagged z, y or x. All spatial properties (strides, fov, offsets, ...) list them in tensor
    order.

    Parameters
    ----------
    shape : sequence of int or None
        Sizes; None for a size that is not known in advance.
    tags : str or sequence of str
        One tag per axis: r recurrence, b batch, f features, z/y/x space, s samples of one instance.
    strides : sequence of int, optional
        Spacing of neighbouring voxels in raw voxels, per spatial axis; default 1. A fraction means a grid finer than
        the raw data.
    mfp_offsets : array of int, (n_fragments, n_spatial), optional
        Raw offsets of the fragments in the batch axis; default: one fragment at 0.
    fov : sequence of int, optional
        Field of view of one voxel in raw voxels, per spatial axis; default 1; -1 means unknown.
    centre : sequence of numbers, optional
        Raw coordinate of the centre of voxel 0; default ``(fov - 1) / 2``, which is correct without padding, cropping
        and up-convolution.

    Raises
    ------
    ShapeError
        For unknown or duplicate tags, wrong lengths, negative sizes.

    Examples
    --------
    >>> sh = TaggedShape([10, 3, 23, 183, 183], "b,f,z,x,y")
    >>> sh
    [(10,b), (3,f), (23,z), (183,x), (183,y)]
    >>> sh["f"], sh.spatial_shape, sh.ndim
    (3, [23, 183, 183], 3)
    """

    def __init__(
        self,
        shape: Sequence[int | None],
        tags: str | Sequence[str],
        strides: Sequence[Any] | None = None,
        mfp_offsets: Any = None,
        fov: Sequence[int] | None = None,
        centre: Sequence[Any] | None = None,
    ) -> None:
        self._tags = parse_tags(tags)
        if not isinstance(shape, (Sequence, np.ndarray)) or isinstance(shape, str):
            raise ShapeError(
                "a shape must be a list or tuple", where="TaggedShape", got=shape, expected="one size or None per axis"
            )
        self._shape = [_size(s, shape) for s in shape]
        if len(self._shape) != len(self._tags):
            raise ShapeError(
                "shape and tags differ in length",
                where="TaggedShape",
                got=f"shape {self._shape}, tags {self._tags}",
                expected="one tag per axis",
            )
        n = self.ndim
        self._strides = _stride_array(strides, n)
        self._fov = np.ones(n, dtype=int) if fov is None else _fov_array(fov)
        self._mfp_offsets = _offset_array(np.zeros((1, n)) if mfp_offsets is None else mfp_offsets)
        default = [Fraction(int(f) - 1, 2) for f in self._fov]
        coordinates = default if centre is None else _centre(centre)
        # Stored only if it is not the default, so that it follows when the field of view is changed.
        self._centre = None if coordinates == default else coordinates
        for name, length in (
            ("strides", len(self._strides)),
            ("fov", len(self._fov)),
            ("mfp_offsets", self._mfp_offsets.shape[1]),
            ("centre", n if self._centre is None else len(self._centre)),
        ):
            if length != n:
                raise ShapeError(
                    f"{name} needs one entry per spatial axis",
                    where="TaggedShape",
                    got=f"{length} entries",
                    expected=f"{n} for tags {self._tags}",
                )

    # ---- the axes
    @property
    def shape(self) -> list[int | None]:
        """Size of every axis."""
        return self._shape

    @property
    def tags(self) -> list[str]:
        """Tag of every axis."""
        return self._tags

    @property
    def spatial_axes(self) -> list[int]:
        """Positions of the spatial axes."""
        return [i for i, t in enumerate(self._tags) if t in SPATIAL_TAGS]

    @property
    def ndim(self) -> int:
        """Number of spatial axes (the rank of the tensor is ``len``)."""
        return len(self.spatial_axes)

    @property
    def spatial_shape(self) -> list[int | None]:
        """Sizes of the spatial axes."""
        return [self._shape[i] for i in self.spatial_axes]

    @property
    def spatial_size(self) -> int | None:
        """Number of voxels; 1 without spatial axes, None if a spatial size is unknown."""
        sizes = [s for s in self.spatial_shape if s is not None]
        return prod(sizes) if len(sizes) == self.ndim else None

    @property
    def stripnone(self) -> list[int]:
        """Shape without the unknown entries."""
        return [s for s in self._shape if s is not None]

    @property
    def stripnone_prod(self) -> int:
        """Product of the known sizes."""
        return prod(self.stripnone)

    @property
    def stripbatch_prod(self) -> int | None:
        """Number of elements per batch item; None if a size is unknown."""
        rest = [s for s, t in zip(self._shape, self._tags, strict=True) if t != "b"]
        return None if None in rest else prod(s for s in rest if s is not None)

    # ---- position in the raw data
    @property
    def strides(self) -> np.ndarray:
        """Spacing of neighbouring voxels in raw voxels, per spatial axis."""
        return self._strides

    @property
    def mfp_offsets(self) -> np.ndarray:
        """Raw offsets of the fragments in the batch axis, (n_fragments, n_spatial)."""
        return self._mfp_offsets

    @property
    def fov(self) -> list[int]:
        """Field of view of one voxel in raw voxels, per spatial axis; -1 if unknown."""
        return [int(v) for v in self._fov]

    @property
    def centre(self) -> list[Fraction | None]:
        """Raw coordinate of the centre of voxel 0, per spatial axis; None if the field of view is unknown."""
        if self._centre is not None:
            return list(self._centre)
        return [None if f < 0 else Fraction(f - 1, 2) for f in self.fov]

    @property
    def offsets(self) -> list[int]:
        """Raw voxel that voxel 0 maps to: ``fov // 2`` unless padded, cropped or up-convolved; -1 if unknown."""
        return [-1 if c is None else floor(c + Fraction(1, 2)) for c in self.centre]

    @property
    def fov_all_centered(self) -> bool:
        """Whether every field of view is odd, and so has a centre voxel."""
        return all(f % 2 == 1 for f in self.fov)

    def same_grid(self, other: TaggedShape) -> bool:
        """Return whether both have the same strides, fields of view and centres."""
        return (
            np.array_equal(self._strides, other._strides)
            and np.array_equal(self._fov, other._fov)
            and self._centre == other._centre
        )

    # ---- look-up
    def tag2index(self, tag: str) -> int:
        """Return the position of the axis with this tag; ShapeError if there is none."""
        if tag not in self._tags:
            raise ShapeError(f"no axis has tag {tag!r}", where="TaggedShape", got=tag, expected=f"one of {self._tags}")
        return self._tags.index(tag)

    def hastag(self, tag: str) -> bool:
        """Return whether an axis has this tag."""
        return tag in self._tags

    def axis(self, axis: int | str) -> int:
        """Return the non-negative position of an axis given by tag or by position."""
        if isinstance(axis, str):
            return self.tag2index(axis)
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -len(self) <= axis < len(self):
            raise ShapeError(
                "no such axis",
                where="TaggedShape",
                got=axis,
                expected=f"a tag of {self._tags} or a position below {len(self)}",
            )
        return int(axis) % len(self)

    def __getitem__(self, key: Any) -> Any:
        return self._shape[self.tag2index(key)] if isinstance(key, str) else self._shape[key]

    def __len__(self) -> int:
        return len(self._shape)

    def __iter__(self) -> Iterator[int | None]:
        return iter(self._shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaggedShape):
            return NotImplemented
        return (
            self._shape == other._shape
            and self._tags == other._tags
            and self._strides.tolist() == other._strides.tolist()
            and self.fov == other.fov
            and self.centre == other.centre
            and np.array_equal(self._mfp_offsets, other._mfp_offsets)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "[" + ", ".join(f"({s},{t})" for s, t in zip(self._shape, self._tags, strict=True)) + "]"

    @property
    def ext_repr(self) -> str:
        """The shape and, on a second line, its spatial relation to the raw data."""
        return (
            f"{self!r}\nfov={self.fov}, offsets={self.offsets}, strides={self._strides.tolist()}, "
            f"spatial shape={self.spatial_shape}"
        )

    # ---- modified copies
    def _with(self, **changes: Any) -> TaggedShape:
        state = dict(
            shape=self._shape,
            tags=self._tags,
            strides=self._strides,
            mfp_offsets=self._mfp_offsets,
            fov=self._fov,
            centre=self._centre,
        )
        return TaggedShape(**{**state, **changes})

    def copy(self) -> TaggedShape:
        """Return an independent copy."""
        return self._with()

    def updateshape(self, axis: int | str, new_size: int | None, mode: str | None = None) -> TaggedShape:
        """Return a copy with one size set (mode None), increased ('add') or multiplied ('mult').

        In the last two modes, an unknown size stays unknown.

        Examples
        --------
        >>> TaggedShape([1, 2], "b,f").updateshape("f", 3, "add")
        [(1,b), (5,f)]
        """
        if mode not in (None, "add", "mult"):
            raise ShapeError(
                "unknown mode", where="TaggedShape.updateshape", got=mode, expected="None, 'add' or 'mult'"
            )
        i, shape = self.axis(axis), list(self._shape)
        old = shape[i]
        if mode is None:
            shape[i] = new_size
        elif old is not None and new_size is not None:
            shape[i] = old + new_size if mode == "add" else old * new_size
        else:
            shape[i] = None
        return self._with(shape=shape)

    def updatefov(self, i: int, new: int) -> TaggedShape:
        """Return a copy with another field of view on the i-th *spatial* axis, starting at the same raw voxel."""
        if not isinstance(i, (int, np.integer)) or not -self.ndim <= i < self.ndim:
            raise ShapeError("no such spatial axis", where="TaggedShape", got=i, expected=f"an index below {self.ndim}")
        i = int(i) % self.ndim
        fov, centre = self.fov, self._centre
        if centre is not None:
            centre = [c + Fraction(int(new) - fov[k], 2) if k == i else c for k, c in enumerate(centre)]
        fov[i] = new
        return self._with(fov=fov, centre=centre)

    def updatestrides(self, strides: Sequence[Any]) -> TaggedShape:
        """Return a copy with other strides."""
        return self._with(strides=strides)

    def updatemfp_offsets(self, mfp_offsets: Any) -> TaggedShape:
        """Return a copy with other fragment offsets."""
        return self._with(mfp_offsets=mfp_offsets)

    def addaxis(self, axis: int | str, size: int | None, tag: str) -> TaggedShape:
        """Return a copy with a new axis, inserted at position `axis` or after the axis tagged `axis`.

        Examples
        --------
        >>> TaggedShape([1, 2], "b,f").addaxis("b", 7, "s")
        [(1,b), (7,s), (2,f)]
        """
        at = self.tag2index(axis) + 1 if isinstance(axis, str) else int(axis)
        shape, tags = list(self._shape), list(self._tags)
        shape.insert(at, size)
        tags.insert(at, tag)
        if tag not in SPATIAL_TAGS:
            return self._with(shape=shape, tags=tags)
        k = sum(i < at for i in self.spatial_axes)
        return self._with(
            shape=shape,
            tags=tags,
            strides=[*self._strides[:k], 1, *self._strides[k:]],
            fov=[*self.fov[:k], 1, *self.fov[k:]],
            mfp_offsets=np.insert(self._mfp_offsets, k, 0, axis=1),
            centre=None if self._centre is None else [*self._centre[:k], Fraction(0), *self._centre[k:]],
        )

    def delaxis(self, axis: int | str) -> TaggedShape:
        """Return a copy without one axis, given by tag or position.

        Examples
        --------
        >>> TaggedShape([1, 2, 5], "b,f,x").delaxis("x")
        [(1,b), (2,f)]
        """
        at = self.axis(axis)
        shape, tags = list(self._shape), list(self._tags)
        del shape[at], tags[at]
        if at not in self.spatial_axes:
            return self._with(shape=shape, tags=tags)
        k = self.spatial_axes.index(at)
        return self._with(
            shape=shape,
            tags=tags,
            strides=np.delete(self._strides, k),
            fov=np.delete(self._fov, k),
            mfp_offsets=np.delete(self._mfp_offsets, k, axis=1),
            centre=None if self._centre is None else [c for i, c in enumerate(self._centre) if i != k],
        )


def _size(value: Any, shape: Sequence[Any]) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < MAX_SIZE:
        raise ShapeError(
            "not a size",
            where="TaggedShape",
            got=short(value),
            expected=f"a non-negative int or None in {short(list(shape))}",
        )
    return int(value)


def _stride_array(strides: Sequence[Any] | None, n: int) -> np.ndarray:
    if strides is None:
        return np.ones(n, dtype=int)
    try:
        values = [exact(s) for s in strides]
    except (TypeError, ValueError, OverflowError):
        values = []
    if any(not 0 < v < MAX_SIZE for v in values) or (not values and n):
        raise ShapeError(
            "strides must be positive numbers",
            where="TaggedShape",
            got=short(strides),
            expected=f"{n}, one per spatial axis",
        )
    if all(v.denominator == 1 for v in values):
        return np.array([int(v) for v in values], dtype=int)
    return np.array([float(v) for v in values])


def _fov_array(fov: Sequence[int]) -> np.ndarray:
    listed = list(fov) if isinstance(fov, (Sequence, np.ndarray)) else [None]
    if any(not isinstance(v, (int, np.integer)) or not (1 <= v < MAX_SIZE or v == -1) for v in listed):
        raise ShapeError(
            "a field of view must be a positive integer per spatial axis",
            where="TaggedShape",
            got=short(fov),
            expected="entries >= 1, or -1 for unknown",
        )
    return np.array(listed, dtype=int)


def _offset_array(offsets: Any) -> np.ndarray:
    try:
        array = np.array(offsets, dtype=int, ndmin=2)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(())
    if array.ndim != 2:
        raise ShapeError(
            "fragment offsets must be integers",
            where="TaggedShape",
            got=short(offsets),
            expected="(n_fragments, n_spatial)",
        )
    return array


def _centre(centre: Any) -> list[Fraction]:
    """Convert coordinates to fractions. Strings are refused, as a short one may encode a huge number."""
    numbers = (int, float, Fraction, np.integer, np.floating)
    listed: list[Any] = (
        list(centre) if isinstance(centre, (Sequence, np.ndarray)) and not isinstance(centre, str) else [None]
    )
    if not all(isinstance(c, numbers) and -MAX_SIZE < c < MAX_SIZE for c in listed):
        raise ShapeError(
            "a centre must be a number per spatial axis", where="TaggedShape", got=short(centre), expected="coordinates"
        )
    return [Fraction(c.item() if isinstance(c, np.generic) else c) for c in listed if c is not None]


def exact(stride: Any) -> Fraction:
    """Return a stride as an exact fraction."""
    return _fraction(float(stride))


@lru_cache
def _fraction(stride: float) -> Fraction:
    # There are few strides, but they are asked for at every step of a walk through a graph.
    return Fraction(stride).limit_denominator(1 << 16)


def require_tag(shape: TaggedShape, tag: str, node: Any) -> int:
    """Return the position of the axis tagged `tag`; if there is none, the error names the node that needs it."""
    if not shape.hastag(tag):
        raise UnknownNameError(
            f"needs an axis tagged {tag!r}", node=node, got=shape.tags, expected=f"{tag!r} among the tags"
        )
    return shape.tag2index(tag)
