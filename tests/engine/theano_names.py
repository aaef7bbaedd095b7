"""Arrays for the functions of `T`, and what these compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuromancer import engine as E

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 5))
Y = RNG.standard_normal((4, 5))
IMAGE = RNG.standard_normal((2, 3, 7, 9))
FILTERS = RNG.standard_normal((4, 3, 3, 3))


def values(build: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """Return what a symbolic function gives for arrays."""
    inputs = [E.tensor(f"x{k}", (None,) * a.ndim, a.dtype.name) for k, a in enumerate(arrays)]
    with E.building():
        outputs = build(*inputs)
    outputs = list(outputs) if isinstance(outputs, tuple) else outputs
    return E.function(inputs, outputs)(*arrays)
