"""Models, current model, unique names."""

from __future__ import annotations

import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, UnknownNameError
from neuromancer.graph.registry import GraphManager, ModelContainer


def test_first_node_makes_the_default_model():
    container = ModelContainer()
    model = container.active()
    assert container.current is model
    assert repr(container) == "['default']"


def test_new_toggle_get_delete():
    container = ModelContainer()
    a, b = container.newmodel("a"), container.newmodel("b")
    assert container.current is b
    assert container.last is a
    container.togglemodel()
    assert container.current is a
    assert container.getmodel("b") is b
    assert container.current is b
    with pytest.raises(ArgumentError, match="a model of this name exists"):
        container.newmodel("a")
    with pytest.raises(UnknownNameError, match="no model named 'default'"):
        container.getmodel()
    container.delmodel("b")
    assert container.current is a


def test_random_names_differ():
    container = ModelContainer()
    assert container.newmodel(None).name != container.newmodel(None).name


@pytest.mark.parametrize(
    ("taken", "proposal", "name"),
    [
        ([], "conv", "conv"),
        (["conv"], "conv", "conv1"),
        (["conv", "conv1"], "conv", "conv2"),
        (["conv9"], "conv9", "conv10"),
        (["l05"], "l05", "l6"),
        ([], "", "1"),
        (["1"], "", "2"),
    ],
)
def test_unique_names(taken, proposal, name):
    manager = GraphManager()
    for t in taken:
        manager.splits[t] = {}
    assert manager.unique_name(proposal) == name


def test_look_up_by_name_and_position():
    model = nm.model_manager.newmodel(None)
    a = nm.Input((1, 2), "b,f", name="first", print_repr=False)
    assert model["first"] is a
    assert model[0] is a
    assert model[:1] == [a]
    assert "first" in model
    assert model.sources == [a] == model.sinks
    with pytest.raises(UnknownNameError, match=r"no node named 'fist'.*nearest valid: first"):
        model["fist"]
