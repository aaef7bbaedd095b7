"""What the benchmarks share: paths, time and memory of this process, and the line that describes the machine."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
# A checkout that is not installed can be measured too.
sys.path[:0] = [str(ROOT), str(ROOT / "examples"), str(ROOT / "benchmarks")]

TOLERANCE = 1e-4
"""Largest difference of two results, relative to the largest value, at which they are taken to be the same."""


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference, relative to the largest value; infinite for results of different shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def seconds(value: float) -> str:
    """Return a time as text."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.0f} ms" if value >= 0.01 else f"{value * 1e3:.1f} ms"


def by_x(shape: Sequence[int]) -> str:
    """Return sizes as text, such as 24x188x188."""
    return "x".join(map(str, shape))


def child(*command: str, **environment: str) -> str:
    """Run Python in a process of its own; return what it printed."""
    env = os.environ | environment
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=env)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def peak_memory() -> float:
    """Largest resident memory of this process so far, in GB."""
    # Not from getrusage, which goes on from the peak of the process that started this one.
    return _status("VmHWM:")


def resident_memory() -> float:
    """Resident memory of this process, in GB."""
    return _status("VmRSS:")


def _status(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(key)) / 1e6


def machine() -> str:
    """Describe what the numbers were taken on."""
    import openvino
    import pytensor
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    return (
        f"{name}, {os.cpu_count()} cores ({torch.get_num_threads()} threads), {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, PyTensor {pytensor.__version__}, "
        f"OpenVINO {openvino.__version__.split('-')[0]}, "
        f"NumPy {np.__version__}; float32; {datetime.date.today().isoformat()}"
    )
