"""Networks leave for PyTorch: values, gradients, training, names, and what cannot leave."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
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


def image(sizes=(1, 2, 9, 8), tags="b,f,y,x", **kwargs):
    return nm.Input(sizes, tags, name="raw", **QUIET, **kwargs)


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


def layer(make: Any, *args: Any, sizes: Any = (2, 2, 9, 8), tags: str = "b,f,y,x", **kwargs: Any) -> Any:
    """A network of one node on an image."""
    return make(image(sizes, tags), *args, name="node", **QUIET, **kwargs)


SWAPPED = {"sizes": (2, 3, 2, 6, 7), "tags": "b,z,f,y,x"}
LINE = {"sizes": (2, 4, 11), "tags": "b,f,x"}
SPACE = {"sizes": (1, 2, 5, 6, 7), "tags": "b,f,z,y,x"}
PLAIN = {"activation_func": "tanh"}
CASES: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "conv": (nm.Conv, (3, (3, 2)), {}),
    "conv same": (nm.Conv, (3, (3, 1)), {"conv_mode": "same", **PLAIN}),
    "conv full": (nm.Conv, (3, (2, 3)), {"conv_mode": "full", **PLAIN}),
    "conv pool": (nm.Conv, (3, (2, 3), (2, 3)), PLAIN),
    "conv stride": (nm.Conv, (4, (3, 3)), {"stride": 2, "dilation": (1, 2), "groups": 2, "padding": (1, (2, 1)), **PLAIN}),
    "conv reflect": (nm.Conv, (3, (3, 3)), {"padding": 1, "padding_mode": "reflect", **PLAIN}),
    "conv replicate": (nm.Conv, (3, (3, 3)), {"padding": ((0, 2), 1), "padding_mode": "replicate", **PLAIN}),
    "conv line": (nm.Conv, (3, (3,)), {**LINE, **PLAIN}),
    "conv space": (nm.Conv, (3, (1, 3, 2), (1, 2, 3)), {**SPACE, **PLAIN}),
    "conv swapped": (nm.Conv, (3, (2, 3, 2), (1, 2, 2)), {**SWAPPED, **PLAIN}),
    "conv mfp": (nm.Conv, (3, (2, 3), (2, 2)), {"mfp": True, "sizes": (1, 2, 8, 9), **PLAIN}),
    "upconv": (nm.UpConv, (3, (2, 3)), PLAIN),
    "upconv swapped": (nm.UpConv, (3, (1, 2, 2)), {**SWAPPED, **PLAIN}),
    "transposed": (nm.ConvTranspose, (4, (3, 4), 2), {"padding": 1, "output_padding": 1, "groups": 2, **PLAIN}),
    "transposed uneven": (nm.ConvTranspose, (3, (3, 4), 2), {"padding": ((1, 0), (0, 2)), "dilation": (1, 2), **PLAIN}),
    "perceptron": (nm.Perceptron, (3,), {"sizes": (4, 5), "tags": "b,f", **PLAIN}),
    "perceptron image": (nm.Perceptron, (3,), PLAIN),
    "perceptron flat": (nm.Perceptron, (3,), {"flatten": True, **PLAIN}),
    "perceptron middle": (nm.Perceptron, (3,), {"sizes": (2, 3, 4, 5), "tags": "b,y,f,x", **PLAIN}),
    "perceptron last": (nm.Perceptron, (3,), {"sizes": (3, 2, 4), "tags": "r,b,f", **PLAIN}),
    "max": (nm.Pool, ((3, 2), (2, 2)), {"padding": 1, "ceil_mode": True}),
    "max uneven": (nm.Pool, ((3, 3), (2, 1)), {"padding": ((2, 0), (0, 1)), "dilation": (1, 2), "ceil_mode": False}),
    "average": (nm.Pool, ((3, 2), (2, 2)), {"padding": 1, "mode": "average", "ceil_mode": True}),
    "average exclusive": (nm.Pool, ((3, 3), (2, 2)), {"padding": 1, "mode": "average_exc_pad", "ceil_mode": True}),
    "average uneven": (nm.Pool, ((3, 3), (2, 2)), {"padding": ((2, 0), 1), "mode": "average", "ceil_mode": True}),
    "average dilated": (nm.Pool, ((2, 2), (2, 1)), {"dilation": 2, "mode": "average_exc_pad", "padding": 1, "ceil_mode": True}),
    "average counted": (nm.Pool, ((2, 2), (2, 1)), {"dilation": 2, "mode": "average", "padding": 1, "ceil_mode": True}),
    "sum": (nm.Pool, ((2, 2), (1, 2)), {"mode": "sum", "padding": (1, 0)}),
    "sum covering": (nm.Pool, ((3, 2), (2, 2)), {"mode": "sum", "ceil_mode": True}),
    "mfp average": (nm.Pool, ((2, 2),), {"mfp": True, "mode": "average", "sizes": (1, 2, 9, 7)}),
    "pool swapped": (nm.Pool, ((1, 2, 1),), SWAPPED),
    "nearest": (nm.Upsample, ((2, 3),), {}),
    "linear": (nm.Upsample, (2,), {"mode": "linear"}),
    "linear line": (nm.Upsample, (3,), {"mode": "linear", **LINE}),
    "linear space": (nm.Upsample, ((1, 2, 2),), {"mode": "linear", **SPACE}),
    "corners": (nm.Upsample, (2,), {"mode": "linear", "align_corners": True}),
    "size": (nm.Upsample, (None, (12, 5)), {"mode": "linear"}),
    "shuffle": (nm.PixelShuffle, (2,), {"sizes": (2, 8, 3, 4)}),
    "shuffle uneven": (nm.PixelShuffle, ((2, 1),), {"sizes": (2, 4, 3, 4)}),
    "shuffle swapped": (nm.PixelShuffle, ((1, 2, 1),), SWAPPED),
    "crop": (nm.Crop, (((1, 0), 2),), {}),
    "pad": (nm.Pad, ((1, (0, 2)), 0.5), {}),
    "pad reflect": (nm.Pad, ((1, (0, 2)),), {"padding_mode": "reflect"}),
    "pad elsewhere": (nm.Pad, ((1, (0, 2)),), {"padding_mode": "replicate", "sizes": (2, 4, 5, 3), "tags": "b,y,x,f"}),
    "pad reflect elsewhere": (nm.Pad, ((1, (0, 2)),), {"padding_mode": "reflect", "sizes": (2, 4, 5, 3), "tags": "b,y,x,f"}),
    "repeat": (nm.Repeat, (3,), {}),
    "lrn": (nm.LRN, ((3, 1),), {"alpha": 0.5}),
    "lrn channel": (nm.LRN, (3, "channel"), {"alpha": 0.5, "sizes": (2, 5, 3, 3)}),
    "global": (nm.GlobalPool, (), {}),
    "global max": (nm.GlobalPool, ("max", False), SWAPPED),
    "adaptive": (nm.AdaptivePool, ((2, 3),), {}),
    "adaptive max": (nm.AdaptivePool, ((2, 1, 3), "max"), SWAPPED),
    "softmax": (nm.Softmax, (), {"sizes": (2, 4, 3, 3)}),
    "softmax groups": (nm.Softmax, (2, 2), {"sizes": (2, 4, 3, 3)}),
    "batch": (nm.BatchNorm, (), {"var": np.array([0.5, 2.0]), "mean": np.array([1.0, -1.0])}),
    "batch swapped": (nm.BatchNorm, (), SWAPPED),
    "batch rank 2": (nm.BatchNorm, (), {"sizes": (5, 3), "tags": "b,f"}),
    "batch rank 6": (nm.BatchNorm, (), {"sizes": (2, 2, 3, 2, 3, 2), "tags": "r,b,f,z,y,x"}),
    "batch without": (nm.BatchNorm, (), {"track_running_stats": False, "affine": False}),
    "batch fixed": (nm.BatchNorm, (), {"var": [np.array([0.5, 2.0]), "const"]}),
    "instance": (nm.InstanceNorm, (True,), {}),
    "instance plain": (nm.InstanceNorm, (), SWAPPED),
    "instance running": (nm.InstanceNorm, (True,), {"track_running_stats": True, "momentum": 0.5}),
    "group": (nm.GroupNorm, (2,), {"sizes": (2, 4, 3, 5)}),
    "group swapped": (nm.GroupNorm, (2,), {"sizes": (2, 3, 4, 3, 5), "tags": "b,z,f,y,x"}),
    "group flat": (nm.GroupNorm, (2,), {"sizes": (3, 10), "tags": "b,f"}),
    "layer": (nm.LayerNorm, (), {"sizes": (2, 5, 3, 3)}),
    "layer image": (nm.LayerNorm, ("f,y,x",), {}),
    "layer space": (nm.LayerNorm, ("y,x", False), {}),
    **{
        f"act {f}": (nm.Activation, (f,), {"sizes": (2, 4, 3, 3)})
        for f in "relu,leaky_relu,leaky_relu 0.2,prelu,prelu shared,relu6,elu,elu 0.5,selu,gelu,gelu tanh,silu,mish,"
        "hardswish,tanh,hardtanh,hardtanh 0 2,softsign,abs,sig,hardsigmoid,logsigmoid,soft+,soft+ 2,log_softmax,lin,"
        "concentration,radius,maxout 2".split(",")
    },
    "conv prelu": (nm.Conv, (3, (2, 2)), {"activation_func": "prelu"}),
    "conv shared prelu": (nm.Conv, (3, (2, 2)), {"activation_func": "prelu shared"}),
    "conv maxout": (nm.Conv, (4, (2, 2)), {"activation_func": "maxout 2"}),
    "norm train": (nm.Conv, (3, (2, 2), (2, 1)), {"batch_normalisation": "train", **PLAIN}),
    "norm fadeout": (nm.Conv, (3, (2, 2)), {"batch_normalisation": "fadeout", **PLAIN}),
    "norm predict": (nm.Conv, (3, (2, 2)), {"batch_normalisation": "predict", "std": np.array([0.5, 1, 2]), **PLAIN}),
    "norm perceptron": (nm.Perceptron, (3,), {"batch_normalisation": "train", "sizes": (2, 3, 4, 5), "tags": "b,y,f,x"}),
    "norm upconv": (nm.UpConv, (3, (2, 1)), {"batch_normalisation": "train", **PLAIN}),
}  # fmt: skip


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


def recurrent(cell, features, **options):
    sequence = nm.Input((4, 2, 3), "r,b,f", name="raw", **QUIET)
    first, _ = nm.split(sequence, "r", index=1, strip_singleton_dims=True, name="step")
    memory = nm.InitialState_like(first, features, init_kwargs={"mode": "const", "scale": 0.3}, name="memory", **QUIET)
    step = cell(first, memory, 2, name="cell", **QUIET)
    return nm.Scan(step, memory, in_iterate=sequence, in_iterate_0=first, name="scan", **{**QUIET, **options})


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


def shared():
    one = nm.Conv(image(), 2, (3, 3), activation_func="tanh", name="one", **QUIET)
    two = nm.Conv(one, 2, (3, 3), activation_func="tanh", name="two", w=one.w, b=one.b, **QUIET)
    encoder = nm.Perceptron(two, 3, "tanh", name="encoder", **QUIET)
    return encoder.make_dual(encoder, share_w=True, activation_func="tanh", print_repr=False)


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


def unet():
    inp = nm.Input((None, 1, None, None), "b,f,y,x", name="raw", **QUIET)
    high = nm.Conv(inp, 3, (3, 3), conv_mode="same", name="high", **QUIET)
    low = nm.Conv(nm.Pool(high, (2, 2), **QUIET), 4, (3, 3), padding=1, padding_mode="reflect", name="low", **QUIET)
    up = nm.Upsample(low, size=high, mode="linear", **QUIET)
    norm = nm.GroupNorm(nm.Concat([high, up], **QUIET), 7, **QUIET)
    return nm.Softmax(nm.Conv(norm, 2, (1, 1), activation_func="lin", name="last", **QUIET), name="probs", **QUIET)


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


def two_inputs():
    a, b = (nm.Input((None, n, None), "b,f,x", name=name, **QUIET) for name, n in (("b in", 2), ("a", 3)))
    late = nm.Conv(b, 2, (1,), activation_func="tanh", name="late", **QUIET)
    return [nm.Add(late, a, name="sum", **QUIET), nm.Concat([a, late], name="both", **QUIET)]


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


@nm.register_functor(name="leaving bump")
def bump(x):
    return nm.T.exp(-(x**2))


FUNCTORS = [
    ("tanh", ()), ("exp", ()), ("log1p", ()), ("sqr", ()), ("sqrt", ()), ("clip", (-0.5, 0.5)), ("maximum", (0.1,)),
    ("add", (2,)), ("true_div", (2.5,)), ("pow", (2,)), ("expm1", ()), ("sgn", ()), ("erf", ()), ("neg", ()),
    ("log2", ()), ("exp2", ()), ("softplus", ()), ("sigmoid", ()), ("reciprocal", ()), ("round", ()), ("arctan", ()),
]  # fmt: skip


def functors():
    x = nm.Activation(image(), "soft+", **QUIET)
    return [nm.ApplyFunc(x, getattr(nm.T, name), args, name=f"f {name}") for name, args in FUNCTORS]


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
@given(st.integers(0, 10**6))
def test_random_networks(seed):
    node, _ = random_network(seed)
    if node is not None:
        nm.to_torch(node)
    nm.model_manager.delmodel(nm.model_manager.current.name)
