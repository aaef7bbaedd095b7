"""Composed elementwise operations are taken apart, and computed like any others."""

from __future__ import annotations

import numpy as np
import pytest
from pytensor.scalar import basic as ps
from pytensor.tensor.elemwise import Elemwise

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.config import config

T = E.T
RNG = np.random.default_rng(0)


def operations(function: E.CompiledFunction) -> list[object]:
    """Return the scalar operations of the rewritten graph."""
    nodes = function.pytensor_function.maker.fgraph.toposort()
    return [getattr(node.op, "scalar_op", node.op) for node in nodes]


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("exponent", [3, 4, 5, 8, 11, -3, -4])
def test_whole_powers(exponent: int, backend: str):
    config.backend = backend
    x = E.tensor("x", (None, None), "float32")
    power = E.function([x], [x**exponent, E.grad((x**exponent).sum(), [x])[0]])
    assert not any(isinstance(op, ps.Composite) for op in operations(power))
    values = RNG.uniform(0.5, 2, (7, 9)).astype("float32")
    result, gradient = power(values)
    np.testing.assert_allclose(result, values.astype(float) ** exponent, rtol=1e-5)
    np.testing.assert_allclose(gradient, exponent * values.astype(float) ** (exponent - 1), rtol=1e-5)
    before = power.counters.downloads
    power(values)
    assert power.counters.downloads - before <= 2  # the results


def test_several_results_constants_and_nesting():
    a, b = ps.float32("a"), ps.float32("b")
    inner = ps.Composite([a], [ps.exp(a) + np.float32(2)])
    both = ps.Composite([a, b], [inner(a) * b, ps.identity(a), ps.constant(np.float32(3))])
    x, y = E.tensor("x", (None, 3), "float32"), E.tensor("y", (1, 3), "float32")
    with E.building():
        outputs = Elemwise(both)(x, y)
    f = E.function([x, y], outputs)
    assert not any(isinstance(op, ps.Composite) for op in operations(f))
    u, v = RNG.normal(size=(4, 3)).astype("float32"), RNG.normal(size=(1, 3)).astype("float32")
    results = f(u, v)
    np.testing.assert_allclose(results[0], (np.exp(u) + 2) * v, rtol=1e-5)
    np.testing.assert_array_equal(results[1], u)
    np.testing.assert_array_equal(results[2], np.full((4, 3), 3, "float32"))


def test_inside_of_loops():
    x = E.tensor("x", (None, None), "float32")
    totals = E.scan(lambda row, total: total + row**3, sequences=[x], initial=[x[0] * 0])
    values = RNG.normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(E.function([x], totals[-1])(values), (values**3).sum(0), rtol=1e-4)


def test_nodes_with_powers():
    node = nm.Input((None, 2, None, None), "b,f,y,x", print_repr=False)
    cubed = nm.ApplyFunc(node, lambda v: v**3 - 0.5 * v**7)
    values = RNG.normal(size=(1, 2, 8, 9)).astype("float32")
    np.testing.assert_allclose(cubed(values), values**3 - 0.5 * values**7, rtol=1e-4, atol=1e-5)
