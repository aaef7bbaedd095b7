"""Windows of a node onto its parent, and the modes in which a graph can be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np


def least(a: Any, b: Any) -> Any:
    """Return the smaller of two integers, or elementwise of two arrays."""
    return np.minimum(a, b) if isinstance(a, np.ndarray) else min(a, b)


def most(a: Any, b: Any) -> Any:
    """Return the larger of two integers, or elementwise of two arrays."""
    return np.maximum(a, b) if isinstance(a, np.ndarray) else max(a, b)


@dataclass(frozen=True)
class Window:
    """The range of parent voxels that one output voxel depends on, along one axis.

    Output voxel i depends on `size` voxels of the parent, starting at ``i // up * down - before``.

    Parameters
    ----------
    size : int
        Number of parent voxels in the window.
    down, up : int
        Stride of the window (pooling, striding) and upsampling factor (up-convolution); at least one of them is 1.
    before, after : int
        Padding of the parent at either end in voxels; negative for cropping.
    leftover : {'refused', 'ignored', 'covered'}
        What happens with parent voxels at the far end that the last full window does not reach: the size does not fit,
        they are not used, or a last window covers them and reaches beyond the end.
    border : {'constant', 'empty', 'reflect', 'replicate'}
        Values of the padding; 'empty' if it has none that count, so that no window may lie in it entirely.

    Examples
    --------
    >>> Window(size=4, down=2).output_size(10)
    4
    >>> Window(size=4, down=2).needed(3, 3)
    (6, 9)
    """

    size: int = 1
    down: int = 1
    up: int = 1
    before: int = 0
    after: int = 0
    leftover: str = "refused"
    border: str = "constant"

    @property
    def centre(self) -> Fraction:
        """Centre of output voxel 0, in parent voxels."""
        return Fraction(self.size - 1, 2) - self.before - Fraction(self.up - 1, 2 * self.up)

    @property
    def slack(self) -> int:
        """How far the last window may reach beyond the far end and its padding."""
        return max(0, min(self.down - 1, self.size - 1 - self.after)) if self.leftover == "covered" else 0

    def remainder(self, size: int) -> int:
        """Return the number of parent voxels at the far end because of which the size does not fit; 0 if it fits."""
        return (size + self.before + self.after - self.size) % self.down if self.leftover == "refused" else 0

    def accepts(self, size: int) -> bool:
        """Return whether a parent may have `size` voxels: nothing is left over, and there is enough to be mirrored."""
        room = self.output_size(size)
        mirrored = self.border != "reflect" or size > max(self.before, self.after)
        return room is not None and room > 0 and not self.remainder(size) and mirrored

    def output_size(self, size: int | None) -> int | None:
        """Return the output size for a parent of `size` voxels; <= 0 if no window fits."""
        if size is None:
            return None
        return ((size + self.before + self.after + self.slack - self.size) // self.down + 1) * self.up

    def needed(self, low: Any, high: Any) -> tuple[Any, Any]:
        """Return the first and last parent voxel, padding included, that output voxels `low` to `high` depend on."""
        return (
            low // self.up * self.down - self.before,
            high // self.up * self.down - self.before + self.size - 1,
        )

    @property
    def pads(self) -> bool:
        """Whether some windows reach beyond the ends of the parent."""
        return max(self.before, self.after, self.slack) > 0

    @property
    def overreaches(self) -> bool:
        """Whether padding takes its values from voxels that the window itself does not reach."""
        needs = {"constant": 0, "empty": 0, "replicate": 1, "reflect": 2}[self.border]
        return self.size - 1 < needs * max(self.before, self.after)

    def sources(self, low: Any, high: Any, size: int, dilation: int = 1) -> tuple[Any, Any]:
        """Return the first and last voxel of a parent of `size` voxels from which voxels `low` to `high` get values.

        Parameters
        ----------
        low, high : int or array of int
            A range of parent voxels that may lie in the padding, as from `needed`.
        size : int
        dilation : int
            Every axis is padded as so many interleaved ones.

        Examples
        --------
        >>> first, last = Window(before=2, after=2, border="reflect").sources(-2, 0, 9)
        >>> int(first), int(last)
        (0, 2)
        >>> first, last = Window(before=2, after=2, border="replicate").sources(-5, -5, 9, dilation=3)
        >>> int(first), int(last)
        (0, 2)
        """
        below, above = low, high
        if self.border == "reflect":
            ends = 2 * (dilation - 1)
            below, above = 2 * (size - 1) - high - ends, ends - low
        elif self.border == "replicate":
            below, above = size - dilation, dilation - 1
        first = np.where(np.asarray(high) >= size, np.minimum(low, below), low)
        last = np.where(np.asarray(low) < 0, np.maximum(high, above), high)
        return np.clip(first, 0, size - 1), np.clip(last, 0, size - 1)


@dataclass(frozen=True)
class FineWindow(Window):
    """The window of a node on a finer grid than its parent's: transposed convolution, interpolation.

    Output voxel i depends on the parent's voxels ``(i - first) // up`` to ``(i + last) // up``.

    Parameters
    ----------
    first, last : int
    growth : int
        Output size minus `up` times the size of the parent.

    Examples
    --------
    A transposed convolution with kernel 3, stride 2 and padding 1: voxel 1 lies between two of its parent.

    >>> FineWindow(up=2, first=0, last=1, growth=-1).needed(1, 1)
    (0, 1)
    """

    first: int = 0
    last: int = 0
    growth: int = 0

    @property
    def pads(self) -> bool:
        return True

    @property
    def centre(self) -> Fraction:
        return Fraction(self.last - self.first - self.up + 1, 2 * self.up)

    def output_size(self, size: int | None) -> int | None:
        return None if size is None else size * self.up + self.growth

    def needed(self, low: Any, high: Any) -> tuple[Any, Any]:
        a, b = (low - self.first) // self.up, (high + self.last) // self.up
        # A voxel between kernels that leave gaps depends on nothing.
        return least(a, b), b


@dataclass(frozen=True)
class WholeWindow(Window):
    """The window of a node that sees the whole axis, whatever its size, and has a fixed number of voxels.

    Parameters
    ----------
    voxels : int
        Size of the output.
    """

    voxels: int = 1

    def output_size(self, size: int | None) -> int | None:
        return self.voxels


IDENTITY = Window()


@dataclass(frozen=True)
class BuildMode:
    """The mode in which a node is built.

    Parameters
    ----------
    inference : bool
        Disable dropout, and use running statistics in batch normalisation.
    dense : bool
        Evaluate every position at stride 1: pooling windows slide, and later layers are dilated (à trous; Li, Zhao &
        Wang 2014, arXiv:1412.4526).
    statistics : mapping of str to symbolic tensor, (rows, b, f)
        Statistics of the whole image for some nodes, by name; these do not compute them from their parent. See
        ``GraphNode.statistics_from``.
    """

    inference: bool = False
    dense: bool = False
    statistics: Mapping[str, Any] = field(default_factory=dict, compare=False)
