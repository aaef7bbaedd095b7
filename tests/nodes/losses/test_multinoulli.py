"""MultinoulliNLL and BlockedMultinoulliNLL against NumPy, their gradients, weights, masks and bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

EPS = 1e-5
RNG = np.random.default_rng(0)


def softmax(x, axis=1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def reference(p, t, weights=1.0, absent=None, n_indep=1):
    """Compute the documented formula for p, t (b, f, ...)."""
    absent = np.zeros_like(p) if absent is None else absent * np.ones_like(p)
    penalty = -t * weights * np.log(p + EPS) - absent * weights * np.log(1 - p + EPS)
    return penalty.sum(1, keepdims=True) * p.size / ((t.sum() + absent.sum() + EPS) * p.shape[1])


def one_hot(labels, n_class):
    return (labels == np.arange(n_class).reshape(1, -1, *[1] * (labels.ndim - 2))).astype("float64")


@pytest.fixture
def net(source):
    """Return a Softmax over 3 classes of (2, 3, 4, 5) images, and a function that creates sparse targets."""
    probs = nm.Softmax(source("raw", (2, 3, 4, 5), "b,f,y,x"), print_repr=False)
    return probs, nm.Input_like(probs, override_f=1, name="labels", print_repr=False)


RAW = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
LABELS = RNG.integers(-1, 3, (2, 1, 4, 5)).astype("float32")


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8", "int64"])
def test_sparse_labels_of_any_dtype(source, net, dtype):
    labels = source("ints", (2, 1, 4, 5), "b,f,y,x", dtype)
    node = nm.MultinoulliNLL(net[0], labels, target_is_sparse=True, print_repr=False)
    y = np.maximum(LABELS, 0 if dtype == "uint8" else -1).astype(dtype)
    np.testing.assert_allclose(node(RAW, y), reference(softmax(RAW), one_hot(y, 3)), rtol=1e-4)
    assert node.shape.shape == [2, 1, 4, 5]


def test_mean_is_that_over_the_labelled_pixels(net):
    node = nm.MultinoulliNLL(*net, target_is_sparse=True, print_repr=False)
    p = softmax(RAW.astype("float64"))
    picked = np.take_along_axis(p, np.maximum(LABELS, 0).astype(int), 1)[LABELS >= 0]
    assert node(RAW, LABELS).mean() == pytest.approx(-np.log(picked + EPS).mean(), rel=1e-4)


def test_no_label_at_all_costs_nothing(net):
    node = nm.MultinoulliNLL(*net, target_is_sparse=True, print_repr=False)
    assert not node(RAW, np.full_like(LABELS, -1)).any()


def test_dense_target(net):
    target = nm.Input_like(net[0], name="dense", print_repr=False)
    node = nm.MultinoulliNLL(net[0], target, print_repr=False)
    t = softmax(RNG.normal(size=RAW.shape)).astype("float32")
    np.testing.assert_allclose(node(RAW, t), reference(softmax(RAW), t), rtol=1e-4)


def test_independent_labels(source):
    probs = nm.Softmax(source("raw", (2, 6, 4), "b,f,x"), n_indep=2, print_repr=False)
    labels = source("labels", (2, 2, 4), "b,f,x")
    node = nm.MultinoulliNLL(probs, labels, target_is_sparse=True, print_repr=False)
    x, y = RNG.normal(size=(2, 6, 4)).astype("float32"), RNG.integers(-1, 3, (2, 2, 4)).astype("float32")
    t = (y[:, :, None] == np.arange(3)[:, None]).astype("float64").reshape(2, 6, 4)
    np.testing.assert_allclose(node(x, y), reference(probs(x), t), rtol=1e-4)


def test_parts_of_a_softmax(source):
    probs = nm.Softmax(source("raw", (2, 6, 4), "b,f,x"), n_indep=2, print_repr=False)
    part = nm.split(probs, n_out=2)[1]
    labels = source("labels", (2, 1, 4), "b,f,x")
    node = nm.MultinoulliNLL(part, labels, target_is_sparse=True, print_repr=False)
    x, y = RNG.normal(size=(2, 6, 4)).astype("float32"), RNG.integers(0, 3, (2, 1, 4)).astype("float32")
    np.testing.assert_allclose(node(x, y), reference(softmax(x[:, 3:]), one_hot(y, 3)), rtol=1e-4)


def test_class_weights_can_be_changed_and_are_no_parameter(net):
    node = nm.MultinoulliNLL(*net, target_is_sparse=True, class_weights=[1, 2, 0.5], print_repr=False)
    t = one_hot(LABELS, 3)
    for weights in ([1, 2, 0.5], [3, 0, 1]):
        node.class_weights.set_value(np.array(weights, "float32"))
        expected = reference(softmax(RAW), t, np.reshape(weights, (1, 3, 1, 1)))
        np.testing.assert_allclose(node(RAW, LABELS), expected, rtol=1e-4, atol=1e-7)
    assert list(node.params) == []


def test_weights_and_masks_as_nodes_and_the_order_of_sources(source, net):
    probs, labels = net
    node = nm.MultinoulliNLL(
        probs,
        labels,
        target_is_sparse=True,
        class_weights=nm.Input((3,), "f", name="class_weights", print_repr=False),
        example_weights=source("example_weights", (2, 4, 5), "b,y,x"),
        mask_class_labeled=source("labeled", (2, 3)),
        mask_class_not_present=source("absent", (2, 3)),
        print_repr=False,
    )
    names = ["raw", "labels", "class_weights", "example_weights", "labeled", "absent"]
    assert [n.name for n in node.input_nodes] == names
    c, e = RNG.random(3).astype("float32"), RNG.random((2, 4, 5)).astype("float32")
    labeled, absent = np.array([[1, 1, 0], [0, 1, 1]], "float32"), np.array([[0, 0, 1], [0, 0, 0]], "float32")
    t = one_hot(LABELS, 3) * labeled[:, :, None, None]
    weights = c.reshape(1, 3, 1, 1) * e[:, None]
    expected = reference(softmax(RAW), t, weights, absent[:, :, None, None])
    np.testing.assert_allclose(node(RAW, LABELS, c, e, labeled, absent), expected, rtol=1e-4, atol=1e-7)


def test_batch_of_unknown_size(source):
    probs = nm.Softmax(source("raw", (None, 3, 4), "b,f,x"), print_repr=False)
    labels = nm.Input_like(probs, override_f=1, name="labels", print_repr=False)
    node = nm.MultinoulliNLL(probs, labels, target_is_sparse=True, print_repr=False)
    for batch in (1, 3):
        x = RNG.normal(size=(batch, 3, 4)).astype("float32")
        y = RNG.integers(0, 3, (batch, 1, 4)).astype("float32")
        np.testing.assert_allclose(node(x, y), reference(softmax(x), one_hot(y, 3)), rtol=1e-4)


def test_weakness_mixes_the_prediction_into_the_target(net):
    node = nm.MultinoulliNLL(*net, target_is_sparse=True, weakness=0.3, print_repr=False)
    p, t = softmax(RAW), one_hot(LABELS, 3)
    np.testing.assert_allclose(node(RAW, LABELS), reference(p, 0.7 * t + 0.3 * p), rtol=1e-4)


@pytest.mark.parametrize("kwargs", [{}, {"weakness": 0.4}, {"class_weights": [1, 2, 3]}])
def test_gradient(float64, source, check_gradient, kwargs):
    probs = nm.Softmax(source("raw", (2, 3, 2), "b,f,x"), print_repr=False)
    labels = source("labels", (2, 1, 2), "b,f,x")
    node = nm.MultinoulliNLL(probs, labels, target_is_sparse=True, print_repr=False, **kwargs)
    check_gradient(node, [RNG.normal(size=(2, 3, 2)), [[[0, 2]], [[1, -1]]]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [50, 1e4, 1e30])
def test_with_eps_extreme_scores_give_the_bounded_penalty_and_finite_gradients(source, dtype, scale):
    nm.config.floatX = dtype
    probs = nm.Softmax(source("raw", (2, 2)), print_repr=False)
    node = nm.MultinoulliNLL(probs, source("labels", (2, 1)), target_is_sparse=True, print_repr=False, eps=EPS)
    x, y = np.array([[scale, -scale], [scale, -scale]], dtype), np.array([[0], [1]], dtype)
    result = node(x, y)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, [[-np.log(1 + EPS)], [-np.log(EPS)]], rtol=1e-4, atol=2e-7)
    with E.building():
        (grad,) = E.grad(node.output.sum(), [node.input_tensors[0]])
    assert np.isfinite(E.function(node.input_tensors, grad)(x, y)).all()


# ---- blocking
def test_blocking_raises_and_holds_contradicted_foreground_labels(float64, source):
    probs = nm.Softmax(source("raw", (3, 3)), print_repr=False)
    labels = source("labels", (3, 1))
    node = nm.BlockedMultinoulliNLL(probs, labels, 0.5, target_is_sparse=True, print_repr=False)
    x, y = np.array([[4.0, 0, 0], [0, 1, 0.9], [0, 0, 5]]), np.array([[1.0], [2], [0]])
    p = softmax(x)
    blocked = p.copy()
    blocked[:, 1:] = np.maximum(p[:, 1:], 0.5 * p.max(1, keepdims=True))
    np.testing.assert_allclose(node(x, y), reference(blocked, one_hot(y, 3)), rtol=1e-9)
    with E.building():
        (grad,) = E.grad(node.output.sum(), [node.input_tensors[0]])
    found = E.function(node.input_tensors, grad)(x, y)
    assert not found[0].any()  # contradicted foreground: no gradient
    assert found[1].any()  # plausible foreground
    assert found[2].any()  # background is never blocked


def test_blocking_by_zero_changes_nothing(net):
    plain = nm.MultinoulliNLL(*net, target_is_sparse=True, print_repr=False)
    blocked = nm.BlockedMultinoulliNLL(*net, 0.0, target_is_sparse=True, print_repr=False)
    np.testing.assert_allclose(blocked(RAW, LABELS), plain(RAW, LABELS), rtol=1e-6)


# ---- bad inputs
def test_prediction_must_be_a_softmax(fresh_model, source):
    with pytest.raises(ArgumentError, match=r"MultinoulliNLL 'nll': the prediction must be a Softmax.*Softmax\(raw\)"):
        nm.MultinoulliNLL(source("raw", (2, 3)), source("labels", (2, 1)), print_repr=False)
    assert "nll" not in fresh_model


def test_target_of_another_size_names_sizes_and_offsets(source):
    conv = nm.Conv(source("raw", (1, 1, 12), "b,f,x"), 2, (3,), (2,), activation_func="lin", print_repr=False)
    probs = nm.Softmax(conv, print_repr=False)
    with pytest.raises(ShapeError) as caught:
        nm.MultinoulliNLL(probs, source("labels", (1, 1, 12), "b,f,x"), target_is_sparse=True, print_repr=False)
    message = str(caught.value)
    assert "the target 'labels' does not fit 'softmax'; got [(1,b), (1,f), (12,x)]" in message
    assert "expected [(1,b), (1,f), (5,x)] with voxel i at raw voxel offset + stride * i" in message
    assert "offsets [2], strides [2]" in message


def test_sparse_and_dense_targets_are_not_mixed_up(net):
    with pytest.raises(ShapeError, match=r"expected \[\(2,b\), \(3,f\)"):
        nm.MultinoulliNLL(*net, print_repr=False)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_weights": [1, 2]}, "wrong number of class weights; got 2 ([1, 2]); expected 3"),
        ({"class_weights": [1, np.nan, 2]}, "class weights must be finite"),
        ({"class_weights": "abc"}, "class weights must be numbers"),
        ({"weakness": 2}, "weakness must lie between 0 and 1; got 2"),
    ],
)
def test_bad_numbers(net, kwargs, message):
    with pytest.raises(ArgumentError) as caught:
        nm.MultinoulliNLL(*net, target_is_sparse=True, print_repr=False, **kwargs)
    assert message in str(caught.value)


def test_masks_must_be_nodes_and_fit(source, net):
    with pytest.raises(InputTypeError, match="mask_class_labeled must be a node"):
        nm.MultinoulliNLL(*net, True, mask_class_labeled=np.ones((2, 3)), print_repr=False)
    with pytest.raises(ShapeError, match=r"mask_class_labeled 'mask' does not fit.*expected \[\(2,b\), \(3,f\)\]"):
        nm.MultinoulliNLL(*net, True, mask_class_labeled=source("mask", (3, 2)), print_repr=False)


def test_labels_that_are_no_classes_are_named(net):
    node = nm.MultinoulliNLL(*net, target_is_sparse=True, print_repr=False)
    node.check_labels(LABELS)
    with pytest.raises(ArgumentError, match=r"got \[3, 255\] \(3 of 4 labels\)"):
        node.check_labels(np.array([0, 3, 3, 255], "uint8"))
    with pytest.raises(ArgumentError, match="integers from 0 to 2"):
        node.check_labels(np.array([0.5, 1.0]))
    with pytest.raises(ArgumentError, match="1 of 2 labels"):
        node.check_labels(np.array([np.nan, 1.0]))


def test_weights_and_masks_of_size_one_are_repeated(source):
    probs = nm.Softmax(source("raw", (None, 3, 4), "b,f,x"), print_repr=False)
    labels = nm.Input_like(probs, override_f=1, name="labels", print_repr=False)
    node = nm.MultinoulliNLL(
        probs, labels, True, example_weights=source("e", (1, 4), "b,x"), mask_class_labeled=source("m", (1, 3)),
        print_repr=False,
    )  # fmt: skip
    x, y = RNG.normal(size=(2, 3, 4)).astype("float32"), RNG.integers(0, 3, (2, 1, 4)).astype("float32")
    e, m = RNG.random((1, 4)).astype("float32"), np.array([[1, 0, 1]], "float32")
    expected = reference(softmax(x), one_hot(y, 3) * m[:, :, None], e[:, None])
    np.testing.assert_allclose(node(x, y, e, m), expected, rtol=1e-4, atol=1e-7)
