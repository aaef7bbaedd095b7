"""Convolutions with fewer products are taken where they pay, in functions too, and plans are told what they cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.common.costs import direct_conv_cost
from neuromancer.engine.pytensor.kernels import conv_algorithm, fourier, winograd
from neuromancer.engine.pytensor.link.torch.convolution import FewerProducts
from neuromancer.engine.pytensor.ops.conv import Conv

MODULES = {fourier.Tiling: "fourier", winograd.Tiling: "winograd"}


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    """Small convolutions count as if nothing had to be handed out, so that tests are quick."""
    monkeypatch.setattr(conv_algorithm, "START", 0.0)
    monkeypatch.setattr(conv_algorithm, "SAVES", 0.9)
    choose = conv_algorithm.algorithm_for
    choose.cache_clear()
    yield
    choose.cache_clear()


def test_small_ones_are_direct(monkeypatch):
    shapes = (1, 64, 40, 44), (64, 64, 3, 3), (1, 1)
    assert conv_algorithm.algorithm_for(*shapes) is not None
    monkeypatch.setattr(conv_algorithm, "START", 1e8)
    conv_algorithm.algorithm_for.cache_clear()
    assert conv_algorithm.algorithm_for(*shapes) is None


def geometry_of(ndim, **options):
    return {"stride": (1,) * ndim, "dilation": (1,) * ndim, "pad": (0,) * ndim, **options}


def name(way):
    return None if way is None else MODULES[type(way)]


LAYERS = [
    ((1, 80, 56, 56, 56), (80, 80, 5, 5, 5), {"dilation": (2, 2, 2)}, "fourier"),
    ((1, 80, 56, 56, 56), (80, 80, 9, 9, 9), {}, "fourier"),
    ((1, 80, 56, 56, 56), (3, 80, 9, 9, 9), {}, "fourier"),
    ((1, 80, 52, 52, 52), (80, 80, 9, 9, 9), {"pad": (2, 2, 2)}, "fourier"),
    ((1, 40, 10, 60, 60), (80, 40, 4, 4, 4), {}, "fourier"),
    ((1, 40, 21, 36, 36), (80, 40, 4, 5, 5), {}, "fourier"),
    ((1, 40, 10, 60, 60), (80, 40, 4, 1, 4), {}, "fourier"),
    ((1, 80, 60, 60), (80, 80, 9, 9), {}, "fourier"),
    ((8, 64, 64, 64), (64, 64, 3, 3), {"pad": (1, 1)}, "winograd"),
    ((1, 80, 13, 13, 13), (80, 80, 5, 5, 5), {}, "winograd"),
    ((1, 40, 10, 60, 60), (80, 40, 4, 4, 4), {"stride": (1, 2, 1)}, None),
    ((1, 80, 60, 60, 60), (80, 80, 1, 1, 1), {}, None),
    ((1, 1, 10, 60, 60), (80, 1, 4, 4, 4), {}, None),
    ((1, 1, 60, 60, 60), (80, 1, 5, 5, 5), {}, None),
    ((1, 40, 10, 4, 4), (80, 40, 4, 4, 4), {}, None),
    ((0, 40, 10, 60, 60), (80, 40, 4, 4, 4), {}, None),
    ((1, 40, 10, 3, 60), (80, 40, 4, 4, 4), {}, None),
    ((1, 80, 60), (80, 80, 5), {}, None),
]


# ---- choosing
@pytest.mark.parametrize(("x_shape", "w_shape", "options", "expected"), LAYERS)
def test_taken_where_it_pays(x_shape, w_shape, options, expected):
    geometry = geometry_of(len(x_shape) - 2, **options)
    # shapes without memory that still are on the host
    x, w = (torch.zeros(1).expand(shape) for shape in (x_shape, w_shape))
    assert name(conv_algorithm.algorithm(x, w, **geometry)) == expected
    x, w = (torch.zeros(1, dtype=torch.float64).expand(shape) for shape in (x_shape, w_shape))
    assert conv_algorithm.algorithm(x, w, **geometry) is None
    assert conv_algorithm.algorithm(x.float().to("meta"), w.float().to("meta"), **geometry) is None


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "expected"), [layer for layer in LAYERS if "stride" not in layer[2]]
)
def test_the_faster_of_both_ways_and_of_a_direct_one(x_shape, w_shape, options, expected):
    geometry = geometry_of(len(x_shape) - 2, **options)
    padded = (*x_shape[:2], *(n + 2 * p for n, p in zip(x_shape[2:], geometry["pad"], strict=True)))
    way = conv_algorithm.algorithm_for(padded, w_shape, geometry["dilation"])
    assert name(way) == expected
    if way is not None:
        direct = direct_conv_cost(padded, w_shape, geometry["dilation"], "float32")[0]
        assert way.work < conv_algorithm.SAVES * direct * max(conv_algorithm.LANES, w_shape[0]) / w_shape[0]
        others = [m.best_tiling(padded, w_shape, geometry["dilation"], True) for m in (winograd, fourier)]
        assert way.work == min(other.work for other in others if other is not None)


def test_a_kernel_for_one_call_has_to_be_worth_its_transform():
    x, w = torch.zeros(1, 256, 14, 14), torch.zeros(256, 256, 3, 3)
    geometry = geometry_of(2)
    assert name(conv_algorithm.algorithm(x, w, **geometry)) == "winograd"
    assert conv_algorithm.algorithm(x, w, **geometry, prepared=False) is None
    x, w = torch.zeros(1, 80, 9, 9, 9), torch.zeros(80, 80, 5, 5, 5)
    geometry = geometry_of(3)
    assert (
        conv_algorithm.algorithm(x, w, **geometry) is not None
        and conv_algorithm.algorithm(x, w, **geometry, prepared=False) is None
    )


# ---- costs
@pytest.mark.parametrize(("x_shape", "w_shape", "options", "expected"), LAYERS)
def test_plans_are_told_of_the_way_that_is_taken(x_shape, w_shape, options, expected):
    config.device = "cpu"
    ndim = len(x_shape) - 2
    layer = x_shape, w_shape, options.get("dilation", (1,) * ndim)
    products, kept, scratch = E.conv_cost(*layer, "float32")
    direct = direct_conv_cost(*layer, "float32")
    assert E.conv_cost(*layer, "float64") == direct
    way = conv_algorithm.algorithm_for(*layer)
    if way is None:
        assert (kept, scratch) == (0, 0) and products == direct[0] * max(16, w_shape[0]) / w_shape[0]
    else:
        assert (products, kept, scratch) == (way.work, way.prepared, way.scratch)
        assert products < direct[0] * max(16, w_shape[0]) / w_shape[0] and scratch > 0


@pytest.mark.parametrize(
    ("x_shape", "w_shape"),
    [
        ((1, 40, 10, 60, 60), (80, 40, 4, 4, 4)),
        ((1, 40, 20, 20, 20), (3, 40, 5, 5, 5)),
        ((1, 40, 60, 60), (80, 40, 5, 5)),
        ((2, 64, 42, 46), (64, 64, 3, 3)),
    ],
)
def test_a_transformed_kernel_takes_what_plans_are_told(x_shape, w_shape):
    way = conv_algorithm.algorithm_for(x_shape, w_shape, (1,) * (len(x_shape) - 2))
    assert way.transformed(torch.zeros(w_shape)).nbytes == way.prepared


def test_no_outputs_cost_nothing():
    config.device = "cpu"
    assert E.conv_cost((1, 3, 9, 9), (0, 3, 3, 3), (1, 1), "float32") == (0, 0, 0)


# ---- functions
@pytest.fixture
def one_length(monkeypatch):
    """Tiles of 12 inputs only, as every length has to be compiled."""
    known = conv_algorithm.algorithm_for, fourier.best_tiling
    monkeypatch.setattr(fourier, "SIZES", (12,))
    for function in known:
        function.cache_clear()
    yield
    for function in known:
        function.cache_clear()


def form_of(function):
    (form,) = [s.run for s in function.program.steps if s.node is not None and isinstance(s.node.op, Conv)]
    assert isinstance(form, FewerProducts)
    return form


def test_function_uses_it_and_follows_its_parameter():
    rng = np.random.default_rng(0)
    x = E.tensor("x", (None, 64, None, None), "float32")
    w = E.SharedVariable(rng.standard_normal((64, 64, 3, 3)).astype("float32"), "w")
    function = E.function([x], E.conv(x, w, pad=1))
    form = form_of(function)
    a = rng.standard_normal((2, 64, 40, 44)).astype("float32")
    kernels = []
    for _ in range(2):
        expected = conv2d(torch.from_numpy(a), torch.from_numpy(w.get_value()), padding=1).numpy()
        np.testing.assert_allclose(function(a), expected, atol=1e-5 * np.abs(expected).max())
        kernels.append(form._kept[2])
        function(a)
        assert form._kept[2] is kernels[-1]
        w.set_value(rng.standard_normal((64, 64, 3, 3)).astype("float32"))
    assert kernels[0] is not kernels[1]


def test_one_transform_is_kept_though_images_change(monkeypatch):
    rng = np.random.default_rng(0)
    x = E.tensor("x", (None, 40, None, None, None), "float32")
    w = E.SharedVariable(rng.standard_normal((20, 40, 2, 4, 4)).astype("float32"), "w")
    function = E.function([x], E.conv(x, w))
    form = form_of(function)
    ways = [
        winograd.Tiling((1, 40, 3, 20, 20), (20, 40, 2, 4, 4), (1, 1, 1), 6),
        fourier.Tiling((1, 40, 6, 20, 20), (20, 40, 2, 4, 4), (1, 1, 1), (6, 8, 8)),
    ]
    monkeypatch.setattr(conv_algorithm, "algorithm_for", lambda shape, *rest: ways[0] if shape[2] == 3 else ways[1])
    done = []
    for tiling in (winograd.Tiling, fourier.Tiling):
        transformed = tiling.transformed
        monkeypatch.setattr(
            tiling, "transformed", lambda self, w, run=transformed: done.append(name(self)) or run(self, w)
        )
    images = [rng.standard_normal(way).astype("float32") for way in ((1, 40, 3, 20, 20), (1, 40, 6, 20, 20))]
    for k in (0, 0, 1, 1, 0):
        wanted = conv3d(torch.from_numpy(images[k]).double(), torch.from_numpy(w.get_value()).double())
        np.testing.assert_allclose(function(images[k]), wanted, atol=1e-5 * float(wanted.abs().max()))
        assert form._kept[2].nbytes == ways[k].prepared
    assert done == ["winograd", "fourier", "winograd"]


def test_the_last_transform_is_gone_before_the_next_is_made(monkeypatch):
    form = FewerProducts(Conv(2, (1, 1), (1, 1), (0, 0)), lambda x, w: None, lasting=True)
    way = winograd.Tiling((2, 64, 42, 46), (64, 64, 3, 3), (1, 1), 6)
    held = []
    transformed = winograd.Tiling.transformed
    monkeypatch.setattr(winograd.Tiling, "transformed", lambda self, w: held.append(form._kept) or transformed(self, w))
    for w in torch.randn(2, 64, 64, 3, 3):
        form._transformed(w, way)
    assert held == [None, None]


@pytest.mark.parametrize(
    ("taps", "dilation", "pad", "expected"),
    [
        ((3, 3), (1, 2), (0, 0), "winograd"),
        ((3, 3), (1, 2), (2, 1), "winograd"),
        ((7, 7), (2, 1), (0, 0), "fourier"),
        ((7, 7), (2, 1), (2, 1), "fourier"),
    ],
)
def test_training_uses_it_in_both_directions(taps, dilation, pad, expected, monkeypatch, one_length):
    rng = np.random.default_rng(0)
    shape = (2, 64, 60, 64)
    x = E.tensor("x", shape, "float32")
    w = E.SharedVariable(rng.standard_normal((72, 64, *taps)).astype("float32"), "w")
    y = E.conv(x, w, dilation=dilation, pad=pad)
    gx, gw = E.grad((y**2).sum(), [x, w])
    function = E.function([x], [y, gx], updates=[(w, (w - 1e-4 * gw).astype("float32"))])
    calls = []
    for tiling in MODULES:
        conv = tiling.conv
        monkeypatch.setattr(tiling, "conv", lambda self, *a, run=conv: calls.append(name(self)) or run(self, *a))
    a = rng.standard_normal(shape).astype("float32")
    for _ in range(2):
        xt = torch.from_numpy(a).double().requires_grad_()
        wt = torch.from_numpy(w.get_value()).double().requires_grad_()
        yt = conv2d(xt, wt, dilation=dilation, padding=pad)
        (yt**2).sum().backward()
        for value, wanted in zip(function(a), (yt.detach(), xt.grad), strict=True):
            np.testing.assert_allclose(value, wanted, atol=1e-5 * float(wanted.abs().max()))
        wanted = (wt - 1e-4 * wt.grad).detach().numpy()
        np.testing.assert_allclose(w.get_value(), wanted, atol=1e-5 * np.abs(wanted).max())
    assert calls == [expected] * 4


def test_padding_that_reaches_past_a_window_is_left_to_others():
    rng = np.random.default_rng(0)
    x = E.tensor("x", (2, 64, 40, 44), "float32")
    w = E.constant(rng.standard_normal((64, 64, 3, 3)).astype("float32"))
    gx = E.grad((E.conv(x, w, pad=3) ** 2).sum(), [x])[0]
    a = rng.standard_normal((2, 64, 40, 44)).astype("float32")
    xt = torch.from_numpy(a).double().requires_grad_()
    (conv2d(xt, torch.from_numpy(w.data).double(), padding=3) ** 2).sum().backward()
    value = E.function([x], gx)(a)
    np.testing.assert_allclose(value, xt.grad, atol=1e-5 * float(xt.grad.abs().max()))
