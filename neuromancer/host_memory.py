"""Memory of the host that is free."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def available() -> int:
    """Return the bytes of memory that this process can still allocate, within its control group (job, container)."""
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
