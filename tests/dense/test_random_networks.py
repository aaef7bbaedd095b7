"""Random networks with skip connections between grids: tiles of any size give what one pass over the image gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense.network import dense_network
from neuromancer.dense.raw import fold
from neuromancer.graph.geometry import ancestors, sizes_of_all, sizes_through, windows_of
from neuromancer.graph.sizes import conflict
from tests.dense.random_networks import pick, random_network

LARGEST = {1: 90, 2: 36, 3: 20}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def _keep_precision():
    before = nm.config.floatX
    yield
    nm.config.floatX = before


def some_sizes(rng, node):
    """Sizes of an image: mostly some that one pass takes, often the smallest ones; None if there are none."""
    sizes, largest = [], LARGEST[node.shape.ndim]
    for k in range(node.shape.ndim):
        fitting = [n for n in range(1, largest) if sizes_through(node, k, n) is not None]
        if not fitting:
            return None
        sizes.append(pick(rng, [pick(rng, fitting[:4]), pick(rng, fitting), int(rng.integers(1, largest))]))
    return tuple(sizes)


def some_tile(rng, out):
    """A small tile, but not too many of them."""
    tile = [int(rng.integers(1, min(n, 20) + 1)) for n in out]
    return tuple(max(t, -(-n // (8 if len(out) == 1 else 3))) for t, n in zip(tile, out, strict=True))


def every(steps, shift=None):
    """Index of every voxel of the network's own grid, from a shift on."""
    shift = shift or (0,) * len(steps)
    return (slice(None), *(slice(s, None, d) for s, d in zip(shift, steps, strict=True)))


def mirrored(raw, sizes):
    for k, n in enumerate(sizes, start=1):
        raw = np.take(raw, fold(np.arange(n), raw.shape[k]), axis=k)
    return raw


def one_pass(node, raw):
    """What the inference form gives, or None if it does not take the size."""
    try:
        whole = node.infer(raw[None])[0]
    except nm.errors.NeuromancerError:
        return None
    return whole if whole.size else None


def leaves_over(node):
    """Whether some pools refuse sizes, which one pass of a network without declared sizes takes nevertheless."""
    return any(w.down > 1 and w.leftover == "refused" for n in ancestors([node]) for w in windows_of(n))


def compare(got, want, tolerance):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1, np.abs(want).max(initial=0)))


def check_plain(node, dense, raw, tolerance):
    """Compare with passes over the image from every shift, mirrored to the next size that the network takes."""
    steps = [max(1, int(s)) for s in node.shape.strides]
    axes, sizes = dense_network(node).joint, raw.shape[1:]
    for shift in itertools.product(*(range(min(step, size)) for step, size in zip(steps, sizes, strict=True))):
        fed = [g.pass_size(n, s) for g, n, s in zip(axes, sizes, shift, strict=True)]
        part = mirrored(raw, [n + s for n, s in zip(fed, shift, strict=True)])
        want = node.infer(part[(slice(None), *(slice(s, None) for s in shift))][None])[0]
        got = dense[every(steps, shift)]
        compare(got, want[tuple(slice(n) for n in got.shape)], tolerance)


def check_network(node, sizes, rng, tolerance):
    raw = rng.normal(size=(1, *sizes)).astype(nm.config.floatX)
    network, whole = dense_network(node), one_pass(node, raw)
    steps = [max(1, int(s)) for s in node.shape.strides]
    accepted = all(sizes_through(node, k, n) is not None for k, n in enumerate(sizes))
    assert whole is not None or not accepted
    if not accepted and (leaves_over(node) or whole is None):
        whole = None
    elif not accepted:
        assert all(sizes_of_all(node, k, n, resized=True) for k, n in enumerate(sizes))
        with pytest.raises(nm.errors.ShapeError, match="positions depend on the whole image"):
            node.predict_dense(raw)
        return
    clashes = [conflict(node, k, n) for k, n in enumerate(sizes)]
    try:
        dense = node.predict_dense(raw)
    except nm.errors.ShapeError as error:
        if "branches of different sizes" in str(error):
            assert whole is None and any(found is not None and found.joins for found in clashes)
            return
        # In the sliding form every phase of a coarse grid needs a voxel.
        assert "smaller than the field of view" in str(error) and (whole is None or network.form == "sliding")
        return
    if whole is not None:
        grid = dense[every(steps)]
        compare(grid[tuple(slice(n) for n in whole.shape)], whole, tolerance)
    if network.form == "plain":
        check_plain(node, dense, raw, tolerance)
    for _ in range(2):
        compare(node.predict_dense(raw, tile=some_tile(rng, dense.shape[1:])), dense, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("dtype, seeds", [("float64", range(30)), ("float32", range(30, 40))])
def test_random_networks(dtype, seeds):
    nm.config.floatX = dtype
    for seed in seeds:
        node, rng = random_network(seed)
        sizes = None if node is None else some_sizes(rng, node)
        if sizes is not None:
            check_network(node, sizes, rng, TOLERANCE[dtype])
