"""User-defined nodes in a module outside the package."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import GraphError, InputTypeError

SOURCE = '''
import numpy as np
from neuromancer import Conv, Node, Perceptron, T, VariableWeight


class Affine(Node):
    """Defines constructor, output, shape and cost; parameters are named like the keyword arguments."""

    def __init__(self, parent, n_f, w=None, b=None, name="affine", print_repr=False):
        super().__init__(parent, name, print_repr)
        self.n_f = n_f
        self.mode, self.axis, self.shape = "affine", 1, (n_f,)
        size = (parent.shape["f"], n_f)
        self.params["w"] = VariableWeight(size, dict(mode="normal")) if w is None else VariableWeight(value=w)
        self.params["b"] = VariableWeight(value=np.zeros(n_f) if b is None else b, name="b")

    def _make_output(self):
        self.output = T.dot(self.parent.output, self.params["w"]) + self.params["b"]

    def _calc_shape(self):
        self.shape = self.parent.shape.updateshape("f", self.n_f)

    def _calc_comp_cost(self):
        self.computational_cost = self.params["w"].get_value().size


class HalfConv(Conv):
    def __init__(self, *args, **kwargs):
        kwargs.setdefault("activation_func", "lin")
        super().__init__(*args, **kwargs)
        self.gain = 0.5

    def _make_output(self):
        super()._make_output()
        self.output = self.output * 0.5


class Loud(Perceptron):
    def __init__(self, parent, n_f, volume=7, name="loud", **kwargs):
        self.volume = volume
        super().__init__(parent, n_f, name=name, **kwargs)

    def _make_output(self):
        super()._make_output()
        self.output = self.output * self.volume


class Keeper(Node):
    """Stores its parents in a dict, and an expression created in the constructor."""

    def __init__(self, first, second, name="keeper"):
        super().__init__([first, second], name)
        self.named = {"first": first, "second": second}
        self.doubled = second.output * 2

    def _make_output(self):
        self.output = self.named["first"].output + self.doubled


class Optional(Node):
    """Computes with a tensor parent; the other parent is a generic object."""

    def _make_output(self):
        self.output = self.parent[0].output + 1


class Forgetful(Node):
    def __init__(self, parent, name="forgetful"):
        self.parent = parent


class Greedy(Node):
    def __init__(self, parent, name="greedy"):
        super().__init__(parent, name)
        self.parent = Optional([parent], name="hidden")
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "nodes_of_mine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("nodes_of_mine")
    importlib.sys.modules.pop("nodes_of_mine")


def flat():
    return nm.Input((None, 3), "b,f", print_repr=False)


def image(size=10):
    return nm.Input((1, 2, size, size), "b,f,y,x", name="image", print_repr=False)


def test_user_defined_hooks_and_parameters(mine, fresh_model):
    node = mine.Affine(flat(), 2, w=np.ones((3, 2)), b=[1.0, 2.0])
    assert node([[1, 1, 1]]).tolist() == [[4, 5]]
    assert (node.shape.shape, node.mode, node.axis) == ([None, 2], "affine", 1)
    assert (node.computational_cost, node.param_count) == (6, 8)
    assert list(node.all_trainable_params) == ["affine_w", "affine_b"]
    assert mine.Affine(flat(), 4).name == "affine1"
    assert fresh_model["affine"] is node


def test_can_be_trained(mine):
    node = mine.Affine(flat(), 1, b=[0.0])
    loss = nm.AggregateLoss(nm.SquaredLoss(node, nm.Input((None, 1), "b,f", name="target")), print_repr=False)
    gradients = E.grad(loss.output, list(loss.all_trainable_params.values()))
    values = nm.make_func(loss.input_tensors, gradients)(np.ones((4, 3), "float32"), np.zeros((4, 1), "float32"))
    assert [v.shape for v in values] == [(3, 1), (1,)]


def test_derived_from_a_convolution(mine, capsys):
    node = mine.HalfConv(image(), 3, (3, 3), w=np.ones((3, 2, 3, 3)), b=np.zeros(3), name="half", print_repr=False)
    assert (node.name, node.gain, node.activation_func) == ("half", 0.5, "lin")
    assert capsys.readouterr().out == ""
    np.testing.assert_allclose(node.predict_dense(np.ones((2, 12, 11), "float32")), np.full((3, 10, 9), 9), rtol=1e-6)
    assert mine.HalfConv(image(), 3, (3, 3)).name == "conv"
    assert "<HalfConv-Node> 'conv'" in capsys.readouterr().out


def test_derived_from_a_perceptron(mine):
    node = mine.Loud(flat(), 2, w=np.ones((3, 2)), b=np.zeros(2), activation_func="lin", print_repr=False)
    assert node.name == "loud"
    assert node([[1, 1, 1]]).tolist() == [[21, 21]]


def test_stored_nodes_and_tensors_are_rebuilt_in_other_modes(mine):
    inp = image()
    noisy = nm.Conv(inp, 2, (1, 1), dropout_rate=0.5, activation_func="lin", print_repr=False)
    node = mine.Keeper(inp, noisy)
    x = np.random.default_rng(0).random((1, 2, 10, 10)).astype("float32")
    np.testing.assert_allclose(node.infer(x), x + 2 * noisy.infer(x), rtol=1e-5)
    raw = np.random.default_rng(0).random((2, 13, 12)).astype("float32")
    np.testing.assert_allclose(node.predict_dense(raw), raw + 2 * noisy.predict_dense(raw), rtol=1e-5)


def test_a_parent_can_be_any_object(mine):
    node = mine.Optional([flat(), nm.GenericInput(print_repr=False)])
    assert node([[1, 2, 3]], {"any": "thing"}).tolist() == [[2, 3, 4]]
    with pytest.raises(InputTypeError, match=r"(?s)2 inputs required, 1 given.*generic_input +any object"):
        node([[1, 2, 3]])


def test_constructor_must_call_the_base(mine, fresh_model):
    inp = flat()
    with pytest.raises(GraphError, match="Forgetful '': the constructor must call the base class constructor first"):
        mine.Forgetful(inp)
    with pytest.raises(GraphError, match=r"Greedy 'greedy': .*must not create other nodes.*got \['hidden'\]"):
        mine.Greedy(inp)
    assert list(fresh_model.nodes) == ["input"]
    assert inp.children == {}


def test_signature_is_that_of_the_constructor(mine):
    assert list(inspect.signature(mine.Affine).parameters)[:3] == ["parent", "n_f", "w"]
    assert list(inspect.signature(nm.Add).parameters) == ["n1", "n2", "name", "print_repr"]
    assert inspect.signature(nm.Input).parameters["name"].default == "input"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"n_f": 2, "filtershape": (3, 3)},
            r"'Conv': missing.*expected Conv\(parent, n_f, .*nearest valid: filter_shap",
        ),
        ({}, r"'Conv': missing a required argument: 'n_f'"),
        ({"n_f": 2, "filter_shape": (3, 3), "name": 5}, "a name must be a string; got int 5"),
    ],
)
def test_wrong_arguments(fresh_model, kwargs, message):
    inp = image()
    with pytest.raises(InputTypeError, match=message):
        nm.Conv(inp, **kwargs)
    assert list(fresh_model.nodes) == ["image"]
    assert inp.children == {}
