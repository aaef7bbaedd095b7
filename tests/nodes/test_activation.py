"""Activation functions: values, gradients, maxout, names."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.nodes.activation import FUNCTIONS, NAMES, Activation
from tests.nodes.layers import check_gradients, random, randomise, registered, source

X = np.array([[-30.0, -2.0, -0.5, 0.0, 0.25, 1.0, 3.0, 30.0]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


EXPECTED = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": elu,
    "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "abs": np.abs,
    "sig": sigmoid,
    "logistic": sigmoid,
    "sigmoid": sigmoid,
    "soft+": softplus,
    "lin": lambda x: x,
    "linear": lambda x: x,
    "concentration": lambda x: 7 * softplus(x) + 2,
    "radius": lambda x: 3 + 15 * np.exp(0.15 * x),
}


def layer(name, n_f=8, **kwargs):
    defaults = {"w": np.eye(8), "b": np.zeros(8)}
    return nm.Perceptron(source((1, 8)), n_f, name, print_repr=False, **{**defaults, **kwargs})


def test_every_function_is_covered():
    assert set(EXPECTED) == set(FUNCTIONS)
    assert set(NAMES) == {*FUNCTIONS, "prelu", "maxout <r>"}


@pytest.mark.parametrize("name", EXPECTED)
def test_values(name):
    np.testing.assert_allclose(layer(name)(X), EXPECTED[name](X), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", EXPECTED)
def test_values_and_gradients_in_double_precision(name):
    nm.config.floatX = "float64"
    node = layer(name)
    assert node(X).dtype == "float64"
    np.testing.assert_allclose(node(X), EXPECTED[name](X), rtol=1e-14, atol=1e-14)
    check_gradients(node)


def test_large_arguments_stay_finite():
    for name in EXPECTED:
        values = layer(name)(np.full((1, 8), -1e4))
        assert np.isfinite(values).all(), name


def test_prelu_has_a_slope_per_feature():
    nm.config.floatX = "float64"
    b = np.stack([np.linspace(-1, 1, 8), np.linspace(0.1, 2, 8)], axis=1)
    node = layer("prelu", b=b)
    linear = X + b[:, 0]
    np.testing.assert_allclose(node(X), np.maximum(linear, 0) + b[:, 1] * np.minimum(linear, 0))
    check_gradients(node)


@pytest.mark.parametrize("tags", ["b,f,y,x", "b,y,f,x", "b,y,x,f"])
def test_maxout_takes_the_greatest_of_neighbouring_features(tags):
    nm.config.floatX = "float64"
    axis = tags.split(",").index("f")
    shape = [2, 3, 3, 3]
    node = nm.Perceptron(source(shape, tags), 12, "maxout 3", print_repr=False)
    randomise(node)
    x, values = random(*shape), node.get_param_values()
    linear = np.moveaxis(np.moveaxis(x, axis, -1) @ values["w"] + values["b"], -1, 0)
    want = np.maximum.reduce([linear[0::3], linear[1::3], linear[2::3]])
    assert node.shape["f"] == 4
    assert values["w"].shape == (3, 12) and values["b"].shape == (12,)
    np.testing.assert_allclose(node(x), np.moveaxis(want, 0, axis))
    check_gradients(node)


def test_maxout_in_convolutions():
    inp = source((1, 2, 7, 7))
    conv = nm.Conv(inp, 6, (2, 2), (2, 2), activation_func="maxout 2", print_repr=False)
    up = nm.UpConv(conv, 4, (2, 2), activation_func="maxout 4", identity_init=False, print_repr=False)
    assert conv.shape["f"] == 3 and up.shape["f"] == 1
    assert conv(random(1, 2, 7, 7).astype("float32")).shape == (1, 3, 3, 3)
    assert up(random(1, 2, 7, 7).astype("float32")).shape == (1, 1, 6, 6)


@pytest.mark.parametrize(
    ("name", "init"),
    [
        ("relu", {"mode": "const", "scale": 1 / 6}),
        ("maxout 2", {"mode": "const", "scale": 1 / 6}),
        ("sigmoid", {"mode": "const", "scale": 0.5}),
        ("prelu", {"mode": "prelu", "scale": 1 / 6}),
        ("sig", {"mode": "fix-uni", "scale": 1e-6}),
        ("tanh", {"mode": "fix-uni", "scale": 1e-6}),
    ],
)
def test_initial_bias(name, init):
    node = nm.Conv(source((1, 1, 5, 5)), 4, (2, 3), activation_func=name, print_repr=False)
    b = node.get_param_values()["b"]
    assert node.activation.bias_init(6) == init
    if init["mode"] == "const":
        np.testing.assert_allclose(b, np.full(4, init["scale"]), rtol=1e-6)
    elif init["mode"] == "prelu":
        np.testing.assert_allclose(b, [[1 / 6, 1.0]] * 4, rtol=1e-6)
    else:
        assert 0 < np.abs(b).max() <= 1e-6
    assert node.params["b"].apply_train and not node.params["b"].apply_reg


def test_group_of_one_is_no_change():
    assert Activation("maxout", 1).outputs(5) == 5


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "rleu",
            ArgumentError,
            r"Perceptron 'dot': unknown activation function; got rleu; expected one of \('relu', .*"
            r"'prelu', 'maxout <r>'\); nearest valid: relu",
        ),
        (None, ArgumentError, "unknown activation function; expected one of"),
        (
            "maxout",
            ArgumentError,
            "maxout needs a group size; got maxout; nearest valid: 'maxout 2'",
        ),
        ("maxout x", ArgumentError, "maxout needs a group size"),
        ("maxout 0", ArgumentError, "maxout needs a group size"),
        (
            "maxout 3",
            ShapeError,
            "cannot be divided into groups of 3; got n_f=8, activation_func='maxout 3'; "
            "expected n_f a multiple of 3; nearest valid: 6 or 9",
        ),
    ],
)
def test_bad_names(name, error, message):
    source((1, 8), name="first")
    before = registered()
    parent = nm.model_manager.current["first"]
    with pytest.raises(error, match=message):
        nm.Perceptron(parent, 8, name, print_repr=False)
    assert registered() == before
