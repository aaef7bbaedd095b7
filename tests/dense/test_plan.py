"""Plans: every voxel is in one tile, no block of the store in two; all computed from the tile index."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.dense.axes import AxisGeometry, PeriodicAxis
from neuromancer.dense.geometry import covering
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.plan import DensePlan, ResultSpec, duration, readable_bytes
from neuromancer.dense.symmetry import views
from neuromancer.dense.tiles import Frame
from neuromancer.errors import ArgumentError, GraphError, ShapeError
from neuromancer.graph.geometry import raw_interval
from tests.dense.nets import plane_net, volume_net
from tests.dense.test_predict import unet


def axis_strategy(draw, kind):
    if kind == "sliding":
        fov, pad = draw(st.integers(1, 9)), draw(st.integers(0, 3))
        return AxisGeometry(-pad, fov - 1 - pad, fov - 1 - min(2 * pad, fov - 1), fov // 2 - pad, fov)
    period = draw(st.sampled_from([1, 2, 4, 6]))
    step = draw(st.sampled_from([s for s in (1, 2) if period % s == 0]))
    reach = draw(st.integers(0, 9))
    lows = tuple(i * step // period * period for i in range(period // step))
    highs = tuple(low + period - 1 + reach for low in lows)
    smallest = period + reach
    context = smallest - step * (period // step - 1) - 1
    return PeriodicAxis(
        0, highs[0], context, context // 2, 1, Fraction(step), period, smallest % period, smallest, lows, highs
    )


@st.composite
def plans(draw):
    """Plan for a random shape, field of view, stride, chunk shape and region of interest."""
    ndim = draw(st.integers(1, 3))
    axes = [axis_strategy(draw, draw(st.sampled_from(["sliding", "periodic"]))) for _ in range(ndim)]
    least = [max(g.context + 1, g.least, getattr(g, "smallest", 1)) for g in axes]
    raw = [n + draw(st.integers(0, 40)) for n in least]
    roi, shape = [], []
    for g, n in zip(axes, raw, strict=True):
        length = n - g.context
        start = draw(st.integers(0, length - 1))
        roi.append(start)
        shape.append(draw(st.integers(1, length - start)))
    chunk = [draw(st.integers(1, 12)) for _ in shape]
    tile = [c * draw(st.integers(1, 4)) for c in chunk]
    tile = [min(t, n) for t, n in zip(tile, shape, strict=True)]
    frame = Frame(views(None, ndim)[0], tuple(raw), (0,) * ndim, tuple(raw), (tuple(roi),))
    output = ResultSpec("a", (2, *shape), "float32", (2, *chunk))
    return DensePlan(
        raw_shape=(1, *raw),
        raw_dtype="uint8",
        stack=False,
        outputs=(output,),
        axes=(tuple(axes),),
        frames=(frame,),
        tile_shape=(1, *tile),
        images_per_batch=1,
        offsets=((0,) * ndim,),
        form="sliding",
        products=1.0,
        time=1.0,
        overlap=0.0,
        memory=1.0,
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=5_000)
@given(plans(), st.integers(1, 5))
def test_every_voxel_is_written_once_and_no_block_by_two_tiles(plan, shards):
    """Checked per axis, as tiles are products of ranges; then for whole tiles, by counting."""
    counted = 0
    for k, (n, t, c) in enumerate(zip(plan.extent[1:], plan.tile_shape[1:], plan.outputs[0].unit[1:], strict=True)):
        number = plan.grid[1 + k]
        stride = prod(plan.grid[2 + k :])
        ranges = [plan.ranges(i * stride)[1 + k] for i in range(number)]
        assert ranges[0][0] == 0 and ranges[-1][1] == n
        assert all(a[1] == b[0] for a, b in pairwise(ranges))
        assert t == n or all(a % c == 0 for a, _ in ranges)
    parts = [plan.shard(i, shards) for i in range(shards)]
    assert [i for part in parts for i in part.indices()] == list(range(plan.count))
    for index in {0, plan.count // 2, plan.count - 1}:
        tile = plan.tile(index)
        counted += 1
        written = np.zeros(tile.shapes[0], int)
        for part in tile.passes:
            written[part.place[0]] += 1
            for ranges, cut, place, g, a, b in zip(
                part.inside, part.cut[0], part.place[0], plan.axes[0], tile.raw_start, tile.raw_stop, strict=True
            ):
                fed = ranges.stop - ranges.start
                assert 0 <= ranges.start and ranges.stop <= b - a
                assert 0 <= cut.start < cut.stop <= g.outputs(fed)  # the network yields what is cut out
                assert cut.stop - cut.start == len(range(*place.indices(10**9)))
        assert (written == 1).all()
    assert counted


def test_ranges_of_a_small_plan_cover_it_once():
    plan = volume_net().plan_dense((1, 12, 33, 41), tile=(3, 8, 8))
    count = np.zeros(plan.extent, int)
    for i in plan.indices():
        count[tuple(slice(a, b) for a, b in plan.ranges(i))] += 1
    assert (count == 1).all()
    assert sum(plan.size(i) for i in plan.indices()) == plan.voxels() == count.size


def test_a_petabyte_is_planned_in_a_moment():
    plan = volume_net().plan_dense((1, 100_000, 100_000, 100_000), memory="1GB", chunks=(2, 64, 64, 64))
    assert plan.count > 1e5 and len(pickle.dumps(plan)) < 4000
    last = plan.tile(plan.count - 1)
    assert last.stop == tuple(n - f + 1 for n, f in zip((100_000,) * 3, (4, 6, 6), strict=True))
    assert plan.shard(999, 1000).last == plan.count
    assert all(t % 64 == 0 for t in plan.tile_shape[1:])
    assert plan.memory <= 1e9


def test_plans_travel_and_are_known_by_their_fingerprint():
    node = volume_net()
    plan = node.plan_dense((1, 20, 40, 40), memory="5MB")
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan and again.fingerprint() == plan.fingerprint()
    others = [
        node.plan_dense((1, 20, 40, 41), memory="5MB"),
        node.plan_dense((1, 20, 40, 40), memory="5MB", pad_raw=True),
        node.plan_dense((1, 20, 40, 40), tile=(2, 8, 8)),
        node.plan_dense((1, 20, 40, 40), memory="5MB", augment="flips"),
        node.plan_dense((1, 20, 40, 40), "uint16", memory="5MB"),
        node.plan_dense((1, 20, 40, 40), memory="5MB", reduce="argmax"),
    ]
    assert len({plan.fingerprint(), *(o.fingerprint() for o in others)}) == 7


def test_fingerprints_are_those_of_earlier_versions():
    """Otherwise their runs could not be resumed."""
    image = nm.Input((1, 1, 10, 10), "b,f,y,x", name="image", print_repr=False)
    inner = nm.Conv(image, 2, (3, 3), (2, 2), name="inner", print_repr=False)
    outer = nm.Conv(inner, 1, (2, 2), name="outer", print_repr=False)
    up = nm.UpConv(outer, 1, (2, 2), name="up", print_repr=False)
    views = nm.plan_dense(outer, (1, 40, 50), tile=(8, 8), augment="flips")
    assert views.fingerprint() == "89b1feaaaddc1ab1b707226334bb4b9b60d89e3fd79c090358a6b18cc8b6bc9d"
    pair = nm.plan_dense([inner, outer], (1, 40, 50), tile=(8, 8), chunks=(1, 4, 4))
    assert pair.fingerprint() == "34a231c801af2d4e606a15388ec68690b7d9d882d52782010c70c700b55fa22d"
    plain = nm.plan_dense(up, (1, 40, 50), tile=(8, 8), pad_raw=True)
    assert plain.fingerprint() == "2394851fad1c3a7d05fd55ab32170b515ed5842adb4eafaba990b0c04eb72312"


def test_text_of_a_plan():
    text = str(volume_net().plan_dense((1, 20, 40, 40), tile=(2, 8, 8), as_uint8=True, chunks=(2, 2, 8, 8)))
    assert "image 1 × 20 × 40 × 40 of uint8" in text
    assert (
        "probs: 2 × 17 × 35 × 35 of uint8, voxel 0 at raw voxel 2 × 3 × 3, written in blocks of 2 × 2 × 8 × 8" in text
    )
    assert "225 tiles of 2 × 8 × 8" in text
    assert re.search(
        r"sliding pooling, dilated convolutions; \d.\d+e\+06 multiplications, \d\d% of them in overlaps", text
    ), text
    assert re.search(r"about \S+ (s|minutes) on this machine", text)


def test_time_is_in_proportion_to_the_work_of_the_shard():
    plan = volume_net().plan_dense((1, 2000, 4000, 4000), tile=(20, 80, 80))
    assert plan.seconds() == plan.time > 0
    assert plan.shard(0, 4).seconds() == pytest.approx(plan.seconds() / 4, rel=1e-3)
    small = volume_net().plan_dense((1, 2000, 4000, 4000), tile=(5, 20, 20))
    assert small.seconds() > plan.seconds() and small.overlap > plan.overlap > 0
    assert [duration(s) for s in (0.5, 100, 1000, 1e4, 1e6, 1e9)] == [
        "0.5 s", "100 s", "17 minutes", "2.8 hours", "12 days", "32 years"
    ]  # fmt: skip


def test_tiles_that_would_share_a_block_are_refused_or_realigned():
    node = volume_net()
    with pytest.raises(ArgumentError, match=r"same block.*got \(1, 3, 8, 8\).*nearest valid: \(1, 4, 8, 8\)"):
        node.plan_dense((1, 20, 40, 40), tile=(3, 8, 8), chunks=(2, 2, 8, 8))
    plan = node.plan_dense((1, 20, 400, 400), memory="3MB", chunks=(2, 2, 24, 16))
    assert plan.count > 1
    assert all(t % c == 0 or t == n for t, c, n in zip(plan.tile_shape[1:], (2, 24, 16), plan.extent[1:], strict=True))
    with pytest.raises(ArgumentError, match=r"\(1, 2, 512, 512\) voxels, the blocks of the store does not fit"):
        node.plan_dense((1, 20, 4000, 4000), memory="3MB", chunks=(2, 2, 512, 512))


@pytest.mark.parametrize("bad", [(2, 2), (-1, 2), (0.5, 2)])
def test_bad_shards(bad):
    with pytest.raises(ArgumentError, match="no such shard"):
        volume_net().plan_dense((1, 20, 40, 40)).shard(*bad)


def test_bad_arguments():
    node = volume_net()
    with pytest.raises(ArgumentError, match="does not lie in the result"):
        node.plan_dense((1, 20, 40, 40), roi=[(0, 3), (0, 36), None])
    with pytest.raises(ArgumentError, match="one range per axis"):
        node.plan_dense((1, 20, 40, 40), roi=[(0, 3)])
    with pytest.raises(ShapeError, match="positive size per axis"):
        node.plan_dense((1, 20, 40, 40), tile=(0, 3, 3))
    with pytest.raises(ArgumentError, match="not an amount of memory"):
        node.plan_dense((1, 20, 40, 40), memory="4 elephants")
    with pytest.raises(ArgumentError, match=r"unknown group.*nearest valid: flips"):
        node.plan_dense((1, 20, 40, 40), augment="flip")
    with pytest.raises(ArgumentError, match="there is no such tile"):
        node.plan_dense((1, 20, 40, 40)).tile(10**6)


def test_periodic_axes_are_data_and_equal_the_graph():
    node = unet((26, 26))
    for k, g in enumerate(DenseNetwork([node]).axes[0]):
        for start in range(20):
            for stop in (start + 1, start + 5):
                low, high = raw_interval(node, k, start, stop - 1)
                assert g.lows[start % g.tile_alignment] + start // g.tile_alignment * g.period == low
                assert g.highs[(stop - 1) % g.tile_alignment] + (stop - 1) // g.tile_alignment * g.period == high


def test_a_covering_axis_feeds_at_least_as_much():
    a, b = AxisGeometry(0, 4, 4, 2, 5), AxisGeometry(-2, 2, 0, 0, 3)
    both = covering((a, b))
    for start, stop in ((0, 3), (5, 9), (10, 16)):
        fed = both.input_range(start, stop, 20)
        for g in (a, b):
            low, high = g.input_range(start, stop, 20)
            assert fed[0] <= low and fed[1] >= high
    axes = DenseNetwork([unet((26, 26))]).axes[0]
    assert covering((axes[0], axes[0])) == axes[0]


def test_nodes_that_cannot_be_predicted_together():
    node = unet((26, 26))
    pooled = nm.Pool(node, (2, 2), print_repr=False)
    with pytest.raises(GraphError, match="only on the same grid"):
        nm.plan_dense([node, pooled], (1, 60, 60))
    with pytest.raises(GraphError, match="need the same image"):
        nm.plan_dense([node, plane_net()], (1, 60, 60))
    with pytest.raises(ShapeError, match="no node to predict"):
        nm.plan_dense([], (1, 60, 60))


def test_stacks_are_cut_along_z_too():
    plan = plane_net().plan_dense((1, 50, 30, 30), memory="350kB", chunks=(2, 8, 12, 12))
    assert plan.stack and plan.extent == (50, 26, 26)
    assert plan.tile_shape[0] % 8 == 0
    assert plan.count == prod(ceil(n / t) for n, t in zip(plan.extent, plan.tile_shape, strict=True))


def test_names_are_shown_safely(fresh_model):
    raw = nm.Input((None, 1, 5, 9, 9), "b,f,z,y,x", print_repr=False)
    node = nm.Conv(raw, 2, (3, 3, 3), name="no\x1b[31mde\nFAKE", print_repr=False)
    text = str(node.plan_dense((1, 11, 23, 29)))
    assert "no\\x1b[31mde\\nFAKE: 2 ×" in text and text.replace("\n", "").isprintable()


# ---- plans by hand


def by_hand(**changes):
    """Two nodes of fields of view (3, 5) and (3, 7) on an image of 12 × 25 voxels, in tiles of 4 × 8."""
    axes = tuple((AxisGeometry(0, 2, 2, 1, 3), AxisGeometry(0, f - 1, f - 1, f // 2, f)) for f in (5, 7))
    values = {
        "raw_shape": (1, 12, 25),
        "raw_dtype": "uint8",
        "stack": False,
        "outputs": (ResultSpec("a", (2, 10, 21), "float32"), ResultSpec("b", (3, 10, 19), "uint8", (3, 2, 4))),
        "axes": axes,
        "frames": (Frame(views(None, 2)[0], (12, 25), (0, 0), (12, 25), ((0, 0), (0, 0))),),
        "tile_shape": (1, 4, 8),
        "images_per_batch": 1,
        "offsets": ((1, 2), (1, 3)),
        "form": "sliding",
        "products": 1.25e7,
        "time": 450.0,
        "overlap": 0.125,
        "memory": 3e6,
    }
    return DensePlan(**{**values, **changes})


def stack_by_hand(**changes):
    """Images 5 to 11 of a stack, in tiles of 3 images."""
    plan = by_hand()
    outputs = tuple(replace(o, shape=(o.shape[0], 7, *o.shape[1:]), unit=None) for o in plan.outputs)
    values = {"raw_shape": (1, 20, 12, 25), "stack": True, "outputs": outputs, "first_image": 5}
    return replace(plan, **{**values, "tile_shape": (3, 4, 8), "images_per_batch": 2, "last": -1, **changes})


def test_tiles_are_counted_along_every_axis():
    plan, stack = by_hand(), stack_by_hand()
    assert (plan.lead, plan.extent, plan.grid, plan.count, len(plan)) == (1, (1, 10, 21), (1, 3, 3), 9, 9)
    assert (stack.lead, stack.extent, stack.grid, stack.count) == (2, (7, 10, 21), (3, 3, 3), 27)
    assert plan.indices() == range(9) and plan.layout == {"tile": [1, 4, 8], "together": 1}
    assert stack.layout == {"tile": [3, 4, 8], "together": 2}


def test_the_last_axis_runs_fastest_and_ends_are_shorter():
    plan = stack_by_hand()
    assert plan.ranges(0) == ((0, 3), (0, 4), (0, 8))
    assert plan.ranges(1) == ((0, 3), (0, 4), (8, 16))
    assert plan.ranges(3) == ((0, 3), (4, 8), (0, 8))
    assert plan.ranges(26) == ((6, 7), (8, 10), (16, 21))
    assert [plan.size(i) for i in (0, 1, 26)] == [96, 96, 10]


@pytest.mark.parametrize("index", [-1, 27])
def test_there_are_no_tiles_before_the_first_and_after_the_last(index):
    with pytest.raises(ArgumentError, match=rf"got {index}; expected 0 to 26"):
        stack_by_hand().ranges(index)


def test_tiles_end_where_their_nodes_do():
    tile = stack_by_hand().tile(26)
    assert (tile.index, tile.images, tile.start, tile.stop) == (26, (6, 7), (8, 16), (10, 21))
    assert tile.shapes == ((2, 5), (2, 3))
    assert (tile.raw_start, tile.raw_stop) == ((8, 16), (12, 25))
    gone = by_hand(tile_shape=(1, 10, 20)).tile(1)  # the second node has ended before it
    assert (gone.start, gone.stop, gone.shapes) == ((0, 20), (10, 21), ((10, 1), (10, 0)))


def test_values_go_where_their_tile_is():
    plan, stack = by_hand(), stack_by_hand()
    tile, last = plan.tile(8), stack.tile(26)
    assert plan.place(tile, 0) == (slice(None), slice(8, 10), slice(16, 21))
    assert plan.place(tile, 1) == (slice(None), slice(8, 10), slice(16, 19))
    assert stack.place(last, 1) == (slice(None), slice(6, 7), slice(8, 10), slice(16, 19))


def test_images_are_read_from_the_first_wanted_one():
    assert by_hand().head(by_hand().tile(8)) == (slice(None),)
    plan = stack_by_hand()
    assert plan.head(plan.tile(0)) == (slice(None), slice(5, 8))
    assert plan.head(plan.tile(26)) == (slice(None), slice(11, 12))
    assert by_hand().first_image == 0


def test_halves_of_a_tile_are_cut_along_its_longest_axis():
    plan = stack_by_hand()
    tile = plan.tile(13)  # images 3 to 6, rows 4 to 8, columns 8 to 16
    first, second = plan.halves(tile)
    assert (first.start, first.stop, second.start, second.stop) == ((4, 8), (8, 12), (4, 12), (8, 16))
    assert {(h.index, h.images, h.shapes) for h in (first, second)} == {(13, (3, 6), ((4, 4), (4, 4)))}
    assert (first.raw_start, second.raw_stop) == (tile.raw_start, tile.raw_stop)
    high, low = plan.halves(first)  # of two equal axes, the first
    assert (high.start, high.stop, low.start, low.stop) == ((4, 8), (6, 12), (6, 8), (8, 12))


def test_halves_of_the_last_tile_end_where_their_nodes_do():
    plan = stack_by_hand()
    first, second = plan.halves(plan.tile(26))  # 5 columns, of which the second node has 3
    assert (first.start, first.stop, second.start, second.stop) == ((8, 16), (10, 18), (8, 18), (10, 21))
    assert first.shapes == ((2, 2), (2, 2)) and second.shapes == ((2, 3), (2, 1))
    _, end = plan.halves(second)
    assert end.shapes == ((2, 2), (2, 0)) and end.start == (8, 19)


def test_only_a_single_voxel_has_no_halves():
    plan = by_hand(tile_shape=(1, 1, 2))
    halves = plan.halves(plan.tile(0))
    assert [h.shapes[0] for h in halves] == [(1, 1), (1, 1)]
    assert plan.halves(halves[1]) == [halves[1]]


def test_shards_are_nearly_equal_and_have_shards_themselves():
    plan = by_hand()
    parts = [plan.shard(i, 4) for i in range(4)]
    assert [(p.first, p.last, len(p)) for p in parts] == [(0, 2, 2), (2, 4, 2), (4, 6, 2), (6, 9, 3)]
    assert parts[3].indices() == range(6, 9) and parts[3].count == 9
    assert [p.indices() for p in (parts[3].shard(0, 3), parts[3].shard(2, 3))] == [range(6, 7), range(8, 9)]
    assert len(plan.shard(0, 100)) == 0 and plan.shard(0, 1) == plan
    for wrong in ((0, 0), (0, 1.0), (0.0, 1), (1, 1), (-1, 1)):
        with pytest.raises(ArgumentError, match=r"shard"):
            plan.shard(*wrong)


def test_voxels_of_some_tiles_are_a_mean():
    plan = by_hand()
    assert (plan.voxels(), plan.voxels(0), plan.voxels(1), plan.voxels(9)) == (210, 0, 23, 210)
    assert plan.shard(0, 4).voxels() == 47
    assert stack_by_hand().voxels() == 7 * 210


def test_seconds_are_those_of_the_tiles_and_of_passes_before():
    assert by_hand(passes=(by_hand(), by_hand(time=2.0))).seconds() == 902
    assert by_hand().seconds() == 450 and by_hand().shard(0, 4).seconds() == 100


def test_fingerprints_tell_what_is_computed_apart_and_nothing_else():
    plan = stack_by_hand()
    others = [
        {"raw_shape": (1, 20, 12, 26)},
        {"raw_dtype": "uint16"},
        {"axes": plan.axes[::-1]},
        {"frames": plan.frames * 2},
        {"outputs": plan.outputs[::-1]},
        {"first_image": 6},
        {"tile_shape": (3, 4, 7)},
        {"images_per_batch": 1},
    ]
    prints = {plan.fingerprint(), *(replace(plan, **o).fingerprint() for o in others)}
    assert len(prints) == 9 and all(len(p) == 64 for p in prints)
    same = replace(plan.shard(1, 3), memory=1.0, time=1.0, products=1.0, overlap=0.0)
    assert same.fingerprint() == plan.fingerprint()


def test_words_about_every_part():
    image, a, b, tiles, how, memory, time = str(by_hand()).split("\n")
    assert image == "image 1 × 12 × 25 of uint8"
    assert a == "a: 2 × 10 × 21 of float32, voxel 0 at raw voxel 1 × 2"
    assert b == "b: 3 × 10 × 19 of uint8, voxel 0 at raw voxel 1 × 3, written in blocks of 3 × 2 × 4"
    assert tiles == "9 tiles of 4 × 8"
    assert "1.25e+07 multiplications" in how and "12%" in how
    # 420 numbers of 4 bytes and 570 of one
    assert "2.2 kB" in memory and "3 MB" in memory
    assert "7.5 minutes" in time
    assert str(by_hand(form="plain")).split("\n")[4] != how


def test_words_about_shards_stacks_and_views():
    lines = str(stack_by_hand().shard(1, 3)).split("\n")
    assert lines[3].startswith("27 tiles of 3 × 4 × 8;") and lines[3].endswith("9 to 17")
    assert str(by_hand(tile_shape=(1, 10, 21))).split("\n")[3] == "1 tile of 10 × 21"
    for n in (2, 8):
        mean = str(by_hand(frames=by_hand().frames * n)).split("\n")
        assert len(mean) == 8 and f"{n} views" in mean[4]
    assert "views" not in str(by_hand())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.04 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (119, "119 s"),
        (120, "2 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (2 * 86400 - 1, "48 hours"),
        (2 * 86400, "2 days"),
        (730 * 86400 - 1, "730 days"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations_in_the_unit_that_suits(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (40, "0.04 kB"),
        (999_000, "999 kB"),
        (1e6, "1 MB"),
        (2.5e8, "250 MB"),
        (1e9, "1 GB"),
        (1e12, "1 TB"),
        (9.99e14, "999 TB"),
        (1e15, "1 PB"),
        (12e15, "12 PB"),
    ],
)
def test_bytes_in_the_unit_that_suits(count, words):
    assert readable_bytes(count) == words
