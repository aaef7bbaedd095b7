"""Seconds that units of work take on this machine: what algorithms are chosen by, and plans predict times from.

An algorithm knows how many units of each kind a call takes (products, values copied, values transformed); see `Units`.
Seconds per unit are measured once per machine before a large prediction or layer (`require`), and kept in the user's
cache folder. Until then, typical ones count, whose ratios are about right on processors with AVX2, AVX-512
or NEON: small networks never wait for a measurement.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from threading import RLock
from typing import Any

import torch

from neuromancer.engine.common.measurements import cached, digest, versions

logger = logging.getLogger("neuromancer")

Units = dict[str, Any]
"""Kind of work -> number of units; the kinds are those of `TYPICAL`."""

TYPICAL: dict[str, dict[str, float]] = {
    "basic": {
        # direct convolution by oneDNN, per product of whole vectors of output channels
        "direct": 20e-12,
        "direct_single": 36e-12,  # one input channel
        "direct_strided": 22e-12,
        "direct_grouped": 22e-12,
        "direct_depthwise": 27e-12,
        # matrix products, per product of whole vectors, and per value read or written
        "matrix": 20e-12,
        "matrix_value": 0.25e-9,
        # convolution along rows: per product, value copied to a buffer, value of the result, value transformed, and
        # value of the kernel transformed
        "row_product": 20e-12,
        "row_copy": 0.5e-9,
        "row_store": 0.27e-9,
        "row_transform": 0.13e-9,
        "row_kernel": 2.5e-9,
        # transposed convolution, per product
        "transposed": 80e-12,
        # per value converted to the channels-last memory format
        "reorder": 1.2e-9,
        # pointwise convolution of few channels, per value read or written
        "point_value": 0.25e-9,
        # other operations, per byte read or written, byte of new memory, and operation
        "byte": 35e-12,
        "page": 0.4e-9,
        "step": 40e-6,
        # exp, tanh and the like, per value
        "function": 2e-9,
    },
    # per product, value transformed, and value of the kernel transformed
    "winograd": {"winograd_product": 22e-12, "winograd_value": 0.22e-9, "winograd_kernel": 2.5e-9},
    # per real product, value of the kernel read, value transformed, value of the kernel transformed, and call
    "fourier": {
        "fourier_product": 19e-12,
        "fourier_read": 0.13e-9,
        "fourier_value": 0.75e-9,
        "fourier_kernel": 6e-9,
        "fourier_call": 0.3e-3,
    },
}
"""Typical seconds per unit with one thread, in groups that are measured together."""
SERIAL = ("step", "fourier_call")
"""Kinds that further threads do not shorten."""
PACKAGES = ("torch", "llvmlite", "numpy")


class Speed:
    """Seconds per unit of work.

    Parameters
    ----------
    measured : mapping of str to mapping, optional
        Group -> seconds per unit; all others are typical ones, scaled by what was measured.
    threads : int
    """

    def __init__(self, measured: Mapping[str, Mapping[str, float]] = {}, threads: int = 1) -> None:
        self.measured, self.threads = dict(measured), threads
        own = self.measured.get("basic", {}).get("direct")
        scale = 1 / threads if own is None else own / TYPICAL["basic"]["direct"]
        self.per_unit: dict[str, float] = {}
        for group, typical in TYPICAL.items():
            usual = {k: v * (scale * threads if k in SERIAL else scale) for k, v in typical.items()}
            self.per_unit |= self.measured.get(group, usual)

    def seconds(self, units: Units) -> float:
        """Return the seconds that work takes."""
        return sum(self.per_unit[kind] * number for kind, number in units.items())


_known: dict[int, Speed] = {}
"""Number of threads -> what is known so far; replaced as a whole."""
_lock = RLock()


def current() -> Speed:
    """Return the speed of this machine as far as it is known, with torch's number of threads."""
    threads = torch.get_num_threads()
    if threads not in _known:
        with _lock:
            if threads not in _known:
                found = {group: cached(group, _key(threads), TYPICAL[group], None) for group in TYPICAL}
                _known[threads] = Speed({k: v for k, v in found.items() if v is not None}, threads)
    return _known[threads]


def require(group: str = "basic") -> Speed:
    """Return the same, with the numbers of a group measured."""
    speed = current()
    if group in speed.measured:
        return speed
    with _lock:
        speed = current()  # another thread may have been faster
        if group not in speed.measured:
            start = time.perf_counter()
            measure = import_module("neuromancer.engine.pytensor.kernels.measuring").measure
            found = cached(group, _key(speed.threads), TYPICAL[group], lambda: measure(group, speed.threads))
            if found is None:
                logger.warning("the speed of this machine could not be measured; typical numbers are used")
            known = speed.measured | {group: found or {k: speed.per_unit[k] for k in TYPICAL[group]}}
            speed = _known[speed.threads] = Speed(known, speed.threads)
            logger.info("measured the speed of this machine (%s) in %.1f s", group, time.perf_counter() - start)
    return speed


def _key(threads: int) -> tuple[object, ...]:
    """Return what measurements depend on, besides the processor."""
    return threads, versions(*PACKAGES), digest(Path(__file__).parent)
