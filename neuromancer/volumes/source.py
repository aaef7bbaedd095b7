"""Volumes that are read in blocks (f, *spatial), from any store and any axis order."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from neuromancer.errors import FileError, ShapeError
from neuromancer.printable import printable
from neuromancer.volumes.accept import checked_dtype, checked_shape, numpy_dtype
from neuromancer.volumes.axes import Layout, check_spatial, checked_index, layout_of
from neuromancer.volumes.calibration import calibrated, warn_of
from neuromancer.volumes.missing import Filled, checked_choice
from neuromancer.volumes.objects import OpenArray, inspect_array, library, open_array
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.stored import StoredArray

SAMPLES, SAMPLE_SIDE = 8, 16


class ArraySource:
    """View of an array as (f, *spatial); the attributes are those of :class:`neuromancer.volumes.Source`.

    It can be pickled if its data lies in files.

    Parameters
    ----------
    array : array or StoredArray
        In the stored order.
    layout : Layout
    label : str
        Its name in errors.
    on_missing : {'error', 'fill'}
        How to treat missing or damaged parts; ignored for a `StoredArray`, which has its own setting.

    Attributes
    ----------
    blank : bool
        Whether nothing was ever written into the store, so that all voxels are fill value.
    """

    def __init__(self, array: Any, layout: Layout, label: str = "raw", on_missing: str = "error") -> None:
        self.array, self.layout, self.label = array, layout, label
        self._blocks = array if isinstance(array, StoredArray) else OpenArray(array, label, on_missing)
        opened = self._blocks.opened()
        self.shape, self.dtype = layout.shape(array.shape), np.dtype(numpy_dtype(opened.array))
        self.spatial = layout.spatial
        self.chunks = None if opened.chunks is None else layout.per_axis(opened.chunks, 1)
        placement, doubts = calibrated(opened.placement, layout, opened.axes)
        self.voxel_size, self.unit, self.direction = placement.voxel_size, placement.unit, placement.direction
        self.orientation = placement.orientation
        self.offset = tuple(0.0 if o is None else o for o in placement.offset or (0.0,) * len(self.spatial))
        self.doubts = (*opened.doubts, *doubts)
        self.blank = opened.blank
        self.locator: Locator | None = None
        if isinstance(array, StoredArray):
            self.locator = Locator(
                array.kind, array.path, array.dataset, layout.stored, layout.spatial, array.on_missing
            )

    @property
    def on_missing(self) -> str:
        """Treatment of missing or damaged parts: 'error' or 'fill'."""
        return self._blocks.on_missing

    def with_choice(self, on_missing: str) -> ArraySource:
        """Return the same volume with another treatment of missing parts, and an empty record of filled ones."""
        array = self.array
        if isinstance(array, StoredArray):
            array = StoredArray(array.path, array.dataset, array.kind, on_missing)
        return ArraySource(array, self.layout, self.label, on_missing)

    @property
    def filled(self) -> Filled:
        """Record of the parts that were read as fill value so far."""
        return self._blocks.filled

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, where: Where) -> np.ndarray:
        """Read a block (f, *spatial) by step-1 slices within the shape; thread-safe.

        Raises
        ------
        ShapeError
            For anything but such slices.
        FileError
            If the file cannot be read there.
        """
        index = self.layout.where(checked_index(where, self.shape, self.label))
        return self.layout.view(self._blocks[index])

    def __repr__(self) -> str:
        return printable(f"<ArraySource {self.locator or self.label} {self.shape} {self.dtype}>")

    def fingerprint(self) -> str:
        """Return a short string that changes with the data: path, size and date of files, and sample blocks.

        For arrays in memory, which have no path, only shape, dtype and sample blocks.
        """
        digest = hashlib.sha256(repr((self.shape, self.dtype.str, self.layout, self.chunks)).encode())
        if isinstance(self.array, StoredArray):
            digest.update(self.array.identity().encode())
        rng = np.random.default_rng(0)
        # The prediction may not read these blocks: parts that are filled here are not recorded.
        sample = self if self.on_missing == "error" else self.with_choice("fill")
        sample.filled.quiet |= sample is not self
        for _ in range(SAMPLES):
            starts = [int(rng.integers(0, max(n - SAMPLE_SIDE, 0) + 1)) for n in self.shape]
            block = sample[tuple(slice(a, min(a + SAMPLE_SIDE, n)) for a, n in zip(starts, self.shape, strict=True))]
            digest.update(np.ascontiguousarray(block).tobytes())
        if sample is not self:
            sample.close()
        return digest.hexdigest()[:32]

    def close(self) -> None:
        """Close the file that was opened here; arrays that were passed open stay open."""
        if isinstance(self.array, StoredArray):
            self.array.close()


def open_source(
    raw: Any,
    axes: str | None = None,
    spatial: str = "zyx",
    label: str = "raw",
    stack: bool = True,
    on_missing: str = "error",
) -> ArraySource:
    """Open a volume for reading in blocks.

    Parameters
    ----------
    raw : array, str, path, Locator or ArraySource
        An array of NumPy, h5py, zarr, dask, tensorstore or xarray, or anything with ``shape``, ``dtype`` and slicing;
        or a path: ``file.h5:dataset``, ``folder.zarr[/array]``, ``folder.n5/array``, ``folder.precomputed``,
        ``file.npy``, ``file.tif``, ``file.nii``, ``file.mrc``, ``file.nrrd``, ``file.ims``, ``file.xml``,
        also an address such as ``s3://bucket/folder.zarr``. The dataset may be omitted if there is only one; an image
        of several levels is read at its finest.
    axes : str, optional
        Name of every axis in the stored order, e.g. ``"zyxc"`` (``c`` or ``f`` for channels). Default: as named by
        the file or the xarray, else (*spatial) or (f, *spatial).
    spatial : str
        Requested order of the spatial axes.
    label : str
        Name of the volume in errors.
    stack : bool
        Whether a stack (f, z, y, x) is accepted if two spatial axes are requested.
    on_missing : {'error', 'fill'}
        How to treat missing or damaged parts of a file: raise an error at once or when they are read, or read the
        file's fill value (else 0) with an ``IncompleteWarning`` that names them. A Locator, and a source that fills
        already, keep their setting. Data that a format omits on purpose, such as zarr chunks that were never written,
        is always fill value.

    Returns
    -------
    ArraySource
        (f, *spatial), or (f, z, y, x) for a stack. No voxels have been read.

    Raises
    ------
    ArgumentError, ShapeError
        If the axes do not fit.
    FileError, UnknownNameError, MissingDependencyError
        If a file cannot be opened, or parts of it are known to be missing.
    InputTypeError
        If it is not an array of numbers.

    Examples
    --------
    >>> source = open_source(np.arange(24).reshape(2, 3, 4), axes="cxy", spatial="yx")
    >>> source.shape, source[0:1, 0:2, 0:3].tolist()
    ((2, 4, 3), [[[0, 4, 8], [1, 5, 9]]])
    """
    checked_choice(on_missing)
    check_spatial(spatial, label)
    if isinstance(raw, ArraySource):
        on_missing = raw.on_missing if on_missing == "error" else on_missing
        raw = raw if on_missing == raw.on_missing else raw.with_choice(on_missing)
        if axes is None and set(raw.spatial) >= set(spatial) and raw.spatial[-len(spatial) :] == spatial:
            return raw
        raw = raw.array
    if isinstance(raw, Locator):
        array = StoredArray(raw.path, raw.dataset, raw.kind, raw.on_missing)
        if raw.axes:
            if len(raw.axes) != array.ndim:
                raise FileError("the volume has changed", where=str(raw), got=f"{array.ndim} axes", expected=raw.axes)
            return ArraySource(array, Layout(raw.axes, raw.spatial), str(raw))
        raw = array
    array = open_array(raw, label, on_missing)
    opened = inspect_array(array, label)
    checked_dtype(opened.array, label)
    shape = checked_shape(array, label)
    name = printable(os.fspath(raw)) if isinstance(raw, (str, os.PathLike)) else label
    if 0 in shape:
        raise ShapeError("is empty", where=name, got=f"shape {shape}", expected="at least one voxel")
    # Axes from the user take precedence over those that the file names.
    named, given = (opened.axes, False) if axes is None else (axes, True)
    source = ArraySource(array, layout_of(shape, named, spatial, name, given, stack), name, on_missing)
    if library(array) != "xarray":  # its coordinates are lost only when the result is written into a file
        warn_of(source.doubts, name)
    return source
