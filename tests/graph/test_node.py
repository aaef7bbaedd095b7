"""The base of all nodes: the graph around them, their parameters, what they say of themselves."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError, UnknownNameError
from neuromancer.graph.node import is_shaped, require_node
from neuromancer.graph.window import BuildMode, Window

QUIET = {"print_repr": False}


def flat(name="x", dtype=None):
    return nm.Input((4, 3), "b,f", dtype=dtype, name=name, **QUIET)


def plane(**kwargs):
    return nm.Input((1, 1, 12, 12), "b,f,y,x", name="plane", **QUIET, **kwargs)


class Plus(nm.Node):
    """Adds one to its (first) parent."""

    def _make_output(self):
        self.output = self.parents[0].output + 1


@pytest.fixture
def layer():
    """3 times 2 weights and 2 biases."""
    return nm.Perceptron(flat(), 2, activation_func="lin", w=np.zeros((3, 2)), b=np.ones(2), name="layer", **QUIET)


def test_a_new_node(fresh_model, capsys):
    x = flat()
    node = Plus(x, "plus")
    assert (node.name, node.parent, node.parents) == ("plus", x, (x,))
    assert (node.children, node.params, node.windows) == ({}, {}, None)
    assert (node.feature_names, node.refined, node.is_source, node.equivariant) == (None, False, False, True)
    assert node.computational_cost == 12
    assert node.shape == x.shape and node.shape is not x.shape
    assert x.children == {"plus": node}
    assert node.construction == ((x, "plus"), {})
    assert fresh_model["plus"] is node
    assert Plus([x, x], name="both").parents == (x, x)
    assert Plus((x,), name="one").parents == (x,)
    assert x.parents == ()
    assert (node._debug_outputs, node._exec_times) == ([], {})
    assert Plus(x).name == "1" and Plus(x, None).name == "2"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("parent", [5, [None], "x"])
def test_parents_are_nodes(parent):
    with pytest.raises(InputTypeError) as caught:
        Plus(parent, "plus")
    entry = parent[0] if isinstance(parent, list) else parent
    assert caught.value.got == f"{type(entry).__name__} {entry!r}"
    assert caught.value.node.name == "plus"


def test_long_representations_are_cut():
    for make in (lambda: Plus("x" * 1000), lambda: require_node("x" * 1000, "conv", "the parent")):
        with pytest.raises(InputTypeError) as caught:
            make()
        assert len(caught.value.got) == 200 and caught.value.got.startswith("str 'xxx")
    with pytest.raises(InputTypeError) as caught:
        nm.Perceptron(flat("z"), 2, name="p", **QUIET).set_param_values({"w": "x" * 1000})
    assert len(caught.value.got) == 100 and caught.value.got.startswith("str 'xxx")


def test_a_required_node():
    x = flat()
    require_node(x, "conv", "the parent")
    with pytest.raises(InputTypeError, match="the parent") as caught:
        require_node([x], x, "the parent")
    assert caught.value.node is x and caught.value.got.startswith("list [")


def test_without_a_parent_a_node_defines_everything_itself():
    with pytest.raises(GraphError, match="parent") as caught:
        nm.Node(None, "alone")
    assert caught.value.node.name == "alone"


def test_of_nodes_without_a_shape():
    anything = nm.GenericInput(name="any", **QUIET)

    class Passed(nm.Node):
        pass

    node = Passed(anything, "passed")
    assert (node.shape, node.computational_cost, node.output) == (None, 0, anything.output)
    assert (is_shaped(anything), is_shaped(flat())) == (False, True)
    assert repr(node) == "<Passed-Node> 'passed' "


def test_the_sub_graph_comes_parents_first_and_once():
    x, y = flat("x"), flat("y")
    a = Plus(x, "a")
    b = Plus([a, y, x], "b")
    c = Plus([b, a, x], "c")
    assert [n.name for n in c.sub_graph()] == ["x", "a", "y", "b", "c"]
    assert list(c.all_parents) == ["x", "a", "y", "b", "c"]
    assert all(n.name == name for name, n in c.all_parents.items())
    assert c.input_nodes == [x, y]
    assert c.input_tensors == [x.output, y.output]
    assert list(x.all_children) == ["a", "b", "c"]
    assert list(a.all_children) == ["b", "c"] and c.all_children == {}


def test_cycles_are_reported_in_order():
    x = flat()
    a = Plus(x, "a")
    b = Plus(a, "b")
    a.parent = b
    with pytest.raises(GraphError, match="cycle") as caught:
        list(Plus.sub_graph(b))
    assert (caught.value.node, caught.value.got) == (b, "b -> a")


def test_equal_names_of_two_models():
    x = flat("same")
    nm.model_manager.newmodel(None)
    y = flat("same")
    node = Plus([x, y], "plus")
    with pytest.raises(GraphError) as caught:
        _ = node.all_parents
    assert (caught.value.node, caught.value.got) == (node, "same")


def test_parameters_of_the_sub_graph(layer):
    out = nm.Perceptron(layer, 5, batch_normalisation="train", name="out", **QUIET)
    assert list(layer.all_params) == ["layer_w", "layer_b"]
    assert layer.all_params["layer_w"] is layer.params["w"]
    assert set(out.all_params) == {"layer_w", "layer_b"} | {f"out_{k}" for k in out.params}
    trained = {k for k, p in out.all_params.items() if p.apply_train}
    assert set(out.all_trainable_params) == trained
    assert set(out.all_nontrainable_params) == set(out.all_params) - trained == {"out_mean", "out_std"}
    assert layer.all_nontrainable_params == {}
    updates = out.all_extra_updates
    assert updates == [p.updates for p in (out.params["mean"], out.params["std"])]
    assert layer.all_extra_updates == []
    assert layer.param_count == layer.all_params_count == 8
    assert out.param_count == 10 + 5 + 5 and out.all_params_count == 28
    assert out.all_computational_cost == out.computational_cost + layer.computational_cost > 0


def test_constants_are_left_out_or_passed_over():
    fixed = nm.Perceptron(flat(), 2, w=[np.zeros((3, 2)), "const"], b=np.ones(2), name="fixed", **QUIET)
    assert fixed.params["w"].constant
    assert set(fixed.get_param_values()) == {"w", "b"}
    assert set(fixed.get_param_values(skip_const=True)) == {"b"}
    with pytest.raises(ArgumentError) as caught:
        fixed.set_param_values({"b": [3, 3], "w": np.ones((3, 2))})
    assert (caught.value.node, caught.value.got) == (fixed, "w")
    assert "skip_const" in caught.value.expected
    assert fixed.params["b"].get_value().tolist() == [1, 1]
    fixed.set_param_values({"w": np.ones((3, 2)), "b": [3, 4]}, skip_const=True)
    assert fixed.params["b"].get_value().tolist() == [3, 4]
    assert not fixed.params["w"].get_value().any()


def test_parameters_are_set_by_name(layer):
    layer.set_param_values({"gamma": 3, "mean": 4, "std": 5, "w": 7, "b": np.array([1, 2])})
    assert layer.params["w"].get_value().tolist() == [[7, 7]] * 3
    assert layer.params["w"].get_value().dtype == "float32"
    assert layer.params["b"].get_value().tolist() == [1, 2]
    layer.set_param_values({"b": True})
    assert layer.get_param_values()["b"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("values", "error", "got", "expected", "nearest"),
    [
        ([1], InputTypeError, "list", "['w', 'b']", None),
        ({"weight": 1}, UnknownNameError, "weight", "['w', 'b']", None),
        ({"bb": 1}, UnknownNameError, "bb", "['w', 'b']", "b"),
        ({"w": np.ones((2, 3))}, ShapeError, (2, 3), (3, 2), None),
        ({"w": np.ones(2)}, ShapeError, (2,), (3, 2), None),
        ({"w": np.ones((3, 2)) * 1j}, InputTypeError, None, "(3, 2)", None),
        ({"b": "text"}, InputTypeError, "str 'text'", "(2,)", None),
        ({"b": [[1], [2, 3]]}, InputTypeError, "list [[1], [2, 3]]", "(2,)", None),
        ({"b": [np.nan, np.inf]}, ArgumentError, "2 NaN or infinite", None, None),
        ({"b": [1, -np.inf]}, ArgumentError, "1 NaN or infinite", None, None),
        ({"b": 1e300}, ArgumentError, None, None, None),
    ],
)
def test_all_parameters_are_set_or_none(layer, values, error, got, expected, nearest):
    before = layer.get_param_values()
    with pytest.raises(error) as caught:
        layer.set_param_values({"w": 5, **values} if isinstance(values, dict) else values)
    raised = caught.value
    assert raised.node is layer
    for fact, text in ((got, raised.got), (expected, raised.expected)):
        assert fact is None or fact == text or str(fact) in str(text)
    assert raised.nearest == nearest
    if isinstance(values, dict):
        assert next(iter(values)) in raised.problem
    for key, value in layer.get_param_values().items():
        np.testing.assert_array_equal(value, before[key])


def test_feature_names(layer):
    assert layer.feature_names is None
    layer.feature_names = ["left", "right"]
    assert layer.feature_names == ("left", "right")
    layer.feature_names = ("a", "b")
    for wrong in ("ab", ["a"], ["a", 2], ["a", "b", "c"], 5):
        with pytest.raises(ArgumentError) as caught:
            layer.feature_names = wrong
        assert (caught.value.node, caught.value.got) == (layer, wrong)
        assert "2" in caught.value.expected
    assert layer.feature_names == ("a", "b")
    layer.feature_names = None
    assert layer.feature_names is None
    plain = nm.Input((4, 4), "b,x", **QUIET)
    for node in (plain, nm.GenericInput(**QUIET)):
        with pytest.raises(ArgumentError):
            node.feature_names = []


def test_distances_between_inputs_are_strides_in_the_dense_form():
    pooled = nm.Pool(plane(), (2, 3), **QUIET)
    node = nm.Conv(pooled, 1, (1, 1), **QUIET)
    assert node.dilation == (1, 1)
    node.build_mode = BuildMode(dense=True)
    assert node.dilation == (2, 3)


def test_a_detached_copy_belongs_to_no_model():
    x = flat()
    node = Plus(x, "plus")
    below = Plus(node, "below")
    node(np.ones((4, 3)))
    twin = copy.copy(node)
    assert type(twin) is Plus and vars(twin) == vars(node)
    twin.detach(BuildMode(inference=True))
    assert (twin.build_mode, node.build_mode) == (BuildMode(inference=True), BuildMode())
    assert (twin.children, twin.compiled_functions, twin._exec_times, twin._debug_outputs) == ({}, {}, {}, [])
    assert node.children == {"below": below} and node.compiled_functions


def test_nodes_are_saved_with_their_model_only():
    node = flat()
    for way in (pickle.dumps, copy.deepcopy):
        with pytest.raises(GraphError, match="pickle") as caught:
            way(node)
        assert caught.value.node is node
        assert "model" in caught.value.expected


def test_the_representation_tells_what_there_is(layer):
    assert repr(layer).split("\n")[0] == "<Perceptron-Node> 'layer' "
    assert re.fullmatch(r"  #Params=8 Comp\.Cost=[^,]+, Out:\[\(4,b\), \(2,f\)\]", repr(layer).split("\n")[1])
    assert "Order of sources" not in repr(layer)
    x = layer.parent
    assert repr(x) == "<Input-Node> 'x' \n  Out:[(4,b), (3,f)]"
    both = Plus([x, flat("y")], "both")
    assert repr(both).endswith("Out:[(4,b), (3,f)]\n  Order of sources=['x', 'y'], ")
    crop = nm.Crop(plane(), (1, 2), name="crop", **QUIET)
    assert repr(crop).endswith("Out:[(1,b), (1,f), (10,y), (8,x)]\n  crop=(1, 2), ")
    crop.name = ""
    assert repr(crop).startswith("<Crop-Node>\n")
    wide = nm.Perceptron(x, 1000, name="wide", **QUIET)
    assert "#Params=4,000 " in repr(wide)


def test_plain_nodes_check_and_rearrange_nothing():
    node = Plus(flat(), "plus")
    assert node.input_checks() == ()
    assert node.rearranged([np.ones((4, 3))]) is None
    assert node._repr_extra() == ""


def test_hooks_that_do_nothing_leave_no_shape_and_no_cost():
    class Bare(Plus):
        def _calc_shape(self):
            pass

        def _calc_comp_cost(self):
            pass

    node = Bare(flat(), "bare")
    assert (node.shape, node.computational_cost, node.params) == (None, 0, {})


def test_hooks_run_once():
    class Counted(nm.Node):
        def __init__(self, parent, name="counted"):
            super().__init__(parent, name)
            self.runs = []

        def _make_output(self):
            self.output = self.parent.output
            self.runs.append("output")

        def _calc_comp_cost(self):
            self.runs.append("cost")

    assert Counted(flat()).runs == ["output", "cost"]


def test_a_users_node_may_say_that_it_refines():
    class Repeated(nm.Node):
        def _make_output(self):
            self.output = nm.T.repeat(self.parent.output, 2, axis=2)

        def _calc_shape(self):
            self.shape = self.parent.shape.updateshape("x", 2, "mult").updatestrides([0.5])
            self.windows = (Window(up=2),)

    node = Repeated(nm.Input((1, 1, 5), "b,f,x", **QUIET), "repeated")
    assert node.refined
    assert Plus(node, "below").refined
    assert not Plus(node.parent, "beside").refined


def test_a_copy_stays_of_double_precision():
    node = nm.ApplyFunc(flat(dtype="float64"), nm.T.tanh)
    assert node.infer(np.ones((4, 3))).dtype == "float64"


def test_the_configured_precision_is_kept_below_inputs_of_single_precision():
    x = flat(dtype="float32")
    nm.config.floatX = "float64"
    assert nm.ApplyFunc(x, lambda v: v * np.float64(0.1)).output.dtype == "float64"


def test_outputs_in_lists_are_of_the_networks_precision():
    class Several(nm.Node):
        def _make_output(self):
            x = self.parent.output
            self.output = [x * np.float64(0.1), nm.T.cast(x, "int64"), x]

        def _calc_shape(self):
            self.shape = None

        def _calc_comp_cost(self):
            self.computational_cost = 0

    node = Several(flat(), "several")
    assert type(node.output) is list
    assert [o.dtype for o in node.output] == ["float32", "int64", "float32"]
    double = Several(flat("d", dtype="float64"), "of_double")
    assert [o.dtype for o in double.output] == ["float64", "int64", "float64"]

    class First(nm.Node):
        def _make_output(self):
            self.output = self.parent.output[0]

        def _calc_comp_cost(self):
            self.computational_cost = 0

    assert First(node, "first").output.dtype == "float32"
    # The output in the list that is no floating point does not count.
    assert First(double, "first_of_double").output.dtype == "float64"
