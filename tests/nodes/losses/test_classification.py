"""OneHot, Classification and Errors against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)


# ---- OneHot
@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
def test_one_hot_codes_and_ignores(source, dtype):
    computed = nm.ApplyFunc(source("labels", (2, 1, 3), "b,f,x", dtype), lambda v: v * 1, print_repr=False)
    node = nm.OneHot(computed, 3, print_repr=False)
    labels = np.array([[[0, 2, 1]], [[1, 3, 200]]], dtype)  # would be refused as an input
    expected = np.stack([(labels[:, 0] == c) for c in range(3)], axis=1)
    result = node(labels)
    assert result.dtype == "float32"
    np.testing.assert_array_equal(result, expected)
    assert node.shape.shape == [2, 3, 3]


def test_one_hot_honours_the_axis(source):
    node = nm.OneHot(source("labels", (2, 4, 1), "b,f,x"), 3, axis="x", print_repr=False)
    labels = RNG.integers(0, 3, (2, 4, 1)).astype("float32")
    np.testing.assert_array_equal(node(labels), labels == np.arange(3))


def test_one_hot_needs_size_one(source):
    with pytest.raises(ShapeError, match="size 1 on axis 'f'"):
        nm.OneHot(source("labels", (2, 2)), 3, print_repr=False)
    with pytest.raises(ArgumentError, match="n_class must be a positive integer; got 0"):
        nm.OneHot(source("labels", (2, 1)), 0, print_repr=False)


# ---- Classification
def test_most_probable_class_of_every_label(source):
    probs = nm.Softmax(source("raw", (2, 6, 4), "b,f,x"), n_indep=2, print_repr=False)
    node = nm.Classification(probs, print_repr=False)
    x = RNG.normal(size=(2, 6, 4)).astype("float32")
    np.testing.assert_array_equal(node(x), x.reshape(2, 2, 3, 4).argmax(2))
    assert node.shape.shape == [2, 2, 4]


def test_sigmoid_is_compared_with_one_half(source):
    layer = nm.Perceptron(source("raw", (3, 4)), 2, activation_func="sig", print_repr=False)
    node = nm.Classification(layer, print_repr=False)
    x = RNG.normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(node(x), layer(x) > 0.5)


def test_scores_of_any_node_with_the_number_of_classes(source):
    node = nm.Classification(source("raw", (2, 6)), n_class=3, print_repr=False)
    x = RNG.normal(size=(2, 6)).astype("float32")
    np.testing.assert_array_equal(node(x), x.reshape(2, 2, 3).argmax(2))
    with pytest.raises(ArgumentError, match="cannot determine the number of classes; got Input 'raw"):
        nm.Classification(source("raw", (2, 6)), print_repr=False)


# ---- Errors
@pytest.fixture
def probs(source):
    return nm.Softmax(source("raw", (2, 3, 8), "b,f,x"), print_repr=False)


X = RNG.normal(size=(2, 3, 8)).astype("float32")


def test_sparse_error_rate_leaves_ignored_labels_out(source, probs, fresh_model):
    node = nm.Errors(probs, source("labels", (2, 1, 8), "b,f,x"), target_is_sparse=True, print_repr=False)
    y = RNG.integers(-2, 3, (2, 1, 8)).astype("float32")
    wrong = X.argmax(1)[:, None] != y
    assert float(node(X, y)) == pytest.approx(wrong[y >= 0].mean())
    assert float(node(X, np.full_like(y, -1))) == 0
    assert "cls for errors" in fresh_model
    assert [n.name for n in node.input_nodes] == ["raw", "labels"]
    assert (node.shape.shape, node.computational_cost) == ([1], 16)


def test_dense_error_rate_leaves_groups_of_zeros_out(source, probs):
    node = nm.Errors(probs, source("dense", (2, 3, 8), "b,f,x"), print_repr=False)
    labels = RNG.integers(-1, 3, (2, 8))
    t = (labels[:, None] == np.arange(3)[:, None]).astype("float32")
    wrong = X.argmax(1) != labels
    assert float(node(X, t)) == pytest.approx(wrong[labels >= 0].mean())


def test_error_rate_of_a_sigmoid(source):
    layer = nm.Perceptron(source("raw", (3, 4)), 2, activation_func="sig", print_repr=False)
    node = nm.Errors(layer, source("labels", (3, 2)), print_repr=False)
    x, y = RNG.normal(size=(3, 4)).astype("float32"), RNG.integers(0, 2, (3, 2)).astype("float32")
    assert float(node(x, y)) == pytest.approx(((layer(x) > 0.5) != y).mean())


def test_a_refused_error_node_leaves_nothing_behind(source, probs, fresh_model):
    before = list(fresh_model.nodes)
    target = source("labels", (2, 1, 7), "b,f,x")
    with pytest.raises(ShapeError, match="does not fit"):
        nm.Errors(probs, target, target_is_sparse=True, print_repr=False)
    assert list(fresh_model.nodes) == [*before, "labels"]
    assert not probs.children


def test_labels_that_are_no_classes(source, probs):
    node = nm.Errors(probs, source("labels", (2, 1, 8), "b,f,x"), target_is_sparse=True, print_repr=False)
    with pytest.raises(ArgumentError, match=r"got \[7.0\] \(2 of 3 labels\)"):
        node.check_labels(np.array([7.0, 7.0, -3.0]))
