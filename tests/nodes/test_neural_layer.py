"""Forms of parameters, dropout, options shared by all layers."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, UnknownNameError
from tests.nodes.layers import evaluate, random, registered, source, twin


def perceptron(parent=None, n_f=4, **kwargs):
    return nm.Perceptron(parent or source((2, 3)), n_f, print_repr=False, **kwargs)


# ---- forms of parameters
def test_default_parameters():
    nm.seed(1)
    node = perceptron(source((1, 400)), 300)
    w = node.get_param_values()["w"]
    assert abs(w.std() / np.sqrt(2 / 700) - 1) < 0.02
    assert list(node.params) == ["w", "b"]
    assert node.params["w"].apply_train and node.params["w"].apply_reg
    nm.seed(1)
    np.testing.assert_array_equal(perceptron(source((1, 400)), 300).get_param_values()["w"], w)
    nm.seed(None)


def test_array_is_trainable_and_copied():
    w = random(3, 4)
    node = perceptron(w=w)
    assert node.param_count == 16
    assert node.get_param_values()["w"].dtype == "float32"
    w[:] = 0
    assert np.abs(node.get_param_values()["w"]).min() > 0


def test_constant():
    node = perceptron(w=[random(3, 4), "const"], b=[np.zeros(4), "const"])
    assert node.params["w"].constant and node.param_count == 0
    assert list(node.params) == ["w", "b"]
    assert list(node.all_trainable_params) == []
    assert node(random(2, 3).astype("float32")).shape == (2, 4)
    assert node.get_param_values(skip_const=True) == {}


def test_trainable_mark():
    inp = source((2, 3))
    node = perceptron(inp, batch_normalisation="predict", mean=[np.ones(4), "trainable"], w=[random(3, 4), "trainable"])
    assert node.params["mean"].apply_train and not node.params["mean"].apply_reg
    assert node.params["w"].apply_train and node.params["w"].apply_reg
    assert not node.params["std"].apply_train


def test_shared_parameters_belong_to_their_layer():
    inp = source((2, 3))
    first = perceptron(inp, activation_func="lin", name="first")
    second = perceptron(inp, activation_func="lin", w=first.w, b=first.b, name="second")
    x = random(2, 3).astype("float32")
    np.testing.assert_array_equal(first(x), second(x))
    assert second.params == {} and second.param_count == 0
    assert second.w is first.w
    both = nm.Add(first, second, print_repr=False)
    assert list(both.all_params) == ["first_w", "first_b"]
    (gradient,) = E.grad(both.output.sum(), [first.w])
    np.testing.assert_allclose(
        nm.make_func([inp.output], gradient)(x), 2 * x.sum(0)[:, None] * np.ones((1, 4)), rtol=1e-5
    )
    first.set_param_values({"w": 0.0, "b": 1.0})
    np.testing.assert_array_equal(second(x), np.ones((2, 4)))


def test_symbolic_expression_as_parameter():
    inp = source((2, 3))
    first = perceptron(inp, 3, activation_func="lin", w=random(3, 3))
    second = perceptron(inp, 3, activation_func="lin", w=first.w.T, b=[np.zeros(3), "const"])
    x = random(2, 3).astype("float32")
    np.testing.assert_allclose(second(x), x @ first.get_param_values()["w"].T, rtol=1e-5)


def test_scalar_for_a_single_feature():
    assert perceptron(n_f=1, b=np.array(2.0)).get_param_values()["b"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"w": random(4, 3)},
            ShapeError,
            r"Perceptron 'dot': parameter 'w' has the wrong shape; got \(4, 3\); "
            r"expected \(3, 4\)",
        ),
        ({"b": [random(5), "const"]}, ShapeError, r"parameter 'b' has the wrong shape; got \(5,\); expected \(4,\)"),
        ({"b": np.array(1.0)}, ShapeError, r"got \(\); expected \(4,\)"),
        (
            {"w": [[0.0] * 4] * 3},
            ArgumentError,
            r"parameter 'w' is given in an unknown form; got list .*expected None, an array",
        ),
        ({"w": "const"}, ArgumentError, "unknown form"),
        ({"b": [np.zeros(4), "fixed"]}, ArgumentError, "unknown form; got mark 'fixed'"),
        ({"b": [None, "const"]}, ArgumentError, "unknown form"),
        ({"b": np.array(["a"] * 4)}, InputTypeError, "parameter 'b' is not numeric; got <U1"),
        ({"gamma": np.ones(4)}, ArgumentError, "got gamma with batch_normalisation=False"),
        (
            {"batch_normalisation": "train", "mean": np.ones(4)},
            ArgumentError,
            "got mean with batch_normalisation='train'; expected statistics only with 'predict'",
        ),
        ({"n_f": 0}, ArgumentError, "n_f must be a positive integer; got 0"),
        ({"n_f": 2.0}, ArgumentError, "n_f must be a positive integer; got 2.0"),
        ({"n_f": True}, ArgumentError, "n_f must be a positive integer"),
        (
            {"dropout_rate": 1.0},
            ArgumentError,
            r"dropout_rate must be the probability.*got 1.0; expected a number in \[0, 1\)",
        ),
        ({"dropout_rate": 1e-50}, ArgumentError, "dropout_rate"),
        ({"dropout_rate": -0.1}, ArgumentError, "dropout_rate"),
        ({"dropout_rate": "0.5"}, ArgumentError, "dropout_rate"),
        ({"dropout_rate": np.nan}, ArgumentError, "dropout_rate"),
        (
            {"batch_normalisation": "predct"},
            ArgumentError,
            r"unknown batch_normalisation mode; got predct; "
            r"expected one of \(False, 'train', 'fadeout', 'predict'\); nearest valid: 'predict'",
        ),
        ({"batch_normalisation": True}, ArgumentError, "unknown batch_normalisation mode; got True"),
    ],
)
def test_bad_arguments_leave_nothing_behind(kwargs, error, message):
    inp = source((2, 3))
    before = registered()
    with pytest.raises(error, match=message):
        perceptron(inp, **kwargs)
    assert registered() == before
    assert inp.children == {}


def test_shared_parameter_of_wrong_shape():
    inp = source((2, 3))
    first = perceptron(inp)
    with pytest.raises(
        ShapeError, match=r"the shared parameter 'w' has the wrong shape; got \(3, 4\); expected \(3, 5\)"
    ):
        perceptron(inp, 5, w=first.w)
    with pytest.raises(ShapeError, match=r"shared parameter 'w' has the wrong shape; got \(4, 3\); expected \(3, 4\)"):
        perceptron(inp, 4, w=first.w.T)
    with pytest.raises(ShapeError, match="shared parameter 'b' has the wrong shape"):
        perceptron(inp, 4, b=first.w)


@pytest.mark.parametrize("cls", [nm.Perceptron, nm.Conv, nm.UpConv])
def test_bad_parents(cls):
    args = (2,) if cls is nm.Perceptron else (2, (1,))
    with pytest.raises(InputTypeError, match="a parent must be a node"):
        cls(np.ones(3), *args, print_repr=False)
    with pytest.raises(InputTypeError, match="the parent must be a node"):
        cls(None, *args, print_repr=False)
    with pytest.raises(InputTypeError, match=f"{cls.__name__} .*: the parent has no tensor output; got generic_input"):
        cls(nm.GenericInput(print_repr=False), *args, print_repr=False)
    with pytest.raises(ShapeError, match="the parent must have a known number of features"):
        cls(source((2, None, 3)), *args, print_repr=False)
    with pytest.raises((ShapeError, UnknownNameError), match=r"needs an axis tagged 'f'|unsupported axis layout"):
        cls(source((2, 4, 3), "b,y,x"), *args, print_repr=False)


def test_integer_input_is_converted():
    inp = nm.Input((2, 3), "b,f", dtype="uint8", print_repr=False)
    node = perceptron(inp, activation_func="lin")
    values = node.get_param_values()
    x = np.arange(6, dtype="uint8").reshape(2, 3)
    assert node(x).dtype == "float32"
    np.testing.assert_allclose(node(x), x @ values["w"] + values["b"], rtol=1e-5)


# ---- dropout
def dropout_layers():
    yield nm.Perceptron(source((50, 40)), 60, "lin", dropout_rate=0.25, print_repr=False), "feature"
    yield (
        nm.Conv(source((4, 2, 12, 12)), 10, (3, 3), activation_func="lin", dropout_rate=0.25, print_repr=False),
        "element",
    )
    yield (
        nm.UpConv(source((4, 2, 12, 12)), 10, (2, 2), activation_func="lin", dropout_rate=0.25, print_repr=False),
        "element",
    )


@pytest.mark.parametrize(("node", "kind"), dropout_layers(), ids=["perceptron", "conv", "upconv"])
def test_dropout_statistics(node, kind):
    x = random(*node.input_nodes[0].shape.shape).astype("float32")
    node.set_param_values({"b": 5.0})
    plain = node.infer(x)
    gates = np.stack([node(x) / plain for _ in range(60)])
    ones = np.isclose(gates, 1 / 0.75, rtol=1e-4)
    assert (ones | (gates == 0)).all()
    if kind == "feature":
        assert (ones == ones[:, :1]).all()
        ones = ones[:, 0]
    # Three standard deviations of the mean of n independent draws.
    assert abs(ones.mean() - 0.75) < 3 * np.sqrt(0.25 * 0.75 / ones.size)
    assert len({g.tobytes() for g in gates}) == 60
    assert list(node.params) == ["w", "b", "dropout_rate"]
    assert not node.params["dropout_rate"].apply_train


def test_dropout_is_reproducible():
    def draws():
        nm.seed(3)
        node = perceptron(source((5, 3)), 40, dropout_rate=0.5)
        return [node(np.ones((5, 3), "float32")) for _ in range(3)]

    first, second = draws(), draws()
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
    nm.seed(None)


def test_layers_draw_independently():
    nm.seed(4)
    inp = source((5, 30))
    nodes = [perceptron(inp, 30, w=np.eye(30), b=np.zeros(30), dropout_rate=0.5) for _ in range(2)]
    both = nm.make_func([inp.output], [n.output for n in nodes])
    a, b = both(np.ones((5, 30), "float32"))
    assert not np.array_equal(a, b)
    nm.seed(None)


def test_dropout_off():
    node = perceptron(dropout_rate=0.5)
    x = random(2, 3).astype("float32")
    plain = perceptron(node.parent, w=node.w, b=node.b)
    np.testing.assert_array_equal(node.infer(x), plain(x))
    node.set_param_values({"dropout_rate": 0.0})
    np.testing.assert_array_equal(node(x), plain(x))
    assert "dropout_rate" not in perceptron(node.parent).params


def test_rate_can_be_changed_without_compiling_again(compilations):
    node = perceptron(
        source((1, 3)), 1000, activation_func="lin", w=np.zeros((3, 1000)), b=np.ones(1000), dropout_rate=0.5
    )
    x = np.ones((1, 3), "float32")
    node(x)
    assert compilations == [node.name]
    node.set_param_values({"dropout_rate": 0.9})
    assert abs((node(x) > 0).mean() - 0.1) < 0.05
    assert node(x).max() == pytest.approx(10, rel=1e-5)
    assert compilations == [node.name]


def test_dropout_passes_gradients_of_what_is_kept():
    nm.config.floatX = "float64"
    node = perceptron(source((4, 3)), 50, activation_func="lin", dropout_rate=0.5)
    (gradient,) = E.grad(node.output.sum(), [node.b])
    out, g = nm.make_func(node.input_tensors, [node.output, gradient])(random(4, 3))
    np.testing.assert_allclose(g, np.where((out == 0).all(0), 0, 8.0))


def test_inference_copies_share_parameters_and_register_nothing():
    node = perceptron(dropout_rate=0.5, batch_normalisation="train")
    before, updates = registered(), node.all_extra_updates
    copy = twin(node)
    assert copy.w is node.w and copy.params["b"] is node.params["b"]
    assert registered() == before
    assert [id(v) for u in node.all_extra_updates for v in u] == [id(v) for u in updates for v in u]
    assert evaluate(copy, random(7, 3).astype("float32")).shape == (7, 4)


# ---- description
def test_representation():
    inp = source((1, 1, 9, 9, 9))
    conv = nm.Conv(
        inp, 4, (1, 2, 2), (1, 2, 2), mfp=False, dropout_rate=0.25, batch_normalisation="train", print_repr=False
    )
    assert repr(conv).splitlines()[-1] == (
        "  n_f=4, 3d conv, kernel=(1, 2, 2), pool=(1, 2, 2), act='relu', dropout rate = 0.25, BN in 'train' mode "
    )
    up = nm.UpConv(conv, 3, (1, 2, 2), print_repr=False)
    assert repr(up).splitlines()[-1] == "  n_f=3, 3d upconv, kernel=(1, 2, 2), act='relu', "
    dot = nm.Perceptron(up, 2, "tanh", flatten=True, print_repr=False)
    assert repr(dot).splitlines()[-1] == "  n_f=2, act='tanh', input was flattened, "
    fragments = nm.Conv(source((1, 1, 8)), 1, (2,), (2,), mfp=True, print_repr=False)
    assert repr(fragments).splitlines()[-1] == "  n_f=1, 1d conv, kernel=(2,), pool=(2,), act='relu', MFP active, "


def test_representation_of_the_other_nodes():
    inp = source((1, 4, 8, 8))
    state = source((1, 2), name="state")
    nodes = {
        nm.Crop(inp, (1, 0), print_repr=False): "crop=(1, 0), ",
        nm.Pad(inp, (1, 0), value=0.5, print_repr=False): "pad=(1, 0), value=0.5, ",
        nm.Pool(inp, (2, 2), print_repr=False): "max pool=(2, 2), stride=(2, 2), ",
        nm.Pool(inp, (3, 3), mfp=True, print_repr=False): "max pool=(3, 3), stride=(3, 3), MFP active, ",
        nm.LRN(inp, 3, "channel", print_repr=False): "channel, filter_shape=(3,), ",
        nm.GRU(source((1, 3), name="x"), state, 2, print_repr=False): "n_f=2, act='tanh', ",
    }
    for node, line in nodes.items():
        assert repr(node).splitlines()[-1] == f"  {line}"
