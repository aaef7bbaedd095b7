"""Convolution along rows, by Winograd or by Fourier transforms where that is faster; plans know the cost."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.common.costs import direct_conv_cost
from neuromancer.engine.pytensor.kernels import conv_algorithm, fourier, rows, winograd
from neuromancer.engine.pytensor.kernels.speed import TYPICAL, Speed, current
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
    forget()
    yield
    forget()


def forget():
    """Forget decisions."""
    conv_algorithm._decided.cache_clear()
    conv_algorithm._fastest.cache_clear()


def layer_of(x_shape, w_shape, stride=(), dilation=(), pad=(), **options):
    """Return a layer; the image is padded here."""
    ndim = len(x_shape) - 2
    padded = (*x_shape[:2], *(n + 2 * p for n, p in zip(x_shape[2:], pad or (0,) * ndim, strict=True)))
    return conv_algorithm.Layer(padded, w_shape, stride or (1,) * ndim, dilation or (1,) * ndim, **options)


def fastest(*shapes, speed=None, **options):
    return conv_algorithm.fastest(layer_of(*shapes, **options), speed or current())


def test_small_ones_are_direct(monkeypatch):
    shapes = (1, 64, 40, 44), (64, 64, 3, 3)
    assert fastest(*shapes) is not None
    monkeypatch.setattr(conv_algorithm, "START", 2e-3)
    forget()
    assert fastest(*shapes) is None


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
    ((1, 80, 60, 60, 60), (80, 80, 1, 1, 1), {}, "rows"),
    ((1, 1, 10, 60, 60), (80, 1, 4, 4, 4), {}, "tiled rows"),
    ((1, 1, 60, 60, 60), (80, 1, 8, 8, 8), {}, "fourier"),
    ((1, 20, 60, 60, 60), (20, 20, 3, 3, 3), {"dilation": (4, 4, 4), "pad": (4, 4, 4)}, "tiled rows"),
    ((1, 1, 60, 60, 60), (5, 1, 3, 3, 3), {"stride": (2, 2, 2)}, "rows"),
    ((1, 40, 10, 4, 4), (80, 40, 4, 4, 4), {}, None),
    ((0, 40, 10, 60, 60), (80, 40, 4, 4, 4), {}, None),
    ((1, 40, 10, 3, 60), (80, 40, 4, 4, 4), {}, None),
    ((1, 80, 60), (80, 80, 5), {}, None),
]


# ---- selection
def test_strided_depthwise_convolutions_run_along_rows_as_the_others_of_their_network():
    x_shape, w_shape = (1, 32, 66, 66, 66), (32, 1, 3, 3, 3)
    for stride in (1, 2):
        layer = layer_of(x_shape, w_shape, stride=(stride,) * 3, groups=32)
        assert name(conv_algorithm.by_shape(layer, current())) == "rows"


def test_kernels_that_change_at_every_call_are_not_transformed_for_a_few_voxels():
    for n_in, n_out in ((256, 768), (256, 256), (512, 512)):
        layer = replace(layer_of((1, n_in, 10, 10, 10), (n_out, n_in, 3, 3, 3)), prepared=False)
        assert conv_algorithm.by_shape(layer, conv_algorithm.UNMEASURED) is None
    layer = replace(layer_of((1, 20, 90, 90, 90), (20, 20, 3, 3, 3)), prepared=False)
    assert name(conv_algorithm.by_shape(layer, conv_algorithm.UNMEASURED)) == "tiled rows"


@pytest.mark.parametrize(("x_shape", "w_shape", "options", "expected"), LAYERS)
def test_selected_where_it_is_faster(x_shape, w_shape, options, expected):
    geometry = geometry_of(len(x_shape) - 2, **options)
    # large tensors on the host that take no memory
    x, w = (torch.zeros(1).expand(shape) for shape in (x_shape, w_shape))
    assert name(conv_algorithm.algorithm(x, w, **geometry)) == expected
    x, w = (torch.zeros(1, dtype=torch.float64).expand(shape) for shape in (x_shape, w_shape))
    assert conv_algorithm.algorithm(x, w, **geometry) is None
    assert conv_algorithm.algorithm(x.float().to("meta"), w.float().to("meta"), **geometry) is None


@pytest.mark.parametrize(("x_shape", "w_shape", "options", "expected"), LAYERS)
def test_none_of_the_others_is_predicted_to_be_faster(x_shape, w_shape, options, expected):
    layer, speed = layer_of(x_shape, w_shape, **options), current()
    best = conv_algorithm.by_shape(layer, speed)
    assert name(best) == expected
    if isinstance(best, rows.RowConv):  # as after a layer along rows
        layer = replace(layer, planar=w_shape[1] > 1)
    direct = conv_algorithm.seconds(None, layer, speed)
    if best is not None:
        others = [rows.best_geometry(layer.x_shape, w_shape, layer.stride, layer.dilation, 1, True, speed)]
        if set(layer.stride) == {1}:
            others += [m.best_tiling(layer.x_shape, w_shape, layer.dilation, True, speed) for m in (winograd, fourier)]
        times = [conv_algorithm.seconds(other, layer, speed) for other in others if other is not None]
        assert conv_algorithm.seconds(best, layer, speed) == min(times) < conv_algorithm.SAVES * direct


def test_the_time_of_direct_convolutions_is_known_where_the_machine_was_measured(monkeypatch):
    x, w = torch.zeros(1, 8, 40, 40), torch.zeros(8, 8, 3, 3)
    convolutions = [FastConv(Conv(2), lasting=True) for _ in range(2)]
    with conv_algorithm.direct_seconds() as spent:
        for _ in range(2):  # as often as in a loop
            for convolution in convolutions:
                convolution(x, w)
        once = conv_algorithm.seconds(None, layer_of((1, 8, 40, 40), (8, 8, 3, 3)), current())
        assert spent() == pytest.approx(2 * once)
        monkeypatch.setattr(conv_algorithm, "current", conv_algorithm.Speed)
        assert spent() == 0
    convolutions[0](x, w)
    assert spent() == 0


@pytest.mark.parametrize(
    ("side", "lasting", "groups"), [(160, True, ["basic", "fourier"]), (40, True, []), (160, False, [])]
)
def test_the_machine_is_measured_for_large_layers_with_lasting_kernels(monkeypatch, side, lasting, groups):
    measured = []

    def require(group="basic"):
        measured.append(group)
        return Speed({known: TYPICAL[known] for known in measured}, 2)

    monkeypatch.setattr(conv_algorithm, "require", require)
    monkeypatch.setattr(conv_algorithm, "current", lambda: Speed({}, 2))
    conv_algorithm._decided(layer_of((1, 32, side, side, side), (32, 32, 3, 3, 3), prepared=lasting))
    assert sorted(set(measured)) == groups


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
    layer = layer_of(x_shape, w_shape, **options)
    geometry = layer.x_shape, w_shape, layer.dilation
    seconds, prepared, scratch = E.conv_cost(*geometry, "float32", 1, layer.stride)
    products = direct_conv_cost(*geometry, "float64", layer.stride)[0]
    doubles = E.conv_cost(*geometry, "float64", 1, layer.stride)
    assert doubles == (products * E.unit_costs("float64").product, 0, 0)
    best = conv_algorithm.fastest(replace(layer, planar=w_shape[1] > 1), current())
    if not isinstance(best, rows.RowConv):
        best = conv_algorithm.fastest(layer, current())
    assert seconds == conv_algorithm.seconds(best, layer, current())
    if best is None:
        assert (prepared, scratch) == (0, 0)
    else:
        assert prepared >= best.prepared and scratch >= best.scratch > 0


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
    best = fastest(x_shape, w_shape)
    assert best.transformed(torch.zeros(w_shape)).nbytes == best.prepared


def test_no_outputs_cost_nothing():
    config.device = "cpu"
    assert E.conv_cost((1, 3, 9, 9), (0, 3, 3, 3), (1, 1), "float32") == (0, 0, 0)


# ---- functions
@pytest.fixture
def one_length(monkeypatch):
    """Tiles of 12 inputs only, as every length has to be compiled."""
    monkeypatch.setattr(fourier, "SIZES", (12,))
    fourier.best_tiling.cache_clear()
    forget()
    yield
    fourier.best_tiling.cache_clear()
    forget()


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
        conv_algorithm, "algorithm", lambda x, *rest, **options: tilings[0] if x.shape[2] == 3 else tilings[1]
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
    for tiling in set(MODULES) - {rows.TiledRowConv}:  # which inherits it
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
