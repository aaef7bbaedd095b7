"""SobelizedLoss against NumPy derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.nodes.losses.sobel import sobel_kernels

RNG = np.random.default_rng(0)


def derivatives(x):
    """Compute smoothed derivatives (b, f * ndim, ...) of x (b, f, ...) with zero padding."""
    ndim = x.ndim - 2
    parts = []
    for f in range(x.shape[1]):
        for axis in range(ndim):
            y = x[:, f]
            for other in range(ndim):
                p = np.pad(y, [(0, 0)] + [(1, 1) if k == other else (0, 0) for k in range(ndim)])
                a, b, c = (np.take(p, range(s, s + y.shape[other + 1]), axis=other + 1) for s in range(3))
                y = c - a if other == axis else 0.3 * a + 0.4 * b + 0.3 * c
            parts.append(y)
    return np.stack(parts, axis=1)


@pytest.mark.parametrize(
    ("shape", "tags"), [((2, 1, 7), "b,f,x"), ((1, 2, 5, 6), "b,f,y,x"), ((1, 1, 4, 5, 6), "b,f,z,y,x")]
)
def test_values(source, fresh_model, shape, tags):
    node = nm.SobelizedLoss(source("p", shape, tags), source("t", shape, tags))
    p, t = RNG.normal(size=(2, *shape)).astype("float32")
    d = np.abs(derivatives(p) - derivatives(t))
    np.testing.assert_allclose(node(p, t), d.mean(1, keepdims=True) * d.size / (d.size + 1), rtol=1e-4, atol=1e-6)
    assert {"pred_sobel", "target_sobel"} <= set(fresh_model.nodes)
    assert not node.all_trainable_params


def test_kernels():
    kernels = sobel_kernels(2, 2)
    assert kernels.shape == (4, 2, 3, 3)
    np.testing.assert_allclose(kernels[0, 0], np.outer([1, 0, -1], [0.3, 0.4, 0.3]))
    np.testing.assert_allclose(kernels[3, 1], np.outer([0.3, 0.4, 0.3], [1, 0, -1]))
    assert not kernels[0, 1].any()


def test_loss_arguments_are_passed_on(source):
    node = nm.SobelizedLoss(source("p", (1, 1, 5), "b,f,x"), source("t", (1, 1, 5), "b,f,x"), loss_kwargs={"margin": 9})
    assert not node(np.ones((1, 1, 5)), np.zeros((1, 1, 5))).any()


def test_refusals_leave_nothing_behind(source, fresh_model):
    p, t = source("p", (1, 1, 5), "b,f,x"), source("t", (1, 1, 5), "b,f,x")
    with pytest.raises(ArgumentError, match=r"unknown loss_type; got squared; expected one of \['abs'\]"):
        nm.SobelizedLoss(p, t, "squared")
    with pytest.raises(ArgumentError, match="margin must be"):
        nm.SobelizedLoss(p, t, loss_kwargs={"margin": -1})
    with pytest.raises(ShapeError, match="the target 'u' does not fit 'p'"):
        nm.SobelizedLoss(p, source("u", (1, 1, 6), "b,f,x"))
    with pytest.raises(ShapeError, match="needs images"):
        nm.SobelizedLoss(source("v", (1, 1)), source("w", (1, 1)))
    assert list(fresh_model.nodes) == ["p", "t", "u", "v", "w"]
    assert not p.children
