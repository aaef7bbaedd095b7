"""Devices: names, values that stay on the device, and no hidden synchronisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.pytensor.devices import resolve_device
from neuromancer.errors import DeviceError, EngineError
from tests.dense.nets import image, volume_net

T = E.T


@pytest.fixture
def device(request):
    """Set the device of the parameter."""
    before = config.device
    config.device = request.param
    yield request.param
    config.device = before


on = pytest.mark.parametrize("device", ["meta"], indirect=True)


def network():
    """Return a 3-d network with pooling, dropout, batch normalisation, loss, gradients and momentum."""
    rng = np.random.default_rng(0)
    x = E.tensor("x", (None, 1, None, None, None), "float32")
    target = E.tensor("target", (None, None, None, None), "int64")
    stream = E.RandomStream(1)
    h, parameters, n_in = x, [], 1
    with E.building():
        for k, (n_out, size) in enumerate([(4, (1, 3, 3)), (6, (2, 3, 3)), (2, (1, 1, 1))]):
            w = E.SharedVariable(rng.standard_normal((n_out, n_in, *size)).astype("float32"), f"w{k}")
            b = E.SharedVariable(np.zeros(n_out, "float32"), f"b{k}")
            parameters += [w, b]
            h, n_in = E.conv(h, w), n_out
            if k == 0:
                h = E.pool(h, (1, 2, 2))
            h = h + b.dimshuffle("x", 0, "x", "x", "x")
            if k < 2:
                h = T.maximum(h, 0)
                h = (h - h.mean(axis=(0, 2, 3, 4), keepdims=True)) / T.sqrt(
                    h.var(axis=(0, 2, 3, 4), keepdims=True) + 1e-5
                )
                h = h * stream.bernoulli(0.5, h.shape) * 2
        y = E.softmax(h, 1)
        p = T.switch(T.eq(target, 0), y[:, 0], y[:, 1])
        loss = -T.log(p + 1e-6).mean()
        gradients = E.grad(loss, parameters)
        rate = E.SharedVariable(np.array(0.1, "float32"), "rate")
        updates = [(rate, rate * 0.99)]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            velocity = E.SharedVariable(np.zeros_like(parameter.get_value()), "v")
            step = 0.9 * velocity - rate * gradient
            updates += [(velocity, step), (parameter, parameter + step)]
    return x, target, y, loss, updates, parameters


def batch():
    """Return arguments of the training function."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((2, 1, 5, 12, 14)).astype("float32"), rng.integers(0, 2, (2, 4, 3, 4))


@on
def test_training_step_without_a_hidden_synchronisation(device) -> None:
    """The meta device has no data: any step that needed a value on the host would fail."""
    x, target, y, loss, updates, parameters = network()
    before = [p.get_value() for p in parameters]
    train = E.function([x, target], [loss, y], updates=updates)
    predict = E.function([x], y)
    arrays = batch()
    for call in range(3):
        result, prediction = train(*arrays)
        assert result.device.type == "meta" and result.shape == () and prediction.shape == (2, 2, 4, 3, 4)
        # parameters, velocities and the rate once, the two arguments at every call
        assert train.counters.uploads == 2 * len(parameters) + 2 * (call + 1)
        assert train.counters.downloads == 0
    assert predict(arrays[0]).shape == (2, 2, 4, 3, 4)
    assert predict(arrays[0]).device.type == "meta"
    assert predict.counters.uploads == len(parameters) + 2
    for parameter, value in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(parameter.get_value(), value)  # device 'meta' does not train


def test_training_on_the_cpu_lowers_the_loss() -> None:
    x, target, _, loss, updates, parameters = network()
    train = E.function([x, target], loss, updates=updates)
    losses = [train(*batch()).item() for _ in range(12)]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert train.counters.uploads == 2 * len(parameters) + 2 * 12
    assert train.counters.downloads == 12


@on
def test_loops_run_without_a_hidden_synchronisation(device) -> None:
    x = E.tensor("x", (None, 3), "float32")
    w = E.SharedVariable(np.zeros((3, 3), "float32"), "w")
    with E.building():
        hidden = E.scan(lambda v, h, m: T.tanh(v + T.dot(m, h)), x, T.zeros((3,), "float32"), w)
        cost = (hidden**2).mean()
        f = E.function([x], cost, updates=[(w, w - E.grad(cost, [w])[0])])
    assert f(np.zeros((5, 3))).shape == ()


@on
def test_values_needed_on_the_host_are_an_error(device) -> None:
    x = E.tensor("x", (None,), "float32")
    f = E.function([x], T.arange(T.cast(x.sum(), "int64")))
    with pytest.raises(EngineError, match=r"shapes only"):
        f([1, 2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_a_missing_gpu_is_an_error_that_lists_the_devices(name) -> None:
    with pytest.raises(DeviceError, match=f"no such device; got {name}; expected one of 'cpu'.*no CUDA"):
        resolve_device(name)
    before = config.device
    config.device = name
    try:
        with pytest.raises(DeviceError):
            E.function([], E.constant(1.0))
    finally:
        config.device = before


def test_device_names() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("meta").type == "meta"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_cpu() -> None:
    results = {}
    before = config.device
    for name in ("cpu", "cuda"):
        config.device = name
        try:
            plain = E.tensor("x", (None, 1, None, None, None), "float32")
            w = E.SharedVariable(np.random.default_rng(0).standard_normal((4, 1, 1, 3, 3)).astype("float32"), "w")
            out = E.pool(E.conv(plain, w), (1, 2, 2))
            results[name] = E.function([plain], [out, E.grad((out**2).sum(), [w])[0]])(batch()[0])
        finally:
            config.device = before
    for a, b in zip(results["cpu"], results["cuda"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("tile", [None, (3, 16, 16)])
def test_dense_prediction_on_a_gpu_agrees_with_the_cpu(tile) -> None:
    node, raw = volume_net(), image(1, 14, 40, 44)
    want = node.predict_dense(raw)
    config.device = "cuda"
    np.testing.assert_allclose(node.predict_dense(raw, tile=tile), want, rtol=0, atol=1e-5)
    for precision in ("tf32", "bf16", "f16"):
        try:
            found = node.predict_dense(raw, tile=tile, precision=precision)
        except DeviceError:
            continue  # not supported by an older GPU
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, want, rtol=0, atol=0.02)
