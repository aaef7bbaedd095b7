"""Models, current model, unique names."""

from __future__ import annotations

import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, UnknownNameError
from neuromancer.graph.registry import Graph, ModelRegistry, model_manager


def test_a_default_model_is_created_on_demand():
    container = ModelRegistry()
    model = container.active()
    assert container.current is model
    assert repr(container) == "['default']"


def test_new_toggle_get_delete():
    container = ModelRegistry()
    a, b = container.newmodel("a"), container.newmodel("b")
    assert container.current is b
    assert container.last is a
    container.togglemodel()
    assert container.current is a
    assert container.getmodel("b") is b
    assert container.current is b
    with pytest.raises(ArgumentError, match="a model of this name already exists"):
        container.newmodel("a")
    with pytest.raises(UnknownNameError, match="no model named 'default'"):
        container.getmodel()
    container.delmodel("b")
    assert container.current is a


def test_random_names_differ():
    container = ModelRegistry()
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
    manager = Graph()
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


@pytest.fixture
def models(monkeypatch):
    monkeypatch.setattr(model_manager, "models", {})
    return model_manager.models


@pytest.mark.parametrize(
    ("name", "error"),
    [("a\ud800", ArgumentError), (5, InputTypeError), ("x" * 1001, ArgumentError), ("taken", ArgumentError)],
)
def test_a_model_cannot_be_renamed_to_an_invalid_name(models, fresh_model, name, error):
    model_manager.newmodel("taken")
    model = model_manager.newmodel("before")
    with pytest.raises(error):
        model.name = name
    assert model.name == "before" and model_manager["before"] is model
    model_manager.delmodel("before")


def test_a_renamed_model_is_registered_under_its_new_name(models, fresh_model):
    model = model_manager.newmodel("before")
    model.name = "../after"
    assert model_manager["../after"] is model is model_manager.current and "before" not in models
    model_manager.delmodel("../after")
    model.name = "alone"
    assert "alone" not in models


def test_the_registry_lists_the_names_of_its_models():
    for name in ("first", "second"):
        nm.model_manager.newmodel(name)
    assert [name for name in nm.model_manager if name in ("first", "second")] == ["first", "second"]
