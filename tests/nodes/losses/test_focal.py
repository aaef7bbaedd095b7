"""Focal against NumPy: labels, balance, extreme scores, gradients, bad inputs, files."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError

QUIET = {"print_repr": False}
RNG = np.random.default_rng(0)
SHAPE = (2, 3, 4)
RAW = 3 * RNG.normal(size=SHAPE)
LABELS = RNG.integers(-1, 3, (2, 1, 4))


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


@pytest.fixture
def net(float64, source):
    """Return a Softmax over 3 classes, and a source of sparse labels."""
    probs = nm.Softmax(source("raw", SHAPE, "b,f,x"), **QUIET)
    return probs, nm.Input_like(probs, override_f=1, name="labels", **QUIET)


@pytest.fixture
def sigmoid(source):
    """Return a function that creates a layer of 3 sigmoids of the scores (2, 3)."""

    def make(**kwargs):
        w = [np.eye(3, dtype="float32"), "const"]
        b = [np.zeros(3, "float32"), "const"]
        return nm.Perceptron(source("scores", (2, 3)), 3, "sig", w=w, b=b, **QUIET, **kwargs)

    return make


@pytest.mark.parametrize("gamma", [0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_softmax(net, gamma, alpha):
    node = nm.Focal(*net, gamma, alpha, target_is_sparse=True, class_weights=[1, 2, 3], **QUIET)
    log_p = np.take_along_axis(log_softmax(RAW), np.maximum(LABELS, 0), 1)
    balance = np.array([1, 2, 3.0]) if alpha is None else np.array([0.75, 0.25, 0.25]) * [1, 2, 3]
    losses = np.where(LABELS < 0, 0, -((1 - np.exp(log_p)) ** gamma) * log_p * balance[LABELS])
    known = LABELS >= 0
    np.testing.assert_allclose(node(RAW, LABELS), losses * known.size / known.sum(), rtol=1e-9, atol=1e-15)
    dense = nm.Focal(net[0], nm.Input_like(net[0], name="d", **QUIET), gamma, alpha, class_weights=[1, 2, 3], **QUIET)
    hot = (LABELS == np.arange(3)[:, None]).astype(float)
    np.testing.assert_allclose(dense(RAW, hot), node(RAW, LABELS), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gamma", [0, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_sigmoid(float64, source, sigmoid, gamma, alpha):
    node = nm.Focal(sigmoid(), source("t", (2, 3)), gamma, alpha, target_is_sparse=True, **QUIET)
    x, t = RAW[..., 0], np.array([[0, 1, -1], [1, 1, 0]])
    p = 1 / (1 + np.exp(-x))
    right = np.where(t == 1, p, 1 - p)
    balance = 1 if alpha is None else np.where(t == 1, alpha, 1 - alpha)
    losses = np.where(t < 0, 0, -((1 - right) ** gamma) * np.log(right) * balance)
    np.testing.assert_allclose(node(x, t), losses.sum(1, keepdims=True) * 6 / 5 / 3, rtol=1e-9)


def test_gamma_zero_is_the_cross_entropy(net):
    focal = nm.Focal(*net, 0, target_is_sparse=True, **QUIET)
    nll = nm.MultinoulliNLL(*net, True, eps=0, **QUIET)
    np.testing.assert_allclose(focal(RAW, LABELS), nll(RAW, LABELS), rtol=1e-5)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_gradient(float64, source, check_gradient, sigmoid, gamma):
    probs = nm.Softmax(source("raw", (2, 3, 2), "b,f,x"), **QUIET)
    node = nm.Focal(probs, source("labels", (2, 1, 2), "b,f,x"), gamma, 0.3, target_is_sparse=True, **QUIET)
    check_gradient(node, [RNG.normal(size=(2, 3, 2)), [[[0, 2]], [[1, -1]]]])
    node = nm.Focal(sigmoid(), source("t", (2, 3)), gamma, 0.3, **QUIET)
    check_gradient(node, [RAW[..., 0], [[0, 1, -1], [0.3, 1, 0]]])


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_extreme_scores(source, sigmoid, gradient, gamma):
    probs = nm.Softmax(source("raw", (2, 2)), **QUIET)
    soft = nm.Focal(probs, source("labels", (2, 1)), gamma, target_is_sparse=True, **QUIET)
    binary = nm.Focal(sigmoid(), source("t", (2, 3)), gamma, target_is_sparse=True, **QUIET)
    for score in (30, 100, 1e4):
        x = np.array([[score, -score], [score, -score]], "float32")
        np.testing.assert_allclose(soft(x, [[0], [1]]), [[0], [2 * score]], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(gradient(soft, [x, [[0], [1]]]), [[0, 0], [0.5, -0.5]], atol=1e-6)
        x, t = np.full((2, 3), score, "float32"), np.array([[0, 0, 0], [1, 1, 1]])
        np.testing.assert_allclose(binary(x, t), [[score], [0]], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(gradient(binary, [x, t])[0], 1 / 6, rtol=1e-5)


def test_nothing_labelled(net, gradient):
    node = nm.Focal(*net, target_is_sparse=True, **QUIET)
    assert not node(RAW, np.full_like(LABELS, -1)).any()
    assert not gradient(node, [RAW, np.full_like(LABELS, -1)]).any()


def test_a_sigmoid_with_dropout_has_bounded_penalties(source, sigmoid):
    node = nm.Focal(sigmoid(dropout_rate=0.5), source("t", (2, 3)), 0, target_is_sparse=True, **QUIET)
    x = np.full((2, 3), 100, "float32")
    np.testing.assert_allclose(node.infer(x, np.zeros((2, 3))), np.full((2, 1), -np.log(1e-5)), rtol=1e-3)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gamma": -1}, "gamma must be a number; got -1; expected >= 0"),
        ({"gamma": None}, "gamma must be a number"),
        ({"alpha": 2}, "alpha must lie between 0 and 1; got 2"),
        ({"alpha": -0.1}, "alpha must be a number"),
    ],
)
def test_bad_arguments(net, kwargs, message):
    with pytest.raises(ArgumentError, match=message):
        nm.Focal(*net, target_is_sparse=True, **kwargs, **QUIET)


def test_saved_and_loaded(fresh_model, net, tmp_path):
    node = nm.Focal(*net, target_is_sparse=True, class_weights=[1, 2, 3], name="loss", **QUIET)
    expected = node(RAW, LABELS)
    fresh_model.save(tmp_path / "a.h5")
    np.testing.assert_array_equal(nm.modelload(tmp_path / "a.h5")["loss"](RAW, LABELS), expected)
