"""Malicious documents that are well-formed: all are refused, quickly and with little memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.commands.convert import main as convert
from neuromancer.commands.volumes import main as neuromancer
from neuromancer.io.container import read_file, write_file
from tests.io import graphs
from tests.io.graphs import QUIET, functions, image, layers
from tests.io.test_container import refused

HUGE = 10**12


def entry(document, name):
    return next(e for e in document["nodes"] if e.get("name") == name)


def forged(tmp_path, change):
    path = tmp_path / "forged.h5"
    nm.model_manager.current.save(path)
    document, arrays = read_file(path)
    document.pop("arrays", None)
    change(document, arrays)
    write_file(path, document, arrays)
    return path


def argument(name, key, value):
    return lambda document, arrays: entry(document, name)["arguments"].update({key: value})


def many():
    """A graph with all kinds of nodes whose size follows from arguments."""
    inp = image()
    nm.Conv(inp, 3, (3, 3), (2, 2), name="conv", batch_normalisation="train", **QUIET)
    nm.ValueNode((1, 2), "b,f", name="value", **QUIET)
    nm.ValueNode((1, 2), "b,f", value=[[1, 2]], name="trained", apply_train=True, **QUIET)
    nm.InitialState_like(inp, 5, name="state", **QUIET)
    nm.LRN(inp, (3, 3), name="lrn", **QUIET)
    nm.split(inp, "y", n_out=2, name="part")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("conv", "n_f", HUGE),
        ("conv", "filter_shape", [HUGE, HUGE]),
        ("conv", "pool_shape", [HUGE, HUGE]),
        ("conv", "n_f", -1),
        ("conv", "n_f", "3"),
        ("conv", "parent", {"node": "conv"}),
        ("conv", "parent", {"node": "lrn"}),
        ("conv", "parent", {"node": ["raw"]}),
        ("conv", "parent", {"parameter": ["raw"]}),
        ("conv", "w", {"array": "absent"}),
        ("conv", "w", {"array": ["a"]}),
        ("conv", "w", {"unknown": 1}),
        ("conv", "w", {"variable": 0}),
        ("conv", "w", {"view": [{"node": "raw"}, [["slice", [["a"]]]]]}),
        ("conv", "w", {"array": "a", "node": "b"}),
        ("conv", "wrong", 1),
        ("value", "shape", [HUGE, HUGE]),
        ("trained", "shape", [HUGE, 2]),
        ("trained", "shape", [-HUGE, -2]),
        ("state", "override_f", HUGE),
        ("lrn", "filter_shape", [100001, 100001]),
        ("raw", "shape", {"fraction": [1, 0]}),
        ("raw", "dtype", "object"),
    ],
)
def test_arguments(fresh_model, tmp_path, name, key, value):
    many()
    refused(forged(tmp_path, argument(name, key, value)))


def test_fragments_and_steps(fresh_model, tmp_path):
    def change(document, arrays):
        entry(document, "conv")["arguments"] |= {"mfp": True, "pool_shape": [1000, 1000]}
        entry(document, "raw")["arguments"]["shape"] = [1, 2, 2001, 2001]

    many()
    refused(forged(tmp_path, change), "more than it holds")


def test_layers_without_weights(fresh_model, tmp_path):
    def change(document, arrays):
        entry(document, "conv")["arguments"]["n_f"] = HUGE
        entry(document, "conv")["parameters"] = {}

    many()
    refused(forged(tmp_path, change), "weights are missing")


def test_recurrences(fresh_model, tmp_path):
    inp = nm.Input((3, 2, 4), "r,b,f", name="raw", **QUIET)
    x = nm.split(inp, "r", n_out=3, strip_singleton_dims=True, name="step")[0]
    memory = nm.InitialState_like(x, 4, name="memory", **QUIET)
    gru = nm.GRU(x, memory, 4, name="gru", **QUIET)
    nm.Scan(gru, memory, in_iterate=inp, in_iterate_0=x, name="scan", **QUIET)
    scan = next(n for n in fresh_model.nodes if n.startswith("scan"))
    path = forged(tmp_path, lambda d, a: None)
    data = np.random.default_rng(0).normal(size=(3, 2, 4)).astype("float32")
    assert np.array_equal(nm.modelload(path)[scan](data), fresh_model[scan](data))
    nm.model_manager.getmodel(fresh_model.name)
    refused(forged(tmp_path, argument(scan, "n_steps", 10**8)))


def test_splits(fresh_model, tmp_path):
    def change(document, arrays):
        next(e for e in document["nodes"] if "split" in e)["n_out"] = HUGE
        entry(document, "raw")["arguments"]["shape"] = [1, 2, HUGE, 8]

    many()
    refused(forged(tmp_path, change))


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "change",
    [
        lambda d, a: d["nodes"].append(d["nodes"][1]),
        lambda d, a: d["nodes"].extend([d["nodes"][0]] * 5_000),
        lambda d, a: d["nodes"].append(5),
        lambda d, a: d["nodes"][1].update(parameters={}),
        lambda d, a: d["nodes"][1]["parameters"]["w"].update({"array": "parameters/dense/w"}),
        lambda d, a: d["nodes"][1]["parameters"].pop("b"),
        lambda d, a: d["nodes"][1]["parameters"]["w"].update(decay=10**400),
        lambda d, a: d["nodes"][1]["parameters"]["w"].update(train=1),
        lambda d, a: d["nodes"][1].update(name=""),
        lambda d, a: d["nodes"][1].update(name=7),
        lambda d, a: d["nodes"][1].update(attributes={"children": {"array": "parameters/conv/w"}}),
        lambda d, a: d["nodes"][1].update(streams={"children": {"seed": 1, "array": "parameters/conv/w"}}),
        lambda d, a: d["nodes"][1].update(features=["one"]),
        lambda d, a: d["nodes"][1]["arguments"].update(w=nested(100)),
        lambda d, a: d["designations"].update(loss_node="absent"),
        lambda d, a: d["designations"].update(other="loss"),
        lambda d, a: d["meta"].update(lr="fast"),
        lambda d, a: d["meta"].update(other=1.0),
        lambda d, a: d["optimisers"].update(Adam=3),
        lambda d, a: d.update(nodes={}),
        lambda d, a: d.pop("variables"),
        lambda d, a: d.update(history={"loss": 3}),
        lambda d, a: d["optimisers"].update(EVIL={}),
        lambda d, a: d["recent"].update(loss={"array": "parameters/conv/w"}),
        lambda d, a: a.update({d["recent"]["loss"]["array"]: np.zeros(201)}),
        lambda d, a: a.update({d["recent"]["seconds"]["array"]: np.array([-1e300])}),
        lambda d, a: a.update({d["recent"]["seconds"]["array"]: np.array([True])}),
    ],
)
def test_documents(fresh_model, tmp_path, change):
    layers()
    refused(forged(tmp_path, change))


@pytest.mark.parametrize(
    "name", ["os:system", "builtins:eval", "Node:x", "tests.io.graphs:Absent", "tests.io.graphs:image", "_Cell", "", 7]
)
def test_classes(fresh_model, tmp_path, name):
    layers()
    refused(forged(tmp_path, lambda d, a: d["nodes"][1].update({"class": name})))


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "posix:system",
        "builtins:eval",
        "subprocess:Popen",
        "shutil:rmtree",
        "pickle:loads",
        "tests.io.graphs:nm.model_manager.delmodel",
        "tests.io.graphs:Conv",
        "tests.io.graphs:Scaled",
        "tests.io.graphs:np",
        "tests.io.graphs:unregistered",
        "neuromancer.errors:node_label",
        "neuromancer.models.model:modelload",
        "torch.serialization:save",
        "torch.utils.collect_env:run",
        "numpy:save",
        "T:shape_padleft",
        "T:tile",
        "tests.io.graphs:absent",
        "tests.io.graphs:__builtins__",
        "numpy:os",
        "absent_module:function",
        "T:absent",
        "T:__loader__",
        "",
        3,
    ],
)
def test_functors(fresh_model, tmp_path, path):
    functions()
    refused(forged(tmp_path, argument("square", "functor", {"functor": path})))
    assert "absent_module" not in sys.modules


def test_a_chain_of_functors_runs_no_command(fresh_model, tmp_path, capsys):
    """A function that turns a node into its name, and one that runs this name as a command: both are refused."""
    functions()
    proof = tmp_path / "ran"

    def change(document, arrays):
        raw = entry(document, "raw")
        raw["name"] = f"$(touch {proof})"
        shape = {"shape": [[1, 2, 8, 8], {"tuple": ["b", "f", "y", "x"]}, [1, 1], [[0, 0]], [1, 1], [None, None]]}
        chain = [raw]
        for name, functor, parent in (
            ("label", "neuromancer.errors:node_label", raw["name"]),
            ("run", "torch.utils.collect_env:run", "label"),
        ):
            arguments = {"tensor": {"functor": functor}, "tensor_shape": shape, "tensor_parent": {"node": parent}}
            chain.append({"name": name, "class": "FromTensor", "arguments": arguments})
        document.update(nodes=chain, designations={"input_node": raw["name"]})

    path = forged(tmp_path, change)
    refused(path, "not known here")
    for command, arguments in ((neuromancer, ["info", path]), (convert, [path, tmp_path / "new.h5"])):
        assert command(list(map(str, arguments))) == 1
        assert "not known here" in capsys.readouterr().err
    assert not proof.exists() and not (tmp_path / "new.h5").exists()


@pytest.mark.parametrize(
    "position",
    [[[5, 2**63 - 1]], [[5, -1]], [[5]], [[1.5, 1]], [[[5, 1]]], np.array([[5, 1]], "int8")],
)
def test_positions_of_random_streams(fresh_model, tmp_path, position):
    nm.Perceptron(nm.Input((1, 2), "b,f", name="x", **QUIET), 2, dropout_rate=0.5, name="p", **QUIET)

    def change(document, arrays):
        for stream in entry(document, "p")["streams"].values():
            arrays[stream["array"]] = np.array(position)

    refused(forged(tmp_path, change), "position of a random stream|RandomStream")


def test_functors_only_stand_where_functions_may(fresh_model, tmp_path):
    functions()
    refused(forged(tmp_path, argument("square", "args", [{"functor": "T:tanh"}])), "unknown kind")


def test_a_class_that_is_gone_is_named(fresh_model, tmp_path):
    functions()
    path = forged(tmp_path, lambda d, a: entry(d, "scaled").update({"class": "lost_module:Scaled"}))
    refused(path, r"lost_module:Scaled.*import lost_module.*nearest valid: tests.io.graphs:Scaled")
    path = forged(tmp_path, lambda d, a: entry(d, "scaled").update({"class": "__main__:Scaled"}))
    assert type(nm.modelload(path)["scaled"]) is graphs.Scaled


def test_a_constant_with_another_value(fresh_model, tmp_path):
    def change(document, arrays):
        arrays["parameters/LRN/filter"] = np.zeros_like(arrays["parameters/LRN/filter"])

    layers()
    refused(forged(tmp_path, change), "constant has another value")
