"""Running one graph through torch and through OpenVINO's runner, whatever is in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytensor.graph.basic import Variable

from neuromancer import engine as E
from neuromancer.engine.pytensor.link.openvino import Runner

TOLERANCE = 1e-5


def runner_of(function: Any) -> Runner:
    """OpenVINO's runner of the graph of a compiled function."""
    return Runner(function.pytensor_function.maker.fgraph, len(function._inputs))


def by_openvino(inputs: list[Variable], outputs: list[Variable], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Values of the outputs."""
    function = E.function(inputs, outputs, backend="torch")
    return runner_of(function).run(arrays, [cell[0] for cell in function._cells])


def check(inputs: list[Variable], outputs: list[Variable], arrays: list[np.ndarray]) -> None:
    """Both give the same values to `TOLERANCE` of the largest magnitude, of the same shapes and dtypes."""
    expected = E.function(inputs, outputs, backend="torch")(*arrays)
    for result, want in zip(by_openvino(inputs, outputs, arrays), expected, strict=True):
        assert_same(result, want)


def assert_same(result: np.ndarray, want: np.ndarray) -> None:
    """Same values, shape and dtype."""
    assert result.dtype == want.dtype and result.shape == want.shape
    scale = max(float(np.abs(want).max(initial=0)), 1e-30) if want.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(result, want, rtol=0, atol=TOLERANCE * scale if want.dtype.kind == "f" else 0)
