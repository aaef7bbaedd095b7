"""Tiles: what they read, evaluate and write."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.dense.axes import AxisGeometry, PeriodicAxis
from neuromancer.dense.symmetry import View, views
from neuromancer.dense.tiles import Frame, Tile, TilePass, make_tile

FAR = 64
BEYOND = 10**6

VALID_5 = AxisGeometry(0, 4, 4, 2, 5)
VALID_3 = AxisGeometry(0, 2, 2, 1, 3)
STRIDED = PeriodicAxis(0, 4, 4, 2, 1, Fraction(2), 2, 1, 5, (0,), (4,))
"""Sums of 5 voxels at every second one."""


def sums(fov, stride=1):
    """A network: weighted sums over `fov` voxels along every axis, at every `stride`-th voxel."""

    def along(values):
        return np.correlate(values, np.arange(1, fov + 1), "valid")[::stride]

    def network(image):
        for axis in range(image.ndim):
            image = np.apply_along_axis(along, axis, image)
        return image

    return network


def evaluate(tile, raw, networks):
    """Values of a tile per node, summed over its parts, as prediction does it; far-off values lie around the image."""
    around = np.pad(raw, FAR, constant_values=BEYOND)
    block = around[tuple(slice(a + FAR, b + FAR) for a, b in zip(tile.raw_start, tile.raw_stop, strict=True))]
    totals = [np.zeros(shape, int) for shape in tile.shapes]
    for part in tile.passes:
        seen = part.view.apply(block[part.inside])
        for total, network, cut, place in zip(totals, networks, part.cut, part.place, strict=True):
            inside = part.view.apply(total)[place]
            found = network(seen)[cut]
            assert found.shape == inside.shape
            inside += found
    return totals


def frame(view, size, axes):
    """The whole of an image, without a border."""
    origins = tuple(
        tuple(size - g.context - 1 if f else 0 for g, f in zip(node, view.flips, strict=True)) for node in axes
    )
    return Frame(view, (size,) * len(view.order), (0,) * len(view.order), (size,) * len(view.order), origins)


@st.composite
def ranges(draw, *lengths, ndim=1):
    """A start, and per node a stop, at least one of them after it."""
    start = tuple(draw(st.integers(0, max(lengths) - 1)) for _ in range(ndim))
    longest = lengths.index(max(lengths))
    stops = [tuple(draw(st.integers(a + 1 if m == longest else 0, n)) for a in start) for m, n in enumerate(lengths)]
    return start, stops


@settings(deadline=None)
@given(ranges(11, ndim=2), st.sampled_from([None, "flips", "rotations", "all"]))
def test_a_tile_has_the_sum_of_all_views(span, group):
    start, stops = span
    raw = np.random.default_rng(0).integers(0, 100, (15, 15))
    network, seen = sums(5), views(group, 2)
    whole = np.zeros((11, 11), int)
    for view in seen:
        inside = view.apply(whole)
        inside += network(view.apply(raw))
    axes = [[VALID_5, VALID_5]]
    tile = make_tile(3, (0, 1), start, stops, [frame(view, 15, axes) for view in seen], axes)
    assert tile.start == start and tile.stop == stops[0] and len(tile.passes) == len(seen)
    assert [p.whole for p in tile.passes] == [len(seen) == 1] * len(seen)
    assert min(tile.raw_start) >= 0 and max(tile.raw_stop) <= 15
    where = tuple(slice(a, b) for a, b in zip(start, stops[0], strict=True))
    np.testing.assert_array_equal(evaluate(tile, raw, [network])[0], whole[where])


@settings(deadline=None)
@given(ranges(11, 13))
@pytest.mark.parametrize("flipped", [False, True])
def test_several_nodes_share_what_is_fed(flipped, span):
    (start,), stops = span
    raw = np.random.default_rng(1).integers(0, 100, 15)
    axes, view = [[VALID_5], [VALID_3]], View((0,), (flipped,))
    tile = make_tile(0, (0, 1), (start,), stops, [frame(view, 15, axes)], axes)
    assert tile.shapes == tuple((max(0, stop - start),) for (stop,) in stops) and len(tile.passes) == 1
    for found, network, (stop,) in zip(evaluate(tile, raw, [sums(5), sums(3)]), (sums(5), sums(3)), stops, strict=True):
        np.testing.assert_array_equal(found, view.apply(network(view.apply(raw)))[start : max(start, stop)])


@settings(deadline=None)
@given(st.integers(5, 14), st.data())
def test_strided_networks_are_evaluated_once_per_shift(size, data):
    start, stops = data.draw(ranges(size - 4))
    raw = np.random.default_rng(2).integers(0, 100, size)
    view, axes = View((0,), (False,)), [[STRIDED]]
    tile = make_tile(0, (0, 1), start, stops, [frame(view, size, axes)], axes)
    assert len(tile.passes) == min(2, stops[0][0] - start[0])
    assert not any(p.whole for p in tile.passes)
    np.testing.assert_array_equal(evaluate(tile, raw, [sums(5, 2)])[0], sums(5)(raw)[start[0] : stops[0][0]])


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 12), st.data())
def test_strided_networks_under_all_views(size, data):
    start, stops = data.draw(ranges(size - 4, ndim=2))
    raw = np.random.default_rng(3).integers(0, 100, (size, size))
    axes, whole = [[STRIDED, STRIDED]], np.zeros((size - 4,) * 2, int)
    seen = views("all", 2)
    for view in seen:
        inside = view.apply(whole)
        inside += sums(5)(view.apply(raw))
    tile = make_tile(0, (0, 1), start, stops, [frame(view, size, axes) for view in seen], axes)
    where = tuple(slice(a, b) for a, b in zip(start, stops[0], strict=True))
    np.testing.assert_array_equal(evaluate(tile, raw, [sums(5, 2)])[0], whole[where])


def test_a_tile_by_hand():
    axes = [[VALID_5, VALID_3]]
    whole = Frame(View((0, 1), (False, False)), (20, 30), (0, 0), (20, 30), ((2, 0),))
    tile = make_tile(7, (3, 5), (4, 6), [(9, 16)], [whole], axes)
    # voxel 0 of the result is voxel 2 of the network's output
    assert tile == Tile(
        index=7,
        images=(3, 5),
        start=(4, 6),
        stop=(9, 16),
        shapes=((5, 10),),
        raw_start=(6, 6),
        raw_stop=(15, 18),
        passes=(
            TilePass(
                view=whole.view,
                inside=(slice(0, 9), slice(0, 12)),
                cut=((slice(0, 5, None), slice(0, 10, None)),),
                place=((slice(0, 5, 1), slice(0, 10, 1)),),
                whole=True,
            ),
        ),
    )
    words, images = str(make_tile(7, (0, 1), (4, 6), [(9, 16)], [whole], axes)), str(tile)
    assert "7 (4:9, 6:16)" in words and "0:1" not in words
    assert images.startswith(words) and "3:5" in images.removeprefix(words)


def test_views_that_differ_read_different_parts_of_one_block():
    axes = [[VALID_5]]
    frames = [frame(view, 20, axes) for view in views("flips", 1)]
    # mirrored with a roi whose first voxel is another one: 15 - 3 lies before 15
    moved = Frame(frames[1].view, (20,), (0,), (20,), ((12,),))
    tile = make_tile(0, (0, 1), (2,), [(5,)], [frames[0], moved], axes)
    assert (tile.raw_start, tile.raw_stop) == ((2,), (12,))
    assert [p.inside for p in tile.passes] == [(slice(0, 7),), (slice(3, 10),)]
    assert [p.whole for p in tile.passes] == [False, False]


@pytest.mark.parametrize(("flipped", "wanted"), [(False, (5, 8)), (True, (0, 3))])
def test_ranges_of_the_networks_output(flipped, wanted):
    one = Frame(View((0, 1), (False, flipped)), (9, 9), (0, 0), (9, 9), ((0, 0), (7, 3 if not flipped else 4)))
    assert one.output_range(1, 1, 2, 5) == wanted
    assert one.output_range(1, 0, 2, 5) == (9, 12)


def test_what_is_mirrored_before_the_image_lies_below_zero():
    same = Frame(View((0,), (False,)), (20,), (2,), (24,), ((0,),))
    ((fed, cuts, places),) = same.input_ranges([[VALID_5]], (0,), [(6,)])
    assert fed == [(-2, 8)] and cuts == ((slice(0, 6),),) and places == ((slice(0, 6, 1),),)
    mirrored = Frame(View((0,), (True,)), (20,), (2,), (24,), ((19,),))
    ((fed, cuts, places),) = mirrored.input_ranges([[VALID_5]], (0,), [(6,)])
    assert fed == [(-2, 8)] and cuts == ((slice(0, 6),),) and places == ((slice(0, 6, 1),),)
    ((fed, _, _),) = mirrored.input_ranges([[VALID_5]], (14,), [(20,)])
    assert fed == [(12, 22)]


def test_axes_of_a_turned_view_are_those_of_the_image_in_its_own_order():
    turned = Frame(View((1, 0), (False, True)), (30, 20), (0, 0), (30, 20), ((0, 15),))
    ((fed, cuts, _),) = turned.input_ranges([[VALID_3, VALID_5]], (1, 2), [(4, 10)])
    assert fed == [(1, 8), (2, 12)]  # along the first axis of the image, 3 voxels and 4 beside them
    assert cuts == ((slice(0, 8), slice(0, 3)),)


def test_nothing_of_a_node_is_cut_where_it_has_ended():
    whole = Frame(View((0,), (False,)), (20,), (0,), (20,), ((0,), (0,)))
    ((fed, cuts, places),) = whole.input_ranges([[VALID_5], [VALID_3]], (16,), [(16,), (18,)])
    assert fed == [(15, 20)]
    assert cuts == ((slice(0, 0),), (slice(1, 3),)) and places == ((slice(0, 0),), (slice(0, 2, 1),))


def test_shifts_of_a_strided_network_by_hand():
    whole = Frame(View((0,), (False,)), (21,), (0,), (21,), ((0,),))
    even, odd = whole.input_ranges([[STRIDED]], (3,), [(8,)])
    # 3, 5, 7 are the second to fourth of those that begin at voxel 1; 4, 6 of those that begin at 0
    assert even[1:] == (((slice(0, 2),),), ((slice(1, 4, 2),),))
    assert odd[1:] == (((slice(0, 3),),), ((slice(0, 5, 2),),))
    assert even[0][0][0] == 4 and odd[0][0][0] == 3
    assert even[0][0][1] >= 11 and odd[0][0][1] >= 12


def test_a_shifted_network_ends_where_it_takes_the_rest():
    padded = PeriodicAxis(-1, 2, 1, 1, 1, Fraction(2), 2, 0, 2, (-1,), (2,))
    whole = Frame(View((0,), (False,)), (10,), (0,), (10,), ((0,),))
    # it takes even sizes: from voxel 1 on there are 9, and one that is mirrored
    assert [fed for fed, _, _ in whole.input_ranges([[padded]], (0,), [(10,)])] == [[(0, 10)], [(1, 11)]]
