"""Names of nodes, splits and models: checked on creation and on loading, and stored unchanged in files."""

from __future__ import annotations

import json

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, FileError, InputTypeError
from neuromancer.io.container import read_file, write_file

ODD = ["a/b", "/", ".", "..", "../out", "Schicht_ä_層", "emoji😀", "a b", "a'b\"c", "a%2Fb", "é", "e\u0301", "x" * 1000]


def model_of(name):
    """Build a model with a layer and a split of that name."""
    model = nm.model_manager.newmodel(None)
    x = nm.Input((None, 2), "b,f", name="data", print_repr=False)
    layer = nm.Perceptron(x, 4, name=name, print_repr=False)
    parts = nm.split(layer, n_out=2, name=name)
    model.designate_nodes("data", prediction_node=parts[1])
    return model


@pytest.mark.parametrize("name", ODD)
def test_unusual_names_in_files_and_pictures(tmp_path, name):
    model = model_of(name)
    assert model[name].name == name
    model.save(tmp_path / "m.h5")
    again = nm.modelload(tmp_path / "m.h5")
    assert list(again.nodes) == list(model.nodes)
    assert list(again.splits) == list(model.splits)
    data = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(again.predict(data), model.predict(data))
    assert "digraph" in model.plot().dot
    assert model.plot().html
    (tmp_path / "graph").mkdir()
    assert model[name].plot_theano_graph(tmp_path / "graph" / "g.dot")


@pytest.mark.parametrize("name", [None, ""])
def test_a_node_without_a_name_gets_a_number(name):
    assert nm.Input((1, 2), "b,f", name=name, print_repr=False).name == "1"


@pytest.mark.parametrize("name", ["w" * 1001, "\x1b" * 2000])
def test_invalid_node_names_leave_nothing_behind(name):
    x = nm.Input((1, 2), "b,f", name="x", print_repr=False)
    before = list(nm.model_manager.current.nodes)
    for make in (
        lambda: nm.Perceptron(x, 2, name=name, print_repr=False),
        lambda: nm.split(x, n_out=2, name=name),
        lambda: nm.split(x, n_out=2, name=["good", name]),
    ):
        with pytest.raises(ArgumentError, match="the name") as caught:
            make()
        assert len(str(caught.value)) < 300
        assert str(caught.value).isprintable()
    assert list(nm.model_manager.current.nodes) == before
    assert not nm.model_manager.current.splits


def test_a_name_is_a_string():
    x = nm.Input((1, 2), "b,f", name="x", print_repr=False)
    for make in (
        lambda: nm.Perceptron(x, 2, name=7, print_repr=False),
        lambda: nm.split(x, n_out=2, name=["good", ["list"]]),
        lambda: nm.model_manager.newmodel(7),
        lambda: nm.model_manager.newmodel(b"net"),
    ):
        with pytest.raises(InputTypeError, match="a name must be a string"):
            make()


@pytest.mark.parametrize("name", ["", "run/1", "../out", "sp ace", "a.b", "nul\0", "m" * 300])
def test_models_can_have_any_name(tmp_path, name):
    model = nm.model_manager.newmodel(name)
    assert nm.model_manager.getmodel(name) is model
    nm.Input((1, 2), "b,f", name="x", print_repr=False)
    model.save(tmp_path / "m.h5")
    nm.model_manager.delmodel(name)
    assert nm.modelload(tmp_path / "m.h5", name=name).name == name
    nm.model_manager.delmodel(name)


@pytest.mark.parametrize("name", ["\ud800", "m" * 1001])
def test_model_names_that_cannot_be_stored_are_refused(name):
    with pytest.raises(ArgumentError, match="the name"):
        nm.model_manager.newmodel(name)
    assert name not in nm.model_manager.models


@pytest.mark.parametrize("bad", ["w" * 5000, 7, None])
@pytest.mark.parametrize("where", ["node", "parts", "split"])
def test_names_in_files_are_checked(tmp_path, bad, where):
    model_of("layer").save(tmp_path / "m.h5")
    document, arrays = read_file(tmp_path / "m.h5")
    text = json.dumps(document["nodes"])
    nodes = json.loads(text)
    if where == "node":
        nodes[0]["name"] = bad
    elif where == "parts":
        nodes[-1]["parts"][0] = bad
    else:
        nodes[-1]["split"] = bad
    write_file(tmp_path / "bad.h5", {**document, "nodes": nodes}, arrays)
    models = list(nm.model_manager.models)
    with pytest.raises(FileError):
        nm.modelload(tmp_path / "bad.h5")
    assert list(nm.model_manager.models) == models
