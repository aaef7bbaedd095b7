"""Losses from class scores: the penalty, extreme scores, which predictions have scores, `eps`, saved models."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError
from neuromancer.nodes.losses.logits import knows_scores

EPS = 1e-5
QUIET = {"print_repr": False}
RNG = np.random.default_rng(0)
EXTREME = [30.0, 100.0, 1e4]
one = np.eye(1, dtype="float32")


def penalty(log_p, eps=None):
    """Compute the documented penalty from log p."""
    if eps:
        return -np.log(np.exp(log_p) + eps)
    p = np.exp(log_p)
    return -log_p - (0 if eps == 0 else np.log1p(EPS * p / np.maximum(p, 1e-4) ** 2))


def log_softmax(x, axis=1):
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def log_complement(x):
    """Compute log(1 - p) of every class of (b, f) scores from the other classes."""
    others = np.stack([np.logaddexp.reduce(np.delete(x, c, 1), 1) for c in range(x.shape[1])], 1)
    return others - np.logaddexp.reduce(x, 1)[:, None]


@pytest.fixture
def nll(source):
    """Return a function that creates a MultinoulliNLL of (n, f) scores with sparse labels."""

    def make(n, n_class, **kwargs):
        probs = nm.Softmax(source("raw", (n, n_class)), **QUIET)
        return nm.MultinoulliNLL(probs, source("labels", (n, 1)), target_is_sparse=True, **QUIET, **kwargs)

    return make


@pytest.fixture
def sigmoid(source):
    """Return a layer that passes (n, 1) scores on to a sigmoid."""

    def make(n, **kwargs):
        bias = [np.zeros(1, "float32"), "const"]
        return nm.Perceptron(source("raw", (n, 1)), 1, "sigmoid", w=[one, "const"], b=bias, **QUIET, **kwargs)

    return make


# ---- the penalty
def test_default_is_the_original_where_probabilities_are_not_tiny(float64, nll):
    x = np.stack([np.zeros(40), np.linspace(-9.2, 9.2, 40)], 1)  # p > 1e-4
    y = np.ones((40, 1))
    np.testing.assert_allclose(nll(40, 2)(x, y), nll(40, 2, eps=EPS)(x, y), rtol=1e-12, atol=1e-15)


def test_default_tends_to_the_logarithm_below(float64, nll):
    x = np.stack([np.zeros(60), np.linspace(-60, -1, 60)], 1)
    y = np.ones((60, 1))
    found, exact = nll(60, 2)(x, y), nll(60, 2, eps=0)(x, y)
    np.testing.assert_allclose(exact[:, 0], np.logaddexp(0, -x[:, 1]), rtol=1e-6)
    assert (abs(found - exact) < 0.0954).all() and (abs(found - exact)[:30] < 1e-8).all()
    slope = np.diff(found[:, 0]) / np.diff(exact[:, 0])
    assert ((slope > 0.9) & (slope < 1.1)).all()


@pytest.mark.parametrize("eps", [None, 0, 1e-5, 0.01])
@pytest.mark.parametrize("n_class", [2, 3, 5])
def test_values(float64, nll, eps, n_class):
    x, y = 6 * RNG.normal(size=(8, n_class)), RNG.integers(0, n_class, (8, 1))
    expected = penalty(np.take_along_axis(log_softmax(x), y, 1), eps)
    np.testing.assert_allclose(nll(8, n_class, eps=eps)(x, y), expected, rtol=1e-5)


@pytest.mark.parametrize("eps", [None, 0])
def test_gradient(float64, source, check_gradient, eps):
    probs = nm.Softmax(source("raw", (4, 3)), **QUIET)
    labels, absent = source("labels", (4, 1)), source("absent", (4, 3))
    node = nm.MultinoulliNLL(probs, labels, True, mask_class_not_present=absent, eps=eps, **QUIET)
    mask = RNG.integers(0, 2, (4, 3))
    check_gradient(node, [4 * RNG.normal(size=(4, 3)), [[0], [2], [1], [-1]], mask], tolerance=1e-5)


# ---- extreme scores
@pytest.mark.parametrize("eps", [None, 0])
def test_wrong_softmax_has_its_full_gradient(nll, gradient, eps):
    node, y = nll(2, 2, eps=eps), np.array([[0], [1]], "float32")
    for score in EXTREME:
        x = np.array([[score, -score], [score, -score]], "float32")
        np.testing.assert_allclose(node(x, y), [[0], [2 * score]], rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(gradient(node, [x, y]), [[0, 0], [0.5, -0.5]], atol=1e-5)


def test_original_formula_has_none(nll, gradient):
    x, y = np.array([[30, -30]], "float32"), np.array([[1]], "float32")
    assert abs(gradient(nll(1, 2, eps=EPS), [x, y])).max() < 1e-19


@pytest.mark.parametrize("eps", [None, 0])
def test_wrong_sigmoid_has_its_full_gradient(source, sigmoid, gradient, eps):
    node = nm.BinaryNLL(sigmoid(2), source("target", (2, 1)), eps=eps, **QUIET)
    for score in EXTREME:
        x, t = np.array([[score], [-score]], "float32"), np.array([[0], [1]], "float32")
        np.testing.assert_allclose(node(x, t), np.full((2, 1), score * 2 / 3), rtol=1e-5)
        np.testing.assert_allclose(gradient(node, [x, t]), [[1 / 3], [-1 / 3]], rtol=1e-5)
        np.testing.assert_allclose(gradient(node, [x, 1 - t]), 0, atol=1e-5)


def test_class_that_is_absent_but_predicted_with_certainty(source, gradient):
    probs = nm.Softmax(source("raw", (1, 3)), **QUIET)
    absent = source("absent", (1, 3))
    node = nm.MultinoulliNLL(probs, source("labels", (1, 1)), True, mask_class_not_present=absent, eps=0, **QUIET)
    rest = np.logaddexp(0, -1)
    shares = np.exp(np.array([0, -1]) - rest)
    for score in EXTREME:
        arrays = [np.array([[score, 0, -1]], "float32"), [[-1]], [[1, 0, 0]]]
        np.testing.assert_allclose(node(*arrays), [[score - rest]], rtol=3e-5)
        np.testing.assert_allclose(gradient(node, arrays), [[1, *-shares]], rtol=1e-4)


def test_complements(float64, source):
    probs = nm.Softmax(source("raw", (6, 4)), **QUIET)
    dense, absent = source("t", (6, 4)), source("absent", (6, 4))
    node = nm.MultinoulliNLL(probs, dense, mask_class_not_present=absent, eps=0, **QUIET)
    x = np.concatenate([RNG.normal(size=(3, 4)), 40 * RNG.normal(size=(3, 4))])
    for c in range(4):
        mask = np.tile(np.eye(4)[c], (6, 1))
        found = node(x, np.zeros((6, 4)), mask)[:, 0]
        np.testing.assert_allclose(found, -log_complement(x)[:, c], rtol=1e-5, atol=1e-12)


def test_independent_labels_and_parts(float64, source):
    probs = nm.Softmax(source("raw", (3, 6)), n_indep=2, **QUIET)
    part = nm.split(probs, n_out=2)[1]
    node = nm.MultinoulliNLL(part, source("labels", (3, 1)), True, eps=0, **QUIET)
    both = nm.MultinoulliNLL(probs, source("all", (3, 2)), True, eps=0, **QUIET)
    x, y = 50 * RNG.normal(size=(3, 6)), RNG.integers(0, 3, (3, 2))
    parts = [-np.take_along_axis(log_softmax(x[:, 3 * k : 3 * k + 3]), y[:, k : k + 1], 1) for k in range(2)]
    np.testing.assert_allclose(node(x, y[:, 1:]), parts[1], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(both(x, y), (parts[0] + parts[1]) / 2, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("factor", [0.5, 1.0, 0.0])
def test_blocking(float64, source, gradient, factor):
    probs = nm.Softmax(source("raw", (3, 3)), **QUIET)
    labels, absent = source("labels", (3, 1)), source("absent", (3, 3))
    args = {"mask_class_not_present": absent, "eps": 0, **QUIET}
    node = nm.BlockedMultinoulliNLL(probs, labels, factor, True, **args)
    x, y, m = np.array([[90.0, 0, 1], [0, 1, 0.9], [0, 0, 80]]), [[1], [2], [0]], np.tile([0.0, 0, 1], (3, 1))
    p, q = np.exp(log_softmax(x)), np.exp(log_complement(x))
    blocked = p < factor * p.max(1, keepdims=True)
    blocked[:, 0] = False
    bound = np.broadcast_to(factor * p.max(1, keepdims=True), p.shape)
    left = np.broadcast_to(1 - factor + factor * q.min(1, keepdims=True), p.shape)
    log_p = np.log(np.where(blocked, np.where(blocked, bound, 1), p))
    log_q = np.log(np.where(blocked, left, q))
    losses = -np.take_along_axis(log_p, np.array(y), 1) - log_q[:, 2:]
    np.testing.assert_allclose(node(x, y, m), losses / 2, rtol=1e-5)
    found = gradient(node, [x, y, m])
    assert np.isfinite(found).all() and found[0].any() == (factor == 0)
    assert found[2].any()


# ---- which predictions have scores
def test_which_predictions_have_scores(source, sigmoid):
    image = source("image", (1, 2, 5, 5), "b,f,y,x")
    volume = source("volume", (1, 3, 2, 5, 5), "b,z,f,y,x")
    sig = {"activation_func": "sig", **QUIET}
    layers = [
        nm.Conv(image, 2, (3, 3), **sig),
        nm.Conv(image, 2, (2, 2), (2, 2), batch_normalisation="train", **sig),
        nm.UpConv(image, 2, (2, 2), **sig),
        nm.ConvTranspose(image, 2, (3, 3), 2, **sig),
        nm.Conv(volume, 2, (1, 3, 3), **sig),
        nm.Activation(image, "logistic", **QUIET),
    ]
    for layer in layers:
        assert knows_scores(layer) and knows_scores(nm.split(layer, n_out=2)[0])
        target = nm.Input_like(layer, name="t", **QUIET)
        x = RNG.normal(size=layer.input_nodes[0].shape.shape).astype("float32")
        t = RNG.random(layer.shape.shape).astype("float32")
        both = [nm.BinaryNLL(layer, target, eps=eps, **QUIET)(x, t) for eps in (None, EPS)]
        np.testing.assert_allclose(*both, rtol=1e-4)
    assert not knows_scores(nm.Conv(image, 2, (3, 3), **QUIET))
    assert not knows_scores(nm.Conv(image, 2, (3, 3), dropout_rate=0.5, **sig))
    assert not knows_scores(nm.Softmax(source("single", (2, 1)), **QUIET))
    assert not knows_scores(source("probabilities", (2, 2)))


def test_other_predictions_use_the_original_formula(source):
    node = nm.BinaryNLL(source("p", (2, 1)), source("t", (2, 1)), **QUIET)
    np.testing.assert_allclose(node([[0], [1]], [[1], [1]]), [[-np.log(EPS) * 2 / 3], [0]], rtol=1e-4, atol=1e-5)


def test_inference_form(sigmoid, source):
    node = nm.BinaryNLL(sigmoid(1), source("target", (1, 1)), **QUIET)
    np.testing.assert_allclose(node.infer([[50]], [[0]]), [[25]], rtol=1e-5)


@pytest.mark.parametrize("eps", [-1, 2, "a", True, np.nan])
def test_bad_eps(nll, eps):
    with pytest.raises(ArgumentError, match="eps must lie between 0 and 1, or be None"):
        nll(2, 2, eps=eps)


def test_exact_logarithms_need_scores(source):
    with pytest.raises(ArgumentError, match="eps=0 needs a prediction whose scores are known"):
        nm.BinaryNLL(source("p", (2, 1)), source("t", (2, 1)), eps=0, **QUIET)


# ---- ignored labels
def test_ignored_label(source, nll):
    node = nll(4, 3, ignore_label=255)
    x = RNG.normal(size=(4, 3)).astype("float32")
    np.testing.assert_allclose(node(x, [[0], [255], [2], [1]]), node(x, [[0], [-1], [2], [1]]), rtol=1e-6)
    zero = nll(4, 3, ignore_label=0)
    np.testing.assert_allclose(zero(x, [[0], [0], [2], [1]]), node(x, [[-1], [-1], [2], [1]]), rtol=1e-6)
    probs = nm.Softmax(source("raw", (4, 3)), **QUIET)
    errors = nm.Errors(probs, source("l", (4, 1), dtype="uint8"), True, ignore_label=255, **QUIET)
    assert float(errors([[1, 0, 0]] * 4, [[0], [255], [1], [255]])) == 0.5
    with pytest.raises(ArgumentError, match="labels that are not classes"):
        node.check_labels(np.array([[254]]))


@pytest.mark.parametrize(("label", "sparse"), [(1.5, True), ("a", True), (True, True), (3, False)])
def test_bad_ignored_label(source, label, sparse):
    probs = nm.Softmax(source("raw", (2, 3)), **QUIET)
    target = source("t", (2, 1 if sparse else 3))
    for make in (nm.MultinoulliNLL, nm.BlockedMultinoulliNLL, nm.Errors):
        with pytest.raises(ArgumentError, match="ignore_label must be a label of a sparse target"):
            make(probs, target, target_is_sparse=sparse, ignore_label=label)


# ---- files
def test_saved_and_loaded(fresh_model, nll, tmp_path):
    node = nll(2, 3, eps=0, ignore_label=7)
    x, y = np.array([[60, 0, 0], [0, 1, 2]], "float32"), np.array([[1], [7]])
    expected = node(x, y)
    fresh_model.save(tmp_path / "a.h5")
    loaded = nm.modelload(tmp_path / "a.h5")["nll"]
    assert loaded.eps == 0 and loaded.ignore_label == 7
    np.testing.assert_array_equal(loaded(x, y), expected)
