"""Warps: exact where they should be, labels stay labels, nothing is padded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.errors import ArgumentError
from neuromancer.train.data import Flip, LabelledVolume, PatchSampler, Rotate90, Warp
from neuromancer.train.data.frame import frame_of
from neuromancer.train.data.placement import Orientation, PatchPlacement, Placed
from neuromancer.train.data.warp import WarpField
from tests.train.data.factories import chain, decode, positions

NET = [((2, 3, 3), (1, 2, 2), "valid")]


def field(sizes, control=None, **given):
    n = len(sizes)
    control = np.zeros((n, *(4,) * n)) if control is None else control
    settings_ = dict(angles={}, log_scale=0.0, shear=0.0, spacing=np.ones(n), own=tuple(range(n)))
    return WarpField(sizes=sizes, distance=(10.0,) * n, control=control, **{**settings_, **given})


def sampler(augment, raw=None, labels=None, **kwargs):
    node = chain(NET, (6, 16, 16), batch=1)
    raw = positions((14, 40, 40)) if raw is None else raw
    labels = raw if labels is None else labels
    return PatchSampler(
        node,
        [LabelledVolume(raw, labels)],
        augment=augment,
        ignore=None,
        scale=kwargs.pop("scale", lambda r: r),
        **kwargs,
    )


@pytest.fixture(autouse=True)
def double():
    nm.config.floatX = "float64"


def test_a_warp_without_amounts_is_the_identity():
    plain, warped = (
        sampler([]),
        sampler(
            [
                Warp(),
            ]
        ),
    )
    frame = frame_of(chain(NET, (6, 16, 16)))
    placed = Placed(PatchPlacement(frame, Orientation.plain(3), field(frame.sizes)))
    block = np.random.default_rng(0).random((1, 6, 16, 16))
    np.testing.assert_array_equal(placed.cut_raw(block), block)
    assert placed.raw == [(0, 5), (0, 15), (0, 15)]
    del plain
    for raw, labels in (warped.batch(0), warped.batch(1)):
        offset, stride = frame.offsets, frame.strides
        grid = np.ix_(*(o + s * np.arange(n) for o, s, n in zip(offset, stride, labels.shape[2:], strict=True)))
        np.testing.assert_array_equal(raw[(slice(None), 0, *grid)], labels[:, 0])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_is_rot90(turns):
    frame = frame_of(chain([((1, 3, 3), None, "valid")], (3, 15, 15)))
    placed = Placed(PatchPlacement(frame, Orientation.plain(3), field(frame.sizes, angles={(1, 2): turns * np.pi / 2})))
    block = np.random.default_rng(0).random((2, 3, 15, 15))
    assert placed.raw == [(0, 2), (0, 14), (0, 14)]
    ways = [np.rot90(block, sign * turns, (2, 3)) for sign in (1, -1)]
    assert min(np.abs(placed.cut_raw(block) - way).max() for way in ways) < 1e-5
    labels = np.arange(2 * 3 * 13 * 13).reshape(2, 3, 13, 13)
    assert any((placed.cut_labels(labels) == np.rot90(labels, sign * turns, (2, 3))).all() for sign in (1, -1))


def test_rotations_are_in_physical_space():
    # Voxels twice as long along z: a quarter turn maps one z voxel to two x voxels.
    turned = field((5, 9), angles={(0, 1): np.pi / 2}, spacing=np.array([2.0, 1.0])).matrix()
    np.testing.assert_allclose(np.abs(turned), [[0, 0.5], [2, 0]], atol=1e-12)


def test_elastic_displacement_is_bounded_and_smooth():
    rng = np.random.default_rng(0)
    control = 3 * rng.uniform(-1, 1, (2, 7, 7))
    f = field((30, 30), control)
    base = np.stack(np.meshgrid(np.arange(30), np.arange(30), indexing="ij"))
    moved = f.coordinates([np.arange(30)] * 2) - base
    assert np.abs(moved).max() <= 3 and moved.std() > 0.1
    assert np.abs(np.diff(moved, axis=1)).max() < 1.5
    np.testing.assert_allclose(f.weaker().coordinates([np.arange(30)] * 2) - base, moved / 2, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    rotation=st.sampled_from([0, 10, {"yx": 180}, {"yx": 30, "zx": 8}]),
    scaling=st.floats(0, 0.2),
    shear=st.floats(0, 0.2),
    elastic=st.sampled_from([0, 2, (0.5, 3, 3)]),
    seed=st.integers(0, 9),
    turn=st.booleans(),
    pad_raw=st.booleans(),
)
def test_raw_and_labels_are_warped_alike(rotation, scaling, shear, elastic, seed, turn, pad_raw):
    """Raw data that is linear in the position is interpolated exactly, so it shows where each voxel came from."""
    nm.config.floatX = "float64"
    code = positions((14, 40, 40)).astype("int64")
    warp = Warp(rotation, scaling, shear, elastic, spacing=(2, 1, 1))
    extra = [Flip(), Rotate90()] if turn else []
    for axis in range(3):
        raw = decode(code, 3)[axis].astype("float64")
        s = sampler([*extra, warp], raw, code[2:-2, 5:-5, 5:-5], pad_raw=pad_raw, seed=seed)
        patch, labels = s.batch(0)
        where = decode(labels[0, 0], 3)
        grid = np.ix_(
            *(
                o + st_ * np.arange(n)
                for o, st_, n in zip(s.frame.offsets, s.frame.strides, s.frame.counts, strict=True)
            )
        )
        # Labels come from the nearest voxel, mirrored raw data is nowhere under a label.
        assert np.abs(patch[(0, 0, *grid)] - where[axis]).max() <= 0.5 + 1e-3
        assert set(np.unique(labels)) <= set(np.unique(code[2:-2, 5:-5, 5:-5]))
        if not pad_raw:
            assert patch.min() >= 0 and patch.max() <= raw.max()


def test_no_zeros_come_in_at_borders():
    raw = np.full((8, 20, 20), 7.0)
    s = sampler([Warp(rotation=45, elastic=(1, 3, 3))], raw, np.ones((8, 20, 20), int), pad_raw=False)
    for step in range(10):
        patch, labels = s.batch(step)
        np.testing.assert_allclose(patch, 7, rtol=1e-6)
        assert (labels == 1).all()


def test_only_what_a_warp_needs_is_read():
    read = []

    class Counting:
        shape, dtype = (60, 200, 200), np.dtype("float64")

        def __getitem__(self, key):
            read.append(np.prod([s.stop - s.start for s in key]))
            return np.zeros([s.stop - s.start for s in key])

    s = sampler([Warp(rotation=45, scaling=0.1, elastic=2)], Counting(), np.zeros((60, 200, 200), "int16"))
    for step in range(5):
        s.batch(step)
    assert max(read) < 6 * 16 * 16 * 5


def test_a_warp_that_does_not_fit_is_weakened():
    raw = positions((6, 16, 16))
    s = sampler([Warp(rotation=45, scaling=0.5)], raw)
    patch, _ = s.batch(0)
    assert patch.shape == (1, 1, 6, 16, 16)


@pytest.mark.parametrize(
    ("warp", "says"),
    [
        (Warp(scaling=-1), "scaling"),
        (Warp(elastic=(1, 2)), "3 numbers"),
        (Warp(spacing=(1, 0, 1)), "above 0"),
        (Warp(rotation={"yz": 3, "yq": 3}), "tags"),
        (Warp(rotation={"y": 3}), "two axes"),
        (Warp(p=2), "probability"),
        (Warp(distance=0.0), "distance"),
    ],
)
def test_bad_warps(warp, says):
    with pytest.raises(ArgumentError, match=says):
        sampler([warp])


def test_one_warp_only():
    with pytest.raises(ArgumentError, match="more than one Warp"):
        sampler([Warp(), Warp()])
