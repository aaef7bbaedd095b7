"""Volumes in Imaris files (.ims): HDF5 with resolution levels, time points and channels; read only."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from neuromancer.errors import FileError
from neuromancer.volumes.hdf5 import inspect_dataset, require_target
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.stored import file_identity, member

ROOT, INFO = "DataSet", "DataSetInfo/Image"
LEVEL, TIME, CHANNEL = "ResolutionLevel", "TimePoint", "Channel"


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open all channels of a time point at a resolution level; the finest level if none is named."""
    file = h5py.File(path, "r")
    try:
        require_target(file, f"{ROOT}/{LEVEL} 0", label)
        levels = _numbered(file.get(ROOT), LEVEL)
        if not levels:
            raise FileError("is no Imaris file", where=label, expected=f"a group {ROOT}/{LEVEL} 0")
        wanted, _, time = dataset.strip("/").partition("/")
        level = member(levels, wanted or levels[0], label)
        times = [f"{level}/{t}" for t in _numbered(file[ROOT][level], TIME)]
        name = member(times, f"{level}/{time}" if time else "", label)
        group = file[ROOT][name]
        channels = [group[c] for c in _numbered(group, CHANNEL)]
        for c in channels:
            require_target(c, "Data", label)
        opened = [inspect_dataset(c["Data"], label=label) for c in channels if isinstance(c.get("Data"), h5py.Dataset)]
        if not opened or len(opened) < len(channels) or len({(o.array.shape, o.array.dtype) for o in opened}) > 1:
            raise FileError("has channels without data, or of different kinds", where=label, got=name)
        shape = _shape(channels[0], opened[0].array.shape)
        array = Channels([o.array for o in opened], shape)
        return Opened(
            array,
            "fzyx",
            _placement(file.get(INFO), shape),
            None if opened[0].chunks is None else (1, *opened[0].chunks),
            close=file.close,
            identity=file_identity(path),
            fill=opened[0].fill,
            missing=[part for o in opened for part in o.missing],
            blank=all(o.blank for o in opened),
        )
    except BaseException:
        file.close()
        raise


class Channels:
    """Datasets of one shape as an array (c, z, y, x), without their padding.

    Parameters
    ----------
    there : list of h5py.Dataset
    shape : tuple of int
        (z, y, x), without padding.
    """

    def __init__(self, there: list[Any], shape: tuple[int, ...]) -> None:
        self.there, self.shape, self.dtype = there, (len(there), *shape), there[0].dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        ends = [s.indices(n) for s, n in zip([*rest, *[slice(None)] * 3], self.shape[1:], strict=False)]
        where = tuple(slice(*end) for end in ends)
        chosen = self.there[first]
        shape = [len(chosen), *(len(range(*end)) for end in ends)]
        return np.stack([c[where] for c in chosen]) if chosen else np.empty(shape, self.dtype)


def _numbered(group: Any, name: str) -> list[str]:
    """Return the members of a group that are called "name 0", "name 1" and so on, in their order."""
    names = [key for key in group or () if key.rpartition(" ")[0] == name and key.rpartition(" ")[2].isdecimal()]
    # Imaris writes no links, and those to other files may lead to a pipe.
    found = [key for key in names if isinstance(group.get(key, getlink=True), h5py.HardLink)]
    return sorted(found, key=lambda key: int(key.rpartition(" ")[2]))


def _text(group: Any, name: str) -> str:
    """Return an attribute, which Imaris stores as an array of characters."""
    value = None if group is None else group.attrs.get(name)
    if value is None:
        return ""
    return b"".join(np.atleast_1d(np.asarray(value)).astype("S").tolist()).decode("utf-8", "replace").strip()


def _shape(channel: Any, stored: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size (z, y, x) of an image; what is stored is padded to whole chunks."""
    sizes = [_text(channel, f"ImageSize{a}") for a in "ZYX"]
    return tuple(
        int(size) if size.isdecimal() and 0 < int(size) <= n else int(n) for size, n in zip(sizes, stored, strict=True)
    )


def _placement(info: Any, shape: tuple[int, ...]) -> StatedPlacement:
    """Return voxel size and position of the first voxel's centre from the borders of the image."""
    ends = [(_text(info, f"ExtMin{k}"), _text(info, f"ExtMax{k}")) for k in (2, 1, 0)]
    if not all(low and high for low, high in ends):
        return StatedPlacement()
    try:
        borders = [(float(low), float(high)) for low, high in ends]
    except ValueError:
        return StatedPlacement([f"{low} to {high}" for low, high in ends])
    sizes = [(high - low) / n for (low, high), n in zip(borders, shape, strict=True)]
    places = [low + s / 2 for (low, _), s in zip(borders, sizes, strict=True)]
    return StatedPlacement(sizes, places, _text(info, "Unit") or "um")
