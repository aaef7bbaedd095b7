"""How a node lies over its parent along an axis, and the forms in which a graph can be built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """What one output voxel needs of the parent, along one axis.

    Output voxel i needs the parent's voxels ``i // up * down - before`` up to ``size - 1`` further.

    Parameters
    ----------
    size : int
        Number of parent voxels needed.
    down, up : int
        Step of the window (pooling, striding) and repetition (up-convolution); one of the two is 1.
    before, after : int
        Voxels padded at either end of the parent; negative where it is cropped.

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

    def remainder(self, size: int) -> int:
        """Parent voxels left over at the far end; 0 where the window tiles the parent exactly."""
        return (size + self.before + self.after - self.size) % self.down

    def output_size(self, size: int | None) -> int | None:
        """Output size for a parent of `size` voxels (what is left over is ignored); not positive if it does not fit."""
        if size is None:
            return None
        return ((size + self.before + self.after - self.size) // self.down + 1) * self.up

    def needed(self, low: int, high: int) -> tuple[int, int]:
        """First and last parent voxel that the output voxels `low` to `high` need, padding included."""
        return (
            low // self.up * self.down - self.before,
            high // self.up * self.down - self.before + self.size - 1,
        )


IDENTITY = Window()


@dataclass(frozen=True)
class BuildMode:
    """In which form a node is built.

    Parameters
    ----------
    inference : bool
        No dropout, running statistics in batch normalisation.
    dense : bool
        Every position at stride 1: pools slide, what follows is dilated (à trous, Li, Zhao & Wang 2014,
        arXiv:1412.4526).
    """

    inference: bool = False
    dense: bool = False
