"""External data of HDF5 datasets: sources of virtual datasets, external raw files, and filters.

The library silently reads fill value where a source is missing, and zeros where a raw file is too short.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromancer.errors import MissingDependencyError, reason
from neuromancer.volumes.blocks import regions_overlap, whole_index
from neuromancer.volumes.chunk_files import require_no_pipe
from neuromancer.volumes.missing import Part
from neuromancer.volumes.protocol import Where
from neuromancer.volumes.stored import file_identity

VIRTUAL_PREFIX, EXTERNAL_PREFIX, LINK_PREFIX = "HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX", "HDF5_EXT_PREFIX"
UNLIMITED = h5py.h5s.UNLIMITED
MOST_REGIONS = 1000


def missing_parts(dataset: Any, label: str, seen: frozenset[tuple[str, str]] = frozenset()) -> list[Part]:
    """Return the external data of a dataset that is missing or too small.

    Parameters
    ----------
    dataset : h5py.Dataset
    label : str
        Its name in errors.
    seen : set of (str, str)
        Files and names of the virtual datasets that refer to this one.

    Raises
    ------
    MissingDependencyError
        If chunks are compressed with a filter that is not installed.
    FileError
        If it refers to a pipe or a device.
    """
    _require_filters(dataset, label)
    if dataset.external:
        return list(_external(dataset, label))
    me = (dataset.file.filename, dataset.name)
    if not dataset.is_virtual or me in seen:
        return []
    parts: list[Part] = []
    maps = sorted(dataset.virtual_sources(), key=lambda m: m.file_name)
    for name, some in groupby(maps, key=lambda m: m.file_name):
        parts += _of_source_file(dataset, name, list(some), label, seen | {me})
    return parts


def identity(dataset: Any) -> str:
    """Return size and modification time of all external files that hold voxels of a dataset."""
    names = {m.file_name for m in dataset.virtual_sources()} if dataset.is_virtual else set()
    paths = [str(_found(dataset, name)) for name in sorted(names) if name != "." and "%b" not in name]
    paths += [str(_raw_path(dataset, name)) for name, *_ in dataset.external or ()]
    return " ".join(file_identity(p) for p in paths if Path(p).is_file())


def spanned(dataset: Any) -> Any:
    """Reopen a virtual dataset such that its numbered sources do not end at a missing one.

    The library keeps the properties with which a dataset was first opened, so the given handle is closed.
    """
    maps = [m for m in dataset.virtual_sources() if "%b" in m.file_name + m.dset_name] if dataset.is_virtual else []
    longest = max((max(_numbers(dataset, m), default=0) for m in maps), default=0)
    if not longest:
        return dataset
    file, name, access = dataset.file, dataset.name.encode(), dataset.id.get_access_plist()
    dataset.id.close()
    access.set_virtual_printf_gap(longest)
    return h5py.Dataset(h5py.h5d.open(file.id, name, access))


@dataclass(frozen=True)
class Misfit(Part):
    """A part for which the library would invent voxels or crash: its source does not have the required shape.

    Parameters
    ----------
    regions : sequence of tuple of slice
        Mapped voxels, in the stored order.
    """

    regions: Sequence[Where] = ()


class ExternalFileReader:
    """Reader of a dataset with external files that checks before and after a read that they exist.

    Parameters
    ----------
    dataset : h5py.Dataset
    missing : sequence of Part
        Missing parts of the dataset; the library is not asked to read a :class:`Misfit`.
    """

    def __init__(self, dataset: Any, missing: Sequence[Part] = ()) -> None:
        whole = tuple(slice(0, n) for n in dataset.shape)
        self.files = [(path, size, box or whole) for path, size, box in _files(dataset)]
        self.boxes = _corners([box for *_, box in self.files])
        self.misfits = [region for part in missing if isinstance(part, Misfit) for region in part.regions]

    def __call__(self, dataset: Any, key: Any) -> np.ndarray:
        where = whole_index(key, dataset.shape)
        if where is None:
            return np.asarray(dataset[key])
        self._require_files(where)
        parts = [where]
        for misfit in self.misfits:
            parts = [piece for part in parts for piece in outside(part, misfit)]
        block = np.full([s.stop - s.start for s in where], dataset.fillvalue, dataset.dtype)
        for part in parts:
            block[_moved(part, where)] = dataset[part]
        self._require_files(where)
        return block

    def _require_files(self, where: Where) -> None:
        """Raise OSError if a file has gone or has become shorter."""
        if not self.files:
            return
        starts, stops = ([getattr(s, end) for s in where] for end in ("start", "stop"))
        touched = ((self.boxes[..., 0] < stops) & (self.boxes[..., 1] > starts)).all(-1)
        for path, size in {self.files[k][:2] for k in np.flatnonzero(touched)}:
            if not path.is_file():
                raise FileNotFoundError(f"source file {path} has gone")
            if path.stat().st_size < size:
                raise OSError(f"raw file {path} has become shorter")


def _files(dataset: Any, seen: frozenset[tuple[str, str]] = frozenset()) -> Iterator[tuple[Path, int, Where | None]]:
    """Iterate over the external files of a dataset, their required sizes, and the regions that they hold."""
    begin = 0
    for (name, offset, _), needed in zip(dataset.external or (), _external_sizes(dataset), strict=True):
        path = _raw_path(dataset, name)
        if path.is_file():
            yield path, min(path.stat().st_size, offset + needed), _planes(dataset, begin, begin + needed)
        begin += needed
    me = (dataset.file.filename, dataset.name)
    for m in dataset.virtual_sources() if dataset.is_virtual and me not in seen else ():
        box = _box(m.vspace, dataset.shape)
        source = None if m.file_name == "." else _found(dataset, m.file_name)
        if source is not None:
            yield source, 0, box
        with suppress(OSError), _opened(dataset, m.file_name) as file:
            found = file.get(m.dset_name)
            if isinstance(found, h5py.Dataset):
                yield from ((below, size, box) for below, size, _ in _files(found, seen | {me}))


def _corners(boxes: Sequence[Where]) -> np.ndarray:
    return np.array([[(s.start, s.stop) for s in box] for box in boxes])


def outside(where: Where, hole: Where) -> list[Where]:
    """Return regions that together cover `where` without `hole`.

    Examples
    --------
    >>> outside((slice(0, 9),), (slice(3, 5),))
    [(slice(0, 3, None),), (slice(5, 9, None),)]
    """
    if not regions_overlap(where, hole):
        return [where]
    parts = []
    for k, (s, h) in enumerate(zip(where, hole, strict=True)):
        pieces = (slice(s.start, h.start), slice(h.stop, s.stop))
        parts += [(*where[:k], piece, *where[k + 1 :]) for piece in pieces if piece.start < piece.stop]
        where = (*where[:k], slice(max(s.start, h.start), min(s.stop, h.stop)), *where[k + 1 :])
    return parts


def _moved(part: Where, where: Where) -> Where:
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, where, strict=True))


# ---- virtual datasets
def _of_source_file(
    dataset: Any, name: str, maps: Sequence[Any], label: str, seen: frozenset[tuple[str, str]]
) -> Iterator[Part]:
    """Find missing parts of the mappings into one source file."""
    if "%b" in name or any("%b" in m.dset_name for m in maps):
        for m in maps:
            yield from _numbered(dataset, m, label, seen)
        return
    try:
        with _opened(dataset, name) as file:
            for m in maps:
                yield from _of_source(dataset, file, name, m, label, seen)
    except OSError as error:
        why = reason(error) if _found(dataset, name) is not None else "no such file"
        yield from (Part(f"source file {name}", why, _box(m.vspace, dataset.shape)) for m in maps)


def _of_source(
    dataset: Any, file: Any, name: str, m: Any, label: str, seen: frozenset[tuple[str, str]]
) -> Iterator[Part]:
    """Find missing parts of one mapping into an open source file."""
    where, what = _box(m.vspace, dataset.shape), f"source {name}:{m.dset_name}"
    found = file.get(m.dset_name)
    if not isinstance(found, h5py.Dataset):
        yield Part(what, "no such dataset", where)
    else:
        yield from _of_found(found, what, m, label, seen, where, _regions(m.vspace, dataset.shape))


def _of_found(
    found: Any,
    what: str,
    m: Any,
    label: str,
    seen: frozenset[tuple[str, str]],
    where: Where | None,
    regions: Sequence[Where],
) -> Iterator[Part]:
    """Find missing parts of a source that exists."""
    require_no_pipes(found, label)
    why = _misfit(found, m, where, regions)
    if why is not None:
        yield Misfit(what, why, where, regions)
        return
    for part in missing_parts(found, label, seen):
        name = f"{part.name} (of {what})"
        yield Misfit(name, part.reason, where, regions) if isinstance(part, Misfit) else Part(name, part.reason, where)


def _misfit(found: Any, m: Any, where: Where | None, regions: Sequence[Where]) -> str | None:
    """Return why a source does not hold the mapped voxels; None if it does."""
    if m.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        mapped = sum(prod(s.stop - s.start for s in region) for region in regions)
        fits = where is None or found.size == mapped
        return None if fits else f"has {found.size} voxels of {mapped}"
    needed = _ends(m.src_space)
    fits = len(needed) == found.ndim and all(
        n is None or n <= size for n, size in zip(needed, found.shape, strict=False)
    )
    return None if fits else f"has shape {found.shape}, where {tuple(n or 0 for n in needed)} is needed"


def _ends(space: Any) -> list[int | None]:
    """Return the smallest shape that contains a selection; None for an unlimited axis."""
    if space.get_select_type() == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        return [
            None if UNLIMITED in (n, block) else int(start + (n - 1) * step + block)
            for start, step, n, block in zip(*space.get_regular_hyperslab(), strict=True)
        ]
    return [int(last) + 1 for last in space.get_select_bounds()[1]]


def _regions(space: Any, shape: Sequence[int]) -> list[Where]:
    """Return the blocks of the virtual dataset that a mapping fills; their bounding box if there are too many."""
    box = _box(space, shape)
    if box is None:
        return []
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or space.get_select_hyper_nblocks() > MOST_REGIONS:
        return [box]
    blocks = space.get_select_hyper_blocklist()
    return [tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)) for first, last in blocks]


def _box(space: Any, shape: Sequence[int]) -> Where | None:
    """Return the bounding box of a mapping in the virtual dataset; None if it is unknown."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return tuple(slice(0, n) for n in shape)
    ends = _ends(space)
    if None in ends:
        return None
    return tuple(slice(int(a), b) for a, b in zip(space.get_select_bounds()[0], ends, strict=True))


def _numbered(dataset: Any, m: Any, label: str, seen: frozenset[tuple[str, str]]) -> Iterator[Part]:
    """Find missing parts of numbered sources, up to the last one that exists."""
    there = _numbers(dataset, m)
    if not there:
        yield Part(f"source {m.file_name}:{m.dset_name}", "there is none")
    for k in range(max(there, default=-1) + 1):
        file_name, name = (_with_number(text, k) for text in (m.file_name, m.dset_name))
        where = _block(m.vspace, k)
        if where is not None and any(s.stop > n for s, n in zip(where, dataset.shape, strict=True)):
            where = None
        if k not in there:
            yield Part(f"source {file_name}:{name}", "no such file or dataset", where)
            continue
        try:
            with _opened(dataset, file_name) as file:
                found, what = file.get(name), f"source {file_name}:{name}"
                if not isinstance(found, h5py.Dataset):
                    yield Part(what, "no such dataset", where)
                else:
                    yield from _of_found(found, what, m, label, seen, where, [] if where is None else [where])
        except OSError as error:
            yield Part(f"source file {file_name}", reason(error), where)


def _numbers(dataset: Any, m: Any) -> set[int]:
    """Return the numbers of existing source files, or of datasets in a single source file."""
    if "%b" not in m.file_name:
        with suppress(OSError, KeyError), _opened(dataset, m.file_name) as file:
            parent, _, last = m.dset_name.strip("/").rpartition("/")
            return _matching(file[parent or "/"], last)
        return set()
    folder, last = os.path.split(m.file_name)
    for place in _places(dataset, folder or ".", dataset.id.get_access_plist().get_virtual_prefix(), VIRTUAL_PREFIX):
        with suppress(OSError):
            found = _matching([p.name for p in place.iterdir()], last)
            if found:
                return found
    return set()


def _matching(names: Any, pattern: str) -> set[int]:
    before, after = pattern.split("%b", 1)
    asked = re.compile(re.escape(before.replace("%%", "%")) + r"(\d+)" + re.escape(after.replace("%%", "%")))
    return {int(found[1]) for name in names if (found := asked.fullmatch(name)) is not None}


def _with_number(text: str, k: int) -> str:
    return text.replace("%b", str(k)).replace("%%", "%")


def _block(space: Any, k: int) -> Where | None:
    """Return the region of the k-th numbered source; None if it is unknown."""
    if not space.is_regular_hyperslab():
        return None
    ends = []
    for start, step, n, block in zip(*space.get_regular_hyperslab(), strict=True):
        first = start + k * step if n == UNLIMITED else start
        ends.append((int(first), int(first + block if n == UNLIMITED else start + (n - 1) * step + block)))
    return tuple(slice(a, b) for a, b in ends)


# ---- files
@contextmanager
def _opened(dataset: Any, name: str) -> Iterator[Any]:
    """Open a source file as the library does."""
    if name == ".":
        yield dataset.file
        return
    path = _found(dataset, name)
    if path is None:
        raise FileNotFoundError(name)
    require_no_pipe(path, str(path))
    with h5py.File(path, "r" if dataset.file.mode == "r" else "r+") as file:
        yield file


def _found(dataset: Any, name: str) -> Path | None:
    """Return where the library finds a source file; None if it is missing."""
    prefix = dataset.id.get_access_plist().get_virtual_prefix()
    return next((p for p in _places(dataset, name, prefix, VIRTUAL_PREFIX) if p.exists()), None)


def _places(dataset: Any, name: str, prefix: bytes, variable: str) -> Iterator[Path]:
    """Iterate over the paths at which the library looks for a file, in its order."""
    own = Path(dataset.file.filename)
    last = Path(name)
    if last.is_absolute():
        yield last
        last = Path(last.name)
    for given in (*os.environ.get(variable, "").split(":"), os.fsdecode(prefix or b"")):
        if given:
            yield Path(given.replace("${ORIGIN}", str(own.parent))) / last
    yield own.parent / last
    yield last
    yield own.resolve().parent / last


def _raw_path(dataset: Any, name: str) -> Path:
    """Return the path at which the library looks for an external raw file."""
    prefix = os.environ.get(EXTERNAL_PREFIX) or os.fsdecode(dataset.id.get_access_plist().get_efile_prefix() or b"")
    return Path(prefix.replace("${ORIGIN}", str(Path(dataset.file.filename).parent))) / name


def require_no_pipes(dataset: Any, label: str) -> None:
    """Raise FileError if a source is a pipe or a device; the library opens some to find the shape of a dataset."""
    for name in {m.file_name for m in dataset.virtual_sources()} if dataset.is_virtual else ():
        folder, last = os.path.split(name)
        if "%b" not in last:
            require_no_pipe(_found(dataset, name), label)
            continue
        prefix = dataset.id.get_access_plist().get_virtual_prefix()
        for place in filter(Path.is_dir, _places(dataset, folder or ".", prefix, VIRTUAL_PREFIX)):
            numbers: set[int] = set()
            with suppress(OSError):  # the folder may not be readable
                numbers = _matching([p.name for p in place.iterdir()], last)
            for number in numbers:
                require_no_pipe(place / _with_number(last, number), label)


def require_link(group: Any, name: str, label: str) -> None:
    """Raise FileError if an external link leads to a pipe or a device."""
    require_no_pipe(next((p for p in _places(group, name, b"", LINK_PREFIX) if p.exists()), None), label)


def _external(dataset: Any, label: str) -> Iterator[Part]:
    """Find external raw files that are missing or too short."""
    begin = 0
    for (name, offset, _), needed in zip(dataset.external, _external_sizes(dataset), strict=True):
        path = _raw_path(dataset, name)
        require_no_pipe(path, label)
        room = path.stat().st_size - offset if path.is_file() else 0
        if room < needed:
            why = f"ends {needed - room} bytes too early" if path.is_file() else "no such file"
            yield Part(f"raw file {name}", why, _planes(dataset, begin + max(0, room), begin + needed))
        begin += needed


def _external_sizes(dataset: Any) -> list[int]:
    """Return the number of bytes of a dataset in each of its external raw files."""
    left, sizes = prod(dataset.shape) * dataset.dtype.itemsize, []
    for *_, size in dataset.external or ():
        sizes.append(min(int(size), left))
        left -= sizes[-1]
    return sizes


def _planes(dataset: Any, first: int, last: int) -> Where:
    """Return the region, whole along all axes but the first, that contains a range of bytes."""
    plane = max(1, prod(dataset.shape[1:]) * dataset.dtype.itemsize)
    return (slice(first // plane, -(-last // plane)), *(slice(0, n) for n in dataset.shape[1:]))


# ---- filters
def _require_filters(dataset: Any, label: str) -> None:
    """Raise MissingDependencyError if chunks are compressed with a filter that is not installed."""
    properties = dataset.id.get_create_plist()
    for k in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(k)
        if h5py.h5z.filter_avail(code) or not dataset.id.get_storage_size():
            continue
        with suppress(ImportError):
            import_module("hdf5plugin")  # registers its filters
        if not h5py.h5z.filter_avail(code):
            raise MissingDependencyError(
                "is compressed with an HDF5 filter that is not installed",
                where=label,
                got=f"{os.fsdecode(name)!r} ({code}) of {dataset.name}",
                expected="the filter, e.g. of the package hdf5plugin",
                nearest="pip install hdf5plugin",
            )
