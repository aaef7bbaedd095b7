"""Resolution pyramid of an image, for viewers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.casts import is_whole
from neuromancer.errors import ArgumentError, FileError, naming, translating
from neuromancer.files import followed
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.calibration import calibrated, warn_of
from neuromancer.volumes.chunks import blocks
from neuromancer.volumes.downsample import COARSEST, factors_of, shrink
from neuromancer.volumes.ome import image_metadata, image_of, levels_of, read_level
from neuromancer.volumes.paths import split_path
from neuromancer.volumes.placement import Placement, known_or_none
from neuromancer.volumes.protocol import Where
from neuromancer.volumes.pyramid_levels import precomputed_pyramid, tiff_pyramid
from neuromancer.volumes.zarrs import V2_KEYS, ZarrSink, join, local_folder, zarr_of

METHODS = ("mean", "nearest")


def write_pyramid(image: Any, method: str = "mean", levels: int | None = None) -> list[str]:
    """Compute the coarser levels of an OME-Zarr, OME-TIFF or precomputed image, block by block.

    Each level halves the axes whose voxel size is less than twice the smallest, so that levels become isotropic; in
    OME-TIFF always y and x. Existing levels are recreated. An OME-TIFF is replaced by a new file, and its sink closed.

    Parameters
    ----------
    image : sink or path
        Completely written output of ``create_sink``; for zarr with ``multiscale=True``.
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
        If it is not such an image, or cannot be written.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise ArgumentError("unknown method", where="write_pyramid", got=method, expected=METHODS)
    if levels is not None and not (is_whole(levels) and levels >= 0):
        raise ArgumentError("not a number of levels", where="write_pyramid", got=levels, expected="an integer >= 0")
    locator = getattr(image, "locator", None)
    if locator is None and isinstance(image, (str, os.PathLike)):
        kind, *parts = split_path(image, "write_pyramid")
    else:
        kind, *parts = ("", str(image)) if locator is None else (locator.kind, locator.path, locator.dataset)
    # The file of a TIFF is replaced.
    getattr(image, "close" if kind == "tif" else "flush", lambda: None)()
    if kind in ("tif", "precomputed"):
        return (tiff_pyramid if kind == "tif" else precomputed_pyramid)(str(followed(parts[0])), method, levels)
    path = join(*parts)
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
    array, made, total = group[finest], [(finest, placement)], [1] * len(spatial)
    while (len(made) <= levels) if levels is not None else max(array.shape[k] for k in spatial) > COARSEST:
        factors = factors_of(array.shape, placement, spatial)
        if max(factors) == 1:
            break
        placement = _coarser(placement, [factors[k] for k in spatial], method)
        array = _level(group, str(len(made)), array, factors, method, axes, path)
        total = [n * factors[k] for n, k in zip(total, spatial, strict=True)]
        made.append((array.basename, _relative(placement, total, method)))
    with naming(path):
        version = "0.4" if group.metadata.zarr_format == 2 else "0.5"
        group.attrs.update(image_metadata(str(described.get("name", Path(path).stem)), axes, made, method, version))
    return [name for name, _ in made]


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


def _relative(placement: Placement, factors: Sequence[int], method: str) -> Placement:
    """Return a placement whose unknown values are in voxels of the finest level, for a viewer to overlay the levels."""
    unknown = (None,) * len(factors)
    sizes, places = placement.voxel_size or unknown, placement.offset or unknown
    shifts = [(f - 1) / 2 if method == "mean" else 0.0 for f in factors]
    return replace(
        placement,
        voxel_size=tuple(float(f) if s is None else s for s, f in zip(sizes, factors, strict=True)),
        offset=tuple(shift if s is None and not o else o for o, s, shift in zip(places, sizes, shifts, strict=True)),
    )


def _level(group: Any, name: str, finer: Any, factors: Sequence[int], method: str, axes: str, label: str) -> Any:
    shape, version = tuple(ceil(n / f) for n, f in zip(finer.shape, factors, strict=True)), finer.metadata.zarr_format
    with naming(label):
        coarse = group.create_array(
            name,
            shape=shape,
            dtype=finer.dtype,
            chunks=finer.chunks if finer.shards else tuple(map(min, finer.chunks, shape)),
            shards=finer.shards,
            compressors=finer.compressors,
            fill_value=finer.fill_value,
            overwrite=True,
            **(V2_KEYS if version == 2 else {"dimension_names": finer.metadata.dimension_names}),
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
