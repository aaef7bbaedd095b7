"""Activation functions: values, gradients, maxout, names."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.nodes.activation import NAMES, OVER_FEATURES, ActivationFunction
from neuromancer.nodes.elementwise import FAMILIES, FUNCTIONS
from tests.nodes.layers import check_gradients, per_feature, random, randomise, registered, source

X = np.array([[-30.0, -2.0, -0.5, 0.0, 0.25, 1.0, 3.0, 30.0]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def rectify(x, slope):
    return np.where(x > 0, x, slope * x)


def gelu(x):
    return x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2


def silu(x):
    return x * sigmoid(x)


def mish(x):
    return x * np.tanh(softplus(x))


def hardsigmoid(x):
    return np.clip(x / 6 + 0.5, 0, 1)


def log_softmax(x, axis):
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


EXPECTED = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "elu": elu,
    "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "leaky_relu": lambda x: rectify(x, 0.01),
    "relu6": lambda x: np.clip(x, 0, 6),
    "gelu": gelu,
    "gelu tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": silu,
    "swish": silu,
    "mish": mish,
    "hardswish": lambda x: x * hardsigmoid(x),
    "abs": np.abs,
    "sig": sigmoid,
    "logistic": sigmoid,
    "sigmoid": sigmoid,
    "logsigmoid": lambda x: -softplus(-x),
    "hardsigmoid": hardsigmoid,
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "softsign": lambda x: x / (1 + abs(x)),
    "soft+": softplus,
    "softplus": softplus,
    "lin": lambda x: x,
    "linear": lambda x: x,
    "concentration": lambda x: 7 * softplus(x) + 2,
    "radius": lambda x: 3 + 15 * np.exp(0.15 * x),
}
NUMBERED = {
    "leaky_relu 0.3": lambda x: rectify(x, 0.3),
    "leaky_relu 0": lambda x: rectify(x, 0.0),
    "leaky_relu -2": lambda x: rectify(x, -2.0),
    "leaky_relu 1.5e0": lambda x: rectify(x, 1.5),
    "elu 1.7": lambda x: elu(x, 1.7),
    "elu 1": elu,
    "soft+ 2.5": lambda x: softplus(2.5 * x) / 2.5,
    "softplus 0.1": lambda x: softplus(0.1 * x) / 0.1,
    "hardtanh 0.1 4": lambda x: np.clip(x, 0.1, 4),
    "hardtanh  -2  -0.2": lambda x: np.clip(x, -2, -0.2),
}
ALL = {**EXPECTED, **NUMBERED}


def layer(name, n_f=8, **kwargs):
    defaults = {"w": np.eye(8), "b": np.zeros(8)}
    return nm.Perceptron(source((1, 8)), n_f, name, print_repr=False, **{**defaults, **kwargs})


def test_every_function_is_covered():
    assert set(EXPECTED) == set(FUNCTIONS)
    assert {name.split()[0] for name in NUMBERED} == set(FAMILIES)
    assert {*FUNCTIONS, *OVER_FEATURES, "maxout <r>"} < set(NAMES)
    assert {"leaky_relu <slope>", "hardtanh <low> <high>"} < set(NAMES)


@pytest.mark.parametrize("name", ALL)
def test_values(name):
    np.testing.assert_allclose(layer(name)(X), ALL[name](X), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_values_and_gradients_in_double_precision(name):
    nm.config.floatX = "float64"
    node = layer(name)
    assert node(X).dtype == "float64"
    np.testing.assert_allclose(node(X), ALL[name](X), rtol=1e-14, atol=1e-14)
    check_gradients(node)


@pytest.mark.parametrize("name", [*ALL, "prelu", "prelu shared"])
def test_values_and_gradients_are_finite_far_from_zero(name):
    far = np.float32([[-1e4, -100, -1e-30, 0, 1e-30, 100, 700, 1e4]])
    if name == "radius":  # exponential
        far = np.minimum(far, 100)
    node = layer(name, b=None)
    node.params["b"].set_value(np.zeros_like(node.params["b"].get_value()))
    gradients = E.grad(node.output.sum(), [*node.input_tensors, *node.all_trainable_params.values()])
    for value in nm.make_func(node.input_tensors, [node.output, *gradients])(far):
        assert np.isfinite(value).all(), value


@pytest.mark.parametrize(
    ("name", "at_zero"), [("relu", 0), ("leaky_relu 0.3", 0.3), ("elu 1.7", 1.7), ("softsign", 1), ("gelu", 0.5)]
)
def test_gradients_at_zero(name, at_zero):
    node = nm.Activation(source((1, 2)), name, print_repr=False)
    gradient = nm.make_func(node.input_tensors, E.grad(node.output.sum(), node.input_tensors))
    np.testing.assert_allclose(gradient(np.zeros((1, 2), "float32"))[0], [[at_zero] * 2], rtol=1e-6)


def test_large_arguments_stay_finite():
    for name in ALL:
        values = layer(name)(np.full((1, 8), -1e4))
        assert np.isfinite(values).all(), name


def test_prelu_has_a_slope_per_feature():
    nm.config.floatX = "float64"
    b = np.stack([np.linspace(-1, 1, 8), np.linspace(0.1, 2, 8)], axis=1)
    node = layer("prelu", b=b)
    linear = X + b[:, 0]
    np.testing.assert_allclose(node(X), np.maximum(linear, 0) + b[:, 1] * np.minimum(linear, 0))
    check_gradients(node)


def test_one_prelu_slope_for_all_features():
    nm.config.floatX = "float64"
    node = layer("prelu shared", b=np.linspace(-1, 1, 8))
    assert list(node.params) == ["w", "b", "slope"] and node.slope is node.params["slope"]
    assert node.slope.get_value().tolist() == [0.25] and node.slope.apply_train and not node.slope.apply_reg
    node.slope.set_value(np.array([0.7]))
    np.testing.assert_allclose(node(X), rectify(X + np.linspace(-1, 1, 8), 0.7))
    check_gradients(node)


@pytest.mark.parametrize("tags", ["b,f,y,x", "b,y,f,x", "b,y,x,f"])
@pytest.mark.parametrize("name", OVER_FEATURES)
def test_functions_of_features_in_any_layout(name, tags):
    nm.config.floatX = "float64"
    axis = tags.split(",").index("f")
    shape = [2, 3, 3, 3]
    node = nm.Perceptron(source(shape, tags), 4, name, print_repr=False)
    randomise(node)
    x, values = random(*shape), node.get_param_values()
    bias, slope = (values["b"].T[0], values["b"].T[1]) if name == "prelu" else (values["b"], values.get("slope"))
    linear = np.moveaxis(np.moveaxis(x, axis, -1) @ values["w"] + bias, -1, axis)
    if name == "log_softmax":
        want = log_softmax(linear, axis)
    else:
        want = rectify(linear, slope if name == "prelu shared" else per_feature(slope, 4, axis))
    np.testing.assert_allclose(node(x), want, rtol=1e-10, atol=1e-12)
    check_gradients(node)


@pytest.mark.parametrize("name", [*ALL, *OVER_FEATURES, "maxout 2"])
def test_every_layer_takes_every_name(name, tmp_path):
    inp = source((1, 2, 6, 6), name="raw")
    out = nm.Conv(inp, 4, (3, 3), activation_func=name, name="conv", print_repr=False)
    out = nm.ConvTranspose(out, 2, (2, 2), 2, activation_func=name, name="transposed", print_repr=False)
    out = nm.UpConv(out, 2, (2, 2), activation_func=name, identity_init=False, name="up", print_repr=False)
    out = nm.Perceptron(out, 2, name, name="dense", print_repr=False)
    randomise(out, scale=0.05)  # radius grows exponentially
    x = random(1, 2, 6, 6).astype("float32")
    want = out(x)
    assert np.isfinite(want).all() and repr(name) in repr(out)
    nm.model_manager.current.save(tmp_path / "model.h5")
    loaded = nm.modelload(tmp_path / "model.h5")["dense"]
    assert loaded.activation == out.activation
    np.testing.assert_array_equal(loaded(x), want)


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
        ("leaky_relu 0.2", {"mode": "const", "scale": 1 / 6}),
        ("prelu shared", {"mode": "const", "scale": 1 / 6}),
        ("gelu tanh", {"mode": "const", "scale": 1 / 6}),
        ("hardtanh 0 1", {"mode": "fix-uni", "scale": 1e-6}),
        ("log_softmax", {"mode": "fix-uni", "scale": 1e-6}),
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
    assert ActivationFunction("maxout", 1).outputs(5) == 5


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
        ("maxout 2 2", ArgumentError, "maxout needs a group size"),
        ("maxout \u0663", ArgumentError, "maxout needs a group size"),
        ("maxout " + "9" * 5000, ArgumentError, "maxout needs a group size"),
        ("", ArgumentError, "unknown activation function"),
        (" ", ArgumentError, "unknown activation function"),
        (" elu", ArgumentError, "unknown activation function; .* nearest valid: elu"),
        ("relu 2", ArgumentError, "unknown activation function; got relu 2; .* nearest valid: relu"),
        (
            "leaky_relu x",
            ArgumentError,
            "the numbers after leaky_relu do not fit; got leaky_relu x; "
            "expected 'leaky_relu <slope>', finite in float32; nearest valid: 'leaky_relu 0.01'",
        ),
        ("leaky_relu nan", ArgumentError, "do not fit"),
        ("leaky_relu 0.1 0.2", ArgumentError, "do not fit"),
        ("elu -inf", ArgumentError, "do not fit"),
        ("elu 1e39", ArgumentError, "finite in float32; nearest valid: 'elu 1'"),
        ("soft+ 0", ArgumentError, "with beta > 0, and 1 / beta finite; nearest valid: 'soft. 1'"),
        ("softplus 1e-39", ArgumentError, "with beta > 0, and 1 / beta finite"),
        ("hardtanh 2", ArgumentError, "expected 'hardtanh <low> <high>', .*nearest valid: 'hardtanh -1 1'"),
        ("hardtanh 2 2", ArgumentError, "with low < high"),
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
