"""Roles of a graph's nodes: found by name, checked, given all together or not at all."""

from __future__ import annotations

import pytest

import neuromancer as nm
from neuromancer.errors import GraphError, InputTypeError, UnknownNameError
from neuromancer.graph.roles import LIST_ROLES, ROLES, DesignatedGraph

QUIET = {"print_repr": False}


@pytest.fixture
def model(fresh_model):
    """A regression with all that could have a role."""
    x = nm.Input((4, 3), "b,f", name="x", **QUIET)
    y = nm.Perceptron(x, 2, name="y", **QUIET)
    t = nm.Input_like(y, name="t", **QUIET)
    squares = nm.SquaredLoss(y, t, name="squares", **QUIET)
    nm.AggregateLoss([squares], name="loss", **QUIET)
    nm.Input((4, 3), "b,f", name="elsewhere", **QUIET)
    return fresh_model


def roles(model):
    return {role: getattr(model, role) for role in (*ROLES, *LIST_ROLES)}


def test_a_new_graph_has_no_roles():
    graph = DesignatedGraph("empty")
    assert graph.name == "empty"
    assert roles(graph) == {**dict.fromkeys(ROLES), "prediction_ext": [], "debug_outputs": []}
    assert (graph.batch_size, graph.ndim) == (None, None)
    assert graph.designations == dict.fromkeys((*ROLES, *LIST_ROLES))
    assert graph.debug_output_names == []
    assert DesignatedGraph().name == ""


def test_nodes_and_names_get_roles(model):
    x, y, t, squares, loss = (model[name] for name in ("x", "y", "t", "squares", "loss"))
    model.designate_nodes("x", t, "loss", y, ["loss", y], squares, (t, "y"))
    assert roles(model) == {
        "input_node": x,
        "target_node": t,
        "loss_node": loss,
        "prediction_node": y,
        "error_node": squares,
        "prediction_ext": [loss, y],
        "debug_outputs": [t, y],
    }
    assert model.designations == {
        "input_node": "x",
        "target_node": "t",
        "loss_node": "loss",
        "prediction_node": "y",
        "error_node": "squares",
        "prediction_ext": ["loss", "y"],
        "debug_outputs": ["t", "y"],
    }
    assert model.debug_output_names == ["t", "y"]
    assert (model.batch_size, model.ndim) == (4, 0)
    assert model.loss_input_shapes == [[4, 3], [4, 2]]


def test_roles_that_are_not_given_again_are_forgotten(model):
    model.designate_nodes("x", "t", "loss", "y", ["y"], "squares", ["y"])
    model.designate_nodes("elsewhere")
    assert model.input_node is model["elsewhere"]
    assert [role for role, node in roles(model).items() if node] == ["input_node"]
    assert (model.batch_size, model.ndim) == (None, None)


def test_the_input_is_called_input_unless_said_otherwise(fresh_model):
    x = nm.Input((1, 3), "b,f", **QUIET)
    fresh_model.designate_nodes()
    assert fresh_model.input_node is x
    fresh_model.designate_nodes(None)
    assert fresh_model.input_node is None


@pytest.mark.parametrize(
    ("shape", "tags", "batch_size", "ndim"),
    [((None, 2, 5, 5), "b,f,y,x", None, 2), ((7, 2, 5), "b,f,x", 7, 1), ((2, 5), "f,x", None, 1)],
)
def test_batch_size_and_rank_are_the_predictions(fresh_model, shape, tags, batch_size, ndim):
    nm.Input((3, 9), "b,f", **QUIET)
    nm.Input(shape, tags, name="out", **QUIET)
    fresh_model.designate_nodes(prediction_node="out")
    assert (fresh_model.batch_size, fresh_model.ndim) == (batch_size, ndim)


def test_a_prediction_without_a_shape(fresh_model):
    anything = nm.GenericInput(name="any", **QUIET)
    fresh_model.designate_nodes("any", prediction_node=anything, loss_node=None)
    assert fresh_model.prediction_node is anything
    assert (fresh_model.batch_size, fresh_model.ndim) == (None, None)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"target_node": "tt"}, UnknownNameError, "'tt'.*nearest valid: t"),
        ({"error_node": 5}, InputTypeError, "error_node .*5"),
        ({"loss_node": ["loss"]}, InputTypeError, r"loss_node .*\['loss'\]"),
        ({"prediction_ext": "y"}, InputTypeError, "prediction_ext .*'y'"),
        ({"debug_outputs": ["y", 7]}, InputTypeError, "debug_outputs .*7"),
        ({"loss_node": "squares"}, GraphError, r"'squares'.*2 axes, \[\(4,b\), \(1,f\)\].*\[squares\]"),
        (
            {"loss_node": "loss", "debug_outputs": ["y", "elsewhere"]},
            GraphError,
            r"'elsewhere'.*\['elsewhere'\].*\['x', 't'\]",
        ),
        ({"debug_outputs": ["x"]}, GraphError, r"'x'.*\['x'\].*\[\]"),
    ],
)
def test_nothing_changes_on_an_error(model, kwargs, error, message):
    model.designate_nodes("x", "t", "loss", "y", ["y"], None, ["y"])
    before, sizes = roles(model), (model.batch_size, model.ndim)
    with pytest.raises(error, match=message):
        model.designate_nodes(**{"input_node": "elsewhere", **kwargs})
    assert roles(model) == before
    assert (model.batch_size, model.ndim) == sizes


def test_long_representations_are_cut(model):
    with pytest.raises(InputTypeError) as caught:
        model.designate_nodes("x", target_node=["t"] * 1000)
    assert len(caught.value.got) == 200
    with pytest.raises(InputTypeError) as caught:
        model.designate_nodes("x", prediction_ext="y" * 1000)
    assert len(caught.value.got) == 200


def test_errors_name_the_model(model):
    nm.model_manager.newmodel("mine")
    x = nm.Input((1, 3), "b,f", **QUIET)
    mine = nm.model_manager.current
    try:
        for wrong in (model["x"], 5):
            with pytest.raises((GraphError, InputTypeError), match="model mine"):
                mine.designate_nodes(wrong)
        with pytest.raises(InputTypeError, match="model mine"):
            mine.designate_nodes(x, prediction_ext=x)
        with pytest.raises(GraphError, match=r"model mine.*no prediction_node"):
            _ = mine.prediction_feature_names
    finally:
        nm.model_manager.delmodel("mine")


def test_nodes_of_other_models_have_no_role(model):
    nm.model_manager.newmodel(None)
    nm.Input((1, 3), "b,f", name="x", **QUIET)
    other = nm.model_manager.current
    with pytest.raises(GraphError, match=r"input_node .*got x.*\['x'\]"):
        other.designate_nodes(model["x"])
    assert other.input_node is None


def test_what_is_not_designated_is_missed(model):
    with pytest.raises(GraphError, match=r"no loss_node.*loss_node="):
        _ = model.loss_input_shapes
    with pytest.raises(GraphError, match=r"no prediction_node.*prediction_node="):
        _ = model.prediction_feature_names


def test_feature_names_are_the_predictions(model):
    model.designate_nodes("x", prediction_node="y")
    assert model.prediction_feature_names is None
    model["y"].feature_names = ["left", "right"]
    assert model.prediction_feature_names == ("left", "right")


def test_input_shapes_of_a_loss_of_one_source(fresh_model):
    x = nm.Input((4, 3), "b,f", name="x", **QUIET)
    nm.AggregateLoss([nm.ApplyFunc(x, nm.T.sqr)], name="loss", **QUIET)
    fresh_model.designate_nodes("x", loss_node="loss")
    assert fresh_model.loss_input_shapes == [4, 3]
    told = nm.GenericInput(name="any", **QUIET)

    class Told(nm.Node):
        def _make_output(self):
            self.output = self.parent[0].output.sum()

        def _calc_shape(self):
            self.shape = nm.TaggedShape([], [])

    Told([x, told], name="sum")
    fresh_model.designate_nodes("x", loss_node="sum")
    assert fresh_model.loss_input_shapes == [[4, 3], None]


def test_reset_forgets_nodes_and_roles(model):
    changes = []
    model._roles_changed = lambda: changes.append(model.prediction_node)
    model.designate_nodes("x", "t", "loss", "y", ["y"], "squares", ["y"])
    assert changes == [None]
    model.reset()
    assert changes == [None, None]
    assert not model.nodes
    assert not any(roles(model).values())
    assert (model.batch_size, model.ndim) == (None, None)
