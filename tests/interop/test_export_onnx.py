"""Networks leave as ONNX files: values at several sizes, names, sizes, what cannot leave, and bad arguments."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import neuromancer as nm
from neuromancer.errors import (
    ArgumentError,
    FileError,
    GraphError,
    InputTypeError,
    MissingDependencyError,
    TranslationError,
    UnknownNameError,
)
from neuromancer.interop.leaving.registry import HANDLERS
from tests.dense.random_networks import random_network
from tests.interop.leaving_checks import FAMILIES, QUIET, STAYS, can_leave, close, data, leaving, model
from tests.interop.leaving_networks import CASES, functors, image, layer, recurrent, shared, two_inputs, unet

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

MESHNET = Path(__file__).parents[3] / "shared/data/meshnet"


def run(path, *arrays):
    """Evaluate a file, with one array per input."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def dims(values):
    """Names and sizes of inputs or outputs."""
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_every_node_leaves_or_is_refused_by_name(family, path):
    with model(family) as (made, _):
        nodes = [n for n in made.nodes.values() if n.shape is not None]
        fine = [n for n in nodes if leaving(n)]
        for node in nodes if len(fine) < len(nodes) else []:
            if not can_leave(node):
                with pytest.raises(GraphError) as caught:
                    made.export(path, [*fine, node])
                assert repr(node.name) in caught.value.got and STAYS[type(node).__name__] in caught.value.got
        assert not list(path.parent.iterdir())
        made.export(path, fine)


@pytest.mark.parametrize("case", CASES)
def test_layers_have_equal_values_at_other_sizes(case, path):
    make, args, kwargs = CASES[case]
    with model(layer, make, *args, **kwargs) as (_, node):
        nm.export(node, path)
        array = data(node)[0]
        close(run(path, array)[0], node.infer(array))
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    "make", [shared, unet, lambda: nm.Concat(functors(), **QUIET)], ids=["shared", "unet", "functors"]
)
def test_networks(make, path):
    with model(make) as (_, node):
        nm.export(node, path)
        array = data(node, b=3, y=10, x=16)[0]
        close(run(path, array)[0], node.infer(array))


@pytest.mark.parametrize("cell, features", [(nm.GRU, 2), (nm.LSTM, 4)])
def test_recurrences(cell, features, path):
    with model(recurrent, cell, features) as (_, node):
        nm.export(node, path)
        array = data(node)[0]
        close(run(path, array)[0], node.infer(array))
        graph = onnx.load(path).graph
        assert [o.name for o in graph.output] == [node.name]
        assert all(op.name for op in graph.node) and len({op.name for op in graph.node}) == len(graph.node)


def test_sizes_are_open_where_the_network_takes_others(path):
    with model(unet) as (_, node):
        nm.export(node, path)
        graph = onnx.load(path).graph
    assert dims(graph.input) == {"raw": ["batch", 1, "y", "x"]}
    assert dims(graph.output) == {"probs": ["batch", 2, "y", "x"]}


def test_sizes_are_fixed_where_the_network_takes_no_others(path):
    with model(layer, nm.Perceptron, 3, flatten=True) as (_, node):
        nm.export(node, path)
        graph = onnx.load(path).graph
    assert dims(graph.input) == {"raw": ["batch", 2, 9, 8]} and dims(graph.output) == {"node": ["batch", 3]}


def test_sizes_that_differ_have_names_of_their_own(path):
    with model(layer, nm.Conv, 3, (3, 1), sizes=(2, 2, 9, 8)) as (_, node):
        nm.export(node, path)
        graph = onnx.load(path).graph
    assert dims(graph.output) == {"node": ["batch", 3, "node_y", "x"]}


def test_a_hard_coded_shape_stays(path):
    with model(lambda: nm.Conv(image(hardcoded_shape=True), 3, (1, 1), name="node", **QUIET)) as (_, node):
        nm.export(node, path)
        assert dims(onnx.load(path).graph.input) == {"raw": [1, 2, 9, 8]}


def test_fragments_keep_a_batch_of_one(path):
    def network():
        x = nm.Conv(image((1, 2, 8, 9)), 3, (2, 3), (2, 2), mfp=True, name="conv", **QUIET)
        return nm.FragmentsToDense(x, name="dense", **QUIET)

    with model(network) as (_, node):
        nm.export(node, path)
        assert dims(onnx.load(path).graph.input) == {"raw": [1, 2, "y", "x"]}


def test_inputs_on_different_grids(path):
    def network(**options):
        a, b = (
            nm.Input((1, 1, n), "b,f,x", name=name, **QUIET, **o) for n, name, o in ((20, "a", {}), (10, "b", options))
        )
        return nm.Concat([nm.Pool(a, (2,), **QUIET), b], name="both", **QUIET)

    for options in ({}, {"strides": [2]}):
        with model(network, **options) as (_, node):
            nm.export(node, path)
            graph = onnx.load(path).graph
        assert dims(graph.input) == {"a": ["batch", 1, "x"], "b": ["batch", 1, "b_x"]}
        assert dims(graph.output) == {"both": ["batch", 2, "both_x"]}


def test_large_images_are_compared_at_small_sizes(path):
    def network():
        x = nm.Conv(image((1, 1, 2000, 4002)), 3, (3, 4), (2, 3), name="conv", **QUIET)
        return nm.Conv(x, 2, (2, 2), name="node", **QUIET)

    with model(network) as (_, node):
        nm.export(node, path)
        assert dims(onnx.load(path).graph.input) == {"raw": ["batch", 1, "y", "x"]}


def test_names_and_origin_are_kept(path):
    def network():
        x = nm.Conv(image(), 3, (2, 3), (2, 2), name="first layer", batch_normalisation="train", **QUIET)
        return nm.Softmax(nm.Conv(x, 2, (1, 1), activation_func="lin", name="last", **QUIET), name="probs", **QUIET)

    with model(network) as (made, node):
        made.designate_nodes("raw", prediction_node=node)
        made.export(path)
        name = made.name
    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    assert (file.producer_name, file.producer_version, file.graph.name) == ("neuromancer", nm.__version__, name)
    assert [o.version for o in file.opset_import] == [20]
    assert [op.name for op in file.graph.node if op.op_type in ("Conv", "Softmax")] == ["first layer", "last", "probs"]
    values = {value for op in file.graph.node for value in op.output}
    assert {"first layer", "last", "probs"} <= values
    assert {"first layer_w", "first layer_b", "first layer_mean", "last_w"} <= {i.name for i in file.graph.initializer}
    assert {p.key: p.value for p in file.metadata_props} == {"axes of raw": "b,f,y,x", "axes of probs": "b,f,y,x"}


def test_several_inputs_and_outputs(path):
    with model(two_inputs) as (made, (node, both)):
        made.export(path, ["sum", both, "a"])
        arrays = dict(zip([s.name for s in node.input_nodes], data(node, b=2, x=5), strict=True))
        wanted = [n.infer(*(arrays[s.name] for s in n.input_nodes)) for n in (node, both, made["a"])]
    graph = onnx.load(path).graph
    assert [i.name for i in graph.input] == [s.name for s in node.input_nodes]
    assert [o.name for o in graph.output] == ["sum", "both", "a/output"]
    for found, value in zip(run(path, *arrays.values()), wanted, strict=True):
        close(found, value)


def test_outputs_that_compute_nothing_have_their_names(path):
    def network():
        x = nm.Conv(image(), 3, (1, 1), activation_func="lin", name="scores", **QUIET)
        return [nm.Activation(x, "lin", name="same", **QUIET), x, nm.Crop(x, (0, 0), name="whole", **QUIET)]

    with model(network) as (made, nodes):
        made.export(path, nodes)
        graph = onnx.load(path).graph
        assert [o.name for o in graph.output] == ["same", "scores", "whole"]
        for found in run(path, data(nodes[0])[0]):
            close(found, nodes[0].infer(data(nodes[0])[0]))


def test_integers_stay_integers(path):
    def network():
        labels = image((1, 1, 4, 4), dtype="uint8")
        return [
            nm.Crop(nm.Pad(labels, (1, 1), 7, **QUIET), (0, 1), name="node", **QUIET),
            nm.Conv(labels, 2, (2, 2), **QUIET),
        ]

    with model(network) as (made, nodes):
        made.export(path, nodes)
        array = np.random.default_rng(0).integers(0, 255, (1, 1, 4, 4)).astype("uint8")
        for found, node in zip(run(path, array), nodes, strict=True):
            close(found, node.infer(array))
            assert found.dtype == node.output.dtype


def test_an_existing_file_is_replaced_only_by_a_right_one(path, monkeypatch):
    path.write_text("old")
    from neuromancer.interop.onnx.leaving import functions

    with model(layer, nm.Activation, "relu") as (_, node):
        monkeypatch.setitem(functions.PLAIN, "relu", "Tanh")
        with pytest.raises(TranslationError, match=r"differs.*in ONNX Runtime.*at most 1e-05"):
            nm.export(node, path)
        assert path.read_text() == "old" and len(list(path.parent.iterdir())) == 1
        monkeypatch.setitem(functions.PLAIN, "relu", "Nonsense")
        with pytest.raises(TranslationError, match="check of onnx"):
            nm.export(node, path)
        assert path.read_text() == "old"
        monkeypatch.undo()
        nm.export(node, path)
    assert path.read_bytes()[:3] != b"old"


def test_bad_paths_and_nodes_are_named(path, monkeypatch):
    folder = path.parent
    with model(layer, nm.Conv, 3, (1, 1)) as (made, node):
        with pytest.raises(ArgumentError, match=r"nearest valid: .*net\.onnx"):
            nm.export(node, folder / "net.pt")
        with pytest.raises(InputTypeError, match="not a path"):
            nm.export(node, 3)
        with pytest.raises(FileError, match="local"):
            nm.export(node, "s3://bucket/net.onnx")
        with pytest.raises(FileError, match="no such folder"):
            nm.export(node, folder / "missing" / "net.onnx")
        (folder / "folder.onnx").mkdir()
        with pytest.raises(FileError, match="cannot be written"):
            nm.export(node, folder / "folder.onnx")
        with pytest.raises(GraphError, match="no prediction_node"):
            made.export(path)
        with pytest.raises(UnknownNameError, match="nodee"):
            made.export(path, "nodee")
        with pytest.raises(InputTypeError, match="only models and nodes"):
            nm.export("node", path)
        with pytest.raises(ArgumentError, match="different nodes"):
            nm.export(made, path, [])
        with pytest.raises(ArgumentError, match="outputs of a model"):
            nm.export(node, path, [made["raw"]])
        monkeypatch.setitem(sys.modules, "onnx", None)
        with pytest.raises(MissingDependencyError, match="pip install onnx"):
            nm.export(node, path)
    assert [p.name for p in folder.iterdir()] == ["folder.onnx"]


def test_without_onnx_runtime_the_file_is_checked_only(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with model(layer, nm.Conv, 3, (2, 2)) as (_, node):
        nm.export(node, path)
    monkeypatch.undo()
    assert len(run(path, np.zeros((1, 2, 5, 5), "float32"))) == 1


def test_a_module_comes_in_and_leaves_and_comes_back(path):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.PReLU(),
        nn.MaxPool2d(2),
        nn.GroupNorm(2, 4),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.ConvTranspose2d(4, 2, 2, 2),
        nn.InstanceNorm2d(2, affine=True),
        nn.GELU(),
    ).eval()
    first = nm.from_torch(module, (1, 1, 16, 16), print_report=False)
    again = first.to_torch()
    assert again.state_dict().keys() == module.state_dict().keys()
    array = np.random.default_rng(0).standard_normal((2, 1, 20, 24)).astype("float32")
    with torch.no_grad():
        wanted = module(torch.from_numpy(array))
        close(again(torch.from_numpy(array)), wanted)
    first.export(path)
    close(run(path, array)[0], wanted)
    back = nm.from_onnx(path, print_report=False)
    close(back.predict(array), wanted)
    for made in (first, back):
        nm.model_manager.delmodel(made.name)


def test_the_page_lists_every_class():
    page = (Path(__file__).parents[2] / "docs/export.md").read_text()
    listed = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", page, re.MULTILINE))))
    assert {cls.__name__ for cls in HANDLERS} <= listed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*monai.*", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", ["UNet", "BasicUNet", "DynUNet", "SegResNet"])
def test_monai_networks_come_in_and_leave(kind, path):
    nets = pytest.importorskip("monai.networks.nets")
    options = {
        "UNet": {"channels": (2, 4), "strides": (2,), "num_res_units": 1, "norm": "batch"},
        "BasicUNet": {"features": (2, 2, 2, 2, 2, 2)},
        "DynUNet": {
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [2, 4, 4],
        },
        "SegResNet": {"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1,)},
    }[kind]
    torch.manual_seed(0)
    module = getattr(nets, kind)(spatial_dims=2, in_channels=1, out_channels=2, **options).eval()
    made = nm.from_torch(module, (1, 1, 32, 32), print_report=False)
    again = made.to_torch()
    assert set(again.state_dict()) <= set(module.state_dict())
    x = torch.randn(2, 1, 32, 48)
    with torch.no_grad():
        close(again(x), module(x))
    made.export(path)
    with torch.no_grad():
        close(run(path, x.numpy())[0], module(x))
    nm.model_manager.delmodel(made.name)


@pytest.mark.skipif(not MESHNET.is_dir(), reason="needs the files of MeshNet")
def test_meshnet_comes_in_and_leaves(path):
    made = nm.from_keras(MESHNET / "model5_gw_ae" / "model.json", (12, 12, 12), print_report=False)
    made.export(path)
    array = np.random.default_rng(0).random((1, 1, 14, 15, 16)).astype("float32")
    close(run(path, array)[0], made.predict(array))
    nm.model_manager.delmodel(made.name)


@settings(max_examples=12, deadline=None)
@example(226)  # its branches meet at odd sizes along x and at even ones along z
@given(st.integers(0, 10**6))
def test_random_networks(tmp_path_factory, seed):
    node, _ = random_network(seed)
    if node is not None:
        nm.export(node, tmp_path_factory.mktemp("net") / "net.onnx")
    nm.model_manager.delmodel(nm.model_manager.current.name)
