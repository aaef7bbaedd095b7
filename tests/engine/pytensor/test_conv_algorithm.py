"""Convolution along rows, by Winograd or by Fourier transforms where that is faster; plans know the cost."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.common.costs import direct_conv_cost
from neuromancer.engine.pytensor.kernels import conv_algorithm, fourier, rows, winograd
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.link.torch.convolution import FastConv
from neuromancer.engine.pytensor.ops.conv import Conv

MODULES = {
    fourier.Tiling: "fourier",
    winograd.Tiling: "winograd",
    rows.RowConv: "rows",
    rows.TiledRowConv: "tiled rows",
}


@pytest.fixture(autouse=True)
def no_dispatch_overhead(monkeypatch):
    """Set the dispatch overhead to zero, so that small convolutions, which are quick to test, are not direct."""
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


def name(algorithm):
    return None if algorithm is None else MODULES[type(algorithm)]


@pytest.fixture
def transforms(monkeypatch):
    """Names of the algorithms whose kernel transform has run, one per run."""
    done = []
    for tiling in MODULES:
        monkeypatch.setattr(
            tiling, "transformed", lambda self, w, run=tiling.transformed: done.append(name(self)) or run(self, w)
        )
    return done


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
    ((1, 1, 10, 60, 60), (80, 1, 4, 4, 4), {}, "rows"),
    ((1, 1, 60, 60, 60), (80, 1, 5, 5, 5), {}, "rows"),
    ((1, 20, 60, 60, 60), (20, 20, 3, 3, 3), {"dilation": (4, 4, 4), "pad": (4, 4, 4)}, "tiled rows"),
    ((1, 1, 60, 60, 60), (5, 1, 3, 3, 3), {"stride": (2, 2, 2)}, "rows"),
    ((1, 40, 10, 4, 4), (80, 40, 4, 4, 4), {}, None),
    ((0, 40, 10, 60, 60), (80, 40, 4, 4, 4), {}, None),
    ((1, 40, 10, 3, 60), (80, 40, 4, 4, 4), {}, None),
    ((1, 80, 60), (80, 80, 5), {}, None),
]


# ---- selection
@pytest.mark.parametrize(("x_shape", "w_shape", "options", "expected"), LAYERS)
def test_selected_where_it_is_faster(x_shape, w_shape, options, expected):
    geometry = geometry_of(len(x_shape) - 2, **options)
    # large tensors on the host that take no memory
    x, w = (torch.zeros(1).expand(shape) for shape in (x_shape, w_shape))
    assert name(conv_algorithm.algorithm(x, w, **geometry)) == expected
    x, w = (torch.zeros(1, dtype=torch.float64).expand(shape) for shape in (x_shape, w_shape))
    assert conv_algorithm.algorithm(x, w, **geometry) is None
    assert conv_algorithm.algorithm(x.float().to("meta"), w.float().to("meta"), **geometry) is None


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "expected"), [layer for layer in LAYERS if "stride" not in layer[2]]
)
def test_the_fastest_of_winograd_fourier_and_direct(x_shape, w_shape, options, expected):
    geometry = geometry_of(len(x_shape) - 2, **options)
    padded = (*x_shape[:2], *(n + 2 * p for n, p in zip(x_shape[2:], geometry["pad"], strict=True)))
    best = conv_algorithm.algorithm_for(padded, w_shape, geometry["dilation"])
    assert name(best) == expected
    if best is not None:
        direct = direct_conv_cost(padded, w_shape, geometry["dilation"], "float32")[0]
        assert best.work < conv_algorithm.SAVES * direct * max(LANES, w_shape[0]) / w_shape[0]
        tilings = [m.best_tiling(padded, w_shape, geometry["dilation"], True) for m in (winograd, fourier)]
        tilings.append(rows.best_geometry(padded, w_shape, geometry["stride"], geometry["dilation"], 1, True))
        assert best.work == min(tiling.work for tiling in tilings if tiling is not None)


def test_for_a_single_call_the_kernel_transform_counts():
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
def test_plans_know_the_cost_of_the_selected_algorithm(x_shape, w_shape, options, expected):
    config.device = "cpu"
    ndim = len(x_shape) - 2
    layer = x_shape, w_shape, options.get("dilation", (1,) * ndim)
    products, prepared, scratch = E.conv_cost(*layer, "float32")
    direct = direct_conv_cost(*layer, "float32")
    assert E.conv_cost(*layer, "float64") == direct
    best = conv_algorithm.algorithm_for(*layer)
    if best is None:
        assert (prepared, scratch) == (0, 0) and products == direct[0] * max(16, w_shape[0]) / w_shape[0]
    else:
        assert (products, prepared, scratch) == (best.work, best.prepared, best.scratch)
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
def test_plans_know_the_size_of_a_transformed_kernel(x_shape, w_shape):
    best = conv_algorithm.algorithm_for(x_shape, w_shape, (1,) * (len(x_shape) - 2))
    assert best.transformed(torch.zeros(w_shape)).nbytes == best.prepared


def test_no_outputs_cost_nothing():
    config.device = "cpu"
    assert E.conv_cost((1, 3, 9, 9), (0, 3, 3, 3), (1, 1), "float32") == (0, 0, 0)


# ---- functions
@pytest.fixture
def one_length(monkeypatch):
    """Tiles of 12 inputs only, as every length has to be compiled."""
    cached = conv_algorithm.algorithm_for, fourier.best_tiling
    monkeypatch.setattr(fourier, "SIZES", (12,))
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_function_transforms_a_kernel_once_per_value(transforms):
    rng = np.random.default_rng(0)
    x = E.tensor("x", (None, 64, None, None), "float32")
    w = E.SharedVariable(rng.standard_normal((64, 64, 3, 3)).astype("float32"), "w")
    function = E.function([x], E.conv(x, w, pad=1))
    a = rng.standard_normal((2, 64, 40, 44)).astype("float32")
    for values in (1, 2):
        expected = conv2d(torch.from_numpy(a), torch.from_numpy(w.get_value()), padding=1).numpy()
        for _ in range(2):
            np.testing.assert_allclose(function(a), expected, atol=1e-5 * np.abs(expected).max())
        assert transforms == ["winograd"] * values
        w.set_value(rng.standard_normal((64, 64, 3, 3)).astype("float32"))


def test_only_the_last_transform_is_kept_when_images_change(transforms, monkeypatch):
    rng = np.random.default_rng(0)
    x = E.tensor("x", (None, 40, None, None, None), "float32")
    w = E.SharedVariable(rng.standard_normal((20, 40, 2, 4, 4)).astype("float32"), "w")
    function = E.function([x], E.conv(x, w))
    tilings = [
        winograd.Tiling((1, 40, 3, 20, 20), (20, 40, 2, 4, 4), (1, 1, 1), 6),
        fourier.Tiling((1, 40, 6, 20, 20), (20, 40, 2, 4, 4), (1, 1, 1), (6, 8, 8)),
    ]
    monkeypatch.setattr(
        conv_algorithm, "algorithm_for", lambda shape, *rest: tilings[0] if shape[2] == 3 else tilings[1]
    )
    images = [rng.standard_normal(shape).astype("float32") for shape in ((1, 40, 3, 20, 20), (1, 40, 6, 20, 20))]
    for k in (0, 0, 1, 1, 0):
        expected = conv3d(torch.from_numpy(images[k]).double(), torch.from_numpy(w.get_value()).double())
        np.testing.assert_allclose(function(images[k]), expected, atol=1e-5 * float(expected.abs().max()))
    assert transforms == ["winograd", "fourier", "winograd"]


def test_the_last_transform_is_freed_before_the_next_is_made(monkeypatch):
    form = FastConv(Conv(2, (1, 1), (1, 1), (0, 0)), lasting=True)
    kernels, alive = [], []
    transformed = winograd.Tiling.transformed

    def observed(self, w):
        alive.append(sum(kernel() is not None for kernel in kernels))
        result = transformed(self, w)
        kernels.append(weakref.ref(result))
        return result

    monkeypatch.setattr(winograd.Tiling, "transformed", observed)
    for w in torch.randn(2, 64, 64, 3, 3):
        form(torch.randn(2, 64, 42, 46), w)
        assert kernels[-1]() is not None
    assert alive == [0, 0]


@pytest.mark.parametrize(
    ("taps", "dilation", "pad", "expected"),
    [
        ((3, 3), (1, 2), (0, 0), "winograd"),
        ((3, 3), (1, 2), (2, 1), "winograd"),
        ((7, 7), (2, 1), (0, 0), "fourier"),
        ((7, 7), (2, 1), (2, 1), "fourier"),
    ],
)
def test_training_uses_it_forward_and_backward(taps, dilation, pad, expected, monkeypatch, one_length):
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
        for value, reference in zip(function(a), (yt.detach(), xt.grad), strict=True):
            np.testing.assert_allclose(value, reference, atol=1e-5 * float(reference.abs().max()))
        updated = (wt - 1e-4 * wt.grad).detach().numpy()
        np.testing.assert_allclose(w.get_value(), updated, atol=1e-5 * np.abs(updated).max())
    assert calls == [expected] * 4


def test_padding_larger_than_a_window_is_left_to_torch():
    rng = np.random.default_rng(0)
    x = E.tensor("x", (2, 64, 40, 44), "float32")
    w = E.constant(rng.standard_normal((64, 64, 3, 3)).astype("float32"))
    gx = E.grad((E.conv(x, w, pad=3) ** 2).sum(), [x])[0]
    a = rng.standard_normal((2, 64, 40, 44)).astype("float32")
    xt = torch.from_numpy(a).double().requires_grad_()
    (conv2d(xt, torch.from_numpy(w.data).double(), padding=3) ** 2).sum().backward()
    value = E.function([x], gx)(a)
    np.testing.assert_allclose(value, xt.grad, atol=1e-5 * float(xt.grad.abs().max()))
