"""What an output is to be like, the same for all kinds of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.volumes.axes import PASSED, Layout
from neuromancer.volumes.placement import Placement


@dataclass(frozen=True)
class StoreSpec:
    """An output to be created.

    Parameters
    ----------
    shape : tuple of int
        (f, *spatial).
    dtype : numpy.dtype
    layout : Layout
        Which order it is to be stored in.
    chunks, shards : tuple of int or None
        In the order of `shape`.
    compression : str or None
    placement : Placement
        Per spatial axis of the view.
    multiscale : bool
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    layout: Layout
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    compression: str | None
    placement: Placement
    multiscale: bool

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in the stored order."""
        return self.layout.per_stored(self.shape, 1)

    @property
    def stored_chunks(self) -> tuple[int, ...]:
        """Chunks in the stored order; no larger than the volume."""
        return self.layout.per_stored([min(c, n) for c, n in zip(self.chunks, self.shape, strict=True)], 1)

    @property
    def stored_shards(self) -> tuple[int, ...] | None:
        """Shards in the stored order."""
        return None if self.shards is None else self.layout.per_stored(self.shards, 1)

    def describes(self, array: Any) -> bool:
        """Whether an array has the shape and dtype of what is to be made."""
        return tuple(array.shape) == self.stored_shape and np.dtype(array.dtype) == self.dtype

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the stored axes: c for channels."""
        return tuple("c" if a == "f" else a for a in self.layout.stored if a != PASSED)

    @property
    def stored_placement(self) -> Placement:
        """Placement per stored spatial axis."""
        order = [self.layout.spatial.index(a) for a in self.layout.stored if a in self.layout.spatial]
        return self.placement.reordered(order)

    def attributes(self) -> dict[str, Any]:
        """Voxel size, offset, unit and direction under the names that are read again, per stored spatial axis.

        What is unknown of an axis is None.
        """
        placement = self.stored_placement
        found = {
            "voxel_size": placement.voxel_size,
            "offset": placement.offset,
            "unit": placement.unit,
            "direction": placement.direction,
        }
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in found.items() if value is not None
        }
