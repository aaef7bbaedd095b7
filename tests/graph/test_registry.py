"""Models, current model, unique names."""

from __future__ import annotations

import threading

import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, UnknownNameError
from neuromancer.graph.registry import Graph, ModelRegistry, free_name, model_manager


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


@pytest.mark.parametrize(
    ("proposal", "taken", "name"),
    [
        ("a", [["a"], ["a1", "a2"]], "a3"),
        ("a", [[], []], "a"),
        ("a007", [["a007"]], "a8"),
        ("12", [["12"]], "13"),
        ("a999999999", [["a999999999"]], "a1000000000"),
        # Only the last nine digits count.
        ("a1234567890", [["a1234567890"]], "a1234567891"),
        ("a\nb", [["a\nb"]], "a\nb1"),
        ("", [["1", "2"]], "3"),
        ("m" * 1000, [["m" * 1000]], "m" * 999 + "1"),
        ("m" * 998 + "99", [["m" * 998 + "99"]], "m" * 997 + "100"),
    ],
)
def test_free_names(proposal, taken, name):
    assert free_name(proposal, *taken) == name


@pytest.fixture
def graph(fresh_model):
    """A model of two sources and one sink; the name of a split is taken, too."""
    a, b = (nm.Input((1, 2), "b,f", name=name, print_repr=False) for name in "ab")
    nm.Add(a, b, name="sum", print_repr=False)
    fresh_model.splits["s"] = {}
    return fresh_model


def test_a_graph_lists_its_nodes(graph):
    a, b, total = graph["a"], graph["b"], graph["sum"]
    assert (graph.node_count, repr(graph)) == (3, "['a', 'b', 'sum']")
    assert (graph.sources, graph.sinks) == ([a, b], [total])
    assert (graph[0], graph[-1], graph[1:]) == (a, total, [b, total])
    assert "a" in graph and "s" not in graph
    assert graph.unique_name("a") == "a1" and graph.unique_name("s") == "s1" and graph.unique_name("c") == "c"


def test_missing_nodes_are_named_with_the_model(graph):
    with pytest.raises(UnknownNameError) as caught:
        graph["summ"]
    error = caught.value
    assert (error.got, error.nearest) == ("summ", "sum")
    assert "['a', 'b', 'sum']" in error.expected
    assert graph.name in error.node and "'summ'" in error.problem


def test_a_name_is_registered_once(graph):
    with pytest.raises(ArgumentError) as caught:
        graph.register(graph["a"])
    assert (caught.value.node, caught.value.got) == (graph["a"], "a")


def test_forgotten_nodes_are_nobodys_children(graph):
    a, b = graph["a"], graph["b"]
    graph.forget("sum")
    assert (list(graph.nodes), a.children, b.children) == (["a", "b"], {}, {})
    graph.reset()
    assert (graph.nodes, graph.splits, graph.node_count) == ({}, {}, 0)


def test_a_parent_may_have_forgotten_its_child_before(graph):
    graph["a"].children.clear()
    graph.forget("sum")
    assert list(graph.nodes) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "error"), [("\ud800", ArgumentError), (7, InputTypeError), ("x" * 1001, ArgumentError)]
)
def test_names_of_graphs_are_checked(name, error):
    graph, container = Graph("fine"), ModelRegistry()
    for owner, give in (
        ("model", lambda: Graph(name)),
        ("model fine", lambda: setattr(graph, "name", name)),
        ("model_manager", lambda: container.newmodel(name)),
    ):
        with pytest.raises(error) as caught:
            give()
        assert caught.value.node == owner
    assert graph.name == "fine" and Graph().name == ""
    assert container.models == {} and container.current is None


def test_no_model_is_current_before_one_is_made():
    container = ModelRegistry()
    assert (container.current, container.last, container.models, repr(container)) == (None, None, {}, "[]")
    with pytest.raises(ArgumentError) as caught:
        container.togglemodel()
    assert (caught.value.node, caught.value.got) == ("model_manager", [])


def test_the_default_model():
    container = ModelRegistry()
    default = container.setdefault()
    assert default.name == "default" and container.current is default
    other = container.newmodel("other")
    assert container.active() is other
    assert container.getmodel() is default
    with pytest.raises(ArgumentError, match="got default"):
        container.setdefault()
    container.current = None
    assert container.active() is default
    assert container.models == {"default": default, "other": other}


def test_default_models_of_threads_are_called_after_them():
    container, made = ModelRegistry(), []
    container.newmodel("default of worker")

    def work():
        made.extend([container.active(), container.active()])

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()
    assert made == [container["default of worker1"]] * 2
    assert container.current is container["default of worker"]


def test_a_new_model_is_of_the_containers_class():
    class Mine(Graph):
        pass

    class Container(ModelRegistry):
        model_class = Mine

    assert type(Container().newmodel("a")) is Mine
    assert type(ModelRegistry().newmodel("a")) is type(nm.model_manager.current)


def test_taken_names_are_listed():
    container = ModelRegistry()
    container.newmodel("a"), container.newmodel("b")
    with pytest.raises(ArgumentError) as caught:
        container.newmodel("a")
    assert (caught.value.node, caught.value.got) == ("model_manager", "a")
    assert "['a', 'b']" in caught.value.expected
    with pytest.raises(UnknownNameError) as caught:
        container["aa"]
    assert (caught.value.node, caught.value.got, caught.value.nearest) == ("model_manager", "aa", "a")
    assert "['a', 'b']" in caught.value.expected and "'aa'" in caught.value.problem


def test_deleting_goes_back_one_model():
    container = ModelRegistry()
    a, b, c = (container.newmodel(name) for name in "abc")
    assert (container.current, container.last) == (c, b)
    container.delmodel("a")
    assert (container.current, container.last) == (c, b)
    container.delmodel("b")
    assert (container.current, container.last) == (c, None)
    container.delmodel("c")
    assert (container.current, container.last, container.models) == (None, None, {})
    a, b = container.newmodel("a"), container.newmodel("b")
    container.delmodel("b")
    assert (container.current, container.last) == (a, None)


def test_choosing_the_current_model_again_changes_nothing():
    container = ModelRegistry()
    a, b = container.newmodel("a"), container.newmodel("b")
    assert container.getmodel("b") is b
    assert container.last is a
    container.togglemodel()
    assert (container.current, container.last) == (a, b)


def test_only_the_models_of_a_registry_are_renamed():
    container = ModelRegistry()
    a, stranger = container.newmodel("a"), Graph("a")
    container.rename(stranger, "b")
    container.rename(a, "a")
    assert container.models == {"a": a}
    container.newmodel("taken")
    with pytest.raises(ArgumentError):
        container.rename(a, "taken")
    container.rename(a, "b")
    assert container.models["b"] is a and set(container.models) == {"b", "taken"}


def test_renamed_to_its_own_name(models, fresh_model):
    model = model_manager.newmodel("same")
    model.name = "same"
    assert models == {"same": model}


def test_what_a_failed_block_added_vanishes(graph):
    def build(fail):
        with nm.model_manager.all_or_nothing() as model:
            assert model is graph
            below = nm.Add(graph["sum"], graph["a"], name="below", print_repr=False)
            nm.Add(below, graph["b"], name="last", print_repr=False)
            graph.splits["t"] = {}
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(fail=True)
    assert (list(graph.nodes), list(graph.splits)) == (["a", "b", "sum"], ["s"])
    assert list(graph["a"].children) == ["sum"] and graph["sum"].children == {}
    build(fail=False)
    assert (list(graph.nodes), list(graph.splits)) == (["a", "b", "sum", "below", "last"], ["s", "t"])
    assert list(graph["a"].children) == ["sum", "below"]
