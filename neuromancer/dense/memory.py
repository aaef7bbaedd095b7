"""How much memory there is for a prediction."""

from __future__ import annotations

from pathlib import Path

import psutil

from neuromancer import engine as E

SHARE = 3
"""An evaluation may use one part in so many of what is free: the volume, the result and others need memory too."""
LEAST = 64 << 20
CGROUP = Path("/sys/fs/cgroup")


def available() -> int:
    """Bytes of memory that this process can still get, within the limits of its control group (a job, a container)."""
    free = int(psutil.virtual_memory().available)
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit, used = ((CGROUP / name).read_text().strip() for name in (limit_file, used_file))
        except OSError:
            continue
        if limit.isdecimal() and used.isdecimal():
            free = min(free, int(limit) - int(used))
    return max(0, free)


def memory_budget() -> int:
    """Bytes that an evaluation may use on the configured device if nothing else is said."""
    on_device = E.free_memory()
    return max(LEAST, available() // SHARE if on_device is None else int(on_device * 0.8))
