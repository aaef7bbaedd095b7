"""Targets, weights and masks are checked wherever they are passed."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.affinities import affinities_from_segmentation, neighbourhood
from neuromancer.errors import ArgumentError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2)).astype("float32")
T = (X[:, :1] > 0).astype("int16")


def source(name, shape, tags="b,f", dtype="float32"):
    return nm.Input(shape, tags, dtype=dtype, name=name, print_repr=False)


@pytest.fixture
def model(fresh_model):
    x = source("x", (None, 2))
    probs = nm.Softmax(nm.Perceptron(x, 2, activation_func="lin", print_repr=False), name="probs", print_repr=False)
    target = nm.Input_like(probs, "int16", "target", override_f=1, print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
    loss = nm.AggregateLoss(nll, name="loss", print_repr=False)
    errors = nm.Errors(probs, target, target_is_sparse=True, name="errors", print_repr=False)
    fresh_model.designate_nodes(
        "x", target, loss, probs, prediction_ext=[probs, loss, errors], error_node=errors, debug_outputs=[errors]
    )
    return fresh_model


CALLS = {
    "loss node": lambda m, *a: m.loss_node(*a),
    "loss node, inference": lambda m, *a: m.loss_node.infer(*a),
    "part of the loss": lambda m, *a: m["nll"](*a),
    "error node": lambda m, *a: m.error_node(*a),
    "loss": lambda m, *a: m.loss(*a),
    "gradients": lambda m, *a: m.gradients(*a),
    "activations": lambda m, *a: m.activations(*a),
    "gradient statistics": lambda m, *a: m.gradstats(*a),
    "activation statistics": lambda m, *a: m.actstats(*a),
    "extended prediction": lambda m, *a: m.predict_ext(*a),
    "step": lambda m, *a: m.trainingstep(*a),
    "training": lambda m, *a: nm.Trainer(m, a, batch_size=6, n_steps=1, plots=False).run(),
    "validation": lambda m, *a: nm.Trainer(
        m, (X, T), validation=a, batch_size=6, n_steps=1, validate_every=1, plots=False
    ).run(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_labels_are_checked_at_every_entrance(model, call):
    for labels, named in ((T * 255, r"\[255\]"), (T.astype("int64") + 65536, r"\[65536"), (T + 2, r"\[2, 3\]")):
        with pytest.raises(ArgumentError, match=rf"labels that are not classes; got {named}.*integers from 0 to 1"):
            call(model, X, labels)
    with pytest.raises(ArgumentError, match=r"'target' does not fit int16; got -65535"):  # which would be class 1
        call(model, X, T.astype("int64") - 65535)
    call(model, X, np.where(T == 0, -1, T).astype("int16"))  # ignored labels are not an error


def test_a_refused_step_changes_nothing(model):
    before = model.get_param_values(as_list=True)
    with pytest.raises(ArgumentError, match="not classes"):
        model.trainingstep(X, T * 255)
    for old, new in zip(before, model.get_param_values(as_list=True), strict=True):
        np.testing.assert_array_equal(old, new)


def test_predictions_need_no_target(model):
    assert model.predict(X).shape == (6, 2)


def test_labels_are_checked_before_they_are_cast(fresh_model):
    probs = nm.Softmax(source("raw", (None, 2)), print_repr=False)
    target = nm.Input_like(probs, "float32", "target", override_f=1, print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    with pytest.raises(ArgumentError, match=r"got \[0.99999999999\]"):  # 1 in single precision
        nll(X[:1], np.array([[0.99999999999]]))


def test_targets_that_are_computed_are_not_checked(fresh_model):
    probs = nm.Softmax(source("raw", (None, 2)), print_repr=False)
    raw = nm.Input_like(probs, "int16", "target", override_f=1, print_repr=False)
    halved = nm.ApplyFunc(raw, lambda v: v // 255, name="halved", print_repr=False)
    nll = nm.MultinoulliNLL(probs, halved, target_is_sparse=True, print_repr=False)
    assert np.isfinite(nll(X, T * 255)).all()


def parts(t):
    """Return the second of three features, which holds the class labels."""
    return nm.split(t, n_out=3, name="part")[1]


REARRANGED = {
    "split": ((None, 3), "b,f", parts, lambda v: np.stack([v * 0 + 300, v, v * 0 - 0.5], 1)),
    "crop": (
        (None, 1, 3),
        "b,f,x",
        lambda t: nm.Reshape(nm.Crop(t, (1,), print_repr=False), (None, 1), "b,f", print_repr=False),
        lambda v: np.stack([v * 0 + 99, v, v * 0 + 98], 1)[:, None],
    ),
    "reshape": (
        (None, 1, 1),
        "b,f,x",
        lambda t: nm.Reshape(t, (None, 1), "b,f", print_repr=False),
        lambda v: v[:, None, None],
    ),
    "two of them": (
        (None, 6),
        "b,f",
        lambda t: parts(nm.split(t, index=[3])[1]),
        lambda v: np.repeat(v[:, None], 6, 1),
    ),
}


@pytest.mark.parametrize("way", list(REARRANGED))
def test_labels_are_checked_behind_what_rearranges_them(fresh_model, way):
    shape, tags, rearrange, arrange = REARRANGED[way]
    probs = nm.Softmax(source("raw", (None, 3)), print_repr=False)
    target = rearrange(source("t", shape, tags))
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    raw, labels = np.zeros((4, 3), "float32"), np.array([0, 1, 2, -1])
    np.testing.assert_allclose(nll(raw, arrange(labels))[:, 0], np.log(3) * 4 / 3 * (labels >= 0), rtol=1e-4)
    with pytest.raises(ArgumentError, match=r"not classes; got \[9(\.0)?\] \(1 of 4 labels\)"):
        nll(raw, arrange(np.array([0, 9, 2, -1])))
    assert np.isfinite(nll.test_run()).all()


def test_labels_are_checked_behind_a_pad_and_side_by_side(fresh_model):
    probs = nm.Softmax(source("raw", (1, 4, 5), "b,f,x"), 2, 2, print_repr=False)
    sides = [source(name, (1, 1, 3), "b,f,x", "int16") for name in "ab"]
    target = nm.Pad(nm.Concat(sides, print_repr=False), (1,), value=-1, print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    assert np.isfinite(nll(np.zeros((1, 4, 5)), [[[0, 1, 0]]], [[[1, -1, 0]]])).all()
    with pytest.raises(ArgumentError, match=r"got \[7\]"):
        nll(np.zeros((1, 4, 5)), [[[0, 1, 0]]], [[[1, 7, 0]]])


def test_one_hot_codes_of_labels(fresh_model):
    labels = source("labels", (None, 1), dtype="int16")
    code = nm.OneHot(labels, 3, print_repr=False)
    probs = nm.Softmax(source("raw", (None, 3)), print_repr=False)
    nll = nm.MultinoulliNLL(probs, code, print_repr=False)
    for node, extra in ((code, []), (nll, [np.zeros((2, 3))])):
        assert np.isfinite(node(*extra, [[2], [-1]])).all()
        with pytest.raises(ArgumentError, match=r"not classes; got \[9\].*integers from 0 to 2"):
            node(*extra, [[2], [9]])


REGRESSIONS = {
    "SquaredLoss": (lambda p, t: nm.SquaredLoss(p, t, print_repr=False), True),
    "AbsLoss": (lambda p, t: nm.AbsLoss(p, t, print_repr=False), True),
    "GaussianNLL": (lambda p, t: nm.GaussianNLL(p, p, t, print_repr=False), False),
    "EuclideanDistance": (lambda p, t: nm.EuclideanDistance(p, t, print_repr=False), True),
    "RampLoss": (lambda p, t: nm.RampLoss(p, t, print_repr=False), True),
    "SobelizedLoss": (lambda p, t: nm.SobelizedLoss(p, t, loss_kwargs={"print_repr": False}), False),
}


@pytest.mark.parametrize("kind", list(REGRESSIONS))
def test_numbers_are_finite_or_missing(fresh_model, kind):
    make, may_be_missing = REGRESSIONS[kind]
    loss = make(*(source(name, (1, 1, 5), "b,f,x") for name in "pt"))
    p, t = np.ones((1, 1, 5)), np.zeros((1, 1, 5))
    assert np.isfinite(loss(p, t)).all()
    for value in (np.inf, -np.inf, np.nan):
        t[0, 0, 2] = value
        if may_be_missing and np.isnan(value):
            assert np.isfinite(loss(p, t)).all()
        else:
            with pytest.raises(ArgumentError, match=rf"not finite; got \[{value}\] \(1 of 5"):
                loss(p, t)


def test_infinity_is_no_label(fresh_model):
    probs = nm.Softmax(source("raw", (None, 3)), print_repr=False)
    nll = nm.MultinoulliNLL(probs, source("t", (None, 1)), target_is_sparse=True, print_repr=False)
    for value in (-np.inf, np.inf):
        with pytest.raises(ArgumentError, match="not classes"):
            nll(np.zeros((2, 3)), [[0], [value]])


@pytest.fixture
def binary(fresh_model):
    y = source("y", (None, 1))
    t = source("t", (None, 1))
    return nm.BinaryNLL(y, t, print_repr=False)


@pytest.mark.parametrize("value", [255, 1.1, -0.5, -1, 2, np.inf, -np.inf, -667])
def test_outcomes_lie_between_0_and_1(binary, value):
    with pytest.raises(ArgumentError, match=r"the target has values out of range.*0 to 1, -666 or NaN where missing"):
        binary([[0.5], [0.5]], np.array([[1.0], [value]]))


def test_outcomes_may_be_missing_or_rounded(binary):
    good = np.array([[0], [1], [0.5], [-666], [np.nan], [1 + 1e-6]])
    assert np.isfinite(binary(np.full((6, 1), 0.5), good)).all()
    assert np.isfinite(binary(np.full((2, 1), 0.5), np.array([[True], [False]]))).all()


def test_targets_of_a_beta_distribution(fresh_model):
    mode, c, t = (source(n, (1, 1)) for n in ("mode", "c", "t"))
    nll = nm.BetaNLL(mode, c, t, print_repr=False)
    for value in (-0.1, 1.5, np.nan):
        with pytest.raises(ArgumentError, match="the target has values out of range"):
            nll([[0.5]], [[4]], [[value]])


@pytest.fixture
def dense(fresh_model):
    probs = nm.Softmax(source("raw", (None, 3)), print_repr=False)
    target = nm.Input_like(probs, name="target", print_repr=False)
    weights = source("weights", (None,), "b")
    labelled, absent = source("labelled", (None, 3)), source("absent", (None, 3))
    nll = nm.MultinoulliNLL(
        probs, target, example_weights=weights, mask_class_labeled=labelled, mask_class_not_present=absent,
        class_weights=source("class weights", (3,), "f"), print_repr=False,
    )  # fmt: skip
    return nll, nm.Errors(probs, target, print_repr=False)


def fed(**changed):
    raw, one = np.zeros((2, 3), "float32"), np.eye(3)[:2]
    good = {"raw": raw, "target": one, "class weights": np.ones(3), "weights": np.ones(2), "labelled": np.ones((2, 3))}
    return list({**good, "absent": np.zeros((2, 3)), **changed}.values())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("target", np.eye(3)[:2] * 255, r"the target has values out of range; got \[255.0\]"),
        ("target", np.full((2, 3), np.nan), "the target has values out of range"),
        ("target", -np.eye(3)[:2], "the target has values out of range"),
        ("class weights", np.array([1, np.nan, 1]), "the class weights has values that are not finite"),
        ("weights", np.array([1, np.inf]), "the example weights has values that are not finite"),
        ("labelled", np.full((2, 3), 255), "mask_class_labeled has values out of range"),
        ("absent", np.full((2, 3), -1), "mask_class_not_present has values out of range"),
    ],
)
def test_dense_targets_weights_and_masks(dense, name, value, message):
    nll, _ = dense
    assert np.isfinite(nll(*fed())).all()
    with pytest.raises(ArgumentError, match=message):
        nll(*fed(**{name: value}))


def test_errors_of_dense_targets_take_scores(dense):
    _, errors = dense
    assert errors(np.zeros((2, 3)), np.eye(3)[:2] * 255) == pytest.approx(0.5)
    with pytest.raises(ArgumentError, match="not finite"):
        errors(np.zeros((2, 3)), np.full((2, 3), np.nan))


def test_errors_of_a_sigmoid(fresh_model):
    y = nm.Perceptron(source("x", (None, 2)), 1, activation_func="sig", print_repr=False)
    errors = nm.Errors(y, nm.Input_like(y, name="t", print_repr=False), print_repr=False)
    assert 0 <= errors(X, np.where(T, 1.0, -1.0)) <= 1
    assert 0 <= errors(X, np.where(T, 1.0, np.nan)) <= 1
    with pytest.raises(ArgumentError, match=r"out of range; got \[255.0\].*negative or NaN where ignored"):
        errors(X, T * 255.0)


def malis(dtype):
    nhood = neighbourhood(1)
    probs = nm.Softmax(source("scores", (1, 2, 6), "b,f,x"), 2, 1, print_repr=False)
    aff, seg = source("aff", (1, 1, 6), "b,f,x"), source("seg", (1, 1, 6), "b,f,x", dtype)
    nll = nm.MalisNLL(probs, aff, seg, nhood, print_repr=False)
    objects = np.array([[[1, 1, 1, 2, 2, 2]]])
    true = affinities_from_segmentation(objects[0, 0], nhood)[None]
    scores = RNG.normal(size=(1, 2, 6)).astype("float32")
    return lambda seg, aff=true: nll(scores, aff, seg), objects, true


@pytest.mark.parametrize("dtype", ["int32", "uint16", "float32", "int64"])
def test_objects_stay_apart(fresh_model, dtype):
    loss, objects, true = malis(dtype)
    want = loss(objects if dtype != "float32" else objects.astype("float64"))
    exact = 2**24 if dtype == "float32" else np.iinfo(dtype).max
    np.testing.assert_array_equal(loss(np.where(objects == 1, 5, exact)), want)
    for big in {exact + 1, exact + 2} if dtype != "int64" else {2**63, 2**64 - 1}:
        with pytest.raises(ArgumentError, match=f"does not fit {dtype}"):
            loss(np.where(objects == 1, np.uint64(5), np.uint64(big)))
    with pytest.raises(ArgumentError, match=r"the true affinities has values out of range; got \[255"):
        loss(objects, true * 255.0)
    if dtype == "float32":
        for wrong in (1.5, np.nan):
            with pytest.raises(ArgumentError, match="labels that are not integers"):
                loss(np.where(objects == 1, wrong, 2))
        with pytest.raises(ArgumentError, match="does not fit float32"):
            loss(np.where(objects == 1, 2.0**24 + 1, 2))


def test_trial_runs_feed_labels(model, capsys):
    assert np.isfinite(model.loss_node.test_run())
    assert np.isfinite(model.error_node.test_run())


def test_nodes_of_a_user_have_checks_too(fresh_model):
    class Even(nm.Node):
        def input_checks(self):
            return [(self.parent, self.require_even)]

        def require_even(self, values):
            if (values % 2).any():
                raise ArgumentError("is odd", node=self)

    node = Even(source("counts", (2,), "b", "int32"), name="even")
    top = nm.ApplyFunc(node, lambda v: v * 1, print_repr=False)
    assert top([2, 4]).tolist() == [2, 4]
    with pytest.raises(ArgumentError, match="is odd"):
        top([2, 3])
