"""Labelled volumes: raw data, and labels of all or part of it, read in blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.dense.raw import normalise, read
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, blame
from neuromancer.masked import chosen, split
from neuromancer.train.checks import amount, mapping
from neuromancer.train.data.frame import PatchFrame
from neuromancer.train.data.labels import LabelRules
from neuromancer.volumes.objects import guarded, open_array


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """Raw data and its labels, for a :class:`PatchSampler`.

    Each may be an array, an array in an open file, or a path: ``file.h5:dataset``, ``folder.zarr:array``, ``file.npy``.
    Data is read only when needed.

    Parameters
    ----------
    raw : array or path, (*spatial) or (f, *spatial)
        A 2-D network also takes stacks (z, y, x) and (f, z, y, x); the former needs `axes`.
    labels : array or path, (*spatial) or (f, *spatial)
        Labels of all or part of the raw voxels.
    axes : str, optional
        Order of the spatial axes in the arrays, e.g. ``"zyx"``; default: that of the network's input node.
    label_offset : sequence of int, optional
        Raw voxel of the first label, per spatial axis; default: the labels are centred in the raw data.
    weight : float, optional
        Relative frequency of patches from this volume; default: proportional to its number of positions.
    mask : array or path, (*spatial), optional
        Mask of the labels' size; voxels where it is 0 are not labelled, nor are voxels masked in `labels`.
    extras : dict of str to array or path, optional
        Further arrays of the labels' size that the loss reads, e.g. example weights, by the name of their input node;
        or one vector (f,) for all patches of this volume if that node has no spatial axes.

    Examples
    --------
    >>> import numpy as np
    >>> volume = LabelledVolume(np.zeros((20, 30, 30)), np.zeros((10, 20, 20), int), label_offset=(5, 5, 5))
    """

    raw: Any
    labels: Any
    axes: str | None = None
    label_offset: Sequence[int] | None = None
    weight: float | None = None
    mask: Any = None
    extras: Mapping[str, Any] = field(default_factory=dict)


class Volume:
    """Checked volume in the axis order of a frame.

    Positions are raw voxels, per axis of the frame; blocks are (f, *spatial) in the axis order of the frame.

    Parameters
    ----------
    given : LabelledVolume
    number : int
        Number of the volume in the sampler, for messages.
    frame : PatchFrame
    rules : LabelRules
        Conversion of labels.
    scale : callable or tuple of float, optional
        Scaling of raw values; None: as in ``predict_dense``.

    Attributes
    ----------
    sizes : tuple of int
        Size of the raw data.
    label_start, label_stop : tuple of int
        Raw voxels of the labelled box: first, and one after the last.
    """

    def __init__(
        self,
        given: LabelledVolume,
        number: int,
        frame: PatchFrame,
        rules: LabelRules,
        scale: Callable[[np.ndarray], np.ndarray] | tuple[float, float] | None = None,
    ) -> None:
        self.label, self.frame, self.rules, self.scale = f"volume {number}", frame, rules, scale
        with blame(self.label):
            known, hidden = split(given.labels)
            raw, labels = _opened(given.raw, "raw"), _opened(known, "labels")
            for what, array in (("raw", raw), ("labels", labels)):
                _check_array(array, what)
            self.order = self._order(raw, given.axes)
            self.raw = _Blocks(raw, self.order, frame.ndim, "raw")
            self.labels = _Blocks(labels, self.order, frame.ndim, "labels")
            if self.raw.channels != frame.channels:
                raise ShapeError(
                    "the raw data has the wrong number of channels",
                    got=f"{self.raw.channels}, shape {self.raw.array.shape}",
                    expected=f"{frame.channels}, axes {self._expected_axes()}",
                    nearest="axes='zyx' for a stack of slices" if frame.stack and raw.ndim == 3 else None,
                )
            self.sizes, self.label_sizes = self.raw.sizes, self.labels.sizes
            self.label_start = self._offset(given.label_offset)
            self.label_stop = tuple(a + n for a, n in zip(self.label_start, self.label_sizes, strict=True))
            self.mask = None if given.mask is None else self._like_labels(chosen(given.mask), "mask")
            self.hidden = None if hidden is None else self._like_labels(hidden, "labels")
            extras = mapping(given.extras, "extras", self.label, "arrays by the name of their input node")
            self.extras = {name: self._extra(value, name) for name, value in extras.items()}
            rules.check_dtype(np.dtype(labels.dtype))
        if given.weight is not None:
            amount(given.weight, "weight", self.label)
        self.weight = given.weight

    # ---- checks
    def _expected_axes(self) -> str:
        own = "".join(self.frame.tags[k] for k in self.frame.own)
        return f"(f, {', '.join(own)})" + (f" or (f, {', '.join(self.frame.tags)})" if self.frame.stack else "")

    def _order(self, raw: Any, axes: str | None) -> tuple[int, ...]:
        """Return the axis of the frame for each spatial axis of the arrays."""
        tags = self.frame.tags
        own = tags[self.frame.own.start :]
        if axes is not None:
            if not isinstance(axes, str) or sorted(axes) not in (sorted(own), sorted(tags)):
                raise ArgumentError(
                    "wrong axes", got=axes, expected=f"an order of {''.join(own)!r}", nearest="".join(own)
                )
            named: Sequence[str] = axes
        else:
            named = tags if len(raw.shape) == len(tags) + 1 else own
        if len(raw.shape) not in (len(named), len(named) + 1):
            raise ShapeError(
                "the raw data has the wrong number of axes", got=f"shape {raw.shape}", expected=self._expected_axes()
            )
        return tuple(tags.index(t) for t in named)

    def _offset(self, given: Sequence[int] | None) -> tuple[int, ...]:
        room = [n - m for n, m in zip(self.sizes, self.label_sizes, strict=True)]
        both = f"raw {self.shown(self.sizes)}, labels {self.shown(self.label_sizes)}"
        if min(room) < 0:
            raise ShapeError("the labels are larger than the raw data", got=both, expected="labels of a part of it")
        if given is None:
            if any(r % 2 for r in room):
                low = self.shown([r // 2 for r in room])
                raise ShapeError(
                    "the labels cannot be centred in the raw data: sizes differ by an odd number",
                    got=both,
                    expected="label_offset, the raw voxel of the first label",
                    nearest=f"label_offset={low} or {self.shown([(r + 1) // 2 for r in room])}",
                )
            return tuple(r // 2 for r in room)
        listed = isinstance(given, (Sequence, np.ndarray)) and len(given) == len(self.order)
        if not listed or not all(isinstance(o, (int, np.integer)) and not isinstance(o, bool) for o in given):
            raise ShapeError("not an offset", got=repr(given)[:100], expected=f"{len(self.order)} whole numbers")
        offset = [0] * self.frame.ndim
        for k, o in zip(self.order, given, strict=True):
            offset[k] = int(o)
        if any(not 0 <= o <= r for o, r in zip(offset, room, strict=True)):
            raise ShapeError(
                "the labels extend beyond the raw data",
                got=f"label_offset {tuple(given)}, {both}",
                expected=f"offsets from 0 to {self.shown(room)}",
                nearest=self.shown([min(max(o, 0), r) for o, r in zip(offset, room, strict=True)]),
            )
        return tuple(offset)

    def shown(self, values: Sequence[int]) -> str:
        """Format values per axis of the frame in the axis order of the arrays."""
        return str(tuple(int(values[k]) for k in self.order))

    def _like_labels(self, value: Any, what: str) -> _Blocks:
        array = _opened(value, what)
        _check_array(array, what)
        blocks = _Blocks(array, self.order, self.frame.ndim, what)
        if blocks.sizes != self.label_sizes:
            raise ShapeError(
                f"{what} must be as large as the labels",
                got=f"shape {array.shape}",
                expected=self.shown(self.label_sizes),
            )
        return blocks

    def _extra(self, value: Any, name: str) -> _Blocks | np.ndarray:
        array = _opened(value, name)
        return np.array(array[:]) if len(array.shape) == 1 < len(self.order) else self._like_labels(array, name)

    # ---- reading
    def read_raw(self, starts: Sequence[int], stops: Sequence[int]) -> np.ndarray:
        """Read a raw block, mirrored beyond the borders, and scale it to the input's dtype."""
        block = self.raw.read(starts, stops)
        if self.scale is None:
            with blame(self.label):
                return normalise(block, self.frame.dtype)
        if not callable(self.scale):
            middle, width = (exact_cast(v, self.frame.dtype, self.label, "the scale") for v in self.scale)
            return (exact_cast(block, self.frame.dtype, self.label, "the raw data") - middle) / width
        scaled = np.asarray(self.scale(block))
        if scaled.shape != block.shape:
            raise ShapeError("scale changed the shape", where=self.label, got=scaled.shape, expected=block.shape)
        return exact_cast(scaled, self.frame.dtype, self.label, "the scaled raw data")

    def read_labels(self, starts: Sequence[int], stops: Sequence[int]) -> np.ndarray:
        """Read a block inside the labelled box, and convert its labels for training.

        Raises
        ------
        ArgumentError
            For a label that is not a class; the message names it and its raw voxel.
        """
        margin = [self.rules.margin if k in self.frame.own else 0 for k in range(self.frame.ndim)]
        low = [a - o - m for a, o, m in zip(starts, self.label_start, margin, strict=True)]
        high = [b - o + m for b, o, m in zip(stops, self.label_start, margin, strict=True)]
        block = self.labels.read_nearest(low, high)
        inner = (slice(None), *(slice(m, n - m) for m, n in zip(margin, block.shape[1:], strict=True)))
        inside = [a + m for a, m in zip(low, margin, strict=True)], [b - m for b, m in zip(high, margin, strict=True)]
        mask = None if self.mask is None else self.mask.read_nearest(*inside)
        if self.hidden is not None:
            visible = np.invert(self.hidden.read_nearest(*inside)).all(axis=0, keepdims=True)
            mask = visible if mask is None else np.where(visible, mask, 0)

        def where(index: Sequence[int]) -> str:
            tags = ", ".join(self.frame.tags[k] for k in self.order)
            return f"raw voxel ({tags}) = {self.shown([a + i for a, i in zip(starts, index, strict=True)])}"

        return self.rules.apply(block, inner, mask, self.label, where)

    def read_extra(self, name: str, starts: Sequence[int], stops: Sequence[int]) -> np.ndarray:
        """Read a block of an extra array, or its vector."""
        extra = self.extras[name]
        if isinstance(extra, np.ndarray):
            return extra
        low, high = ([a - o for a, o in zip(p, self.label_start, strict=True)] for p in (starts, stops))
        return extra.read(low, high)

    def starts(
        self, raw: Sequence[tuple[int, int]], labels: Sequence[tuple[int, int]], pad_raw: bool
    ) -> list[tuple[int, int]]:
        """Return the first and last possible position of a patch per axis; last < first if there is none.

        Parameters
        ----------
        raw, labels : sequence of tuple of int
            First and last voxel needed of each, relative to the position of the patch.
        pad_raw : bool
            Whether the patch may extend beyond the raw data.
        """
        ranges = []
        for k, ((r0, r1), (l0, l1)) in enumerate(zip(raw, labels, strict=True)):
            low, high = self.label_start[k] - l0, self.label_stop[k] - 1 - l1
            if not pad_raw:
                low, high = max(low, -r0), min(high, self.sizes[k] - 1 - r1)
            ranges.append((low, high))
        return ranges


class _Blocks:
    """Array whose blocks have a channel axis and the axis order of a frame."""

    def __init__(self, array: Any, order: tuple[int, ...], ndim: int, what: str) -> None:
        self.array, self.order, self.ndim = array, order, ndim
        self.lead = len(array.shape) - len(order)
        if self.lead not in (0, 1):
            raise ShapeError(
                f"{what} has the wrong number of axes",
                got=f"shape {tuple(array.shape)}",
                expected=f"{len(order)} spatial axes, or one more for channels in front",
            )
        self.channels = int(array.shape[0]) if self.lead else 1
        sizes = [1] * ndim
        for k, n in zip(order, array.shape[self.lead :], strict=True):
            sizes[k] = int(n)
        self.sizes = tuple(sizes)

    def read(self, starts: Sequence[int], stops: Sequence[int]) -> np.ndarray:
        """Read a block, mirrored beyond the borders."""
        head = (slice(None),) * self.lead
        block = read(self.array, head, [starts[k] for k in self.order], [stops[k] for k in self.order])
        block = block if self.lead else block[None]
        missing = [k for k in range(self.ndim) if k not in self.order]
        axes = [0, *(1 + int(i) for i in np.argsort(self.order))]
        block = np.transpose(block, axes)
        return np.expand_dims(block, tuple(1 + k for k in missing)) if missing else block

    def read_nearest(self, starts: Sequence[int], stops: Sequence[int]) -> np.ndarray:
        """Read a block, padded with the nearest voxel beyond the borders."""
        inside = [(max(a, 0), min(b, n)) for a, b, n in zip(starts, stops, self.sizes, strict=True)]
        block = self.read([a for a, _ in inside], [b for _, b in inside])
        pad = [(a - s, t - b) for s, t, (a, b) in zip(starts, stops, inside, strict=True)]
        return np.pad(block, [(0, 0), *pad], mode="edge") if any(p != (0, 0) for p in pad) else block


def _opened(value: Any, what: str) -> Any:
    return guarded(open_array(value, what), what)


def _check_array(array: Any, what: str) -> None:
    if np.dtype(array.dtype).kind not in "biuf":
        raise InputTypeError(f"{what} has no numeric dtype", got=str(array.dtype), expected="bool, integer or float")
    if 0 in array.shape:
        raise ShapeError(f"{what} is empty", got=f"shape {tuple(array.shape)}", expected="at least one voxel")
