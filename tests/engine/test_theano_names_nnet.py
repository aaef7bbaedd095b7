"""The functions of ``theano.tensor.nnet``, under `T.nnet`, compute what NumPy and SciPy do, on both engines."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from neuromancer import engine as E
from tests.engine.theano_names import IMAGE, RNG, X, values

T = E.T
CLASSES = np.array([0, 2, 1, 4])


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


NNET = {
    "sigmoid": (T.nnet.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "hard_sigmoid": (T.nnet.hard_sigmoid, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    "softplus": (T.nnet.softplus, softplus),
    "softsign": (T.nnet.softsign, lambda x: x / (1 + np.abs(x))),
    "relu": (T.nnet.relu, lambda x: np.maximum(x, 0)),
    "leaky relu": (lambda x: T.nnet.relu(x, 0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
    "relu of a tensor": (lambda x: T.nnet.relu(x, x[0]), lambda x: np.where(x > 0, x, x[0] * x)),
    "elu": (T.nnet.elu, lambda x: np.where(x > 0, x, np.expm1(x))),
    "elu of 2": (lambda x: T.nnet.elu(x, 2), lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
    "selu": (T.nnet.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    "softmax": (T.nnet.softmax, lambda x: scipy.special.softmax(x, 1)),
    "softmax of a vector": (lambda x: T.nnet.softmax(x[0]), lambda x: scipy.special.softmax(x[:1], 1)),
    "logsoftmax": (T.nnet.logsoftmax, lambda x: scipy.special.log_softmax(x, 1)),
    "softmax_with_bias": (lambda x: T.nnet.softmax_with_bias(x, x[0]), lambda x: scipy.special.softmax(x + x[0], 1)),
    "binary_crossentropy": (
        lambda x: T.nnet.binary_crossentropy(T.nnet.sigmoid(x), 0.3),
        lambda x: softplus(x) - 0.3 * x,
    ),
    "sigmoid_binary_crossentropy": (
        lambda x: T.nnet.sigmoid_binary_crossentropy(x, 0.3 + 0 * x),
        lambda x: softplus(x) - 0.3 * x,
    ),
    "categorical_crossentropy": (
        lambda x: T.nnet.categorical_crossentropy(T.nnet.softmax(x), T.nnet.softmax(2 * x)),
        lambda x: -(scipy.special.softmax(2 * x, 1) * scipy.special.log_softmax(x, 1)).sum(1),
    ),
    "categorical_crossentropy of classes": (
        lambda x: T.nnet.categorical_crossentropy(T.nnet.softmax(x), CLASSES),
        lambda x: -scipy.special.log_softmax(x, 1)[np.arange(4), CLASSES],
    ),
    "crossentropy_categorical_1hot": (
        lambda x: T.nnet.crossentropy_categorical_1hot(T.nnet.softmax(x), CLASSES),
        lambda x: -scipy.special.log_softmax(x, 1)[np.arange(4), CLASSES],
    ),
    "crossentropy_softmax_1hot": (
        lambda x: T.nnet.crossentropy_softmax_1hot(x, CLASSES)[0],
        lambda x: -scipy.special.log_softmax(x, 1)[np.arange(4), CLASSES],
    ),
    "crossentropy_softmax_argmax_1hot_with_bias": (
        lambda x: T.nnet.crossentropy_softmax_argmax_1hot_with_bias(x, x[0], CLASSES)[2],
        lambda x: (x + x[0]).argmax(1),
    ),
    "crossentropy_softmax_max_and_argmax_1hot": (
        lambda x: T.nnet.crossentropy_softmax_max_and_argmax_1hot(x, CLASSES)[2],
        lambda x: scipy.special.softmax(x, 1).max(1),
    ),
    "batch_normalization": (
        lambda x: T.nnet.batch_normalization(x, x[0], x[1], x.mean(0), x.std(0)),
        lambda x: (x - x.mean(0)) / x.std(0) * x[0] + x[1],
    ),
    "batch_normalization_test": (
        lambda x: T.nnet.bn.batch_normalization_test(x, x[0], x[1], x.mean(0), x.var(0)),
        lambda x: (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-4) * x[0] + x[1],
    ),
}


@pytest.mark.parametrize("name", NNET)
def test_nnet(name):
    build, expected = NNET[name]
    np.testing.assert_allclose(values(build, X), expected(X), rtol=1e-6, atol=1e-9)


def test_nnet_far_from_zero():
    x = np.array([[-800.0, -30.0, 0.0, 30.0, 800.0]])
    loss = values(lambda v: T.nnet.sigmoid_binary_crossentropy(v, T.ones_like(v)), x)
    np.testing.assert_allclose(loss, softplus(x) - x, atol=1e-12)
    assert np.isfinite(values(T.nnet.logsoftmax, x)).all() and np.isfinite(values(T.nnet.softplus, x)).all()
    assert np.abs(values(T.nnet.ultra_fast_sigmoid, x) - values(T.nnet.sigmoid, x)).max() < 0.02


def test_gradients_of_nnet():
    """Central differences, away from 0, where relu has a corner."""
    x = np.array([[-2.0, -0.7, 0.3, 1.9, 2.4]])
    for name in ("sigmoid", "softplus", "relu", "elu", "selu", "softsign", "softmax", "logsoftmax"):
        function = getattr(T.nnet, name)
        weights = np.arange(5.0)
        found = values(lambda v, f=function, w=weights: T.grad((f(v) * w).sum(), v), x)
        h = 1e-6 * np.eye(5)[:, None]
        forward, backward = (values(lambda v, f=function: f(v), (x + s * h)[:, 0]) @ weights for s in (1, -1))
        np.testing.assert_allclose(found[0], (forward - backward) / 2e-6, rtol=1e-5, atol=1e-8)


def test_batch_normalization_train():
    build = T.nnet.bn.batch_normalization_train
    out, mean, inverse, running_mean, running_var = values(
        lambda x, g: build(x, g, g, "spatial", running_mean=g, running_var=g), IMAGE, np.arange(1.0, 4.0)
    )
    g, axes = np.arange(1.0, 4.0), (0, 2, 3)
    expected = (IMAGE - IMAGE.mean(axes, keepdims=True)) / np.sqrt(IMAGE.var(axes, keepdims=True) + 1e-4)
    np.testing.assert_allclose(out, expected * g[:, None, None] + g[:, None, None])
    np.testing.assert_allclose(mean, IMAGE.mean(axes))
    np.testing.assert_allclose(inverse, 1 / np.sqrt(IMAGE.var(axes) + 1e-4))
    np.testing.assert_allclose(running_mean, 0.9 * g + 0.1 * IMAGE.mean(axes))
    np.testing.assert_allclose(running_var, 0.9 * g + 0.1 * IMAGE.var(axes, ddof=1))
    assert values(lambda x: build(x, x[:1], x[:1], (0,))[1], IMAGE).shape == (1, 3, 7, 9)


def test_confusion_matrix():
    actual, predicted = np.array([0, 2, 2, 5]), np.array([0, 2, 5, 5])
    matrix, order = values(lambda a, b: tuple(T.nnet.confusion_matrix(a, b)), actual, predicted)
    assert order.tolist() == [0, 2, 5] and matrix.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_h_softmax():
    w1, b1, b2 = RNG.standard_normal((5, 2)), RNG.standard_normal(2), RNG.standard_normal((2, 3))
    w2, target = RNG.standard_normal((2, 5, 3)), np.array([0, 5, 3, 2])
    arguments = (4, 6, 2, 3, w1, b1, w2, b2)
    within = scipy.special.softmax(np.einsum("bi,cio->bco", X, w2) + b2, -1)
    expected = (scipy.special.softmax(X @ w1 + b1, 1)[..., None] * within).reshape(4, 6)
    np.testing.assert_allclose(values(lambda x: T.nnet.h_softmax(x, *arguments), X), expected)
    found = values(lambda x, t: T.nnet.h_softmax(x, *arguments, t), X, target)
    np.testing.assert_allclose(found, expected[np.arange(4), target])


@pytest.mark.parametrize("name", ["softmax", "logsoftmax"])
def test_softmax_is_along_the_last_axis(name):
    expected = {"softmax": scipy.special.softmax, "logsoftmax": scipy.special.log_softmax}[name]
    for x in (X, IMAGE[0], IMAGE):
        np.testing.assert_allclose(values(getattr(T.nnet, name), x), expected(x, -1), rtol=1e-6)
    assert values(getattr(T.nnet, name), X[0]).shape == (1, 5)  # a vector is a row


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_and_their_gradients_at_the_ends_and_at_zero(dtype):
    x = np.array([-1e3, -100, 0, 100, 1e3], dtype)
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    for name, result, gradient in (
        ("relu", np.maximum(x, 0), [0, 0, 0.5, 1, 1]),
        ("elu", [-1, -1, 0, 100, 1e3], [0, 0, 1, 1, 1]),
        ("selu", [-alpha * scale, -alpha * scale, 0, 100 * scale, 1e3 * scale], [0, 0, alpha * scale, scale, scale]),
        ("softplus", softplus(x), [0, 0, 0.5, 1, 1]),
        ("sigmoid", [0, 0, 0.5, 1, 1], [0, 0, 0.25, 0, 0]),
        ("hard_sigmoid", [0, 0, 0.5, 1, 1], [0, 0, 0.2, 0, 0]),
        ("softsign", x / (1 + abs(x)), 1 / (1 + abs(x)) ** 2),
    ):
        function = getattr(T.nnet, name)
        np.testing.assert_allclose(values(function, x), result, rtol=1e-6, atol=1e-12, err_msg=name)
        found = values(lambda v, f=function: T.grad(f(v).sum(), v), x)
        np.testing.assert_allclose(found, gradient, rtol=1e-3, atol=1e-12, err_msg=name)
    found = values(lambda v: T.grad(T.nnet.relu(v, 0.2).sum(), v), x)
    np.testing.assert_allclose(found, [0.2, 0.2, 0.6, 1, 1], rtol=1e-6)


def test_fast_sigmoid_has_a_slope_at_zero():
    if E.NAME == "theano":
        pytest.skip("Theano defines no gradient of ultra_fast_sigmoid")
    x = np.array([0.0, 1.0, -1.0, 4.0, 9.0])
    found = values(lambda v: T.grad(T.nnet.ultra_fast_sigmoid(v).sum(), v), x)
    np.testing.assert_allclose(found, [0.375, 1 / 6, 1 / 6, 0.0458812946797165 / 4, 0], rtol=1e-6)


@pytest.mark.parametrize("name", ["elu", "selu", "relu", "softplus", "sigmoid", "softsign"])
def test_gradients_far_from_zero_are_finite(name):
    x = E.tensor("x", (None,), "float32")
    slopes = E.function([x], T.grad(getattr(T.nnet, name)(x).sum(), x))(np.float32([-1000, -100, 100, 1000]))
    assert np.isfinite(slopes).all()
    assert E.function([x], T.grad(T.nnet.elu(x, 2.0).sum(), x))(np.float32([500])).tolist() == [1]
