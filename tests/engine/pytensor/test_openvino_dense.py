"""Dense prediction and inference forms on OpenVINO agree with torch."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense.network import dense_network
from neuromancer.errors import ArgumentError, DeviceError

pytest.importorskip("openvino")

RNG = np.random.default_rng(5)
TAGS = {1: "b,f,x", 2: "b,f,y,x", 3: "b,f,z,y,x"}


def source(*spatial, channels=2):
    return nm.Input((None, channels, *spatial), TAGS[len(spatial)], print_repr=False)


def conv(parent, n, size, pool=None, **kwargs):
    return nm.Conv(parent, n, size, pool or (1,) * len(size), print_repr=False, **kwargs)


def strided_3d():
    out = conv(source(8, 17, 17), 4, (2, 4, 4), (1, 2, 2))
    out = conv(out, 5, (2, 3, 3), (2, 1, 1), activation_func="tanh")
    return nm.Softmax(conv(out, 3, (1, 2, 2), activation_func="lin"), print_repr=False)


def strided_2d():
    out = conv(source(19, 19), 4, (4, 4), (2, 2), activation_func="sig")
    return conv(out, 3, (3, 3), (2, 2), activation_func="lin")


def line():
    return conv(conv(source(16), 3, (3,), (2,)), 2, (2,), activation_func="elu")


def same_padding():
    return conv(conv(source(12, 12), 3, (3, 3), conv_mode="same"), 2, (5, 5), conv_mode="same", activation_func="abs")


def normalised():
    out = conv(source(16, 16), 4, (3, 3), (2, 2), batch_normalisation="train")
    out.params["mean"].set_value(np.float32([0.1, -0.2, 0.3, 0]))
    out.params["std"].set_value(np.float32([1, 2, 0.5, 1]))
    return conv(out, 2, (2, 2), dropout_rate=0.5)


def unet():
    inp = source(20, 20)
    down = conv(inp, 3, (3, 3))
    low = conv(nm.Pool(down, (2, 2), print_repr=False), 4, (2, 2))
    up = nm.UpConv(low, 3, (2, 2), print_repr=False)
    merged = nm.Concat([nm.Crop(down, (1, 1), print_repr=False), up], print_repr=False)
    return nm.Softmax(conv(merged, 2, (3, 3), activation_func="lin"), print_repr=False)


def pools():
    out = nm.Pool(source(17, 17), (3, 3), (2, 2), mode="max", print_repr=False)
    return nm.Pool(conv(out, 2, (2, 2)), (2, 2), (1, 1), mode="average_exc_pad", print_repr=False)


NETWORKS = {f.__name__: f for f in (strided_3d, strided_2d, line, same_padding, normalised, unet, pools)}
VOLUMES = {1: (31,), 2: (27, 30), 3: (9, 21, 22)}


def agree(result, want):
    assert result.shape == want.shape and result.dtype == want.dtype
    assert np.abs(result - want).max() <= 1e-5 * np.abs(want).max()


def accelerator(func):
    return func.func.accelerator


@pytest.mark.parametrize("name", NETWORKS)
def test_dense_prediction_agrees(name) -> None:
    node = NETWORKS[name]()
    raw = RNG.random((2, *VOLUMES[node.shape.ndim])).astype("float32")
    results = {}
    for backend in ("torch", "openvino"):
        nm.config.backend = backend
        results[backend] = node.predict_dense(raw)
    agree(results["openvino"], results["torch"])
    assert accelerator(dense_network(node).func("f32")).calls > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_calls_and_inference_agree(name) -> None:
    node = NETWORKS[name]()
    x = RNG.random((2, *node.input_nodes[0].shape.shape[1:])).astype("float32")
    nm.config.backend = "torch"
    want = node.infer(x), (None if name == "normalised" else node(x))
    nm.config.backend = "openvino"
    agree(node.infer(x), want[0])
    assert accelerator(node.compiled_functions["inference"]).calls == 1
    if want[1] is not None:  # training forms draw random numbers
        agree(node(x), want[1])


def test_tiles_of_several_sizes(monkeypatch) -> None:
    node = strided_3d()
    raw = RNG.random((2, 12, 30, 31)).astype("float32")
    nm.config.backend = "torch"
    want = node.predict_dense(raw)
    nm.config.backend = "openvino"
    for budget in (40_000, 300_000, 1 << 30):
        monkeypatch.setattr("neuromancer.dense.run.memory_budget", lambda budget=budget: budget)
        agree(node.predict_dense(raw), want)


def test_follows_the_parameters() -> None:
    node = strided_2d()
    raw = RNG.random((2, 27, 30)).astype("float32")
    nm.config.backend = "openvino"
    first = node.predict_dense(raw)
    node.set_param_values({"b": [1.0, 2.0, 3.0]})
    moved = np.broadcast_to(np.float32([1, 2, 3])[:, None, None], first.shape)
    np.testing.assert_allclose(node.predict_dense(raw) - first, moved, atol=1e-5)


def test_float64_stays_on_torch() -> None:
    nm.config.floatX, nm.config.backend = "float64", "openvino"
    node = strided_2d()
    raw = RNG.random((2, 27, 30))
    assert node.predict_dense(raw).dtype == np.float64
    assert accelerator(dense_network(node).func("f32")) is None
    with pytest.raises(ArgumentError, match="float64"):
        node.predict_dense(raw, precision="bf16")


def test_large_volumes_start_on_openvino_and_small_ones_on_torch(monkeypatch) -> None:
    node = strided_2d()
    raw = RNG.random((2, 27, 30)).astype("float32")
    node.predict_dense(raw)
    ours = accelerator(dense_network(node).func("f32"))
    assert ours.calls == 0
    # as if the volume took a machine long enough, and torch had no faster algorithm
    for name, value in (("WORK", 0.0), ("BEGIN", -1.0), ("SHARE", 1e-9)):
        monkeypatch.setattr(f"neuromancer.engine.pytensor.link.accelerator.{name}", value)
    node.predict_dense(raw)
    assert ours.calls == 1


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_precision(precision) -> None:
    node = strided_3d()
    raw = RNG.random((2, 9, 21, 22)).astype("float32")
    try:
        result = node.predict_dense(raw, precision=precision)
    except DeviceError as error:
        assert precision in str(error)
        return
    assert np.abs(result - node.predict_dense(raw)).max() < 0.05


def test_unknown_precision() -> None:
    with pytest.raises(ArgumentError, match=r"unknown precision.*bf16"):
        strided_2d().predict_dense(np.zeros((2, 27, 30), "float32"), precision="b16")


def sequence_of_states(unroll):
    """Return the states of a recurrent layer over seven steps, followed by a product."""
    sequence = nm.Input((7, None, 3), "r,b,f", name="sequence", print_repr=False)
    first, _ = nm.split(sequence, "r", index=1, strip_singleton_dims=True)
    memory = nm.InitialState_like(first, 4, print_repr=False)
    step = nm.GRU(first, memory, 4, print_repr=False)
    states = nm.Scan(step, memory, in_iterate=sequence, in_iterate_0=first, unroll_scan=unroll, print_repr=False)
    return nm.Perceptron(states, 2, print_repr=False)


@pytest.mark.parametrize("unroll", [True, False])
def test_unrolled_loops_run_on_openvino_and_others_on_torch(unroll, caplog, monkeypatch) -> None:
    monkeypatch.setattr("neuromancer.engine.pytensor.link.accelerator.logged", set())
    node = sequence_of_states(unroll)
    x = RNG.random((7, 2, 3)).astype("float32")
    nm.config.backend = "torch"
    want = node(x)
    nm.config.backend = "openvino"
    with caplog.at_level("INFO", "neuromancer"):
        for _ in range(3):
            agree(node(x), want)
    assert accelerator(node.compiled_functions["output"]).calls == (3 if unroll else 0)
    told = [record.getMessage() for record in caplog.records if "openvino" in record.getMessage()]
    assert len(told) == (0 if unroll else 1) and all("Scan" in line for line in told)
