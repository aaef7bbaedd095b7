"""Descriptions of graphs as plain data."""

from __future__ import annotations

import json

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import GraphError
from neuromancer.pictures import describe_model, describe_node
from neuromancer.pictures.describe import value_text
from neuromancer.pictures.info import short_number
from tests.pictures.graphs import QUIET, network, recurrence


def by_name(graph):
    return {n.name: n for n in graph.nodes}


def test_numbers_are_those_of_the_nodes() -> None:
    model = network()
    graph = describe_model(model)
    nodes = by_name(graph)
    assert [n.name for n in graph.nodes] == list(model.nodes)
    for name, info in nodes.items():
        node = model[name]
        assert info.class_name == type(node).__name__ and info.tags == node.shape.tags
        assert info.sizes == list(node.shape.shape) and info.fov == node.shape.fov
        assert info.strides == node.shape.strides.tolist() and info.offsets == node.shape.offsets
        assert info.param_count == node.param_count and info.cost == node.computational_cost
        assert [(p.name, tuple(p.shape)) for p in info.params] == [
            (key, value.shape) for key, value in node.get_param_values().items()
        ]
    assert sum(n.cost_share for n in graph.nodes) == pytest.approx(1)
    assert graph.cost == sum(n.computational_cost for n in model.nodes.values())
    # 4 kernels of 1 x 3 x 3, 4 of 4 x 3 x 3 (shared by two nodes), 2 of 4 x 1 x 1, and the trainable biases.
    assert graph.param_count == 36 + 4 + 144 + 4 + 8 + 2
    assert nodes["second"].params[1].constant and not nodes["second"].params[1].trainable
    assert ("w", "parameter second_w") in nodes["third"].arguments


def test_kinds_roles_arguments() -> None:
    nodes = by_name(describe_model(network()))
    assert {name: n.kind for name, n in nodes.items()} == {
        "image": "source",
        "first": "layer",
        "second": "layer",
        "third": "layer",
        "scores": "layer",
        "probs": "operation",
        "labels": "source",
        "nll": "loss",
        "loss": "loss",
    }
    assert {n: i.roles for n, i in nodes.items() if i.roles} == {
        "image": ["input"],
        "labels": ["target"],
        "loss": ["loss"],
        "probs": ["prediction"],
    }
    assert ("filter_shape", "(3, 3)") in nodes["first"].arguments and ("parent", "image") in nodes["first"].arguments
    assert ("activation_func", "'relu'") in nodes["first"].defaults
    assert ("activation_func", "'lin'") in nodes["scores"].arguments
    assert nodes["probs"].features == ["inside", "outside"]
    assert nodes["first"].summary.startswith("Convolution")


def test_edges_and_reference() -> None:
    graph = describe_model(network())
    names = [n.name for n in graph.nodes]
    edges = {(names[e.source], names[e.target]): e.label for e in graph.edges}
    assert edges["image", "first"] == "b × 1f × 22y × 22x"
    assert ("probs", "nll") in edges and ("labels", "nll") in edges and len(edges) == 8
    assert all(e.source < e.target for e in graph.edges) and graph.reference == "probs"


def test_feedback_of_a_recurrence_is_a_separate_edge() -> None:
    graph = describe_model(recurrence())
    names = [n.name for n in graph.nodes]
    assert [(names[e.source], names[e.target]) for e in graph.edges if e.kind == "memory"] == [("cell", "start")]


def test_a_node_is_drawn_with_its_ancestors() -> None:
    model = network()
    graph = describe_node(model["second"])
    assert [n.name for n in graph.nodes] == ["image", "first", "second"]
    assert graph.reference == "second" and graph.nodes[0].roles == ["input"] and graph.title == "node second"
    nm.model_manager.delmodel(model.name)
    assert describe_node(model["second"]).nodes[0].roles == []


def test_unknown_sizes_generic_inputs_constants_odd_costs() -> None:
    model = nm.model_manager.newmodel("odd")

    class Odd(nm.Node):
        def _calc_comp_cost(self) -> None:
            self.computational_cost = float("nan")

    any_size = nm.Input((None, 3, None), "b,f,x", name="any", **QUIET)
    nm.GenericInput(name="thing", **QUIET)
    nm.ValueNode((2,), "f", value=1.0, name="number", **QUIET)
    Odd(any_size, name="odd")
    nm.Add(any_size, any_size, name="twice", **QUIET)
    graph = describe_model(model)
    nodes = by_name(graph)
    assert nodes["any"].shape_text == "b × 3f × x" and nodes["any"].sizes == [None, 3, None]
    assert nodes["thing"].tags is None and nodes["thing"].shape_text == "any object"
    assert nodes["number"].kind == "value"
    assert nodes["odd"].cost is None and np.isfinite(graph.cost) and nodes["odd"].kind == "operation"
    assert len([e for e in graph.edges if graph.nodes[e.target].name == "twice"]) == 1
    assert graph.reference is None
    json.dumps(graph.as_dict(), allow_nan=False)


def test_nothing_to_draw() -> None:
    with pytest.raises(GraphError, match="nothing to draw"):
        describe_model(nm.model_manager.newmodel("empty"))


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (999, "999"),
        (999.4, "999"),
        (999.6, "1 k"),
        (12_340, "12.3 k"),
        (999_999, "1 M"),
        (2.5e9, "2.5 G"),
        (7e12, "7 T"),
        (1e17, "100 P"),
        (0.25, "0.25"),
        (None, "?"),
    ],
)
def test_short_numbers(value, text) -> None:
    assert short_number(value) == text


def test_values_for_display() -> None:
    x = nm.Input((1, 2), "b,f", name="x", **QUIET)
    assert value_text([x, x]) == "[x, x]" and value_text((1,)) == "(1,)"
    assert value_text(np.float32(0.5)) == "0.5" and value_text(range) == "range"
    assert value_text([np.zeros((2, 3), "float32"), "const"]) == "[array (2, 3) float32, 'const']"
    assert len(value_text("a" * 1000)) == 160 and value_text(list(range(99))).endswith("19, …]")
    assert value_text(nm.VariableParam(np.zeros(2), name="w")) == "parameter w"
