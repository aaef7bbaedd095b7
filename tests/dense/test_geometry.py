"""Geometry of the two dense forms, against networks whose numbers are known."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.dense.geometry import (
    AxisGeometry,
    PeriodicAxis,
    can_slide,
    covering,
    plain_geometry,
    require_declared_sizes,
    sliding_geometry,
)
from neuromancer.dense.network import DenseNetwork
from neuromancer.errors import GraphError

QUIET = {"print_repr": False}


def source(*sizes):
    sizes = sizes or (None,)
    return nm.Input((1, 1, *sizes), "b,f," + ",".join("zyx"[-len(sizes) :]), **QUIET)


def conv(parent, *kernel, pool=None, **kwargs):
    return nm.Conv(parent, 2, kernel, pool or (1,) * len(kernel), **QUIET, **kwargs)


def pool(parent, *factors):
    return nm.Pool(parent, factors, **QUIET)


def upconv(parent, *factors):
    return nm.UpConv(parent, 2, factors, **QUIET)


class Differences(nm.Node):
    """A user's node that looks at both neighbours, or steps over voxels, and says so in its shape."""

    def __init__(self, parent, size=3, stride=1, lost=None, name="differences"):
        super().__init__(parent, name)
        self.size, self.stride, self.lost = size, stride, size - 1 if lost is None else lost

    def _make_output(self):
        self.output = self.parent.output[:, :, self.size - 1 :: self.stride]

    def _calc_shape(self):
        old = self.parent.shape
        step = int(old.strides[0])
        shape = old.updateshape("x", (old["x"] - self.lost - 1) // self.stride + 1)
        shape = shape.updatefov(0, old.fov[0] + (self.size - 1) * step)
        self.shape = shape.updatestrides(shape.strides * self.stride)


# ---- one axis of the sliding form


def pads_and_sums(values, fov, pad):
    """A network of one layer along one axis: zeros on both sides, then weighted sums over the field of view."""
    return np.correlate(np.pad(values, pad), np.arange(1, fov + 1), "valid")


@st.composite
def sliding(draw):
    fov = draw(st.integers(1, 7))
    pad = draw(st.integers(0, fov - 1))
    return fov, pad, AxisGeometry(-pad, fov - 1 - pad, fov - 1 - 2 * pad, fov // 2 - pad, max(1, fov - 2 * pad))


@given(sliding(), st.integers(0, 20), st.data())
def test_what_a_range_needs_gives_the_same_values_as_the_whole(network, more, data):
    fov, pad, g = network
    raw = np.arange(1, g.least + more + 1) ** 2
    whole = pads_and_sums(raw, fov, pad)
    assert g.outputs(len(raw)) == len(whole)
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start + 1, len(whole)))
    first, last = g.input_range(start, stop, len(raw))
    assert 0 <= first < last <= len(raw) and last - first >= g.least
    found = pads_and_sums(raw[first:last], fov, pad)[start - g.first_output(first) :][: stop - start]
    np.testing.assert_array_equal(found, whole[start:stop])
    assert last - first <= g.input_size(stop - start)


@pytest.mark.parametrize(
    ("g", "asked", "fed"),
    [
        (AxisGeometry(0, 4, 4, 2, 5), (3, 7, 50), (3, 11)),  # valid: 5 voxels for each
        (AxisGeometry(0, 4, 4, 2, 5), (46, 47, 50), (45, 50)),  # never less than the field of view
        (AxisGeometry(-2, 2, 0, 0, 1), (10, 14, 50), (8, 16)),  # same: 2 neighbours on either side
        (AxisGeometry(-2, 2, 0, 0, 1), (0, 4, 50), (0, 6)),
        (AxisGeometry(-2, 2, 0, 0, 1), (48, 50, 50), (46, 50)),
        (AxisGeometry(-4, 0, -4, -2, 1), (10, 14, 50), (6, 14)),  # full: nothing after
        (AxisGeometry(3, 5, 8, 4, 9), (10, 12, 50), (10, 20)),  # cropped by 3 before and after
        (AxisGeometry(0, 4, 4, 2, 9), (3, 4, 50), (3, 12)),  # a node on the way needs 9
    ],
)
def test_ranges_by_hand(g, asked, fed):
    assert g.input_range(*asked) == fed


@pytest.mark.parametrize(
    ("g", "fed"),
    [
        (AxisGeometry(0, 4, 4, 2, 5), 14),
        (AxisGeometry(-2, 2, 0, 0, 1), 14),
        (AxisGeometry(-4, 0, -4, -2, 1), 14),
        (AxisGeometry(3, 5, 8, 4, 9), 18),
        (AxisGeometry(0, 4, 4, 2, 20), 20),
    ],
)
def test_ten_voxels_in_the_middle(g, fed):
    start, stop = g.input_range(100, 110, 1000)
    assert g.input_size(10) == stop - start == fed


def test_a_sliding_axis_takes_every_size_and_begins_anywhere():
    g = AxisGeometry(0, 4, 4, 2)
    assert (g.one_pass_size(7), g.outputs(7), g.first_output(7)) == (7, 3, 7)
    assert (g.tile_alignment, g.output_spacing, g.step, g.least) == (1, 1, 1, 1)


# ---- the sliding form of networks


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (lambda: conv(source(9), 3), AxisGeometry(0, 2, 2, 1, 3)),
        (lambda: conv(conv(source(), 3, pool=(2,)), 4), AxisGeometry(0, 9, 9, 5, 10)),
        (lambda: conv(source(9), 5, conv_mode="same"), AxisGeometry(-2, 2, 0, 0, 1)),
        (lambda: conv(source(9), 4, conv_mode="full"), AxisGeometry(-3, 0, -3, -1, 1)),
        (lambda: nm.Crop(conv(source(9), 3), (2,), **QUIET), AxisGeometry(2, 4, 6, 3, 7)),
        (lambda: nm.Pad(conv(source(9), 3), (2,), **QUIET), AxisGeometry(-2, 0, -2, -1, 3)),
        # neighbours: 1 for the first kernel, 1 after for the pool, and 2 on the pooled grid, which are 4
        (lambda: conv(pool(conv(source(), 3, conv_mode="same"), 2), 5, conv_mode="same"), AxisGeometry(-5, 6, 1, 1, 2)),
    ],
)
def test_axes_of_networks_that_slide(build, wanted):
    assert DenseNetwork([build()]).axes[0] == [wanted]


def test_every_axis_has_its_own_geometry():
    node = conv(conv(source(20, 30), 3, 5, pool=(1, 2)), 2, 3)
    assert DenseNetwork([node]).axes[0] == [AxisGeometry(0, 3, 3, 2, 4), AxisGeometry(0, 9, 9, 5, 10)]


def test_voxels_that_every_node_has_lost():
    raw = source(20, 30)
    first = conv(raw, 3, 5)
    node = conv(nm.Concat([first, nm.Crop(raw, (1, 2), **QUIET)], **QUIET), 2, 1)
    axes, lost = sliding_geometry(node, node)
    assert axes == [AxisGeometry(0, 3, 3, 2, 4), AxisGeometry(0, 4, 4, 2, 5)]
    assert [some[id(raw)] for some in lost] == [0, 0]
    assert [some[id(first)] for some in lost] == [2, 4]
    assert [some[id(node)] for some in lost] == [3, 4]


def test_branches_reach_as_far_as_their_farthest():
    raw = source(30)
    node = nm.Concat([conv(raw, 7), nm.Crop(conv(raw, 3), (2,), **QUIET)], **QUIET)
    shifted = nm.Concat([conv(raw, 3, conv_mode="full"), nm.Pad(raw, (1,), **QUIET)], **QUIET)
    assert DenseNetwork([node]).axes[0] == [AxisGeometry(0, 6, 6, 3, 7)]
    (g,), _ = sliding_geometry(shifted, shifted)
    assert (g.low, g.high, g.context) == (-2, 0, -2)


def test_branches_that_lose_different_numbers_of_voxels_are_named():
    raw = source(12)
    node = nm.Concat([pool(raw, 2), nm.Crop(raw, (3,), **QUIET)], name="meeting", **QUIET)
    with pytest.raises(GraphError, match=r"'meeting'.*pool: 1 .*crop: 6 ") as caught:
        DenseNetwork([node])
    assert caught.value.node.name == "meeting"


# ---- which networks slide


def test_pools_slide_and_finer_grids_do_not():
    assert can_slide([conv(pool(conv(source(), 3), 2), 3)])
    assert not can_slide([conv(upconv(conv(source(), 3, pool=(2,)), 2), 3)])
    assert not can_slide([conv(source(), 3), upconv(source(), 2)])


def test_users_nodes_slide_where_they_skip_nothing():
    assert can_slide([Differences(conv(source(16), 3))])
    assert can_slide([Differences(pool(source(16), 2), size=1)])
    assert not can_slide([Differences(source(16), stride=2)])
    assert not can_slide([Differences(source(16), size=1, stride=2)])
    assert not can_slide([Differences(pool(source(16), 2))])
    assert not can_slide([conv(Differences(conv(source(16), 3, pool=(2,))), 3)])


# ---- the plain form


def plain(node):
    ((g,),) = plain_geometry([node])
    return g


def test_a_strided_network_as_it_is():
    g = plain(conv(conv(source(), 3, pool=(2,)), 3))
    # voxel i needs 2 i to 2 i + 7; 8 voxels give the first, and every 2 more another
    assert g == PeriodicAxis(0, 7, 7, 4, 1, Fraction(2), 2, 0, 8, (0,), (7,))
    assert [g.outputs(n) for n in (6, 7, 8, 9, 10, 12)] == [0, 0, 1, 1, 2, 3]
    assert [g.one_pass_size(n) for n in (1, 8, 9, 10, 11)] == [8, 8, 10, 10, 12]
    assert (g.tile_alignment, g.output_spacing, g.first_output(6)) == (1, 1, 3)
    first, last = g.input_range(2, 4, 40)
    assert first == 4 and 14 <= last <= 16


def test_a_grid_that_is_halved_and_restored():
    g = plain(conv(upconv(conv(source(), 3, pool=(2,)), 2), 2))
    # 3 voxels and a pool: 2 i // 2 to 2 i // 2 + 3; the last kernel takes two of these
    assert g == PeriodicAxis(0, 3, 3, 2, 1, Fraction(1), 2, 0, 4, (0, 0), (3, 5))
    assert [g.outputs(n) for n in (4, 6, 8)] == [1, 3, 5]
    assert g.input_range(0, 1, 40) == (0, 4)
    assert g.input_range(1, 2, 40) == (0, 6)
    assert g.input_range(2, 3, 40) == (2, 6)
    assert g.input_range(3, 6, 40) == (2, 10)
    assert g.tile_alignment == 2 and g.input_size(3) == 6 and g.input_size(4) == 8


def test_a_grid_finer_than_the_image():
    g = plain(upconv(conv(source(9), 3), 2))
    assert g == PeriodicAxis(0, 2, 2, 1, 1, Fraction(1, 2), 1, 0, 3, (0, 0), (2, 2))
    assert [g.outputs(n) for n in (3, 4, 10)] == [2, 4, 16]
    assert (g.tile_alignment, g.output_spacing, g.first_output(5)) == (2, Fraction(1, 2), 10)
    assert g.input_range(4, 8, 40) == (2, 6) and g.input_range(5, 6, 40) == (2, 5) and g.input_range(0, 2, 40) == (0, 3)


def test_a_padded_grid_finer_than_the_image():
    g = plain(upconv(conv(source(), 3, conv_mode="same"), 2))
    assert g == PeriodicAxis(-1, 1, 0, 0, 1, Fraction(1, 2), 1, 0, 1, (-1, -1), (1, 1))
    assert g.input_range(4, 6, 40) == (1, 4) and g.input_range(0, 80, 40) == (0, 40)


def test_what_is_cropped_is_fed_too():
    g = plain(nm.Crop(conv(source(), 3), (3,), **QUIET))
    assert g == PeriodicAxis(3, 5, 8, 4, 1, Fraction(1), 1, 0, 9, (3,), (5,))
    assert g.input_range(10, 12, 60) == (10, 20)


def test_every_axis_has_a_period_of_its_own():
    node = upconv(pool(conv(source(None, None), 2, 3), 2, 3), 2, 3)
    ((a, b),) = plain_geometry([node])
    assert (a.period, a.smallest, a.residue, a.lows, a.highs) == (2, 3, 1, (0, 0), (2, 2))
    assert (b.period, b.smallest, b.residue, b.lows, b.highs) == (3, 5, 2, (0, 0, 0), (4, 4, 4))
    assert (a.context, b.context) == (1, 2)
    assert [b.one_pass_size(n) for n in (1, 5, 6, 7, 8, 9)] == [5, 5, 8, 8, 8, 11]


def test_every_voxel_three_times():
    g = plain(upconv(source(), 3))
    assert g == PeriodicAxis(0, 0, 0, 0, 1, Fraction(1, 3), 1, 0, 1, (0, 0, 0), (0, 0, 0))
    assert [g.outputs(n) for n in (0, 1, 5)] == [0, 3, 15]


def test_the_smallest_image_has_a_voxel():
    g = plain(conv(source(), 3, conv_mode="full"))
    assert (g.smallest, g.outputs(1), g.lows, g.highs) == (1, 3, (-2,), (0,))


def test_nodes_together_take_the_same_sizes():
    first = conv(source(), 3)
    node = upconv(pool(first, 4), 4)
    (one,), (two,) = plain_geometry([node, first])
    assert (one.period, one.smallest, one.residue) == (two.period, two.smallest, two.residue) == (4, 6, 2)
    assert (one.context, two.context) == (2, 2)
    assert one.lows == (0, 0, 0, 0) and two.lows == (0, 1, 2, 3) and two.highs == (2, 3, 4, 5)


def pooled_and_restored(values):
    """The second network above, along one axis: sums of 3, the largest of pairs, each twice, sums of 2."""
    sums = np.correlate(values, (1, 2, 4), "valid")
    return np.correlate(np.repeat(sums.reshape(-1, 2).max(axis=1), 2), (1, 3), "valid")


@given(st.integers(2, 20), st.data())
def test_what_a_range_of_a_periodic_network_needs(pairs, data):
    g = PeriodicAxis(0, 3, 3, 2, 1, Fraction(1), 2, 0, 4, (0, 0), (3, 5))
    raw = np.random.default_rng(pairs).integers(0, 100, 2 * pairs)
    whole = pooled_and_restored(raw)
    assert g.outputs(len(raw)) == len(whole)
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start + 1, len(whole)))
    first, last = g.input_range(start, stop, len(raw))
    assert first % 2 == 0 and (last - first) % 2 == 0
    found = pooled_and_restored(raw[first:last])[start - g.first_output(first) :][: stop - start]
    np.testing.assert_array_equal(found, whole[start:stop])


def padded_and_restored(values):
    """Largest of triples; with zeros around them, sums of 3 on that grid, each three times, and sums of 3 of these."""
    coarse = np.pad(values.reshape(-1, 3).max(axis=1), 1)
    return np.correlate(np.pad(np.repeat(np.correlate(coarse, (1, 2, 4), "valid"), 3), 1), (1, 3, 5), "valid")


def test_a_padded_network_reaches_beyond_what_it_needs_on_the_average():
    low = conv(pool(source(), 3), 3, conv_mode="same")
    g = plain(conv(upconv(low, 3), 3, conv_mode="same"))
    assert (g.lows, g.highs, g.context) == ((-6, -3, -3), (5, 5, 8), 0)
    assert (g.period, g.smallest, g.residue, g.tile_alignment) == (3, 3, 0, 3)
    assert g.input_range(10, 12, 60) == (6, 18)
    assert g.input_range(12, 13, 60) == (6, 18)
    assert g.input_range(13, 14, 60) == (9, 18)


@given(st.integers(1, 12), st.data())
def test_padding_at_cut_ends_reaches_no_wanted_voxel(triples, data):
    g = PeriodicAxis(-6, 5, 0, 0, 1, Fraction(1), 3, 0, 3, (-6, -3, -3), (5, 5, 8))
    raw = np.random.default_rng(triples).integers(1, 100, 3 * triples)
    whole = padded_and_restored(raw)
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start + 1, len(whole)))
    first, last = g.input_range(start, stop, len(raw))
    found = padded_and_restored(raw[first:last])[start - g.first_output(first) :][: stop - start]
    np.testing.assert_array_equal(found, whole[start:stop])
    assert last - first <= 6 + (stop - start) + 8 + 2 * 2  # what both ends reach, and whole periods


# ---- nodes together


def test_a_covering_axis_takes_the_extremes():
    a = AxisGeometry(0, 4, 4, 2, 5)
    assert covering((a, a)) == a
    assert covering((a, AxisGeometry(-1, 1, 0, 0, 7))) == AxisGeometry(-1, 4, 4, 2, 7)
    assert covering((AxisGeometry(-1, 1, 0, 0, 7), a)) == AxisGeometry(-1, 4, 4, 0, 7)


def test_a_covering_axis_of_periodic_ones_takes_the_extremes_of_every_phase():
    a = PeriodicAxis(0, 3, 3, 2, 1, Fraction(1), 2, 0, 4, (0, 0), (3, 5))
    b = PeriodicAxis(-1, 1, 0, 0, 2, Fraction(1), 2, 0, 4, (-1, 1), (4, 4))
    assert covering((a, b)) == PeriodicAxis(-1, 3, 3, 2, 2, Fraction(1), 2, 0, 4, (-1, 0), (4, 5))


# ---- nodes of the user's own


def test_sizes_that_are_not_declared_are_refused():
    require_declared_sizes(Differences(source(20)))
    require_declared_sizes(conv(Differences(conv(source(20), 3)), 3))
    with pytest.raises(GraphError, match=r"differences.*got size 15 on axis 'x'; expected size 18 ") as caught:
        require_declared_sizes(conv(Differences(source(20), lost=5), 3))
    assert caught.value.node.name.startswith("differences")
