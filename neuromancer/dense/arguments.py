"""Validation of arguments of dense prediction, before anything is opened or created."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from math import prod
from pathlib import Path
from types import NoneType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from neuromancer import volumes
from neuromancer.casts import holds, is_number, is_whole, limits
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, nearest_name
from neuromancer.progress import Progress
from neuromancer.volumes.held import overlap
from neuromancer.volumes.paths import is_address, plain_name, split_path

PRECISIONS = ("f32", "tf32", "bf16", "f16")
STORE_OPTIONS = tuple(
    name
    for name, p in signature(volumes.create_sink).parameters.items()
    if p.kind is p.KEYWORD_ONLY and name not in ("existing", "spatial")  # set by the prediction itself
)
MOST_VOXELS = (1 << 63) - 1
Number = int | float
P = ParamSpec("P")
R = TypeVar("R")


def with_checked_names(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that arguments that it does not have raise InputTypeError, with the nearest valid name."""
    parameters = signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            parameters.bind(*args, **kwargs)
        except TypeError as error:
            known = list(parameters.parameters)
            unknown = [name for name in kwargs if name not in known]
            raise InputTypeError(
                str(error),
                where=function.__name__,
                expected=f"arguments {', '.join(known)}",
                nearest=nearest_name(unknown[0], known) if unknown else None,
            ) from None
        return function(*args, **kwargs)

    return checked


def checked_choice(name: str, value: Any, allowed: Sequence[Any], problem: str = "unknown choice") -> Any:
    """Return `value`; raise ArgumentError unless it is one of the allowed names."""
    if not isinstance(value, (str, NoneType)) or value not in allowed:
        nearest = nearest_name(value, [a for a in allowed if a is not None])
        raise ArgumentError(problem, where=name, got=value, expected=f"one of {allowed}", nearest=nearest)
    return value


def checked_flag(name: str, value: Any) -> bool:
    """Return `value` as bool; raise InputTypeError for other types, as text such as "False" would count as True."""
    if not isinstance(value, (bool, np.bool_)) and not (is_whole(value) and value in (0, 1)):
        raise InputTypeError("neither True nor False", where=name, got=value, expected="True or False")
    return bool(value)


def checked_progress(value: Any) -> Progress:
    """Return `progress` as bool, None or the function that it is; raise InputTypeError for other types."""
    return value if value is None or callable(value) else checked_flag("progress", value)


def checked_count(name: str, value: Any, least: int) -> int:
    """Return `value` as int; raise ArgumentError unless it is an integer >= `least`."""
    if not is_whole(value) or value < least:
        raise ArgumentError("not a valid number", where=name, got=value, expected=f"a whole number >= {least}")
    return int(value)


def checked_tile(tile: Any) -> tuple[int, ...] | None:
    """Return the tile shape as a tuple; raise ShapeError if it is invalid."""
    if tile is None:
        return None
    return checked_sizes("tile", tile, "voxels of the result per spatial axis")


def checked_sizes(name: str, sizes: Any, meaning: str) -> tuple[int, ...]:
    """Return sizes as a tuple; raise ShapeError unless all are integers >= 1."""
    several = isinstance(sizes, (tuple, list)) or (isinstance(sizes, np.ndarray) and sizes.ndim == 1)
    if not several or not len(sizes) or not all(is_whole(n) and n >= 1 for n in sizes):
        raise ShapeError("needs a positive size per axis", where=name, got=sizes, expected=f"whole numbers: {meaning}")
    return tuple(int(n) for n in sizes)


def checked_image(shape: Any, name: str = "image") -> tuple[int, ...]:
    """Return the shape of an image or result as a tuple; raise ShapeError if it is invalid."""
    sizes = checked_sizes(name, shape, "(f, (z,) y, x)")
    if prod(sizes) > MOST_VOXELS:
        raise ShapeError("more voxels than can be indexed", where=name, got=sizes, expected=f"up to {MOST_VOXELS}")
    return sizes


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """Return `dtype` as a numpy dtype; raise InputTypeError if it is none."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
        return found
    except (TypeError, ValueError, SyntaxError):
        raise InputTypeError("no such dtype", where="dtype", got=dtype, expected="e.g. 'uint8'") from None


def checked_shard(shard: Any) -> tuple[int, int] | None:
    """Return `shard` as a tuple; raise ArgumentError if it is invalid."""
    if shard is None:
        return None
    pair = isinstance(shard, (tuple, list)) and len(shard) == 2 and all(is_whole(n) for n in shard)
    if not pair or not 0 <= shard[0] < shard[1]:
        raise ArgumentError("there is no such shard", where="shard", got=shard, expected="(i, n) with 0 <= i < n")
    return int(shard[0]), int(shard[1])


def checked_ranges(roi: Any, full: Sequence[int]) -> list[tuple[int, int]]:
    """Return (start, stop) of a region of interest along axes of sizes `full`; raise ArgumentError if it is invalid."""
    parts = (None,) * len(full) if roi is None else roi
    if not isinstance(parts, (tuple, list)) or len(parts) != len(full):
        raise ArgumentError(
            "a region of interest needs one range per axis",
            where="roi",
            got=roi,
            expected=f"{len(full)} slices, (start, stop) or None",
        )
    ranges = []
    for part, n in zip(parts, full, strict=True):
        ends: Any = (part.start, part.stop) if isinstance(part, slice) else (None, None) if part is None else part
        pair = isinstance(ends, (tuple, list)) and len(ends) == 2 and all(e is None or is_whole(e) for e in ends)
        step = part.step if isinstance(part, slice) else None
        a, b = (0 if ends[0] is None else int(ends[0]), n if ends[1] is None else int(ends[1])) if pair else (0, 0)
        if not 0 <= a < b <= n or not (step is None or (is_whole(step) and step == 1)):
            raise ArgumentError(
                "the region of interest does not lie in the result",
                where="roi",
                got=roi,
                expected=f"whole numbers within {list(full)}",
            )
        ranges.append((a, b))
    return ranges


def checked_fill(fill: Any) -> Number | bool:
    """Return the fill value as a Python number, int if integral; raise InputTypeError if it is no number."""
    if isinstance(fill, (bool, np.bool_)):
        return bool(fill)
    if not is_number(fill):
        raise InputTypeError("not a number", where="fill", got=fill, expected="one real number for all channels")
    number = fill.item() if isinstance(fill, np.generic) else fill
    return int(number) if isinstance(number, float) and number.is_integer() else number


def require_fill(fill: Number | bool, name: str, dtype: Any) -> None:
    """Raise ArgumentError if the fill value is not representable in the dtype stored for a node."""
    kind = np.dtype(dtype)
    if (isinstance(fill, bool) and kind.kind != "b") or not holds(kind, fill):
        nearest = None
        if kind.kind in "iu" and not isinstance(fill, bool):
            info = np.iinfo(kind)
            nearest = 0 if fill != fill else int(min(max(fill, info.min), info.max))
        raise ArgumentError(
            f"the dtype stored for {name!r} cannot represent this value",
            where="fill",
            got=fill,
            expected=f"{limits(kind)}, for {kind}",
            nearest=nearest,
        )


def checked_skip(skip_empty: Any) -> Any:
    """Return `skip_empty`: None, 'constant' or a Python number; raise ArgumentError for anything else."""
    if skip_empty is None or (isinstance(skip_empty, str) and skip_empty == "constant"):
        return skip_empty
    if not is_number(skip_empty) or skip_empty != skip_empty:
        raise ArgumentError(
            "not a value that a voxel can have",
            where="skip_empty",
            got=skip_empty,
            expected="'constant', a number or None",
            nearest="constant",
        )
    return skip_empty.item() if isinstance(skip_empty, np.generic) else skip_empty


def require_skip(skip_empty: Any, dtype: Any) -> None:
    """Raise ArgumentError if no voxel of this dtype can have the value."""
    if is_number(skip_empty) and not holds(dtype, skip_empty):
        raise ArgumentError(
            "no voxel of the image can have this value", where="skip_empty", got=skip_empty, expected=f"{limits(dtype)}"
        )


def checked_outs(out: Any, n: int, several: bool) -> tuple[Any, ...] | None:
    """Return the output of each node; None to return arrays.

    Raises
    ------
    ArgumentError
        If there is not one output per node, or one occurs twice.
    """
    if out is None:
        return None
    listed = isinstance(out, (list, tuple))
    outs = tuple(out) if several and listed else (out,)
    if len(outs) != n or (listed and not several):
        raise ArgumentError(
            "one output per node is needed", where="out", got=f"{len(out) if listed else 1}", expected=f"{n}"
        )
    twice = next((o for k, o in enumerate(outs) if any(_same_place(o, p) for p in outs[:k])), None)
    if twice is not None:
        raise ArgumentError("two nodes have the same output", where="out", got=str(twice)[:200])
    return outs


def _same_place(one: Any, other: Any) -> bool:
    """Whether two outputs are the same file or array, through any names and links."""
    paths = [isinstance(out, (str, os.PathLike)) for out in (one, other)]
    if all(paths):
        return _place(one) == _place(other)
    return not any(paths) and overlap(one, other)


def _place(out: str | os.PathLike[str]) -> tuple[str, str, str]:
    kind, path, dataset = split_path(out, "out")
    return kind, path if is_address(path) else os.path.realpath(path), plain_name(dataset)


def checked_store(store: Any, outs: Any) -> dict[str, Any] | None:
    """Return the options for creating a store as a dict; raise for unknown names."""
    if store is None:
        return None
    if not isinstance(store, Mapping):
        raise InputTypeError("not a dict of options", where="store", got=store, expected=f"a dict of {STORE_OPTIONS}")
    unknown = [name for name in store if name not in STORE_OPTIONS]
    if unknown:
        raise ArgumentError(
            "unknown option of a store",
            where="store",
            got=unknown,
            expected=f"some of {STORE_OPTIONS}",
            nearest=nearest_name(unknown[0], STORE_OPTIONS),
        )
    if store and outs is None:
        raise ArgumentError("requires `out`", where="store", got=dict(store))
    return dict(store)


def checked_journal(journal: Any, outs: Any) -> Path | None:
    """Return the folder of the journal as a Path; raise if it is invalid."""
    if journal is None:
        return None
    if not isinstance(journal, (str, os.PathLike)) or not os.fspath(journal):
        raise InputTypeError("not the path of a folder", where="journal", got=journal, expected="a path")
    if outs is None:
        raise ArgumentError("requires `out`", where="journal", got=str(journal))
    return Path(journal)
