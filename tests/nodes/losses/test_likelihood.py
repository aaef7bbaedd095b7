"""BinaryNLL, GaussianNLL and BetaNLL against NumPy and their gradients."""

from __future__ import annotations

from math import lgamma

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ShapeError

EPS = 1e-5
RNG = np.random.default_rng(0)
SHAPE = (3, 4)


# ---- BinaryNLL
def binary(p, t):
    return -t * np.log(p + EPS) - (1 - t) * np.log(1 - p + EPS)


@pytest.fixture
def binary_node(source):
    return nm.BinaryNLL(source("p", SHAPE), source("t", SHAPE), print_repr=False)


def test_binary_values(binary_node):
    p, t = RNG.random((2, *SHAPE)).astype("float32")
    np.testing.assert_allclose(binary_node(p, t), binary(p, t) * 12 / 13, rtol=1e-4)


@pytest.mark.parametrize("missing", [-666, np.nan])
def test_binary_missing_values(binary_node, missing):
    p, t = RNG.random((2, *SHAPE)).astype("float32")
    expected = binary(p, t) * 12 / 11
    t[0, 1] = t[2, 3] = missing
    expected[0, 1] = expected[2, 3] = 0
    np.testing.assert_allclose(binary_node(p, t), expected, rtol=1e-4)
    with E.building():
        (grad,) = E.grad(binary_node.output.sum(), [binary_node.input_tensors[0]])
    assert np.isfinite(E.function(binary_node.input_tensors, grad)(p, t)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_extremes_are_bounded(source, dtype):
    nm.config.floatX = dtype
    node = nm.BinaryNLL(source("p", (1, 4)), source("t", (1, 4)), print_repr=False)
    result = node([[0, 1, 0, 1]], [[0, 1, 1, 0]])
    assert result.dtype == dtype
    # In float32, rounding of 1 - p + EPS moves the bound by about 1e-4.
    np.testing.assert_allclose(result, np.array([[0, 0, 11.5129, 11.5129]]) * 4 / 5, rtol=5e-4, atol=2e-5)


def test_binary_without_label_entropy_is_zero_at_agreement(source):
    node = nm.BinaryNLL(source("p", SHAPE), source("t", SHAPE), subtract_label_entropy=True, print_repr=False)
    t = RNG.random(SHAPE).astype("float32")
    t[0, :2] = 0, 1
    np.testing.assert_allclose(node(t, t), 0, atol=1e-4)
    p = RNG.random(SHAPE).astype("float32")
    u = np.clip(t, 1e-30, 1)
    v = np.clip(1 - t, 1e-30, 1)
    entropy = -t * np.log(u) - (1 - t) * np.log(v)
    np.testing.assert_allclose(node(p, t), (binary(p, t) - entropy) * 12 / 13, rtol=1e-3, atol=1e-5)


def test_binary_target_is_repeated_along_samples(source):
    node = nm.BinaryNLL(source("p", (2, 5, 3), "b,s,f"), source("t", (2, 3)), print_repr=False)
    p, t = RNG.random((2, 5, 3)).astype("float32"), RNG.random((2, 3)).astype("float32")
    np.testing.assert_allclose(node(p, t), binary(p, t[:, None]) * 30 / 31, rtol=1e-4)


def test_binary_gradient(float64, source, check_gradient):
    for flag in (False, True):
        node = nm.BinaryNLL(source("p", SHAPE), source("t", SHAPE), subtract_label_entropy=flag, print_repr=False)
        t = RNG.integers(0, 2, SHAPE).astype("float64")
        t[0, 0] = -666
        check_gradient(node, [RNG.uniform(0.1, 0.9, SHAPE), t])


# ---- GaussianNLL
def gaussian(mu, sig, t):
    return 0.5 * np.log(2 * np.pi) + np.log(sig) + 0.5 * ((t - mu) / sig) ** 2


@pytest.mark.parametrize("sig_is_log", [False, True])
def test_gaussian(float64, source, check_gradient, sig_is_log):
    mu, sig, t = (source(n, SHAPE) for n in ("mu", "sig", "t"))
    node = nm.GaussianNLL(mu, sig, t, sig_is_log=sig_is_log, print_repr=False)
    m, s, y = RNG.normal(size=SHAPE), RNG.uniform(0.5, 2, SHAPE), RNG.normal(size=SHAPE)
    fed = np.log(s) if sig_is_log else s
    np.testing.assert_allclose(node(m, fed, y), gaussian(m, s, y), rtol=1e-9)
    check_gradient(node, [m, fed, y], wrt=(0, 1, 2), tolerance=1e-5)


def test_gaussian_target_is_repeated_along_samples(source):
    mu, sig = (source(n, (2, 5, 3), "b,s,f") for n in ("mu", "sig"))
    node = nm.GaussianNLL(mu, sig, source("t", (2, 3)), print_repr=False)
    m, t = RNG.normal(size=(2, 5, 3)).astype("float32"), RNG.normal(size=(2, 3)).astype("float32")
    np.testing.assert_allclose(node(m, np.ones_like(m), t), gaussian(m, 1, t[:, None]), rtol=1e-4)
    assert node.shape.tags == ["b", "s", "f"]


def test_gaussian_log_form_survives_extremes(source):
    mu, sig, t = (source(n, (1, 2)) for n in ("mu", "sig", "t"))
    node = nm.GaussianNLL(mu, sig, t, sig_is_log=True, print_repr=False)
    assert np.isfinite(node([[0, 0]], [[80, -30]], [[1, 0]])).all()


# ---- BetaNLL
def beta(m, c, t):
    a, b = m * (c - 2) + 1, (1 - m) * (c - 2) + 1
    lg = np.vectorize(lgamma)
    value = lg(a + b) - lg(a) - lg(b) + (a - 1) * np.log(t + EPS) + (b - 1) * np.log(1 - t + EPS)
    return -value + np.log1p(np.exp(-c))


def test_beta(float64, source, check_gradient):
    nodes = [source(n, SHAPE) for n in ("m", "c", "t")]
    node = nm.BetaNLL(*nodes, print_repr=False)
    m, c, t = RNG.uniform(0.1, 0.9, SHAPE), RNG.uniform(2.5, 40, SHAPE), RNG.random(SHAPE)
    np.testing.assert_allclose(node(m, c, t), beta(m, c, t), rtol=1e-7)
    check_gradient(node, [m, c, t], wrt=(0, 1), tolerance=1e-5)


def test_beta_target_is_repeated_along_samples_and_may_be_extreme(source):
    m, c = (source(n, (1, 4, 2), "b,s,f") for n in ("m", "c"))
    node = nm.BetaNLL(m, c, source("t", (1, 2)), print_repr=False)
    mode, conc = np.full((1, 4, 2), 0.3, "float32"), np.full((1, 4, 2), 5, "float32")
    expected = beta(0.3, 5.0, np.array([0.0, 1.0]))
    np.testing.assert_allclose(node(mode, conc, [[0, 1]]), np.broadcast_to(expected, (1, 4, 2)), rtol=5e-4)


# ---- bad inputs
@pytest.mark.parametrize("kind", ["BinaryNLL", "GaussianNLL", "BetaNLL"])
def test_targets_must_fit(source, fresh_model, kind):
    n = 1 if kind == "BinaryNLL" else 2
    given = [source(f"in{i}", SHAPE) for i in range(n)]
    before = list(fresh_model.nodes)
    with pytest.raises(ShapeError, match=rf"{kind} '.*': the target 't' does not fit 'in0'; got .*\(5,f\)"):
        getattr(nm, kind)(*given, source("t", (3, 5)), print_repr=False)
    assert list(fresh_model.nodes) == [*before, "t"]
