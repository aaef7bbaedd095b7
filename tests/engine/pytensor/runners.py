"""Runs of one graph on torch and, without the accelerator's checks, on OpenVINO."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytensor.graph.basic import Variable

from neuromancer import engine as E
from neuromancer.engine.pytensor.link.openvino import Runner

TOLERANCE = 1e-5


def runner_of(function: Any) -> Runner:
    """OpenVINO's runner for the graph of a compiled function."""
    return Runner(function.pytensor_function.maker.fgraph, len(function.inputs))


def by_openvino(inputs: list[Variable], outputs: list[Variable], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Compute the outputs on OpenVINO."""
    function = E.function(inputs, outputs, backend="torch")
    return runner_of(function).run(arrays, function.shared_values)


def check(inputs: list[Variable], outputs: list[Variable], arrays: list[np.ndarray]) -> None:
    """Assert that both agree in shape, dtype and, to `TOLERANCE` of the largest magnitude, in value."""
    expected = E.function(inputs, outputs, backend="torch")(*arrays)
    for result, want in zip(by_openvino(inputs, outputs, arrays), expected, strict=True):
        assert_same(result, want)


def assert_same(result: np.ndarray, want: np.ndarray) -> None:
    """Assert equal shapes and dtypes, and equal values to `TOLERANCE`."""
    assert result.dtype == want.dtype and result.shape == want.shape
    scale = max(float(np.abs(want).max(initial=0)), 1e-30) if want.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(result, want, rtol=0, atol=TOLERANCE * scale if want.dtype.kind == "f" else 0)
