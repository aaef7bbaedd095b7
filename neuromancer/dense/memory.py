"""Memory available for a prediction."""

from __future__ import annotations

import ctypes
import os
import re
from typing import Any

from neuromancer import engine as E
from neuromancer import host_memory
from neuromancer.casts import is_number
from neuromancer.errors import ArgumentError

SHARE = 2
"""Fraction (1/n) of free memory that an evaluation may use: volume, result and other programs need memory, too."""
LEAST, MOST = 64 << 20, 1 << 63
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def available() -> int:
    """Return the bytes of memory that an evaluation can still allocate, or reuse."""
    return host_memory.available() + E.kept_memory()


def memory_budget() -> int:
    """Return the default memory limit of an evaluation on the configured device, in bytes."""
    on_device = E.free_memory()
    return max(LEAST, available() // SHARE if on_device is None else int(on_device * 0.8))


def parse_bytes(memory: Any) -> float | None:
    """Parse an amount of memory: ``"4GB"``, ``"500 MiB"`` or a number of bytes.

    Raises
    ------
    ArgumentError

    Examples
    --------
    >>> parse_bytes("4GB"), parse_bytes("1.5 GiB"), parse_bytes(1000), parse_bytes(None)
    (4000000000.0, 1610612736.0, 1000.0, None)
    """
    if memory is None:
        return None
    number = memory if is_number(memory) else 0
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]|[kmg]i)?b?\s*", memory, re.IGNORECASE)
        number = float(found[1]) * UNITS[(found[2] or "").lower()] if found else 0
    if 0 < number <= MOST:
        return float(number)
    raise ArgumentError("not an amount of memory", where="memory", got=memory, expected="bytes, or text like '4GB'")


def return_free_memory() -> None:
    """Return memory that was freed to the system: what the engine keeps, and the C library if it offers that (glibc).

    The C library keeps some per thread, and passes over an image begin new threads, so that it would grow with each.
    """
    E.return_memory()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
