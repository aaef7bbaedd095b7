"""Fixtures: sources, double precision, gradient checks."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E


@pytest.fixture
def source():
    """Return a function that creates a source: source("name", shape, tags, dtype)."""

    def make(name, shape, tags="b,f", dtype=None):
        return nm.Input(shape, tags, dtype=dtype, name=name, print_repr=False)

    return make


@pytest.fixture
def float64():
    """Build everything in double precision."""
    nm.config.floatX = "float64"


@pytest.fixture
def check_gradient():
    """Compare the gradient of sum(node * random) with central differences; check_gradient(node, arrays, wrt=[0])."""

    def check(node, arrays, wrt=(0,), step=1e-6, tolerance=1e-6):
        arrays = [np.asarray(a, "float64") for a in arrays]
        factors = np.random.default_rng(1).normal(size=np.shape(node(*arrays)))
        tensors = node.input_tensors
        with E.building():
            cost = (node.output * factors).sum()
            grads = E.grad(cost, [tensors[i] for i in wrt])
        found = E.function(tensors, grads)(*arrays)
        for i, grad in zip(wrt, found, strict=True):
            expected = np.zeros_like(arrays[i])
            for index in np.ndindex(*arrays[i].shape):
                values = []
                for sign in (1, -1):
                    moved = [a.copy() for a in arrays]
                    moved[i][index] += sign * step
                    values.append((node(*moved) * factors).sum())
                expected[index] = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(grad, expected, rtol=tolerance, atol=tolerance * max(1, abs(expected).max()))

    return check


@pytest.fixture
def gradient():
    """Return the gradient of a node's mean with respect to one source: gradient(node, arrays, wrt=0)."""
    functions = {}

    def compute(node, arrays, wrt=0):
        tensors = node.input_tensors
        if (node, wrt) not in functions:
            with E.building():
                (grad,) = E.grad(E.T.mean(node.output), [tensors[wrt]])
            functions[node, wrt] = E.function(tensors, grad)
        return functions[node, wrt](*[np.asarray(a, t.dtype) for a, t in zip(arrays, tensors, strict=True)])

    return compute
