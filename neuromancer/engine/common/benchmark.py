"""Speed of an engine, device and dtype that no other cost model knows: one convolution and one sum of arrays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from neuromancer.engine.common.measurements import cached
from neuromancer.engine.unit_costs import UnitCosts

SHAPE, KERNEL = (1, 32, 16, 40, 40), (32, 32, 3, 3, 3)
"""A typical convolution."""
RUNS = 4
TYPICAL = UnitCosts(product=5e-11, transposed=1e-10, byte=5e-11, page=2e-10, step=1e-4, function=2e-9)
"""Until something is measured."""

_known: dict[tuple[str, ...], UnitCosts] = {}


def known_costs(key: tuple[str, ...]) -> UnitCosts:
    """Return what was measured earlier for an engine, device and dtype, or typical costs."""
    if key not in _known:
        found = cached(key[0], key, TYPICAL._fields, None)
        _known[key] = TYPICAL if found is None else UnitCosts(**found)
    return _known[key]


def measured_costs(key: tuple[str, ...], engine: Any, dtype: str) -> bool:
    """Measure these costs, if that was not done before; return whether they have changed."""
    before = known_costs(key)
    if before is not TYPICAL:
        return False
    found = cached(key[0], key, TYPICAL._fields, lambda: _measure(engine, dtype))
    _known[key] = UnitCosts(*TYPICAL) if found is None else UnitCosts(**found)
    return _known[key] != before


def _measure(engine: Any, dtype: str) -> dict[str, float]:
    with engine.building():
        x = engine.tensor("x", SHAPE, dtype)
        w = engine.SharedVariable(np.ones(KERNEL, dtype), "w")
        convolved = engine.conv(x, w)
        functions = {
            "product": engine.function([x], convolved.sum(), name="speed"),
            "byte": engine.function([x], (x + 1).sum(), name="speed"),
            "function": engine.function([x], engine.T.tanh(x).sum(), name="speed"),
            "step": engine.function([x], x[0, 0, 0, 0, 0] + 1, name="speed"),
        }
    image = np.ones(SHAPE, dtype)
    times = {name: _seconds(function, image) for name, function in functions.items()}
    products = np.prod(KERNEL) * np.prod([n - k + 1 for n, k in zip(SHAPE[2:], KERNEL[2:], strict=True)])
    summed = max(times["byte"] - times["step"], 1e-3 * times["byte"])
    product = max(times["product"] - times["step"], 1e-3 * times["product"]) / products
    byte = summed / (3 * image.nbytes)
    function = max(times["function"] - times["step"], 1e-3 * times["function"]) / image.size
    rest = {"byte": byte, "page": 4 * byte, "step": times["step"], "function": function}
    return {"product": product, "transposed": 2 * product, **rest}


def _seconds(function: Callable[..., Any], image: np.ndarray) -> float:
    """Return the least seconds of several calls."""
    best = float("inf")
    function.expect(0.0)  # type: ignore[attr-defined]  # keep buffers between calls, as a prediction does
    try:
        for k in range(RUNS + 1):
            start = time.perf_counter()
            function(image)
            best = min(best, time.perf_counter() - start) if k else best
    finally:
        function.release()  # type: ignore[attr-defined]
    return best
