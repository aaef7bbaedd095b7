"""Batch normalisation of perceptrons, convolutions and up-convolutions."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError
from tests.nodes.layers import check_gradients, convolve, per_feature, pool, random, randomise, source, twin


def conv(mode, parent=None, **kwargs):
    kwargs = {"activation_func": "tanh", **kwargs}
    return nm.Conv(
        parent or source((2, 2, 9, 9)), 3, (2, 2), (2, 2), batch_normalisation=mode, print_repr=False, **kwargs
    )


def linear(x, values):
    return pool(convolve(x, values["w"]), (2, 2))


def normalised(lin, values, mean, std):
    return per_feature(values["gamma"] / std, lin.ndim) * (lin - per_feature(mean, lin.ndim)) + per_feature(
        values["b"], lin.ndim
    )


def statistics(lin):
    return lin.mean(axis=(0, 2, 3)), lin.std(axis=(0, 2, 3)) + 1e-6


def train(node, x, steps):
    """Apply the updates of the running statistics."""
    func = nm.make_func(node.input_tensors, node.output, updates=node.all_extra_updates)
    for _ in range(steps):
        func(x)


@pytest.mark.parametrize("mode", [False, None])
def test_off(mode):
    node = conv(mode)
    assert node.batch_normalisation is False
    assert list(node.params) == ["w", "b"]
    assert node.all_extra_updates == []


def test_parameters_of_training():
    node = conv("train")
    assert list(node.params) == ["w", "b", "gamma", "mean", "std"]
    assert list(node.all_trainable_params) == ["conv_w", "conv_b", "conv_gamma"]
    assert node.params["gamma"].apply_reg == 3.0
    np.testing.assert_array_equal(
        [node.get_param_values()[k] for k in ("gamma", "mean", "std")], [[1] * 3, [0] * 3, [1] * 3]
    )
    assert {p for p, _ in node.all_extra_updates} == {node.mean, node.std}


def test_training_uses_the_batch():
    nm.config.floatX = "float64"
    node = conv("train")
    randomise(node)
    x, values = random(2, 2, 9, 9), node.get_param_values()
    lin = linear(x, values)
    np.testing.assert_allclose(node(x), np.tanh(normalised(lin, values, *statistics(lin))), rtol=1e-12)
    check_gradients(node)


def test_running_statistics():
    nm.config.floatX = "float64"
    node = conv("train")
    randomise(node)
    x, values = random(2, 2, 9, 9), node.get_param_values()
    mean, std = statistics(linear(x, values))
    train(node, x, 1)
    got = node.get_param_values()
    np.testing.assert_allclose(got["mean"], 0.0005 * mean, rtol=1e-12)
    np.testing.assert_allclose(got["std"], 0.9995 + 0.0005 * std, rtol=1e-12)
    train(node, x, 99)
    got, kept = node.get_param_values(), 0.9995**100
    np.testing.assert_allclose(got["mean"], (1 - kept) * mean, rtol=1e-10)
    np.testing.assert_allclose(got["std"], kept + (1 - kept) * std, rtol=1e-10)
    # Once they have converged, inference on the same data gives the same result as training.
    node.set_param_values({"mean": mean, "std": std})
    train(node, x, 1)
    np.testing.assert_allclose(node.infer(x), node(x), rtol=1e-10)


def test_inference_uses_running_statistics():
    nm.config.floatX = "float64"
    node = conv("train")
    randomise(node)
    node.set_param_values({"mean": random(3, seed=1), "std": np.abs(random(3, seed=2)) + 0.1})
    x, values = random(2, 2, 9, 9), node.get_param_values()
    want = np.tanh(normalised(linear(x, values), values, values["mean"], values["std"]))
    np.testing.assert_allclose(node.infer(x), want, rtol=1e-12)
    assert np.abs(node(x) - want).max() > 0.01
    one = node.infer(np.concatenate([x[:1]] * 2))
    np.testing.assert_allclose(one[:1], node.infer(x)[:1], rtol=1e-12)


def test_predict():
    nm.config.floatX = "float64"
    given = {"gamma": random(3), "mean": random(3, seed=1), "std": [np.abs(random(3, seed=2)) + 0.1, "const"]}
    node = conv("predict", **given)
    assert list(node.params) == ["w", "b", "gamma", "mean", "std"]
    assert list(node.all_trainable_params) == ["conv_w", "conv_b"]
    assert node.all_extra_updates == []
    x, values = random(2, 2, 9, 9), node.get_param_values()
    want = np.tanh(normalised(linear(x, values), values, values["mean"], values["std"]))
    np.testing.assert_allclose(node(x), want, rtol=1e-12)
    np.testing.assert_allclose(node.infer(x), want, rtol=1e-12)
    check_gradients(node)
    assert list(conv("predict", gamma=[np.ones(3), "trainable"]).all_trainable_params) == [
        "conv1_w",
        "conv1_b",
        "conv1_gamma",
    ]


@pytest.mark.parametrize("rate", [1.0, 0.4, 0.0])
def test_fadeout_goes_from_normalised_to_plain(rate):
    nm.config.floatX = "float64"
    node = conv("fadeout")
    randomise(node)
    assert list(node.params)[-1] == "gradnet_rate"
    node.set_param_values({"gradnet_rate": rate})
    x, values = random(2, 2, 9, 9), node.get_param_values()
    lin = linear(x, values)
    mean, std = statistics(lin)
    values["gamma"] = rate * values["gamma"] + 1 - rate
    np.testing.assert_allclose(
        node(x), np.tanh(normalised(lin, values, rate * mean, rate * std + 1 - rate)), rtol=1e-12
    )
    if rate == 0:
        np.testing.assert_allclose(node(x), np.tanh(lin + per_feature(values["b"], 4)), rtol=1e-12)
    train(node, x, 1)
    np.testing.assert_allclose(node.get_param_values()["mean"], 0.0005 * mean, rtol=1e-12)
    check_gradients(node)
    settled = {"mean": mean, "std": std}
    node.set_param_values(settled)
    np.testing.assert_allclose(node.infer(x), node(x), rtol=1e-10)


def test_all_layers_can_fade_out():
    inp = source((2, 3, 4, 4))
    for node in (
        nm.Perceptron(inp, 2, batch_normalisation="fadeout", print_repr=False),
        nm.UpConv(inp, 2, (2, 2), batch_normalisation="fadeout", print_repr=False),
        nm.Perceptron(inp, 2, gradnet_mode="on", print_repr=False),
    ):
        assert node.get_param_values()["gradnet_rate"] == 1.0


@pytest.mark.parametrize(("tags", "shape"), [("b,f", (6, 3)), ("b,f,y,x", (2, 3, 4, 5)), ("b,y,f", (3, 4, 3))])
def test_perceptron_takes_statistics_over_all_other_axes(tags, shape):
    nm.config.floatX = "float64"
    node = nm.Perceptron(source(shape, tags), 4, "lin", batch_normalisation="train", print_repr=False)
    axis = tags.split(",").index("f")
    out = np.moveaxis(node(random(*shape)), axis, -1).reshape(-1, 4)
    b = node.get_param_values()["b"]
    np.testing.assert_allclose(out.mean(0), b, atol=1e-12)
    np.testing.assert_allclose(out.std(0), 1, rtol=1e-4)
    check_gradients(node)


def test_upconv_gradients():
    nm.config.floatX = "float64"
    node = nm.UpConv(
        source((2, 2, 3, 3)), 3, (2, 2), "tanh", identity_init=False, batch_normalisation="train", print_repr=False
    )
    check_gradients(node)


def test_constant_features_have_finite_gradients():
    node = conv("train")
    grads = nm.make_func(node.input_tensors, E.grad(node.output.sum(), list(node.all_trainable_params.values())))
    assert all(np.isfinite(g).all() for g in grads(np.ones((2, 2, 9, 9), "float32")))


def passed_on(shape, tags="b,f,y,x", **kwargs):
    """Create batch normalisation of the input itself: weights are the identity."""
    parent = source(shape, tags)
    n = parent.shape["f"]
    kwargs = {"batch_normalisation": "train", "print_repr": False, "b": np.zeros(n), **kwargs}
    return nm.Perceptron(parent, n, "lin", w=np.eye(n), **kwargs)


@pytest.mark.parametrize("offset", [0, 1, -3, 1000, 1e6])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1, 1e3, 1e6])
def test_any_offset_and_scale(offset, scale):
    node = passed_on((2, 3, 20, 21))
    x = (offset + scale * random(2, 3, 20, 21)).astype("float32")
    double = x.astype("float64")
    mean, std = statistics(double)
    want = (double - per_feature(mean, 4)) / per_feature(std, 4)
    np.testing.assert_allclose(node(x), want, atol=1e-5)
    train(node, x, 1)
    got = node.get_param_values()
    np.testing.assert_allclose(got["mean"], 0.0005 * mean, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose(got["std"], 0.9995 + 0.0005 * std, rtol=1e-6)


@pytest.mark.parametrize("value", [0, 1, 0.1, -1 / 3, 1000.1, 1e6, -1e30, 1e-30])
@pytest.mark.parametrize("tags", ["b,f,y,x", "b,f", "b,y,f"])
@pytest.mark.parametrize("mode", ["train", "fadeout"])
def test_constant_features_become_nothing(value, tags, mode):
    shape = {"b,f,y,x": (2, 3, 19, 23), "b,f": (1001, 3), "b,y,f": (7, 31, 3)}[tags]
    node = passed_on(shape, tags, batch_normalisation=mode)
    x = random(*shape).astype("float32")
    constant = (slice(None), 1) if tags != "b,y,f" else (slice(None), slice(None), 1)
    x[constant] = value
    y = node(x)
    assert not y[constant].any()
    assert np.isfinite(y).all()
    assert np.abs(y).max() > 1


@pytest.mark.parametrize("value", [1, 0.1, 1000, 1e6])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_an_empty_patch_gives_the_bias(value, size):
    if nm.engine.NAME == "theano" and size > 1:
        pytest.skip("Theano's convolution rounds the sums of equal windows differently")
    node = nm.Conv(
        source((1, 4, 24, 24)), 5, (size, size), activation_func="lin", batch_normalisation="train", print_repr=False
    )
    b = node.get_param_values()["b"]
    y = node(np.full((1, 4, 24, 24), value, "float32"))
    np.testing.assert_array_equal(y, np.broadcast_to(per_feature(b, 4), y.shape))


def weight_gradients(x, floatX, mode="train", rate=None):
    """Return the gradients of two weights for random targets; the feature of the first may be constant."""
    nm.config.floatX = floatX
    node = passed_on((len(x), 2), "b,f", batch_normalisation=mode)
    if rate is not None:
        node.set_param_values({"gradnet_rate": rate})
    weights = random(len(x), 2, seed=5).astype(floatX)
    grads = nm.make_func(node.input_tensors, E.grad((node.output * weights).mean(), [node.w, *node.input_tensors]))
    return grads(x.astype(floatX))


@pytest.mark.parametrize("value", [0, 0.1, 255, -1e5])
@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_constant_features_teach_nothing(value, floatX):
    """Their gradient is 0; rounding errors are not amplified by the division by almost 0."""
    x = random(1001, 2)
    usual = np.abs(weight_gradients(x, floatX)[0]).max()
    x[:, 0] = value
    gradient = weight_gradients(x, floatX)[0]
    assert usual > 0.01
    assert gradient[0, 0] == 0


def test_rounding_of_a_constant_teaches_nothing():
    x = random(1001, 2)
    x[:, 0] = 1000
    x[::3, 0] = np.nextafter(np.float32(1000), np.float32(2000))
    assert weight_gradients(x, "float32")[0][0, 0] == 0


def test_weights_of_nothing_can_learn():
    nm.config.floatX = "float64"
    node = passed_on((50, 1), "b,f")
    node.set_param_values({"w": 0.0})
    gradient = nm.make_func(node.input_tensors, E.grad((node.output * node.input_tensors[0]).mean(), [node.w]))
    assert np.isfinite(gradient(random(50, 1))).all() and gradient(random(50, 1))[0] > 1e5


def test_a_constant_that_fades_out_is_learnt_like_any():
    x = random(101, 2)
    x[:, 0] = 1000
    plain, faded = (weight_gradients(x, "float64", m, r)[1] for m, r in ((False, None), ("fadeout", 0.0)))
    np.testing.assert_allclose(faded, plain, rtol=1e-12)


def test_one_voxel_that_differs():
    node = passed_on((1, 1, 10, 10), "b,f,y,x")
    for place in ((0, 0, 0, 0), (0, 0, 5, 5)):
        x = np.full((1, 1, 10, 10), 1000, "float32")
        x[place] = np.nextafter(np.float32(1000), np.float32(2000))
        double = x.astype("float64")
        mean, std = statistics(double)
        np.testing.assert_allclose(node(x), (double - mean) / std, atol=1e-5)


def test_gradients_far_from_zero():
    """Gradients do not depend on an offset of the input."""
    node = passed_on((2, 2, 5, 5))
    weights = random(2, 2, 5, 5, seed=3).astype("float32")
    gradient = nm.make_func(node.input_tensors, E.grad((node.output * weights).sum(), node.input_tensors))
    x = random(2, 2, 5, 5).astype("float32")
    x = np.round(x * 16) / 16  # exact even when added to 1e5
    near, far = gradient(x)[0], gradient(x + np.float32(1e5))[0]
    np.testing.assert_allclose(far, near, rtol=1e-4, atol=1e-6)
    assert np.abs(near).max() > 0.1


def test_rebuilding_keeps_the_updates_of_the_original():
    node = conv("train")
    before = node.all_extra_updates
    for mode in ({"inference": True}, {"inference": False}, {"inference": True, "dense": True}):
        assert twin(node, **mode).mean is node.mean
    after = node.all_extra_updates
    assert all(a is b for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))


def test_dense_prediction_uses_running_statistics():
    node = conv("train", source((1, 2, 9, 9)))
    node.set_param_values({"mean": 0.2, "std": 3.0})
    raw = random(2, 11, 12).astype("float32")
    got = node.predict_dense(raw)
    np.testing.assert_allclose(got[:, 2:10:2, 2:10:2], node.infer(raw[None, :, 2:11, 2:11])[0], rtol=1e-4, atol=1e-5)


def test_statistics_without_use():
    for mode, key in ((False, "std"), (None, "gamma"), ("train", "std"), ("fadeout", "mean")):
        with pytest.raises(ArgumentError, match=f"unused parameters.*; got {key} with batch_normalisation"):
            conv(mode, **{key: np.ones(3)})
