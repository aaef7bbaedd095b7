"""Specification of an output, the same for all file formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.volumes.axes import PASSED, Layout
from neuromancer.volumes.placement import Placement


@dataclass(frozen=True)
class StoreSpec:
    """Specification of an output to be created.

    Parameters
    ----------
    shape : tuple of int
        (f, *spatial).
    dtype : numpy.dtype
    layout : Layout
        Stored order of the axes.
    chunks, shards : tuple of int or None
        In the order of `shape`.
    compression : str or None
    placement : Placement
        Per spatial axis of the view.
    multiscale : bool
    ome_version : str
        Of a multiscale image.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    layout: Layout
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    compression: str | None
    placement: Placement
    multiscale: bool
    ome_version: str = "0.5"

    @property
    def zarr_format(self) -> int:
        """Version of zarr: that of OME-Zarr 0.4 is 2."""
        return 2 if self.multiscale and self.ome_version == "0.4" else 3

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in the stored order."""
        return self.layout.per_stored(self.shape, 1)

    @property
    def stored_chunks(self) -> tuple[int, ...]:
        """Chunk shape in the stored order, no larger than the volume."""
        return self.layout.per_stored([min(c, n) for c, n in zip(self.chunks, self.shape, strict=True)], 1)

    @property
    def stored_shards(self) -> tuple[int, ...] | None:
        """Shard shape in the stored order."""
        return None if self.shards is None else self.layout.per_stored(self.shards, 1)

    def describes(self, array: Any) -> bool:
        """Return whether an array has the specified shape and dtype."""
        return tuple(array.shape) == self.stored_shape and np.dtype(array.dtype) == self.dtype

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the stored axes; c for channels."""
        return tuple("c" if a == "f" else a for a in self.layout.stored if a != PASSED)

    @property
    def stored_placement(self) -> Placement:
        """Placement per stored spatial axis."""
        order = [self.layout.spatial.index(a) for a in self.layout.stored if a in self.layout.spatial]
        return self.placement.reordered(order)

    def attributes(self) -> dict[str, Any]:
        """Return voxel size, offset, unit and direction as attributes, per stored spatial axis.

        Unknown values are None.
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
