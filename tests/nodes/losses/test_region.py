"""SoftDice, Tversky and GeneralisedDice against NumPy: classes, labels, weights, gradients, bad inputs, files."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

QUIET = {"print_repr": False}
RNG = np.random.default_rng(0)
S = 1e-5
SHAPE = (2, 3, 4, 5)
RAW = RNG.normal(size=SHAPE)
LABELS = RNG.integers(-1, 3, (2, 1, 4, 5))


def softmax(x, axis=1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def one_hot(labels, n):
    return (labels == np.arange(n).reshape(1, -1, *[1] * (labels.ndim - 2))).astype(float)


def sums(x, per_image):
    return x.sum(tuple(range(2, x.ndim)) if per_image else (0, *range(2, x.ndim)))


def dice(p, t, per_image=False, squared=False, smooth=S):
    k = 2 if squared else 1
    total = sums(p**k, per_image) + sums(t**k, per_image)
    return 1 - (2 * sums(p * t, per_image) + smooth) / (total + smooth)


def tversky(p, t, per_image=False, alpha=0.5, beta=0.5, smooth=S):
    both = sums(p * t, per_image) + smooth
    return 1 - both / (both + alpha * sums(p * (1 - t), per_image) + beta * sums((1 - p) * t, per_image))


def generalised(p, t, per_image=False, smooth=S):
    size = np.atleast_2d(sums(t, per_image))
    w = np.where(size > 0, 1 / np.where(size > 0, size, 1) ** 2, 0)
    w = np.where(size > 0, w, w.max(1, keepdims=True))
    overlap, total = (np.atleast_2d(sums(x, per_image)) for x in (p * t, p + t))
    return 1 - (2 * (w * overlap).sum(1) + smooth) / ((w * total).sum(1) + smooth)


@pytest.fixture
def net(float64, source):
    """Return a Softmax over 3 classes, and a source of sparse labels."""
    probs = nm.Softmax(source("raw", SHAPE, "b,f,y,x"), **QUIET)
    return probs, nm.Input_like(probs, override_f=1, name="labels", **QUIET)


@pytest.fixture
def sigmoid(float64, source):
    """Return a layer of 3 sigmoids of the scores."""
    w = [np.eye(3)[:, :, None, None], "const"]
    image = source("scores", SHAPE, "b,f,y,x")
    return nm.Conv(image, 3, (1, 1), activation_func="sig", w=w, b=[np.zeros(3), "const"], **QUIET)


KINDS = [
    (nm.SoftDice, dice, {}),
    (nm.SoftDice, dice, {"squared": True, "smooth": 1.0}),
    (nm.Tversky, tversky, {"alpha": 0.3, "beta": 0.7}),
    (nm.Tversky, tversky, {"alpha": 0, "beta": 2, "smooth": 0.1}),
    (nm.GeneralisedDice, generalised, {}),
]
EACH = pytest.mark.parametrize(("make", "reference", "kwargs"), KINDS)


@EACH
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_softmax(net, make, reference, kwargs, per_image, background):
    node = make(*net, target_is_sparse=True, per_image=per_image, include_background=background, **kwargs, **QUIET)
    known = LABELS >= 0
    first = 0 if background else 1
    p, t = (softmax(RAW) * known)[:, first:], one_hot(LABELS, 3)[:, first:]
    assert float(node(RAW, LABELS)) == pytest.approx(reference(p, t, per_image, **kwargs).mean(), rel=1e-9)
    assert node.shape.shape == [1]


@EACH
def test_dense_and_sparse_targets_agree(net, make, reference, kwargs):
    dense = nm.Input_like(net[0], name="dense", **QUIET)
    sparse = make(*net, target_is_sparse=True, **kwargs, **QUIET)
    assert float(make(net[0], dense, **kwargs, **QUIET)(RAW, one_hot(LABELS, 3))) == pytest.approx(
        float(sparse(RAW, LABELS)), rel=1e-12
    )


@EACH
def test_sigmoid(sigmoid, make, reference, kwargs):
    target = nm.Input_like(sigmoid, name="t", **QUIET)
    t = RNG.integers(-1, 2, SHAPE)
    p = np.where(t >= 0, 1 / (1 + np.exp(-RAW)), 0)
    expected = reference(p, np.maximum(t, 0), **kwargs).mean()
    assert float(make(sigmoid, target, target_is_sparse=True, **kwargs, **QUIET)(RAW, t)) == pytest.approx(expected)
    assert float(make(sigmoid, target, **kwargs, **QUIET)(RAW, np.where(t < 0, np.nan, t))) == pytest.approx(expected)


@EACH
def test_gradient(float64, source, check_gradient, make, reference, kwargs):
    probs = nm.Softmax(source("raw", (2, 3, 2), "b,f,x"), **QUIET)
    node = make(probs, source("labels", (2, 1, 2), "b,f,x"), target_is_sparse=True, **kwargs, **QUIET)
    check_gradient(node, [RNG.normal(size=(2, 3, 2)), [[[0, 2]], [[1, -1]]]])


@EACH
def test_other_layouts_and_independent_labels(float64, source, make, reference, kwargs):
    volume = nm.Softmax(source("raw", (2, 3, 6, 2, 2), "b,z,f,y,x"), n_indep=2, **QUIET)
    labels = source("labels", (2, 3, 2, 2, 2), "b,z,f,y,x")
    x, y = RNG.normal(size=(2, 3, 6, 2, 2)), RNG.integers(0, 3, (2, 3, 2, 2, 2))
    node = make(volume, labels, target_is_sparse=True, include_background=False, **kwargs, **QUIET)
    p = softmax(x.reshape(2, 3, 2, 3, 2, 2), 3).reshape(x.shape).swapaxes(1, 2)
    t = (y[:, :, :, None] == np.arange(3)[:, None, None]).reshape(x.shape).swapaxes(1, 2).astype(float)
    foreground = [1, 2, 4, 5]
    assert float(node(x, y)) == pytest.approx(reference(p[:, foreground], t[:, foreground], **kwargs).mean())


@pytest.mark.parametrize(("make", "reference"), [(nm.SoftDice, dice), (nm.Tversky, tversky)])
def test_class_weights(net, make, reference):
    node = make(*net, target_is_sparse=True, class_weights=[1, 2, 0], **QUIET)
    each = reference(softmax(RAW) * (LABELS >= 0), one_hot(LABELS, 3))
    assert float(node(RAW, LABELS)) == pytest.approx((each * [1, 2, 0]).mean())
    node.class_weights.set_value(np.array([0.0, 0, 3]))
    assert float(node(RAW, LABELS)) == pytest.approx(each[2])


def test_ignored_label(net):
    plain = nm.SoftDice(*net, target_is_sparse=True, **QUIET)
    ignoring = nm.SoftDice(*net, target_is_sparse=True, ignore_label=255, **QUIET)
    assert float(ignoring(RAW, np.where(LABELS < 0, 255, LABELS))) == float(plain(RAW, LABELS))


@EACH
@pytest.mark.parametrize("per_image", [False, True])
def test_without_space(float64, source, make, reference, kwargs, per_image):
    probs = nm.Softmax(source("raw", (4, 3)), **QUIET)
    node = make(probs, source("labels", (4, 1)), target_is_sparse=True, per_image=per_image, **kwargs, **QUIET)
    x, y = RNG.normal(size=(4, 3)), np.array([[0], [2], [1], [0]])
    expected = reference(softmax(x), one_hot(y, 3), per_image, **kwargs).mean()
    assert float(node(x, y)) == pytest.approx(expected, rel=1e-9)


@EACH
def test_extreme_scores(source, gradient, make, reference, kwargs):
    probs = nm.Softmax(source("raw", (2, 2)), **QUIET)
    node = make(probs, source("labels", (2, 1)), target_is_sparse=True, **kwargs, **QUIET)
    for score in (30, 100, 1e4):
        x = np.array([[score, -score], [score, -score]], "float32")
        for labels in ([[0], [1]], [[1], [1]], [[-1], [-1]]):
            assert np.isfinite(node(x, labels)) and np.isfinite(gradient(node, [x, labels])).all(), score
        assert float(node(x, [[-1], [-1]])) == pytest.approx(0, abs=1e-6), score


def test_trained_in_a_model(fresh_model, source):
    probs = nm.Softmax(nm.Perceptron(source("raw", (None, 2)), 2, "lin", **QUIET), name="probs", **QUIET)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", **QUIET)
    loss = nm.AggregateLoss(nm.SoftDice(probs, target, target_is_sparse=True, **QUIET), name="loss", **QUIET)
    fresh_model.designate_nodes("raw", target, loss, probs)
    x = RNG.normal(size=(64, 2)).astype("float32")
    y = (x[:, :1] > 0).astype("int16")
    fresh_model.set_opt_meta_params("Adam", {"lr": 0.1, "mom": 0.9})
    for _ in range(60):
        value, *_ = fresh_model.trainingstep(x, y, optimiser="Adam")
    assert float(value) < 0.2


# ---- bad inputs
def test_predictions_that_are_no_probabilities(source):
    for make in (nm.SoftDice, nm.Tversky, nm.GeneralisedDice, nm.Focal):
        with pytest.raises(ArgumentError, match=r"must be a Softmax, a sigmoid.*got Input 'raw.*Softmax\(raw"):
            make(source("raw", (2, 3)), source("t", (2, 3)), **QUIET)
        with pytest.raises(InputTypeError, match="the prediction must be a node"):
            make(np.ones((2, 3)), source("t", (2, 3)), **QUIET)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"smooth": 0}, ArgumentError, "smooth must be a number; got 0; expected > 0"),
        ({"smooth": "a"}, ArgumentError, "smooth must be a number"),
        ({"class_weights": [1, 2]}, ArgumentError, "wrong number of class weights"),
        ({"class_weights": [1, 2, np.nan]}, ArgumentError, "class weights must be finite"),
        ({"ignore_label": 1.5}, ArgumentError, "ignore_label must be a label of a sparse target"),
        ({"ignore_label": 10**30}, ArgumentError, "ignore_label must be a label of a sparse target"),
        ({"target_is_sparse": "no"}, ArgumentError, "target_is_sparse must be a bool; got 'no'"),
        ({"squared": np.ones(2)}, ArgumentError, "squared must be a bool"),
        ({"per_image": None}, ArgumentError, "per_image must be a bool"),
        ({"include_background": 2}, ArgumentError, "include_background must be a bool"),
        ({"target_is_sparse": False}, ShapeError, "does not fit"),
    ],
)
def test_bad_arguments(net, kwargs, error, message):
    with pytest.raises(error, match=message):
        nm.SoftDice(*net, **{"target_is_sparse": True, **kwargs}, **QUIET)


@pytest.mark.parametrize("kwargs", [{"alpha": -1}, {"beta": np.inf}, {"beta": None}])
def test_bad_weights_of_errors(net, kwargs):
    with pytest.raises(ArgumentError, match="must be a number"):
        nm.Tversky(*net, target_is_sparse=True, **kwargs, **QUIET)


@pytest.mark.parametrize("kwargs", [{"smooth": 1e-60}, {"alpha": 1e300}, {"beta": 1e39}])
def test_numbers_that_do_not_fit_the_prediction(source, kwargs):
    probs = nm.Softmax(source("raw", (2, 3)), **QUIET)
    with pytest.raises(ArgumentError, match=r"must be a number.*finite in float32"):
        nm.Tversky(probs, nm.Input_like(probs, name="t", **QUIET), **kwargs, **QUIET)


def test_sigmoids_have_no_background(sigmoid):
    with pytest.raises(ArgumentError, match="has a background class"):
        nm.SoftDice(sigmoid, nm.Input_like(sigmoid, name="t", **QUIET), include_background=False, **QUIET)


def test_labels_are_checked(net, sigmoid):
    with pytest.raises(ArgumentError, match="integers from 0 to 2"):
        nm.SoftDice(*net, target_is_sparse=True, **QUIET)(RAW, LABELS + 1)
    node = nm.SoftDice(sigmoid, nm.Input_like(sigmoid, name="t", **QUIET), target_is_sparse=True, **QUIET)
    with pytest.raises(ArgumentError, match="integers from 0 to 1"):
        node(RAW, np.full(SHAPE, 2))


# ---- files
@EACH
def test_saved_and_loaded(fresh_model, net, tmp_path, make, reference, kwargs):
    node = make(*net, target_is_sparse=True, per_image=True, ignore_label=1, name="region", **kwargs, **QUIET)
    expected = node(RAW, LABELS)
    fresh_model.save(tmp_path / "a.h5")
    np.testing.assert_array_equal(nm.modelload(tmp_path / "a.h5")["region"](RAW, LABELS), expected)
