"""Resolution pyramid of an OME-Zarr image, for viewers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.casts import is_whole
from neuromancer.errors import ArgumentError, FileError, naming, translating
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.calibration import calibrated, warn_of
from neuromancer.volumes.chunks import blocks
from neuromancer.volumes.ome import image_metadata, image_of, levels_of, read_level
from neuromancer.volumes.placement import Placement, known_or_none
from neuromancer.volumes.protocol import Where
from neuromancer.volumes.zarrs import ZarrSink, join, local_folder, zarr_of

COARSEST = 256
METHODS = ("mean", "nearest")


def write_pyramid(image: Any, method: str = "mean", levels: int | None = None) -> list[str]:
    """Compute the coarser levels of an OME-Zarr image, each from the previous one, block by block.

    Each level halves the axes whose voxel size is less than twice the smallest, so that levels become isotropic.
    Existing levels are recreated.

    Parameters
    ----------
    image : sink or path
        Completely written output of ``create_sink(..., multiscale=True)``.
    method : {'mean', 'nearest'}
        Mean of the voxels (rounded for integers), or the first of them, for labels and classes.
    levels : int, optional
        Number of coarser levels; default: until no spatial axis has more than 256 voxels.

    Returns
    -------
    list of str
        Names of all levels, finest first.

    Raises
    ------
    ArgumentError
        For an unknown method, or a number of levels that is none.
    FileError
        If it is not an OME-Zarr image, or cannot be written.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise ArgumentError("unknown method", where="write_pyramid", got=method, expected=METHODS)
    if levels is not None and not (is_whole(levels) and levels >= 0):
        raise ArgumentError("not a number of levels", where="write_pyramid", got=levels, expected="an integer >= 0")
    if hasattr(image, "flush"):
        image.flush()
    locator = getattr(image, "locator", None)
    path = str(image) if locator is None else join(locator.path, locator.dataset)
    zarr = zarr_of(path)
    with translating(path, "cannot be opened"):
        group = zarr.open(path, mode="r+")
    described = image_of(dict(group.attrs)) if isinstance(group, zarr.Group) else None
    if described is None:
        raise FileError("is not an OME-Zarr image", node=path, expected="an output created with multiscale=True")
    finest = levels_of(described)[0]
    axes, stated = read_level(described, finest, path)
    if axes is None:
        raise FileError("axes cannot be understood", node=path, got=described["axes"])
    placement, doubts = calibrated(stated, Layout(axes, "".join(a for a in axes if a in "zyx")))
    warn_of(doubts, path)
    spatial = [k for k, a in enumerate(axes) if a in "zyx"]
    array, made = group[finest], [(finest, placement)]
    while (len(made) <= levels) if levels is not None else max(array.shape[k] for k in spatial) > COARSEST:
        factors = _factors(array.shape, placement, spatial)
        if max(factors) == 1:
            break
        placement = _coarser(placement, [factors[k] for k in spatial], method)
        array = _level(group, str(len(made)), array, factors, method, axes, path)
        made.append((array.basename, placement))
    with naming(path):
        group.attrs.update(image_metadata(str(described.get("name", Path(path).stem)), axes, made, method))
    return [name for name, _ in made]


def _factors(shape: Sequence[int], placement: Placement, spatial: Sequence[int]) -> list[int]:
    """Return the downsampling factor of each stored axis."""
    known = placement.voxel_size or (None,) * len(spatial)
    # An axis of unknown voxel size is treated like the finest one.
    shortest = min([s for s, k in zip(known, spatial, strict=True) if shape[k] > 1 and s is not None], default=1.0)
    sizes = [shortest if s is None else s for s in known]
    factors = [1] * len(shape)
    for size, k in zip(sizes, spatial, strict=True):
        factors[k] = 2 if shape[k] > 1 and size < 2 * shortest else 1
    return factors


def _coarser(placement: Placement, factors: Sequence[int], method: str) -> Placement:
    unknown = (None,) * len(factors)
    sizes, direction = placement.voxel_size or unknown, placement.direction or (1,) * len(factors)
    offset = placement.offset or (0.0,) * len(factors)
    # The mean is centred on its voxels; the first voxel keeps its position.
    shift = 0.5 if method == "mean" else 0.0
    return Placement(
        known_or_none([None if s is None else s * f for s, f in zip(sizes, factors, strict=True)]),
        known_or_none(
            [
                o if f == 1 or shift == 0 else None if o is None or s is None else o + d * shift * (f - 1) * s
                for o, s, d, f in zip(offset, sizes, direction, factors, strict=True)
            ]
        ),
        placement.unit,
        placement.direction,
    )


def _level(group: Any, name: str, finer: Any, factors: Sequence[int], method: str, axes: str, label: str) -> Any:
    shape = tuple(ceil(n / f) for n, f in zip(finer.shape, factors, strict=True))
    with naming(label):
        coarse = group.create_array(
            name,
            shape=shape,
            dtype=finer.dtype,
            chunks=finer.chunks if finer.shards else tuple(map(min, finer.chunks, shape)),
            shards=finer.shards,
            compressors=finer.compressors,
            fill_value=finer.fill_value,
            dimension_names=finer.metadata.dimension_names,
            overwrite=True,
        )
    # In the stored order, so that nothing is transposed.
    sink = ZarrSink(coarse, Layout(axes, axes.replace("f", "")), label, folder=local_folder(coarse))
    for where in blocks(shape, coarse.shards or coarse.chunks):
        fine: Where = tuple(
            slice(s.start * f, min(s.stop * f, n)) for s, f, n in zip(where, factors, finer.shape, strict=True)
        )
        values = shrink(np.asarray(finer[fine]), factors, method)
        sink[sink.layout.per_axis(where, slice(0, 1))] = sink.layout.view(values)
    sink.flush()
    return coarse


def shrink(block: np.ndarray, factors: Sequence[int], method: str) -> np.ndarray:
    """Downsample a block by integer factors; the last voxel along an axis may cover fewer.

    Examples
    --------
    >>> shrink(np.array([[1, 3, 8]], "uint8"), (1, 2), "mean"), shrink(np.array([1, 3, 8]), (2,), "nearest")
    (array([[2, 8]], dtype=uint8), array([1, 8]))
    """
    if method == "nearest":
        return block[tuple(slice(None, None, f) for f in factors)]
    dtype = block.dtype
    values = block if dtype.kind == "f" and dtype.itemsize > 2 else block.astype("float64")
    for axis, f in enumerate(factors):
        if f > 1:
            # Repeat the last voxel: for factor 2 at most one is missing, so this is the mean of the existing ones.
            pad = [(0, 0)] * values.ndim
            pad[axis] = (0, -values.shape[axis] % f)
            values = np.pad(values, pad, mode="edge")
            parts = [np.take(values, range(k, values.shape[axis], f), axis) for k in range(f)]
            values = sum(parts[1:], parts[0]) / np.asarray(f, values.dtype)
    return (np.rint(values) if dtype.kind in "iub" else values).astype(dtype)
