"""Measurements of a machine, kept in the user's cache folder: one small file for each thing measured.

The file that is there first counts, so that processes that measure at the same time go on with the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path

from neuromancer.files import read_small, temporary_of

LONGEST = 1 << 16
"""Maximum size of a file in bytes."""
LEAST, MOST = 1e-16, 1.0
"""Numbers of seconds outside of this range are not believed."""


def cache_folder() -> Path | None:
    """Return the folder of measurements, ``neuromancer`` in the user's cache folder; None without a home directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):
        return (Path(base) if base else Path.home() / ".cache") / "neuromancer"
    return None


def cached(
    what: str, key: Iterable[object], names: Iterable[str], measure: Callable[[], Mapping[str, float]] | None
) -> dict[str, float] | None:
    """Return earlier measurements, or measure and keep them.

    Parameters
    ----------
    what : str
        What is measured; part of the name of the file.
    key : iterable
        Whatever the numbers depend on, besides processor and node.
    names : iterable of str
        Every number that there must be.
    measure : callable, optional
        Returns the numbers; None to return None if nothing was measured before.
    """
    wanted, path = set(names), _path(what, key)
    found = None if path is None else _read(path, wanted)
    if found is not None or measure is None:
        return found
    values = believable(measure(), wanted)
    if values is None:
        return None
    return values if path is None else _keep(path, values, wanted)


def believable(values: object, names: Iterable[str]) -> dict[str, float] | None:
    """Return measurements if they have exactly these names and are positive numbers of seconds, else None.

    Examples
    --------
    >>> believable({"a": 1e-9}, ["a"])
    {'a': 1e-09}
    >>> believable({"a": 0.0}, ["a"]), believable({"a": float("nan")}, ["a"]), believable({}, ["a"])
    (None, None, None)
    """
    if not isinstance(values, Mapping) or set(values) != set(names):
        return None
    numbers = {}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if not (isfinite(value) and LEAST <= value <= MOST):
            return None
        numbers[str(name)] = float(value)
    return numbers


def _path(what: str, key: Iterable[object]) -> Path | None:
    folder = cache_folder()
    text = " ".join(map(str, (processor(), platform.node(), *key)))
    return None if folder is None else folder / f"speed-{what}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def _read(path: Path, names: set[str]) -> dict[str, float] | None:
    try:
        return believable(json.loads(read_small(path, LONGEST)), names)
    except (OSError, ValueError, RecursionError):
        return None  # missing or invalid


def _keep(path: Path, values: dict[str, float], names: set[str]) -> dict[str, float]:
    """Write a file and return its values, unless another process was faster: then return those of its file."""
    partial = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("x") as file:
            json.dump(values, file, indent=1)
        earlier = _read(path, names)
        if earlier is not None:
            return earlier
        partial.replace(path)
        return _read(path, names) or values
    except OSError:
        return values  # not writable: the next process measures again
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@cache
def processor() -> str:
    """Return a text that identifies model and vector instructions of the processor."""
    with suppress(OSError):
        wanted = (
            "vendor_id",
            "cpu family",
            "model\t",
            "model name",
            "flags",
            "Features",
            "CPU implementer",
            "CPU part",
        )
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        lines = [line for line in first.splitlines() if line.startswith(wanted)]
        return " ".join([platform.machine(), *lines])
    return f"{platform.machine()} {platform.processor()}"


@cache
def versions(*packages: str) -> str:
    """Return the installed versions of packages."""
    found = []
    for name in packages:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


@cache
def digest(folder: Path) -> str:
    """Return a digest of the Python files in a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        with suppress(OSError):
            total.update(path.read_bytes())
    return total.hexdigest()[:16]
