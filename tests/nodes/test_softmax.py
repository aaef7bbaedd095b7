"""Softmax: values, layouts, independent labels, extreme scores, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, NeuromancerError, ShapeError

RNG = np.random.default_rng(0)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def make(shape, tags, **kwargs):
    return nm.Softmax(nm.Input(shape, tags, print_repr=False), print_repr=False, **kwargs)


@pytest.mark.parametrize(
    ("shape", "tags"),
    [((2, 3), "b,f"), ((2, 3, 4), "b,f,x"), ((2, 3, 4, 5), "b,f,y,x"), ((2, 4, 3, 5, 2), "b,z,f,y,x")],
)
def test_values_in_every_layout(shape, tags):
    node = make(shape, tags)
    x = RNG.normal(size=shape).astype("float32")
    np.testing.assert_allclose(node(x), softmax(x, node.shape.tag2index("f")), rtol=1e-5)
    assert node.shape.shape == list(shape)
    assert (node.n_class, node.n_indep) == (3, 1)


def test_independent_labels_are_groups_of_neighbouring_features():
    node = make((2, 6, 3), "b,f,x", n_indep=2)
    x = RNG.normal(size=(2, 6, 3)).astype("float32")
    expected = softmax(x.reshape(2, 2, 3, 3), 2).reshape(2, 6, 3)
    np.testing.assert_allclose(node(x), expected, rtol=1e-5)
    assert node.n_class == 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_extreme_scores(dtype, scale):
    nm.config.floatX = dtype
    node = make((1, 3), "b,f")
    result = node(np.array([[scale, 0, -scale]], dtype))
    assert result.dtype == dtype
    assert result.tolist() == [[1, 0, 0]]


def test_costs_one_operation_per_element():
    assert make((3, 3, 6, 6), "b,f,y,x").computational_cost == 324


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (dict(n_class=4), ShapeError, "f=6; expected n_class * n_indep = 4 * 1 = 4"),
        (dict(n_indep=4), ShapeError, "a multiple of n_indep=4; nearest valid: f=8"),
        (dict(n_indep=0), ArgumentError, "n_indep must be a positive integer; got 0"),
        (dict(n_class="3"), ArgumentError, "n_class must be a positive integer; got 3"),
    ],
)
def test_refusals(fresh_model, kwargs, error, message):
    with pytest.raises(error) as caught:
        make((2, 6), "b,f", **kwargs)
    assert message in str(caught.value)
    assert "softmax" not in fresh_model


def test_needs_linear_scores():
    layer = nm.Perceptron(nm.Input((2, 3), "b,f", print_repr=False), 2, activation_func="relu", print_repr=False)
    with pytest.raises(ArgumentError, match=r"'relu' of 'dot'.*nearest valid: 'lin'"):
        nm.Softmax(layer, print_repr=False)


def test_accepts_a_linear_layer():
    layer = nm.Perceptron(nm.Input((2, 3), "b,f", print_repr=False), 2, activation_func="lin", print_repr=False)
    assert nm.Softmax(layer, print_repr=False).n_class == 2


def test_needs_an_axis_f():
    with pytest.raises(NeuromancerError, match="needs an axis tagged 'f'"):
        make((2, 3), "b,x")
