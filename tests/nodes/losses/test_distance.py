"""EuclideanDistance and RampLoss against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
SHAPE = (4, 3, 2)
A, B = RNG.normal(size=(2, *SHAPE)).astype("float32")


@pytest.fixture
def pair(source):
    return source("a", SHAPE, "b,f,x"), source("b", SHAPE, "b,f,x")


def gradient(node, *arrays):
    with E.building():
        (grad,) = E.grad(node.output.sum(), [node.input_tensors[0]])
    return E.function(node.input_tensors, grad)(*arrays)


def test_distance(pair):
    node = nm.EuclideanDistance(*pair, print_repr=False)
    np.testing.assert_allclose(node(A, B), np.sqrt(((A - B) ** 2).sum(1, keepdims=True)), rtol=1e-5)
    assert node.shape.shape == [4, 1, 2]


def test_distance_zero_and_unknown_have_gradient_zero(pair):
    node = nm.EuclideanDistance(*pair, print_repr=False)
    b = B.copy()
    b[0] = A[0]
    b[1, 0, 0] = np.nan
    values = node(A, b)
    assert values[0].tolist() == [[0, 0]]
    assert values[1, 0, 0] == 0
    assert values[1, 0, 1] > 0
    found = gradient(node, A, b)
    assert np.isfinite(found).all()
    assert not found[0].any()
    assert not found[1, :, 0].any()


def test_distance_gradient(float64, source, check_gradient):
    node = nm.EuclideanDistance(source("p", SHAPE, "b,f,x"), source("q", SHAPE, "b,f,x"), print_repr=False)
    check_gradient(node, [A, B], wrt=(0, 1))


@pytest.mark.parametrize("margin", [None, 0.4])
def test_ramp(pair, margin):
    node = nm.RampLoss(*pair, print_repr=False, margin=margin)
    a = A.copy()
    a[2, 1, 1] = np.nan
    terms = np.maximum(np.nan_to_num(a - B + (margin or 0)), 0)
    terms[2, 1, 1] = 0
    np.testing.assert_allclose(node(a, B), terms.mean(1, keepdims=True), rtol=1e-5, atol=1e-7)
    assert np.isfinite(gradient(node, a, B)).all()
    assert list(node.params) == ([] if margin is None else ["margin"])


def test_ramp_gradient(float64, source, check_gradient):
    node = nm.RampLoss(source("p", SHAPE, "b,f,x"), source("q", SHAPE, "b,f,x"), print_repr=False, margin=0.2)
    check_gradient(node, [A, B], wrt=(0, 1))


def test_refusals(source, pair):
    other = source("other", (4, 2, 2), "b,f,x")
    with pytest.raises(ShapeError, match="the target 'other' does not fit 'a'"):
        nm.EuclideanDistance(pair[0], other, print_repr=False)
    with pytest.raises(ShapeError, match="the d_big 'other' does not fit 'a'"):
        nm.RampLoss(pair[0], other, print_repr=False)
    with pytest.raises(ArgumentError, match="margin must be a number"):
        nm.RampLoss(*pair, print_repr=False, margin=np.nan)
