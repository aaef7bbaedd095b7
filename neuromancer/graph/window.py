"""Windows of a node onto its parent, and the modes in which a graph can be built."""

from __future__ import annotations

from dataclasses import dataclass


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
        """Return the number of unused parent voxels at the far end; 0 if the windows cover the parent exactly."""
        return (size + self.before + self.after - self.size) % self.down

    def output_size(self, size: int | None) -> int | None:
        """Return the output size for a parent of `size` voxels, ignoring the remainder; <= 0 if no window fits."""
        if size is None:
            return None
        return ((size + self.before + self.after - self.size) // self.down + 1) * self.up

    def needed(self, low: int, high: int) -> tuple[int, int]:
        """Return the first and last parent voxel, padding included, that output voxels `low` to `high` depend on."""
        return (
            low // self.up * self.down - self.before,
            high // self.up * self.down - self.before + self.size - 1,
        )


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
    """

    inference: bool = False
    dense: bool = False
