"""BoundaryLoss against NumPy, its gradient, bad inputs, files."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

QUIET = {"print_repr": False}
RNG = np.random.default_rng(0)


@pytest.fixture
def loss(source):
    probs = nm.Softmax(source("raw", (2, 3, 4), "b,f,x"), **QUIET)
    return nm.BoundaryLoss(probs, nm.Input_like(probs, name="distance", **QUIET), name="boundary", **QUIET)


def test_values_and_gradient(float64, source, check_gradient):
    probs = nm.Softmax(source("raw", (2, 3, 4), "b,f,x"), **QUIET)
    node = nm.BoundaryLoss(probs, nm.Input_like(probs, name="distance", **QUIET), **QUIET)
    x, d = RNG.normal(size=(2, 2, 3, 4))
    np.testing.assert_allclose(node(x, d), (probs(x) * d).mean(1, keepdims=True))
    assert node.shape.shape == [2, 1, 4]
    check_gradient(node, [x, d])


def test_lower_inside_the_true_region(loss):
    labels = np.array([0, 1, 1, 2])
    distance = np.broadcast_to(nm.signed_distance(labels, 3), (2, 3, 4))
    right = 20.0 * (labels == np.arange(3)[:, None])
    wrong = np.roll(right, 1, 0)
    assert loss(np.stack([right] * 2), distance).mean() < loss(np.stack([wrong] * 2), distance).mean()


def test_bad_inputs(loss, source):
    probs = loss.pred
    with pytest.raises(ShapeError, match="the distance 'labels' does not fit"):
        nm.BoundaryLoss(probs, source("labels", (2, 1, 4), "b,f,x"), **QUIET)
    with pytest.raises(InputTypeError, match="the distance must be a node"):
        nm.BoundaryLoss(probs, np.ones((2, 3, 4)), **QUIET)
    with pytest.raises(ArgumentError, match="the distance has values that are not finite"):
        loss(np.zeros((2, 3, 4)), np.full((2, 3, 4), np.inf))


def test_saved_and_loaded(fresh_model, loss, tmp_path):
    x, d = RNG.normal(size=(2, 2, 3, 4)).astype("float32")
    expected = loss(x, d)
    fresh_model.save(tmp_path / "a.h5")
    np.testing.assert_array_equal(nm.modelload(tmp_path / "a.h5")["boundary"](x, d), expected)
