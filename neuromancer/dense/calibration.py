"""Speed of this machine: one short benchmark per engine, device and precision, cached on disk."""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config

SHAPE, KERNEL = (1, 64, 20, 60, 60), (64, 64, 4, 4, 4)
"""A typical convolution that takes about ten milliseconds."""
RUNS = 5


def seconds_per_work() -> float:
    """Return the seconds per multiplication of a direct convolution, on the configured device in ``config.floatX``.

    Measured on the first call (half a second) and cached in the user's cache folder (``XDG_CACHE_HOME`` or
    ``~/.cache``) if it is writable.
    """
    path = cache_path()
    known = _load(path)
    key = machine_key()
    if key not in known:
        known[key] = measure()
        _store(path, known)
    return known[key]


def cache_path() -> Path | None:
    """Return the file of cached measurements; None if the user has no home directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):
        return (Path(base) if base else Path.home() / ".cache") / "neuromancer" / "speed.json"
    return None


def machine_key() -> str:
    """Return a text that identifies machine, engine, device and precision."""
    machine = platform.processor() or platform.machine()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    # a changed cost model assigns other work to the same convolution
    return f"{E.NAME} {platform.node()} {machine} {threads} {limit} {config.device} {config.floatX} {_work():.4g}"


def _work() -> float:
    """Work of the benchmark convolution."""
    return float(E.conv_cost(SHAPE, KERNEL, (1, 1, 1), config.floatX)[0])


measured: dict[str, float] = {}
"""Measurements of this process."""


def _load(path: Path | None) -> dict[str, float]:
    if path is None:
        return measured
    try:
        stored = json.loads(path.read_text())
        measured.update({str(k): float(v) for k, v in stored.items() if float(v) > 0})
    except (OSError, ValueError, AttributeError, TypeError):
        pass  # missing or invalid: measure again
    return measured


def _store(path: Path | None, values: dict[str, float]) -> None:
    if path is None:
        return
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(values, indent=1))
        partial.replace(path)
    except OSError:
        pass  # not writable: the next process measures again


def measure() -> float:
    """Run the benchmark."""
    with E.building():
        x = E.tensor("x", SHAPE, config.floatX)
        w = E.SharedVariable(np.ones(KERNEL, config.floatX), "w")
        function = E.function([x], E.conv(x, w).sum(), name="speed")
    image = np.ones(SHAPE, config.floatX)
    times = []
    function.expect(0.0)  # keep buffers between calls, as a prediction does
    try:
        for _ in range(RUNS + 1):
            start = time.perf_counter()
            function(image)
            times.append(time.perf_counter() - start)
    finally:
        function.release()
    return median(times[1:]) / _work()
