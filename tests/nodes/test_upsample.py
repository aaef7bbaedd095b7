"""Interpolation and shuffled pixels against NumPy: values, sizes, geometry, what depends on the whole image."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, NeuromancerError, ShapeError
from tests.nodes.layers import check_gradients, random, registered, source
from tests.nodes.spatial import resized

QUIET = {"print_repr": False}


@pytest.mark.parametrize(("mode", "align"), [("nearest", False), ("linear", False), ("linear", True)])
@pytest.mark.parametrize(("size", "factor"), [((4,), 3), ((3, 4), (2, 1)), ((2, 3, 4), (1, 2, 4))])
def test_values_shapes_gradients(mode, align, size, factor):
    nm.config.floatX = "float64"
    x = random(2, 3, *size)
    node = nm.Upsample(source(x.shape), factor, mode=mode, align_corners=align, **QUIET)
    factors = (factor,) * len(size) if isinstance(factor, int) else factor
    want = resized(x, [n * u for n, u in zip(size, factors, strict=True)], mode, align)
    np.testing.assert_allclose(node(x), want, rtol=1e-10, atol=1e-12)
    assert node.shape.shape == list(want.shape)
    assert node.shape.strides.tolist() == [1 / u for u in factors]
    check_gradients(node)


@pytest.mark.parametrize(("mode", "align"), [("nearest", False), ("linear", False), ("linear", True)])
def test_to_any_size(mode, align):
    x = random(1, 2, 5, 6)
    for size in ((7, 6), (10, 12), (3, 2)):
        node = nm.Upsample(source(x.shape), size=size, mode=mode, align_corners=align, **QUIET)
        np.testing.assert_allclose(node(x), resized(x, size, mode, align), rtol=1e-5, atol=1e-6)
        with pytest.raises(GraphError, match="upsample"):
            node.predict_dense(random(2, 9, 9).astype("float32"))


def test_to_the_size_of_another_node():
    inp = nm.Input((None, 1, None), "b,f,x", **QUIET)
    coarse = nm.Conv(inp, 2, (3,), stride=2, padding=1, activation_func="tanh", **QUIET)
    node = nm.Upsample(coarse, size=inp, **QUIET)
    assert node.factor == (2,) and node.shape.strides.tolist() == [1]
    for n in (8, 9):
        x = random(1, 1, n).astype("float32")
        np.testing.assert_allclose(node(x), resized(coarse(x), [n], "nearest"), rtol=1e-5)
    raw = random(1, 24).astype("float32")
    for tile in (3, 8):
        np.testing.assert_allclose(node.predict_dense(raw, tile=(tile,)), node(raw[None])[0], rtol=1e-5)


def test_corners_that_stay_in_place_need_the_whole_image():
    node = nm.Upsample(source((1, 1, 8)), 2, mode="linear", align_corners=True, **QUIET)
    assert not node.equivariant
    with pytest.raises(NeuromancerError, match="upsample"):
        node.predict_dense(random(1, 20).astype("float32"))


@pytest.mark.parametrize("factor", [2, (1, 3), (2, 2)])
def test_shuffled_pixels(factor):
    factors = (factor,) * 2 if isinstance(factor, int) else factor
    cell = int(np.prod(factors))
    x = random(2, 2 * cell, 3, 4)
    node = nm.PixelShuffle(source(x.shape), factor, **QUIET)
    want = np.zeros((2, 2, 3 * factors[0], 4 * factors[1]))
    for c in range(2):
        for k in range(cell):
            want[:, c, k // factors[1] :: factors[0], k % factors[1] :: factors[1]] = x[:, c * cell + k]
    np.testing.assert_allclose(node(x), want, rtol=1e-6)
    assert node.shape.shape == list(want.shape)


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda x: nm.Upsample(x, 0, **QUIET), ArgumentError, "factor"),
        (lambda x: nm.Upsample(x, (2,), **QUIET), ShapeError, "factor.*2 entries"),
        (
            lambda x: nm.Upsample(x, 10**9, **QUIET),
            ShapeError,
            "got factor 1000000000 on axis 'y'.*nearest.*factor 4096",
        ),
        (lambda x: nm.Upsample(x, **QUIET), ArgumentError, "factor=None, size=None"),
        (lambda x: nm.Upsample(x, 2, size=(4, 4), **QUIET), ArgumentError, "factor=2"),
        (lambda x: nm.Upsample(x, 2, mode="cubic", **QUIET), ArgumentError, "got cubic.*nearest.*linear"),
        (lambda x: nm.Upsample(x, 2, align_corners=True, **QUIET), ArgumentError, "mode='linear'"),
        (lambda x: nm.Upsample(x, size="x", **QUIET), InputTypeError, "size"),
        (lambda x: nm.Upsample(x, size=source((1, 2, 4)), **QUIET), ShapeError, r"\['y', 'x'\]"),
        (lambda x: nm.PixelShuffle(x, 3, **QUIET), ShapeError, "f=4, factor \\(3, 3\\).*f=9"),
    ],
)
def test_bad_arguments_leave_nothing_behind(build, error, says):
    parent = source((1, 4, 4, 5))
    with pytest.raises(error, match=says):
        build(parent)
    assert not [name for name in registered() if "upsample" in name or "shuffle" in name]
