"""Networks leave for PyTorch: values, gradients, training, names, and what cannot leave."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, UnknownNameError
from tests.dense.random_networks import random_network
from tests.interop.leaving_checks import (
    FAMILIES,
    QUIET,
    STAYS,
    can_leave,
    check_module,
    close,
    data,
    leaving,
    model,
)
from tests.interop.leaving_networks import CASES, functors, image, layer, recurrent, shared, two_inputs, unet


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_every_node_leaves_or_is_refused_by_name(family):
    with model(family) as (made, _):
        nodes = [n for n in made.nodes.values() if n.shape is not None]
        fine = [n for n in nodes if leaving(n)]
        for node in nodes if len(fine) < len(nodes) else []:
            if not can_leave(node):
                with pytest.raises(GraphError) as caught:
                    made.to_torch([node, *fine])
                assert repr(node.name) in caught.value.got and STAYS[type(node).__name__] in caught.value.got
        made.to_torch(fine)


@pytest.mark.parametrize("case", CASES)
def test_layers_have_equal_values_and_gradients(case):
    make, args, kwargs = CASES[case]
    with model(layer, make, *args, **kwargs) as (_, node):
        for param in node.params.values():
            # Shifted, so that no parameter has the value of a new one.
            if param.apply_train:
                value = param.get_value()
                param.set_value(value + np.linspace(0.1, 0.3, value.size, dtype="float32").reshape(value.shape))
        module = check_module(node)
        check_module(node, module, training=True)


@pytest.mark.parametrize("cell, features", [(nm.GRU, 2), (nm.LSTM, 4)])
@pytest.mark.parametrize("options", [{}, {"last_only": True, "n_steps": 3}, {"truncate_gradient": 2}], ids=str)
def test_recurrences(cell, features, options):
    with model(recurrent, cell, features, **options) as (_, node):
        module = check_module(node)
    gates = 3 if cell is nm.GRU else 4
    assert sum(p.numel() for p in module.parameters()) == (2 + 3) * 2 * gates + 2 * gates + features


def test_a_loop_of_unknown_length_is_refused():
    def network():
        sequence = nm.Input((None, 2, 3), "r,b,f", name="raw", **QUIET)
        first, _ = nm.split(sequence, "r", index=1, strip_singleton_dims=True, name="step")
        memory = nm.InitialState_like(first, 2, name="memory", **QUIET)
        step = nm.GRU(first, memory, 2, **QUIET)
        return nm.Scan(step, memory, in_iterate=sequence, in_iterate_0=first, unroll_scan=False, **QUIET)

    with model(network) as (_, node), pytest.raises(GraphError, match=r"'scan'.*n_steps"):
        nm.to_torch(node)


def test_shared_parameters_stay_shared():
    with model(shared) as (_, node):
        module = check_module(node)
    assert module.one.weight is module.two.weight
    names = [name for name, _ in module.named_parameters()]
    assert set(names) == {"one.weight", "one.bias", "encoder.weight", "encoder.bias", "encoder_T_b"}


def test_weights_shared_before_their_owner_is_reached():
    def network():
        inp = image((1, 2, 8, 8))
        owner = nm.Conv(inp, 2, (3, 3), activation_func="tanh", name="owner", **QUIET)
        user = nm.Conv(inp, 2, (3, 3), activation_func="tanh", name="user", w=owner.w[:, :, ::-1], b=owner.b, **QUIET)
        later = nm.Conv(user, 2, (3, 3), activation_func="tanh", name="later", w=owner.w, **QUIET)
        return nm.Concat([later, nm.Crop(owner, (1, 1), **QUIET)], **QUIET)

    with model(network) as (_, node):
        assert len(list(check_module(node).parameters())) == 3


def test_keys_are_names_of_nodes_and_dots_are_levels():
    def network():
        x = image()
        for k, name in enumerate(
            ["encoder.0.conv", "encoder.0", "weird name!", "forward", "encoder.0.conv.x", "graph"]
        ):
            x = nm.Conv(x, 2, (1, 1), activation_func="lin" if k else "tanh", name=name, **QUIET)
        return nm.BatchNorm(x, name="norm", **QUIET)

    with model(network) as (_, node):
        module = nm.to_torch(node)
    keys = [key for key in module.state_dict() if key.endswith("weight")]
    assert keys[0] == "encoder.0.conv.weight" and len(keys) == 7
    assert {"weird_name_.weight", "norm.weight"} <= set(keys)
    assert {"norm.running_mean", "norm.running_var"} <= set(module.state_dict())


def test_the_module_is_a_copy_and_can_be_stored(tmp_path):
    with model(layer, nm.Conv, 3, (3, 3), batch_normalisation="train") as (_, node):
        module = nm.to_torch(node)
        array = data(node)[0]
        before = node.infer(array)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 1
        np.testing.assert_array_equal(node.infer(array), before)
        other = nm.to_torch(node)
        node.w.set_value(0)
        close(other(torch.from_numpy(array)).detach(), before)
    torch.save(other, tmp_path / "module.pt")
    loaded = torch.load(tmp_path / "module.pt", weights_only=False)
    close(loaded(torch.from_numpy(array)).detach(), before)


def test_sizes_stay_open_for_trace_and_export():
    with model(unet) as (made, node):
        made.designate_nodes("raw", prediction_node=node)
        module = made.to_torch()
        small, large = (data(node, b=b, y=y, x=y + 2)[0] for b, y in ((2, 8), (3, 14)))
        wanted = made.predict(large)
    tensors = [torch.from_numpy(a) for a in (small, large)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own checks of sizes
        traced = torch.jit.trace(module, tensors[0])
    close(traced(tensors[1]).detach(), wanted)
    y, x = (2 * torch.export.Dim(f"half_{tag}", min=3, max=50) for tag in "yx")
    exported = torch.export.export(module, (tensors[0],), dynamic_shapes=[{0: torch.export.Dim("b"), 2: y, 3: x}])
    close(exported.module()(tensors[1]).detach(), wanted)


def test_dropout_drops_in_training_only():
    with model(layer, nm.Conv, 6, (1, 1), dropout_rate=0.5, sizes=(1, 2, 40, 40), activation_func="lin") as (_, node):
        module, x = nm.to_torch(node), torch.from_numpy(data(node)[0])
    plain, dropped = module(x), module.train()(x)
    kept = dropped != 0
    assert 0.4 < kept.float().mean() < 0.6
    close((dropped[kept] / 2).detach(), plain[kept].detach())
    assert torch.equal(module.eval()(x), plain)


def test_dropout_of_a_perceptron_drops_features():
    with model(layer, nm.Perceptron, 60, dropout_rate=0.5, activation_func="lin") as (_, node):
        module, x = nm.to_torch(node).train(), torch.from_numpy(data(node)[0])
    zero = (module(x) == 0).movedim(1, 0).flatten(1)
    assert (zero.all(1) == zero.any(1)).all() and 5 < zero.all(1).sum() < 55


def test_a_faithless_merge_drops_one_input_in_training_only():
    def network():
        a = image((1, 2, 3, 3))
        return nm.FaithlessMerge(a, nm.Crop(a, (0, 0), **QUIET), failing_prob=1.0, hardeasy_ratio=1.0, **QUIET)

    with model(network) as (_, node):
        module, x = nm.to_torch(node), torch.from_numpy(data(node)[0])
    assert torch.equal(module(x), torch.cat([x, x], 1))
    assert torch.equal(module.train()(x), torch.cat([0 * x, x], 1))


def test_constants_are_not_trained():
    w = np.ones((3, 2, 1, 1), "float32")
    with model(layer, nm.Conv, 3, (1, 1), w=[w, "const"]) as (_, node):
        module = nm.to_torch(node)
    assert not module.node.weight.requires_grad and module.node.bias.requires_grad


def test_several_inputs_and_outputs():
    with model(two_inputs) as (made, (node, both)):
        check_module(node, b=2, x=5)
        module = made.to_torch(["sum", both])
        arrays = data(node, b=2, x=5)
        close(module(*map(torch.from_numpy, arrays))[1].detach(), both.infer(*reversed(arrays)) if
              both.input_nodes != node.input_nodes else both.infer(*arrays))  # fmt: skip


def test_a_model_in_double_precision(tmp_path):
    before, nm.config.floatX = nm.config.floatX, "float64"
    try:
        with model(layer, nm.Conv, 3, (2, 2), batch_normalisation="train", activation_func="prelu") as (_, node):
            module = check_module(node, training=True, tolerance=1e-10)
            nm.export(node, tmp_path / "net.onnx")
    finally:
        nm.config.floatX = before
    assert module.node.weight.dtype == torch.float64


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "bool"])
def test_sources_of_other_dtypes(dtype, tmp_path):
    def network():
        x = image((1, 4, 4, 4), dtype=dtype)
        layers = [nm.Conv(x, 2, (2, 2), **QUIET), nm.BatchNorm(x, **QUIET), nm.Perceptron(x, 2, "prelu", **QUIET)]
        return [*layers, nm.PixelShuffle(x, 2, **QUIET), nm.Pad(x, (1, 1), padding_mode="reflect", **QUIET)]

    with model(network) as (made, nodes):
        made.to_torch(nodes)
        made.export(tmp_path / "net.onnx", nodes)


def test_booleans_are_not_added():
    with model(lambda: nm.Sum([image(dtype="bool")] * 2, **QUIET)) as (_, node):
        with pytest.raises(GraphError, match="combines booleans"):
            nm.to_torch(node)


def test_parameters_that_are_expressions_are_refused():
    def network(of_data):
        x = image((1, 2, 8, 8))
        first = nm.Conv(x, 2, (3, 3), name="first", **QUIET)
        other = nm.Input((2, 2, 3, 3), "b,f,y,x", name="other", **QUIET)
        return nm.Conv(first, 2, (3, 3), w=other.output if of_data else 2 * first.w, name="second", **QUIET)

    for of_data, why in ((True, "computed from data"), (False, "an expression of others")):
        with model(network, of_data) as (_, node), pytest.raises(GraphError, match=f"second_w is {why}"):
            nm.to_torch(node)


@nm.register_functor(name="leaving bump")
def bump(x):
    return nm.T.exp(-(x**2))


def test_functions_of_the_engine_leave():
    with model(functors) as (_, nodes):
        outputs = nm.to_torch(nm.Concat(nodes, **QUIET))(torch.from_numpy(data(nodes[0])[0]))
    assert outputs.shape[1] == 2 * len(nodes)


def test_all_that_cannot_leave_is_listed():
    class Own(nm.Node):
        pass

    class Changed(nm.Crop):
        def _make_output(self):
            self.output = self.parent.output

    class Named(nm.Crop):
        def __init__(self, parent):
            super().__init__(parent, (1, 1), name="named", **QUIET)

    def network():
        x = Named(Changed(Own(image(), name="own"), (0, 0), name="changed", **QUIET))
        x = nm.ApplyFunc(nm.ApplyFunc(x, bump, name="bump"), nm.T.cumsum, kwargs={"axis": 1}, name="cumsum")
        return nm.FromTensor(lambda t: 2 * t, x.shape, x, name="double")

    with model(network) as (_, node), pytest.raises(GraphError) as caught:
        nm.to_torch(node)
    text = str(caught.value)
    for name, why in {
        "own": "no counterpart is known", "changed": "changes Crop", "bump": "the user's own", "cumsum": "options",
        "double": "an expression of the user's",
    }.items():  # fmt: skip
        assert name in text and why in text
    assert "'named'" not in text and "5 nodes" in text


def test_bad_arguments_are_named():
    with model(layer, nm.Conv, 3, (1, 1)) as (made, node), model(layer, nm.Conv, 3, (1, 1)) as (_, other):
        with pytest.raises(GraphError, match="no prediction_node"):
            made.to_torch()
        with pytest.raises(UnknownNameError, match="nodee"):
            made.to_torch("nodee")
        with pytest.raises(GraphError, match="not a node of this model"):
            made.to_torch([other])
        with pytest.raises(InputTypeError, match="only models and nodes"):
            nm.to_torch("node")
        with pytest.raises(InputTypeError, match="nodes must be nodes"):
            made.to_torch([3])
        for nodes in ([], [node, node]):
            with pytest.raises(ArgumentError, match="different nodes"):
                made.to_torch(nodes)
        with pytest.raises(InputTypeError, match="no tensor output"):
            nm.to_torch(nm.GenericInput(**QUIET))


@settings(max_examples=12, deadline=None)
@example(584)  # its normalisation over two features amplifies rounding errors
@example(23545)  # it averages 3-D images that are smaller than a window, but for their padding
@given(st.integers(0, 10**6))
def test_random_networks(seed):
    node, _ = random_network(seed)
    if node is not None:
        nm.to_torch(node)
    nm.model_manager.delmodel(nm.model_manager.current.name)


def _chain(names: list[str]) -> nm.Conv:
    node = nm.Input((None, 1, None, None), "b,f,y,x", name="raw", **QUIET)
    for name in names:
        node = nm.Conv(node, 2, (1, 1), name=name, **QUIET)
    return node


def test_names_of_nodes_that_python_or_modules_reserve():
    names = ["class", "training", "meta.lambda.in", "forward", 'it\'s "q"', "0", "0.weight", "self"]
    with model(lambda: _chain(names)) as (made, node):
        module = made.to_torch(node)
        keys = list(module.state_dict())
        assert keys[:2] == ["class_.weight", "class_.bias"] and "meta_.lambda_.in_.weight" in keys
        module.load_state_dict(copy.deepcopy(module).state_dict())
        torch.jit.trace(module, torch.rand(1, 1, 9, 9))
