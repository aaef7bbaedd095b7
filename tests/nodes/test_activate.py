"""Activation functions as nodes of their own."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError, UnknownNameError
from neuromancer.graph.demand import OPERATIONS
from neuromancer.nodes.activation import NAMES
from tests.nodes.layers import check_dense_form, check_gradients, per_feature, random, registered, source
from tests.nodes.test_activation import ALL, log_softmax, rectify


def activation(parent, *args, **kwargs):
    return nm.Activation(parent, *args, print_repr=False, **kwargs)


@pytest.mark.parametrize("name", ALL)
def test_values_and_gradients(name):
    nm.config.floatX = "float64"
    node = activation(source((2, 3, 4)), name)
    x = 3 * random(2, 3, 4)
    np.testing.assert_allclose(node(x), ALL[name](x), rtol=1e-13, atol=1e-13)
    assert node.activation_func == name and node.params == {} and node.computational_cost == x.size
    check_gradients(node)


@pytest.mark.parametrize(("shape", "tags"), [((2, 4), "b,f"), ((2, 4, 3, 5), "b,f,y,x"), ((2, 3, 5, 4), "b,y,x,f")])
def test_functions_of_features(shape, tags):
    nm.config.floatX = "float64"
    axis, x = tags.split(",").index("f"), random(*shape)
    slopes = np.linspace(-0.5, 2, 4)
    inp = source(shape, tags)
    each = activation(inp, "prelu", slope=slopes)
    one = activation(inp, "prelu shared")
    np.testing.assert_allclose(each(x), rectify(x, per_feature(slopes, x.ndim, axis)))
    np.testing.assert_allclose(one(x), rectify(x, 0.25))
    np.testing.assert_allclose(activation(inp, "prelu")(x), rectify(x, 0.25))
    np.testing.assert_allclose(activation(inp, "log_softmax")(x), log_softmax(x, axis))
    halved = activation(inp, "maxout 2")
    assert halved.shape["f"] == 2 and halved.shape.tags == inp.shape.tags
    want = np.moveaxis(np.maximum(*(np.moveaxis(x, axis, 0)[i::2] for i in (0, 1))), 0, axis)
    np.testing.assert_array_equal(halved(x), want)
    assert (each.param_count, one.param_count, halved.param_count) == (4, 1, 0)
    for node in (each, one, halved, activation(inp, "log_softmax")):
        check_gradients(node)


def test_forms_of_the_slope():
    inp = source((1, 3))
    x = np.float32([[-1, -2, 3]])
    constant = activation(inp, "prelu", slope=[np.float32([1, 2, 3]), "const"])
    assert constant.slope.constant and constant.param_count == 0
    first = activation(inp, "prelu", slope=np.float32([1, 2, 3]))
    assert first.slope.apply_train and not first.slope.apply_reg
    shared = activation(inp, "prelu", slope=first.slope)
    assert shared.params == {}
    single = activation(inp, "prelu shared", slope=np.float32(2))
    assert single.slope.get_value().tolist() == [2]
    for node in (constant, first, shared):
        np.testing.assert_array_equal(node(x), [[-1, -4, 3]])
    first.slope.set_value(np.zeros(3, "float32"))
    np.testing.assert_array_equal(shared(x), [[0, 0, 3]])


def test_slopes_are_learned():
    x, target = source((8, 2), name="x"), source((8, 2), name="target")
    node = activation(x, "prelu", name="y")
    model = nm.model_manager.current
    loss = nm.AggregateLoss(nm.SquaredLoss(node, target, print_repr=False), print_repr=False)
    model.designate_nodes("x", target, loss, node)
    model.set_opt_meta_params("SGD", {"lr": 0.5, "mom": 0.0, "wd": 0.0})
    values = random(8, 2).astype("float32")
    for _ in range(200):
        model.trainingstep(values, rectify(values, np.float32([0.5, -1])), optimiser="SGD")
    np.testing.assert_allclose(node.slope.get_value(), [0.5, -1], atol=1e-3)


def test_integers_become_floats():
    node = activation(source((1, 2), dtype="int16"), "leaky_relu 0.5")
    result = node(np.int16([[-3, 3]]))
    assert result.dtype == nm.config.floatX and result.tolist() == [[-1.5, 3]]


DOUBLE = {
    **{name: ALL[name] for name in ("leaky_relu", "elu 1.7", "gelu", "gelu tanh", "hardswish", "mish")},
    "hardtanh 0.1 0.7": lambda x: np.clip(x, 0.1, 0.7),
    "soft+ 0.3": lambda x: np.logaddexp(0, 0.3 * x) / 0.3,
}


def test_below_a_node_in_double_precision_numbers_keep_their_digits():
    x = np.array([[-3.0, 3.0]])
    for name, want in DOUBLE.items():
        node = activation(source((1, 2), dtype="float64"), name)
        assert node(x).dtype == "float64"
        np.testing.assert_allclose(node(x), want(x), rtol=1e-14)


def test_logits_are_what_the_function_is_applied_to():
    node = activation(source((1, 2)), "sig")
    x = random(1, 2).astype("float32")
    np.testing.assert_array_equal(nm.make_func(node.input_tensors, node.logits)(x), x)
    decided = nm.Classification(node, print_repr=False)
    assert decided.binary
    np.testing.assert_array_equal(decided(x), x > 0)


def test_softmax_takes_any_function():
    inp = source((1, 2))
    probs = nm.Softmax(activation(inp, "relu"), print_repr=False)
    np.testing.assert_allclose(probs([[-5, 0]]), [[0.5, 0.5]])
    with pytest.raises(ArgumentError, match="class scores must be linear"):
        nm.Softmax(nm.Perceptron(inp, 2, "relu", print_repr=False), print_repr=False)


@pytest.mark.parametrize("name", ["leaky_relu 0.2", "silu", "gelu", "prelu", "prelu shared", "log_softmax", "maxout 2"])
def test_dense_prediction(name):
    inp = nm.Input((1, 1, 12, 12), "b,f,y,x", name="raw", print_repr=False)
    conv = nm.Conv(inp, 4, (3, 3), (2, 2), activation_func="lin", print_repr=False)
    node = activation(conv, name)
    deep = nm.Conv(node, 2, (2, 2), activation_func="lin", print_repr=False)
    assert node.shape.fov == conv.shape.fov and node.shape.offsets == conv.shape.offsets
    raw = random(1, 1, 14, 15).astype("float32")
    dense = check_dense_form(deep, raw)
    np.testing.assert_allclose(deep.predict_dense(raw[0], tile=(3, 4), pad_raw=False), dense[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*ALL, "prelu", "prelu shared", "log_softmax", "maxout 2"])
def test_saved_and_loaded(name, tmp_path):
    node = activation(source((1, 4), name="raw"), name, name="node")
    for param in node.params.values():
        param.set_value(random(*param.get_value().shape).astype("float32"))
    x = random(1, 4).astype("float32")
    want = node(x)
    nm.model_manager.current.save(tmp_path / "model.h5")
    loaded = nm.modelload(tmp_path / "model.h5")["node"]
    assert loaded.activation == node.activation and list(loaded.params) == list(node.params)
    np.testing.assert_array_equal(loaded(x), want)


@pytest.mark.parametrize("form", ["array", "const", "shared"])
def test_given_slopes_are_saved(form, tmp_path):
    inp, slopes = source((1, 2), name="raw"), np.float32([3, 4])
    first = activation(inp, "prelu", slope=[slopes, "const"] if form == "const" else slopes, name="first")
    last = activation(first, "prelu", slope=first.slope, name="last") if form == "shared" else first
    x = np.float32([[-1, -2]])
    want = last(x)
    nm.model_manager.current.save(tmp_path / "model.h5")
    loaded = nm.modelload(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded[last.name](x), want)
    assert loaded["first"].slope.constant == (form == "const")
    if form == "shared":
        assert loaded["last"].slope is loaded["first"].slope


def test_what_the_slopes_take_is_known_before_they_are_made():
    huge = nm.Input((1, 10**12), "b,f", print_repr=False)
    asked = {name: nm.Activation.demand({"parent": huge, "activation_func": name}) for name in NAMES}
    assert asked["prelu"].numbers >= 10**12 > asked["relu"].numbers
    assert nm.Activation.demand({}).operations >= OPERATIONS


def test_representation_and_name(fresh_model):
    node = activation(source((1, 2)), "hardtanh 0 4")
    assert "act='hardtanh 0 4'" in repr(node) and fresh_model["activation"] is node


@pytest.mark.parametrize(
    ("shape", "tags", "kwargs", "error", "message"),
    [
        ((1, 2), "b,f", {"activation_func": "rleu"}, ArgumentError, "Activation 'activation': unknown activation"),
        ((1, 2), "b,f", {"activation_func": None}, ArgumentError, "unknown activation function"),
        ((1, 3), "b,f", {"activation_func": "maxout 2"}, ShapeError, "cannot be divided into groups of 2"),
        ((1, None), "b,f", {"activation_func": "maxout 2"}, ShapeError, "known number of features"),
        ((1, None), "b,f", {"activation_func": "prelu"}, ShapeError, "known number of features"),
        ((1, 3), "b,x", {"activation_func": "prelu"}, UnknownNameError, "'f'"),
        ((1, 3), "b,x", {"activation_func": "prelu shared"}, UnknownNameError, "'f'"),
        ((1, 3), "b,x", {"activation_func": "log_softmax"}, UnknownNameError, "'f'"),
        (
            (1, 2),
            "b,f",
            {"slope": np.ones(2)},
            ArgumentError,
            "only prelu has a slope that can be given; got slope with activation_func='relu'",
        ),
        ((1, 2), "b,f", {"activation_func": "prelu", "slope": np.ones(3)}, ShapeError, r"got \(3,\); expected \(2,\)"),
        ((1, 2), "b,f", {"activation_func": "prelu", "slope": 0.1}, ArgumentError, "given in an unknown form"),
        ((1, 2), "b,f", {"activation_func": "prelu", "slope": np.array([1, np.nan])}, ArgumentError, "not finite"),
        ((1, 2), "b,f", {"activation_func": "prelu", "slope": np.array(["a", "b"])}, InputTypeError, "not numeric"),
    ],
)
def test_bad_arguments_leave_nothing_behind(shape, tags, kwargs, error, message):
    inp = source(shape, tags)
    before = registered()
    with pytest.raises(error, match=message):
        activation(inp, **kwargs)
    assert registered() == before


@pytest.mark.parametrize("parent", [None, 3, "x"])
def test_bad_parents(parent):
    with pytest.raises(NeuromancerError):
        activation(parent)
    with pytest.raises(InputTypeError, match="no tensor output"):
        activation(nm.GenericInput(print_repr=False))


def test_axes_without_features_and_of_unknown_size():
    node = activation(source((None, None), "y,x"), "silu")
    assert node.shape.shape == [None, None]
    assert node(np.ones((2, 3), "float32")).shape == (2, 3)
    open_features = activation(source((1, None), "b,f"), "log_softmax")
    np.testing.assert_allclose(open_features(np.zeros((1, 4), "float32")), np.full((1, 4), -np.log(4)), rtol=1e-6)


def test_gradient_of_a_shared_slope_given_as_a_variable():
    nm.config.floatX = "float64"
    slope = E.SharedVariable(np.array([0.5]), "slope")
    node = activation(source((2, 3)), "prelu shared", slope=slope)
    assert node.params == {}
    check_gradients(node, wrt=[slope])
