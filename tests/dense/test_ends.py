"""Tiles at the ends of an image, where networks pad with voxels that lie elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm

QUIET = {"print_repr": False}
SMOOTH = {"activation_func": "tanh", **QUIET}


@pytest.fixture(autouse=True)
def _double():
    before, nm.config.floatX = nm.config.floatX, "float64"
    yield
    nm.config.floatX = before


def source(channels=2):
    nm.model_manager.newmodel(None)
    nm.seed(0)
    return nm.Conv(nm.Input((None, 1, None), "b,f,x", **QUIET), channels, (1,), **SMOOTH)


def replicated_on_a_coarse_grid(before, after):
    """Every phase of the sliding form has an outermost voxel of its own."""
    wide = nm.Conv(source(), 2, (5,), conv_mode="same", **SMOOTH)
    coarse = nm.Conv(wide, 2, (1,), stride=6, **SMOOTH)
    return nm.Conv(coarse, 2, (1,), padding=((before, after),), padding_mode="replicate", **SMOOTH)


def reflected_behind_a_crop(before, after):
    """At a cut end, the convolution would pad what the crop leaves of the tile."""
    x = nm.Crop(source(), ((after and 12, before and 12),), **QUIET)
    x = nm.Conv(x, 2, (9,), conv_mode="same", **SMOOTH)
    x = nm.Conv(x, 2, (1,), padding=((before, after),), padding_mode="reflect", **SMOOTH)
    return nm.Upsample(nm.Pool(x, (2,), ceil_mode=False, **QUIET), 2, **QUIET)


def reflected_at_sizes_of_several_residues(before, after):
    """Where the last window begins depends on what the stride leaves over."""
    x = nm.Conv(source(), 2, (7,), padding=((3, 0),), **SMOOTH)
    x = nm.Pad(x, ((before, after),), padding_mode="reflect", **QUIET)
    return nm.Upsample(nm.Conv(x, 2, (1,), stride=4, **SMOOTH), 4, **QUIET)


@pytest.mark.parametrize("build", [replicated_on_a_coarse_grid, reflected_behind_a_crop])
@pytest.mark.parametrize("ends", [(2, 0), (0, 2)])
@pytest.mark.parametrize("size", [18, 23])
def test_padding_takes_the_voxels_that_the_whole_image_has(build, ends, size):
    check(build(*ends), size, (1, 3, 7))


@pytest.mark.parametrize("size", [17, 18, 19, 20, 21])
def test_every_size_ends_as_in_one_pass(size):
    check(reflected_at_sizes_of_several_residues(0, 3), size, (1, 5))


def check(node, size, tiles):
    raw = np.random.default_rng(size).normal(size=(1, size))
    whole, step = node.infer(raw[None])[0], int(max(1, node.shape.strides[0]))
    for tile in tiles:
        dense = node.predict_dense(raw, tile=(tile,))[:, ::step]
        n = min(dense.shape[1], whole.shape[1])
        np.testing.assert_allclose(dense[:, :n], whole[:, :n], atol=1e-12)
    assert n == whole.shape[1] or build_size(node, size) != size


def build_size(node, size):
    """The size to which an image is mirrored."""
    return nm.dense.network.dense_network(node).joint[0].one_pass_size(size)


def test_sizes_at_which_a_node_is_resized_by_a_fraction_are_refused():
    x = source()
    low = nm.Pool(x, (4,), ceil_mode=False, **QUIET)
    node = nm.Sum([x, nm.Upsample(low, size=x, name="resized", **QUIET)], **QUIET)
    raw = np.random.default_rng(0).normal(size=(1, 18))
    assert node.infer(raw[None]).shape == (1, 2, 18)
    message = r"'resized'.*got size 18 of the image on axis 'x'.*nearest valid: size 16 or 20, or pad_raw=True"
    with pytest.raises(nm.errors.ShapeError, match=message):
        node.predict_dense(raw)
    mirrored = np.concatenate([raw, raw[:, :-3:-1]], axis=1)
    want = node.infer(mirrored[None])[0, :, :18]
    np.testing.assert_allclose(node.predict_dense(raw, pad_raw=True, tile=(5,)), want, atol=1e-12)
    np.testing.assert_allclose(node.predict_dense(mirrored, tile=(5,))[:, :18], want, atol=1e-12)


@pytest.mark.parametrize("size", range(20, 32))
def test_shifted_passes_reach_as_far_as_the_first(size):
    """The number of outputs jumps with what the stride leaves over, so a shifted image may give too few."""
    coarse = nm.Conv(source(), 6, (1,), stride=3, padding=((1, 2),), **SMOOTH)
    fine = nm.PixelShuffle(coarse, 3, **QUIET)
    node = nm.Conv(fine, 2, (1,), stride=2, padding=((1, 0),), **SMOOTH)
    raw = np.random.default_rng(size).normal(size=(1, size))
    whole, dense = node.infer(raw[None])[0], node.predict_dense(raw)
    if build_size(node, size) == size:
        np.testing.assert_allclose(dense[:, ::2], whole, atol=1e-12)
    np.testing.assert_allclose(node.predict_dense(raw, tile=(5,)), dense, atol=1e-12)


def test_a_branch_of_one_voxel_is_not_repeated():
    x = source()
    up = nm.Upsample(nm.Pool(x, (2,), ceil_mode=True, **QUIET), 2, **QUIET)
    node = nm.Sum([up, x], **QUIET)
    # A single voxel becomes two, which do not meet the one.
    with pytest.raises(nm.errors.ShapeError):
        node.infer(np.zeros((1, 1, 1)))
    assert [nm.graph.geometry.sizes_through(node, 0, n) for n in (1, 2, 3, 4)] == [None, 2, None, 4]


@pytest.mark.parametrize("mode", ["max", "average_exc_pad"])
def test_windows_without_any_voxel_are_refused(mode):
    """On a grid of every second voxel, an image of one voxel has nothing in the second phase."""
    coarse = nm.Conv(source(), 2, (3,), stride=2, padding=1, **SMOOTH)
    node = nm.Pool(coarse, (3,), (1,), mode=mode, padding=1, **QUIET)
    with pytest.raises(nm.errors.ShapeError, match=r"at least \(2,\)"):
        node.predict_dense(np.ones((1, 1)))
    assert np.isfinite(node.predict_dense(np.ones((1, 2)))).all()


def test_user_nodes_that_cover_voxels_in_part():
    class Half(nm.Node):
        """A node whose field of view grows by less than a stride of its parent."""

        def _make_output(self):
            self.output = self.parent.output

        def _calc_shape(self):
            self.shape = self.parent.shape.updatefov(0, self.parent.shape.fov[0] + 1)

    coarse = nm.Conv(source(), 2, (2,), stride=2, **SMOOTH)
    (window,) = nm.graph.geometry.windows_of(Half(coarse, **QUIET))
    assert (window.needed(0, 0)) == (0, 1)
