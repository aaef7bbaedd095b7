"""Block-wise reading of an open array, chunk by chunk where a read fails, so that errors name the damaged chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from neuromancer.errors import FileError, MissingDependencyError, NeuromancerError, reason, shown_cause
from neuromancer.volumes.missing import Part, shown
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.protocol import Where


def read_block(
    opened: Opened,
    key: Any,
    label: str,
    on_missing: str = "error",
    filled: Callable[[Iterable[Part]], None] = lambda parts: None,
) -> np.ndarray:
    """Read a block of an open array.

    Parameters
    ----------
    opened : Opened
    key : tuple of slice
    label : str
        Name of the image in errors.
    on_missing : {'error', 'fill'}
    filled : callable
        Called with the parts that were read as fill value.

    Raises
    ------
    FileError
        If a chunk of the block cannot be read; names the first one. With ``"fill"``, only if `key` cannot be
        divided into chunks.
    """
    where, found = whole_index(key, opened.array.shape), list[Part]()
    try:
        block = opened.read(opened.array, key)
    except Exception as error:
        _require_damage(error)
        if where is None:
            raise _unreadable(label, error, f"at {key}") from shown_cause(error)
        block = _by_chunks(opened, where, label, error, found if on_missing == "fill" else None)
    if on_missing == "fill":
        known = [p for p in opened.missing if p.where is None or where is None or regions_overlap(p.where, where)]
        filled([*known, *found])
    return block


def _by_chunks(opened: Opened, where: Where, label: str, error: Exception, filled: list[Part] | None) -> np.ndarray:
    """Read a block chunk by chunk; unreadable chunks are filled and listed in `filled`, or an error without it."""
    dtype = np.dtype(getattr(opened.array.dtype, "numpy_dtype", opened.array.dtype))
    block = np.full([s.stop - s.start for s in where], opened.fill, dtype)
    failed = False
    for chunk in chunks_of(where, opened.array.shape, opened.chunks):
        part = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(chunk, where, strict=True))
        inside = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, where, strict=True))
        try:
            block[inside] = opened.read(opened.array, part)
        except Exception as found:
            _require_damage(found)
            if filled is None:
                raise _unreadable(label, found, opened.name_of(chunk)) from shown_cause(found)
            if not any(p.where is not None and regions_overlap(p.where, chunk) for p in opened.missing):
                filled.append(Part(opened.name_of(chunk), reason(found), chunk))
            failed = True
    if not failed and filled is None:
        # Every chunk can be read by itself, so the failure is not due to a damaged chunk.
        raise _unreadable(label, error, shown(where)) from shown_cause(error)
    return block


def _require_damage(error: Exception) -> None:
    """Re-raise errors that are not about unreadable data."""
    if isinstance(error, ImportError) and not isinstance(error, NeuromancerError):
        raise MissingDependencyError("needs a package that is not installed", got=str(error)) from error
    if isinstance(error, MemoryError) or (isinstance(error, NeuromancerError) and not isinstance(error, FileError)):
        raise error


def _unreadable(label: str, error: Exception, what: str) -> FileError:
    return FileError("a block cannot be read", where=label, got=f"{what}: {reason(error)}")


def whole_index(key: Any, shape: Sequence[int]) -> Where | None:
    """Return slices with start and stop for every axis; None for any other index.

    Examples
    --------
    >>> whole_index((slice(1, None),), (4, 5))
    (slice(1, 4, None), slice(0, 5, None))
    """
    key = key if isinstance(key, tuple) else (key,)
    if len(key) > len(shape) or any(not isinstance(s, slice) or s.step not in (None, 1) for s in key):
        return None
    key = (*key, *(slice(None),) * (len(shape) - len(key)))
    ends = [s.indices(int(n))[:2] for s, n in zip(key, shape, strict=True)]
    return tuple(slice(a, max(a, b)) for a, b in ends)


def regions_overlap(a: Where, b: Where) -> bool:
    """Return whether two regions share a voxel.

    Examples
    --------
    >>> regions_overlap((slice(0, 2),), (slice(1, 3),)), regions_overlap((slice(0, 2),), (slice(2, 3),))
    (True, False)
    """
    return all(s.start < t.stop and t.start < s.stop for s, t in zip(a, b, strict=True))


def chunks_of(where: Where, shape: Sequence[int], chunks: Sequence[int] | None) -> Iterator[Where]:
    """Iterate over the chunks that a region intersects; without chunks, over planes of the last two axes.

    Examples
    --------
    >>> list(chunks_of((slice(3, 5),), (7,), (4,)))
    [(slice(0, 4, None),), (slice(4, 7, None),)]
    """
    sizes = chunks or [1] * (len(shape) - 2) + [int(n) for n in shape[-2:]]
    sizes = [c or max(1, int(n)) for c, n in zip(sizes, shape, strict=True)]
    axes = [
        [slice(k * c, min((k + 1) * c, int(n))) for k in range(s.start // c, -(-s.stop // c))]
        for s, c, n in zip(where, sizes, shape, strict=True)
    ]
    return product(*axes)
