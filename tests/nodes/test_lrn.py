"""Local response normalisation against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from tests.nodes.layers import check_gradients, evaluate, random, registered, source, twin

CONSTANTS = {"alpha": 0.7, "k": 1.5, "beta": 0.6}


def lrn(parent, *args, **kwargs):
    return nm.LRN(parent, *args, print_repr=False, **{**CONSTANTS, **kwargs})


def response(x, mean_square):
    return x / (1.5 + 0.7 * mean_square) ** 0.6


@pytest.mark.parametrize(
    ("shape", "tags", "window"),
    [
        ((2, 3, 9), "b,f,x", (5,)),
        ((2, 3, 6, 7), "b,f,y,x", (3, 5)),
        ((1, 2, 4, 5, 6), "b,f,z,x,y", (1, 3, 3)),
        ((1, 4, 2, 5, 6), "b,z,f,y,x", (3, 1, 5)),
    ],
)
def test_spatial(shape, tags, window):
    nm.config.floatX = "float64"
    x = random(*shape)
    node = lrn(source(shape, tags), window)
    axes = tuple(node.shape.spatial_axes)
    pad = [(0, 0)] * x.ndim
    for axis, n in zip(axes, window, strict=True):
        pad[axis] = (n // 2, n // 2)
    windows = sliding_window_view(np.pad(x**2, pad), window, axis=axes)
    mean_square = windows.mean(axis=tuple(range(-len(window), 0)))
    np.testing.assert_allclose(node(x), response(x, mean_square), rtol=1e-12)
    assert node.shape.shape == list(shape) and node.computational_cost == x.size
    assert node.shape.fov == list(window) and node.shape.offsets == [0] * len(window)
    assert list(node.params) == ["alpha", "beta", "k", "filter"]
    assert node.params["filter"].constant and list(node.all_trainable_params) == []
    check_gradients(node)


@pytest.mark.parametrize(
    ("shape", "tags"), [((2, 6), "b,f"), ((2, 6, 3, 4), "b,f,y,x"), ((2, 3, 6, 2, 2), "b,z,f,y,x")]
)
@pytest.mark.parametrize("n", [1, 3, 9])
def test_channel(shape, tags, n):
    nm.config.floatX = "float64"
    x = random(*shape)
    node = lrn(source(shape, tags), n, "channel")
    axis = tags.split(",").index("f")
    moved = np.moveaxis(x**2, axis, 0)
    index = np.clip(np.arange(6)[:, None] + np.arange(n) - n // 2, 0, 5)
    np.testing.assert_allclose(node(x), response(x, np.moveaxis(moved[index].mean(1), 0, axis)), rtol=1e-12)
    assert list(node.params) == ["alpha", "beta", "k"]
    check_gradients(node)


def test_defaults_and_changeable_constants():
    node = nm.LRN(source((1, 4)), 3, "channel", print_repr=False)
    assert {k: float(v) for k, v in node.get_param_values().items()} == pytest.approx(
        {"alpha": 1e-4, "beta": 0.75, "k": 1}
    )
    x = random(1, 4).astype("float32")
    node.set_param_values({"alpha": 0.0, "k": 2.0, "beta": 1.0})
    np.testing.assert_allclose(node(x), x / 2, rtol=1e-6)


def test_unknown_sizes_pass_through():
    node = lrn(source((None, 2, None, 5)), (3, 3))
    assert node.shape.shape == [None, 2, None, 5]
    assert node(np.ones((3, 2, 4, 5), "float32")).shape == (3, 2, 4, 5)


def test_dense_form_widens_the_window():
    conv = nm.Conv(source((1, 1, 14, 14)), 2, (3, 3), (2, 2), print_repr=False)
    node = lrn(conv, (3, 3), alpha=5.0)
    raw = random(1, 1, 14, 14).astype("float32")
    want, got = evaluate(twin(node), raw), evaluate(twin(node, dense=True), raw)
    np.testing.assert_allclose(got[:, :, ::2, ::2], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        (
            ((3, 3), "spacial"),
            {},
            ArgumentError,
            r"LRN 'LRN': unknown mode of normalisation; got spacial; expected one of "
            r"\('spatial', 'channel'\); nearest valid: spatial",
        ),
        (
            ((3, 4),),
            {},
            ArgumentError,
            "must be odd; got filter_shape 4 on axis 'x'; expected odd numbers; nearest valid: 3 or 5",
        ),
        ((3,), {}, ShapeError, r"filter_shape needs one entry per spatial axis; got 3; .* nearest valid: \(3, 3\)"),
        (((3, 3), "channel"), {}, ArgumentError, "filter_shape must be the number of neighbouring features"),
        (
            (2, "channel"),
            {},
            ArgumentError,
            "must be odd; got filter_shape 2; expected odd numbers; nearest valid: 1 or 3",
        ),
        (((3, 3),), {"alpha": np.inf}, ArgumentError, "alpha must be a finite number; got inf"),
        (((3, 3),), {"beta": "1"}, ArgumentError, "beta must be a finite number"),
    ],
)
def test_bad_arguments_leave_nothing_behind(args, kwargs, error, message):
    inp = source((1, 2, 6, 7))
    before = registered()
    with pytest.raises(error, match=message):
        lrn(inp, *args, **kwargs)
    assert registered() == before
