"""Models: roles, prediction, training, statistics, parameters, rates, errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError, UnknownNameError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 1, 9, 9)).astype("float32")
Y = RNG.integers(-1, 2, (2, 1, 4, 4)).astype("float32")


@pytest.fixture
def compilations(monkeypatch):
    """List of the names of all functions compiled during the test."""
    seen = []
    compile_function = E.function

    def counted(*args, **kwargs):
        seen.append(kwargs.get("name"))
        return compile_function(*args, **kwargs)

    monkeypatch.setattr(E, "function", counted)
    return seen


@pytest.fixture
def differentiations(monkeypatch):
    """List of all losses differentiated during the test."""
    seen = []
    grad = E.grad

    def counted(loss, *args, **kwargs):
        seen.append(loss)
        return grad(loss, *args, **kwargs)

    monkeypatch.setattr(E, "grad", counted)
    return seen


def build(batch=2, dropout=0.0, bn=False, mixing=None):
    """Build a small segmentation network in the current model."""
    nm.seed(3)
    raw = nm.Input((batch, 1, 9, 9), "b,f,y,x", name="raw", print_repr=False)
    conv = nm.Conv(
        raw, 4, (2, 2), (2, 2), name="c0", print_repr=False, activation_func="tanh",
        dropout_rate=dropout, batch_normalisation=bn,
    )  # fmt: skip
    scores = nm.Conv(conv, 2, (1, 1), activation_func="lin", name="c1", print_repr=False)
    probs = nm.Softmax(scores, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
    nm.AggregateLoss([nll], mixing, name="loss", print_repr=False)
    nm.Errors(probs, target, target_is_sparse=True, name="errors", print_repr=False)
    nm.seed(None)
    return nm.model_manager.current


ROLES = dict(input_node="raw", target_node="target", loss_node="loss", prediction_node="probs", error_node="errors")


@pytest.fixture
def model():
    model = build()
    model.designate_nodes(**ROLES, prediction_ext=["loss", "errors", "probs"])
    model.lr = 0.1
    return model


# ---- roles
def test_roles_by_name_and_by_node(model):
    assert model.loss_node is model["loss"]
    assert (model.batch_size, model.ndim) == (2, 2)
    assert model.designations == {**ROLES, "prediction_ext": ["loss", "errors", "probs"], "debug_outputs": None}
    model.designate_nodes(**{role: model[name] for role, name in ROLES.items()})
    assert model.prediction_node is model["probs"]
    assert model.prediction_ext == []


def test_unknown_names_give_the_nearest(model):
    with pytest.raises(UnknownNameError, match=r"no node named 'prob'.*nearest valid: probs"):
        model.designate_nodes("raw", prediction_node="prob")
    with pytest.raises(UnknownNameError, match="no node named 'input'"):
        model.designate_nodes()
    assert model.prediction_node is model["probs"]  # nothing changed


def test_a_loss_must_be_scalar(model):
    with pytest.raises(
        GraphError, match=r"MultinoulliNLL 'nll': the loss must be a scalar; got 4 axes.*AggregateLoss\(\[nll\]\)"
    ):
        model.designate_nodes("raw", loss_node="nll")


def test_roles_need_nodes_of_this_model(model):
    nm.model_manager.newmodel(None)
    stranger = nm.Input((1, 2), "b,f", name="stranger", print_repr=False)
    with pytest.raises(GraphError, match="prediction_node is not a node of this model; got stranger"):
        model.designate_nodes("raw", prediction_node=stranger)
    with pytest.raises(InputTypeError, match="loss_node must be one node or its name"):
        model.designate_nodes("raw", loss_node=["loss"])
    with pytest.raises(InputTypeError, match="prediction_ext must be a list"):
        model.designate_nodes("raw", prediction_ext="loss")


def test_missing_roles_are_named(fresh_model):
    build()
    for call, role in (
        (lambda: fresh_model.predict(X), "prediction_node"),
        (lambda: fresh_model.loss(X, Y), "loss_node"),
        (lambda: fresh_model.trainingstep(X, Y), "loss_node"),
        (lambda: fresh_model.predict_ext(X, Y), "prediction_ext"),
    ):
        with pytest.raises(GraphError, match=f"no {role} is designated; expected designate_nodes"):
            call()


def test_functions_and_gradients_are_built_on_first_use(model, compilations, differentiations):
    model.designate_nodes(**ROLES)
    assert (model.optimisers, compilations) == ({}, [])
    model.predict(X)
    assert (model.optimisers, len(compilations), len(differentiations)) == ({}, 1, 0)
    for _ in range(2):
        model.gradients(X, Y)
        model.trainingstep(X, Y)
    assert (list(model.optimisers), len(compilations), len(differentiations)) == (["SGD"], 3, 1)


# ---- prediction
def test_predict_and_predict_ext(model):
    probs = model.predict(X)
    np.testing.assert_allclose(probs, model["probs"](X), rtol=1e-6)
    loss, error, same = model.predict_ext(X, Y)
    np.testing.assert_allclose(same, probs, rtol=1e-6)
    assert float(loss) == pytest.approx(model.loss(X, Y), rel=1e-5)
    assert float(error) == pytest.approx((probs.argmax(1)[:, None] != Y)[Y >= 0].mean(), rel=1e-5)


def test_prediction_has_no_dropout_and_uses_running_statistics():
    model = build(dropout=0.5, bn="train")
    model.designate_nodes(**ROLES, prediction_ext=["probs"])
    np.testing.assert_array_equal(model.predict(X), model.predict(X))
    first, second = model["probs"](X), model["probs"](X)
    assert not np.array_equal(first, second)  # training mode applies dropout
    before = model.predict(X[:2])
    model["c0"].set_param_values({"mean": np.full(4, 0.5)})
    assert not np.allclose(model.predict(X), before)
    np.testing.assert_allclose(model.predict_ext(X)[0], model.predict(X), rtol=1e-6)
    assert model.batch_normalisation_active


def test_batch_statistics_are_updated_by_training():
    model = build(bn="train")
    model.designate_nodes(**ROLES)
    before = model["c0"].get_param_values()
    model.trainingstep(X, Y)
    after = model["c0"].get_param_values()
    assert not np.array_equal(before["mean"], after["mean"])
    assert not np.array_equal(before["std"], after["std"])


def test_predict_dense_evaluates_the_prediction_node(model):
    raw = RNG.random((1, 12, 11)).astype("float32")
    np.testing.assert_array_equal(model.predict_dense(raw), model["probs"].predict_dense(raw))
    assert model.predict_dense(raw, as_uint8=True, pad_raw=True).shape == (2, 12, 11)


# ---- training
@pytest.mark.parametrize("optimiser", ["SGD", "AdaGrad", "AdaDelta", "Adam"])
def test_training_lowers_the_loss(model, optimiser):
    model.lr = 1.0 if optimiser == "AdaDelta" else 0.05
    losses = [model.trainingstep(X, Y, optimiser=optimiser)[0] for _ in range(15)]
    assert losses[-1] < losses[0]
    assert list(model.optimisers) == [optimiser]


def test_a_step_returns_the_loss_before_its_update(model):
    before = model.loss(X, Y)
    loss, seconds, debug = model.trainingstep(X, Y)
    assert loss == pytest.approx(before, rel=1e-6)
    assert seconds > 0
    assert debug is None
    after, _, _ = model.trainingstep(X, Y, update_loss=True)
    assert after == pytest.approx(model.loss(X, Y), rel=1e-6)


def test_smoothed_loss_and_time(model):
    assert (model.loss_smooth, model.time_per_step) == (0, 0)
    losses = [model.trainingstep(X, Y)[0] for _ in range(4)]
    assert model.loss_smooth == pytest.approx(np.mean(losses))
    assert model.time_per_step > 0


def test_debug_outputs(model):
    model.designate_nodes(**ROLES, debug_outputs=["probs", "c0"])
    expected = model["probs"](X), model["c0"](X)
    _, _, debug = model.trainingstep(X, Y)
    for a, b in zip(debug, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert model.debug_output_names == ["probs", "c0"]
    other = nm.Input((1, 2), "b,f", name="other", print_repr=False)
    with pytest.raises(GraphError, match=r"needs data that the loss does not get; got sources \['other'\]"):
        model.designate_nodes(**ROLES, debug_outputs=[other])


def test_unknown_optimiser_gives_the_list(model):
    with pytest.raises(
        UnknownNameError, match=r"got adam; expected one of \['SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'\]"
    ):
        model.trainingstep(X, Y, optimiser="adam")


def test_meta_parameters_take_effect_at_once_and_belong_to_one_model(model, compilations):
    other = nm.model_manager.newmodel(None)
    model.trainingstep(X, Y)
    assert len(compilations) == 1
    weights = model.get_param_values(as_list=True)
    model.lr, model.mom, model.wd = 0.0, 0.5, 0.0
    model.set_opt_meta_params("Adam", {"beta2": 0.5})
    model.trainingstep(X, Y)
    for old, new in zip(weights, model.get_param_values(as_list=True), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(compilations) == 1
    assert (model.lr, model.mom, other.lr, other.mom) == (0.0, 0.5, 1.0, pytest.approx(0.9))


def test_meta_parameters_by_optimiser(model):
    model.set_opt_meta_params("SGD", {"lr": 0.25, "wd": 0.5})
    assert (model.lr, model.wd) == (0.25, 0.5)
    with pytest.raises(UnknownNameError, match="unknown meta-parameter; got beta2"):
        model.set_opt_meta_params("SGD", {"beta2": 0.5})
    with pytest.raises(UnknownNameError, match="unknown optimiser; got Sgd"):
        model.set_opt_meta_params("Sgd", {"lr": 0.5})
    with pytest.raises(ArgumentError, match="lr cannot have this value; got nan"):
        model.lr = np.nan


def test_repair_undoes_three_steps(model):
    model.trainingstep(X, Y)
    kept = model.get_param_values(as_list=True)
    for _ in range(3):
        model.trainingstep(X, Y)
    model.repair("SGD")
    for a, b in zip(model.get_param_values(as_list=True), kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_against_finite_differences():
    nm.config.floatX = "float64"
    model = build()
    model.designate_nodes(**ROLES)
    x, y = X.astype("float64"), Y.astype("float64")
    grads = model.gradients(x, y)
    params = model["loss"].all_trainable_params
    assert list(params) == ["c0_w", "c0_b", "c1_w", "c1_b"]
    for param, grad in zip(params.values(), grads, strict=True):
        start = param.get_value()
        for index in list(np.ndindex(*start.shape))[:6]:
            values = []
            for sign in (1, -1):
                moved = start.copy()
                moved[index] += sign * 1e-6
                param.set_value(moved)
                values.append(model.loss(x, y))
            param.set_value(start)
            assert grad[index] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_parameters_without_influence_warn_and_keep_their_values():
    a = nm.Input((2, 3), "b,f", name="a", print_repr=False)
    dead = nm.Perceptron(a, 2, name="dead", print_repr=False)
    live = nm.Perceptron(a, 2, activation_func="lin", name="live", print_repr=False)
    cut = nm.ApplyFunc(dead, E.disconnected_grad, name="cut")
    nm.AggregateLoss(nm.Add(cut, live, print_repr=False), name="loss", print_repr=False)
    model = nm.model_manager.current
    model.designate_nodes("a", loss_node="loss")
    before = model.get_param_values()
    data = np.ones((2, 3), "float32")
    with pytest.warns(UserWarning, match=r"does not depend on the trainable parameters \['dead_w', 'dead_b'\]"):
        model.trainingstep(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grads = dict(zip(model["loss"].all_trainable_params, model.gradients(data), strict=True))
    assert not grads["dead_w"].any()
    assert grads["live_w"].any()
    after = model.get_param_values()
    np.testing.assert_array_equal(before["dead"]["w"], after["dead"]["w"])
    assert not np.array_equal(before["live"]["w"], after["live"]["w"])


# ---- bad data
def test_invalid_labels_are_listed(model):
    bad = Y.copy()
    bad[0, 0, :2, 0] = 2, 7
    for call in (model.loss, model.trainingstep, model.gradients):
        with pytest.raises(ArgumentError, match=r"'nll': the target has labels.*got \[2.0, 7.0\] \(2 of 32 labels\)"):
            call(X, bad)


def test_wrong_arrays_give_a_table(model):
    with pytest.raises(ShapeError, match=r"input 'target' has the wrong shape"):
        model.trainingstep(X, X)
    with pytest.raises(InputTypeError, match="2 inputs required, 1 given"):
        model.loss(X)
    with pytest.raises(InputTypeError, match="2 inputs required, 1 given"):
        model.predict_ext(X)


# ---- statistics
def test_statistics(model, capsys):
    params, grads, acts = model.paramstats(), model.gradstats(X, Y), model.actstats(X, Y)
    assert list(params.data) == ["c0_w", "c0_b", "c1_w", "c1_b", "loss_mixing_weights"]
    assert list(grads.data) == ["c0_w", "c0_b", "c1_w", "c1_b"]
    assert list(acts.data) == ["c0", "c1", "probs", "nll", "loss"]
    assert acts.data["probs"]["mean"] == pytest.approx(0.5, rel=1e-5)
    assert acts.data["probs"]["shape"] == (2, 2, 4, 4)
    assert "c1_w" in params.text
    values = model.activations(X, Y)
    np.testing.assert_allclose(values[2], model["probs"](X), rtol=1e-5)
    assert capsys.readouterr().out == ""


def test_times_and_test_run(model, capsys):
    times = model.measure_exectimes(n_samples=1, n_warmup=0)
    assert list(times) == ["c0", "c1", "probs", "nll", "loss", "cls for errors", "errors"]
    assert all(t >= 0 for t in times.values())
    assert capsys.readouterr().out == ""
    assert model.test_run_prediction().shape == (2, 2, 4, 4)


# ---- parameters
@pytest.mark.parametrize("as_list", [False, True])
def test_parameters_round_trip(model, as_list):
    kept = model.get_param_values(as_list=as_list)
    out = model.predict(X)
    model.trainingstep(X, Y)
    assert not np.allclose(model.predict(X), out)
    model.set_param_values(kept)
    np.testing.assert_array_equal(model.predict(X), out)


def test_setting_parameters_is_atomic(model):
    before = model.get_param_values(as_list=True)
    good = np.ones_like(model["c0"].get_param_values()["b"])
    for bad, error, message in (
        ({"c1": {"b": np.ones(9)}}, ShapeError, "Conv 'c1': parameter 'b' has the wrong shape"),
        ({"c1": {"b": np.array([np.nan, 1])}}, ArgumentError, "Conv 'c1': parameter 'b' would not be finite"),
        ({"c1": {"wb": good}}, UnknownNameError, "no parameter 'wb'"),
        ({"c9": {"b": good}}, UnknownNameError, "no node named 'c9'"),
    ):
        with pytest.raises(error, match=message):
            model.set_param_values({"c0": {"b": good}, **bad})
        for a, b in zip(before, model.get_param_values(as_list=True), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ShapeError, match="wrong number of parameter values; got 1; expected 5"):
        model.set_param_values([good])
    with pytest.raises(InputTypeError, match="needs a dict or a list"):
        model.set_param_values(3)


def test_constants(fresh_model):
    a = nm.Input((2, 3), "b,f", name="a", print_repr=False)
    nm.Perceptron(a, 2, name="p", b=[np.zeros(2), "const"], print_repr=False)
    assert len(fresh_model.get_param_values(as_list=True)) == 2
    values = fresh_model.get_param_values(skip_const=True, as_list=True)
    assert len(values) == 1
    fresh_model.set_param_values(values, skip_const=True)
    with pytest.raises(ArgumentError, match="the parameter is constant"):
        fresh_model.set_param_values({"p": {"b": np.ones(2)}})
    fresh_model.set_param_values({"p": {"b": np.ones(2)}}, skip_const=True)


# ---- rates and weights
def test_dropout_rates():
    model = build(dropout=0.25)
    assert model.dropout_rates == [0.25]
    model.dropout_rates = 0.5
    assert model.dropout_rates == [0.5]
    model.dropout_rates = [0]
    assert model.dropout_rates == [0]
    for bad in (1.0, -0.1, [0.1, 0.2], np.nan):
        with pytest.raises(ArgumentError, match="cannot set the dropout_rates"):
            model.dropout_rates = bad
    assert (model.gradnet_rates, model.batch_normalisation_active) == ([], False)


def test_mixing():
    model = build(mixing=[2.0])
    model.designate_nodes(**ROLES)
    loss = model.loss(X, Y)
    model.mixing = [1.0]
    assert model.loss(X, Y) == pytest.approx(loss / 2, rel=1e-6)
    assert model.mixing.tolist() == [1.0]
    with pytest.raises(
        ArgumentError, match=r"AggregateLoss 'loss': wrong number of mixing weights; got 2 .* expected 1"
    ):
        model.mixing = [1.0, 2.0]
    model.designate_nodes("raw", loss_node="errors")
    with pytest.raises(ArgumentError, match="the loss has no mixing weights"):
        _ = model.mixing


# ---- names and shapes
def test_names_and_shapes(model):
    assert model.loss_input_shapes == [[2, 1, 9, 9], [2, 1, 4, 4]]
    assert model.prediction_feature_names is None
    model["probs"].feature_names = ["background", "cell"]
    assert model.prediction_feature_names == ("background", "cell")


def test_reset(model):
    model.trainingstep(X, Y)
    model.reset()
    assert (model.node_count, model.loss_node, model.optimisers) == (0, None, {})


def test_saving_warns_about_own_functors_and_write_does_not(fresh_model, tmp_path):
    inp = nm.Input((3, 3), "b,f", name="x", print_repr=False)
    node = nm.ApplyFunc(inp, nm.T.tril, name="lower", print_repr=False)
    with pytest.warns(UserWarning, match="no file can name the functions.*tril"):
        fresh_model.save(tmp_path / "a.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh_model.write(tmp_path / "b.h5")
    again = nm.modelload(tmp_path / "b.h5", functors=fresh_model.own_functors)
    np.testing.assert_array_equal(again["lower"](np.ones((3, 3))), node(np.ones((3, 3))))
    nm.model_manager.delmodel(again.name)
