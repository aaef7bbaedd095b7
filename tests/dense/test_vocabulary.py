"""Random networks of every kind of layer: tiles of any size give what the whole image gives in one pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.dense.network import dense_network

QUIET = {"print_repr": False}
SMOOTH = {"activation_func": "tanh", **QUIET}
MODES = st.sampled_from(["zeros", "reflect", "replicate"])
ENDS = st.one_of(st.integers(0, 2), st.tuples(st.tuples(st.integers(0, 3), st.integers(0, 3))))


@st.composite
def layers(draw):
    """A layer as a function of its parent, and by how much it makes the grid coarser."""
    kind = draw(st.sampled_from(["conv", "conv", "strided", "pool", "crop", "pad", "transposed 1", "add"]))
    kernel, dilation, mode = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(MODES)
    if kind == "conv":
        ends = draw(ENDS)
        options = {"dilation": dilation, "padding": ends, "padding_mode": mode, "groups": draw(st.sampled_from([1, 2]))}
        return 1, lambda x: nm.Conv(x, 2, (kernel,), **options, **SMOOTH)
    if kind == "strided":
        stride, options = draw(st.integers(2, 3)), {"padding": draw(ENDS), "padding_mode": mode}
        return stride, lambda x: nm.Conv(x, 2, (kernel,), stride=stride, **options, **SMOOTH)
    if kind == "pool":
        size, stride, ceil = draw(st.integers(2, 3)), draw(st.integers(1, 3)), draw(st.booleans())
        options = {"padding": draw(st.integers(0, 1)), "dilation": draw(st.integers(1, 2)), "ceil_mode": ceil}
        how = draw(st.sampled_from(["max", "average", "average_exc_pad", "sum"]))
        return stride, lambda x: nm.Pool(x, (size,), (stride,), mode=how, **options, **QUIET)
    if kind == "crop":
        ends = draw(st.tuples(st.tuples(st.integers(0, 2), st.integers(0, 2))))
        return 1, lambda x: nm.Crop(x, ends, **QUIET)
    if kind == "pad":
        ends = draw(st.tuples(st.tuples(st.integers(0, 3), st.integers(0, 3))))
        return 1, lambda x: nm.Pad(x, ends, padding_mode=mode, **QUIET)
    if kind == "transposed 1":
        options = {"dilation": dilation, "padding": draw(st.integers(0, (kernel - 1) * dilation))}
        return 1, lambda x: nm.ConvTranspose(x, 2, (kernel,), **options, **SMOOTH)
    width = draw(st.sampled_from([1, 3, 5]))
    return 1, lambda x: nm.Sum([x, nm.Conv(x, 2, (width,), conv_mode="same", **SMOOTH)], **QUIET)


@st.composite
def finer(draw, factor):
    """A layer that makes the grid finer by a factor."""
    kind = draw(st.sampled_from(["transposed", "nearest", "linear", "shuffle", "up"]))
    if kind == "transposed":
        kernel, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 2))
        extent = dilation * (kernel - 1) + 1
        padding = draw(st.integers(0, min(2, (extent - 1) // 2)))
        options = {"dilation": dilation, "padding": padding, "output_padding": draw(st.integers(0, factor - 1))}
        return lambda x: nm.ConvTranspose(x, 2, (kernel,), factor, **options, **SMOOTH)
    if kind == "shuffle":
        return lambda x: nm.PixelShuffle(nm.Conv(x, 2 * factor, (1,), **SMOOTH), factor, **QUIET)
    if kind == "up":
        return lambda x: nm.UpConv(x, 2, (factor,), identity_init=False, **SMOOTH)
    return lambda x: nm.Upsample(x, factor, mode=kind, **QUIET)


@st.composite
def networks(draw, refined):
    """A network on one axis that ends on the grid of the image if `refined`."""
    down = draw(st.lists(layers(), min_size=1, max_size=4))
    up = []
    if refined:
        for factor in [factor for factor, _ in down if factor > 1][::-1]:
            up += [draw(finer(factor))] + [build for step, build in draw(st.lists(layers(), max_size=1)) if step == 1]
    return [build for _, build in down] + up


def build_network(parts):
    node = nm.Conv(nm.Input((None, 1, None), "b,f,x", **QUIET), 2, (1,), **SMOOTH)
    for part in parts:
        node = part(node)
    return node


def compare(parts, size, tiles, tolerance):
    """Compare dense prediction with one pass at the positions that one pass has."""
    nm.model_manager.newmodel(None)
    nm.seed(0)
    node = build_network(parts)
    raw = np.random.default_rng(size).normal(size=(1, size)).astype(nm.config.floatX)
    try:
        whole = node.infer(raw[None])[0]
    except nm.errors.NeuromancerError:
        whole = None  # the image is too small for one pass
    try:
        dense = node.predict_dense(raw)
    except nm.errors.ShapeError:
        assert whole is None or size < 60
        return
    step = int(max(1, node.shape.strides[0]))
    if whole is not None and whole.shape[1] and dense_network(node).axes[0][0].one_pass_size(size) == size:
        got = dense[:, ::step][:, : whole.shape[1]]
        np.testing.assert_allclose(got, whole[:, : got.shape[1]], atol=tolerance)
        assert got.shape[1] == whole.shape[1]
    for tile in tiles:
        np.testing.assert_allclose(node.predict_dense(raw, tile=(tile,)), dense, atol=tolerance)


CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
OPTIONS = {"deadline": None, "suppress_health_check": CHECKS, "derandomize": True}


@pytest.mark.slow
@settings(max_examples=60, **OPTIONS)
@given(networks(refined=False), st.integers(40, 90), st.lists(st.integers(1, 40), min_size=2, max_size=2))
def test_networks_whose_pools_slide(parts, size, tiles):
    compare(parts, size, tiles, 1e-5)


@pytest.mark.slow
@settings(max_examples=60, **OPTIONS)
@given(networks(refined=True), st.integers(40, 90), st.lists(st.integers(1, 40), min_size=2, max_size=2))
def test_networks_back_on_the_grid_of_the_image(parts, size, tiles):
    compare(parts, size, tiles, 1e-5)


@pytest.mark.slow
@settings(max_examples=20, **OPTIONS)
@given(st.data(), st.integers(40, 90), st.integers(1, 40))
def test_to_the_last_digits(data, size, tile):
    nm.config.floatX = "float64"
    compare(data.draw(networks(refined=data.draw(st.booleans()))), size, [tile], 1e-12)


@pytest.mark.parametrize("mode", ["replicate", "reflect"])
@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("pad", [5, 20, 33])
def test_pads_far_larger_than_the_windows(mode, refined, pad):
    node = nm.Conv(nm.Input((None, 1, None), "b,f,x", **QUIET), 2, (5,), conv_mode="same", **SMOOTH)
    if refined:
        node = nm.Upsample(nm.Conv(node, 2, (3,), stride=2, padding=1, **SMOOTH), 2, **QUIET)
    node = nm.Conv(nm.Pad(node, (pad,), padding_mode=mode, **QUIET), 2, (3,), **SMOOTH)
    raw = np.random.default_rng(0).normal(size=(1, 80)).astype("float32")
    whole = node(raw[None])[0]
    for tile in (1, 4, 7, 200):
        np.testing.assert_allclose(node.predict_dense(raw, tile=(tile,)), whole, atol=1e-5)


def test_pads_beyond_all_images_are_refused_at_once():
    source = nm.Input((None, 1, None), "b,f,x", **QUIET)
    node = nm.Pad(source, (10**9,), padding_mode="replicate", name="huge", **QUIET)
    with pytest.raises(nm.errors.GraphError, match=r"huge.*got 1000000000 and 1000000000 voxels on axis 'x'"):
        node.predict_dense(np.zeros((1, 9), "float32"))
