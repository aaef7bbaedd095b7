"""Tile search: within the memory, aligned, and never more work than simple choices of the same size."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import ceil, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer import engine as E
from neuromancer import host_memory
from neuromancer.dense import costs as costs_module
from neuromancer.dense import memory
from neuromancer.dense.axes import AxisGeometry, PeriodicAxis
from neuromancer.dense.costs import Cost
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.tile_search import Choice, _cuts, _neighbours, _price, appraise, choose


def chain(ndim=3, pool=2):
    out = nm.Input((None, 1, *(30,) * ndim), "b,f," + ",".join("zyx"[-ndim:]))
    for n_f, p in ((8, pool), (12, 1), (16, pool), (16, 1)):
        out = nm.Conv(out, n_f, (3,) * ndim, (p,) * ndim)
    return nm.Softmax(nm.Conv(out, 2, (1,) * ndim, (1,) * ndim, activation_func="lin"))


def unet():
    inp = nm.Input((None, 1, 40, 40), "b,f,y,x")
    skip = nm.Conv(inp, 8, (3, 3), (1, 1))
    low = nm.Conv(nm.Pool(skip, (2, 2)), 12, (3, 3), (1, 1))
    return nm.Conv(nm.UpConvMerge(skip, low, 8), 2, (3, 3), (1, 1), activation_func="lin")


@pytest.fixture(params=["chain", "unet", "plane"])
def predictor(request):
    return DenseNetwork([{"chain": chain, "unet": unet, "plane": lambda: chain(2)}[request.param]()])


def test_whole_volume_where_there_is_memory(predictor):
    out = [g.outputs(g.one_pass_size(60)) for g in predictor.joint]
    choice = choose(predictor.joint, out, predictor.costs, 1e12)
    assert choice.tile == tuple(out) and choice.tiles == 1 and choice.overlap == 0
    assert choice.products == pytest.approx(
        predictor.costs([g.input_size(n) for g, n in zip(predictor.joint, out, strict=True)]).products
    )
    assert 0 < choice.memory < 1e12


def test_stays_within_memory_and_takes_what_is_least_otherwise(predictor):
    out = [g.outputs(g.one_pass_size(200)) for g in predictor.joint]
    whole = choose(predictor.joint, out, predictor.costs, 1e15)
    smaller = [choose(predictor.joint, out, predictor.costs, whole.memory / part) for part in (2, 4, 8)]
    for choice, part in zip(smaller, (2, 4, 8), strict=True):
        assert choice.memory <= whole.memory / part
        assert choice.tiles > 1 and choice.seconds > whole.seconds * 0.99 and choice.overlap > 0
    assert [c.seconds for c in smaller] == sorted(c.seconds for c in smaller)
    least = choose(predictor.joint, out, predictor.costs, 1)
    assert all(t <= max(1, g.tile_alignment) for t, g in zip(least.tile, predictor.joint, strict=True))


def test_no_simple_choice_is_better():
    predictor = DenseNetwork([chain()])
    out = [150, 150, 150]
    budget = choose(predictor.joint, out, predictor.costs, 1e15).memory / 10
    choice = choose(predictor.joint, out, predictor.costs, budget)
    for counts in product(range(1, 7), repeat=3):
        tile = [ceil(n / c) for n, c in zip(out, counts, strict=True)]
        cost = predictor.costs([g.input_size(t) for g, t in zip(predictor.joint, tile, strict=True)])
        if cost.memory <= budget:
            assert choice.seconds <= 1.1 * cost.seconds * prod(counts)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=3, max_size=3), st.integers(4, 12), st.sampled_from([1, 8, 16, 60]))
def test_aligned_tiles(out, exponent, align):
    predictor = test_aligned_tiles.predictor
    choice = choose(predictor.joint, out, predictor.costs, 10.0**exponent, align=[align] * 3)
    for tile, n in zip(choice.tile, out, strict=True):
        assert 1 <= tile and (tile >= n or tile % align == 0)
    assert choice.tiles == prod(ceil(n / t) for n, t in zip(out, choice.tile, strict=True))


test_aligned_tiles.predictor = DenseNetwork([chain()])


def test_periodic_networks_get_tiles_of_whole_periods():
    predictor = DenseNetwork([unet()])
    assert [g.tile_alignment for g in predictor.joint] == [2, 2]
    choice = choose(predictor.joint, [333, 333], predictor.costs, 2e6)
    assert all(t % 2 == 0 for t in choice.tile)
    fed = [g.input_range(t, 2 * t, 10_000) for g, t in zip(predictor.joint, choice.tile, strict=True)]
    assert [b - a for a, b in fed] == [g.input_size(t) for g, t in zip(predictor.joint, choice.tile, strict=True)]


def test_images_together_as_memory_allows():
    predictor = DenseNetwork([chain(2)])
    out = [30, 30]
    one = choose(predictor.joint, out, predictor.costs, 1e15).memory
    assert choose(predictor.joint, out, predictor.costs, 1e15, images=5).images == 5
    few = choose(predictor.joint, out, predictor.costs, 3 * one, images=64)
    assert 1 < few.images < 64 and few.memory <= 3 * one


def test_products_are_those_of_the_layers():
    inp = nm.Input((None, 3, 20, 20), "b,f,y,x")
    node = nm.Conv(nm.Conv(inp, 5, (3, 3), (2, 2)), 7, (4, 4), (1, 1))
    costs = DenseNetwork([node]).costs
    # 20 - 2 for the first layer; minus pooling and a kernel dilated by 2 for the second
    assert costs([20, 20]).products == 18 * 18 * 3 * 5 * 9 + 11 * 11 * 5 * 7 * 16
    assert costs([20, 20], images=3).products == 3 * costs([20, 20]).products


def test_skip_connections_are_kept_in_memory():
    inp = nm.Input((None, 4, 100, 100), "b,f,y,x")
    first = nm.Conv(inp, 64, (1, 1), (1, 1))
    middle = nm.Conv(nm.Conv(first, 8, (1, 1), (1, 1)), 64, (1, 1), (1, 1))
    plain = DenseNetwork([nm.Conv(middle, 1, (1, 1), (1, 1))]).costs([100, 100])
    both = DenseNetwork([nm.Conv(nm.Concat([first, middle]), 1, (1, 1), (1, 1))]).costs([100, 100])
    one = 64 * 100 * 100 * np.dtype(nm.config.floatX).itemsize
    assert both.memory - plain.memory > one


def test_engine_may_offer_cheaper_convolutions(monkeypatch):
    predictor = DenseNetwork([chain()])
    before = predictor.costs([60, 60, 60])
    monkeypatch.setattr(costs_module.E, "conv_cost", lambda *a: (0.0, 1e9, 2e9))
    after = predictor.costs([60, 60, 60])
    assert after.seconds < before.seconds and after.products == before.products
    assert after.memory - before.memory > 2e9


def test_conv_cost_of_a_direct_convolution():
    seconds, kept, scratch = E.conv_cost((2, 3, 10, 12), (5, 3, 3, 3), (1, 2), "float64")
    assert (seconds, kept) == (2 * 8 * 8 * 5 * 3 * 9 * E.unit_costs("float64").product, 0)
    assert 0 <= scratch <= 8 * 8 * (3 * 9 + 2 * 5) * 8  # windows and results, if an engine copies them


def test_the_budget_is_half_of_the_memory_that_is_available(monkeypatch):
    monkeypatch.setattr(host_memory, "available", lambda: 10**9)
    monkeypatch.setattr(memory.E, "kept_memory", lambda: 10**8)
    assert memory.memory_budget() == 55 * 10**7
    monkeypatch.setattr(host_memory, "available", lambda: 10**6)
    monkeypatch.setattr(memory.E, "kept_memory", lambda: 0)
    assert memory.memory_budget() == memory.LEAST


# ---- by hand: every voxel of the input costs one product, and as many bytes as are said


class PerVoxel:
    """Costs in proportion to what is fed; counts how often they are asked for."""

    def __init__(self, nbytes=1, fixed=0.0):
        self.nbytes, self.fixed, self.calls = nbytes, fixed, []

    def __call__(self, sizes, images=1):
        self.calls.append((*sizes, images))
        voxels = prod(sizes) * images
        return Cost(2.0 * voxels + self.fixed, float(voxels), float(self.nbytes * voxels))


FREE = AxisGeometry(0, 0, 0, 0, 1)
WIDE = AxisGeometry(0, 4, 4, 2, 5)
PAIRS = PeriodicAxis(0, 3, 3, 2, 1, Fraction(1), 2, 0, 4, (0, 0), (3, 5))
"""Takes even sizes, and yields 3 voxels fewer."""


def test_a_given_tile_is_appraised_as_it_is():
    choice = appraise([WIDE], [10], PerVoxel(), [4])
    # three tiles, of 4 voxels in the mean: 8 are fed for each, and 14 would do for all
    assert choice == Choice((4,), 1, 3, 48.0, 24.0, pytest.approx(1 - 14 / 24), 8.0)


def test_memory_is_that_of_the_largest_tile_and_work_that_of_a_usual_one():
    choice = appraise([WIDE, FREE], [11, 6], PerVoxel(3), [8, 4])
    # 8 + 3 and 4 + 2 output voxels; 6 + 4 and 3 are fed in the mean, 8 + 4 and 4 at most
    assert choice == Choice((8, 4), 1, 4, 240.0, 120.0, pytest.approx(1 - 15 * 6 / 120), 3 * 12 * 4)


def test_images_that_are_evaluated_together():
    choice = appraise([WIDE], [10], PerVoxel(), (10,), images_per_batch=2, images=5)
    # three times two images of 14 voxels, although there are only five
    assert choice == Choice((10,), 2, 3, 168.0, 84.0, pytest.approx(1 - 5 * 14 / 84), 28.0)
    assert appraise([WIDE], [10], PerVoxel(), (10,), images=5) == Choice((10,), 1, 5, 140.0, 70.0, 0.0, 14.0)


def test_no_tile_is_fed_more_than_the_whole():
    choice = appraise([PAIRS], [6], PerVoxel(), [5])
    # six voxels take 10 in one pass; a tile of five in the middle could take as many, one of three takes 6 or 8
    assert choice.memory == min(10, PAIRS.input_size(5)) and choice.tiles == 2
    whole = appraise([PAIRS], [6], PerVoxel(), [6])
    assert (whole.products, whole.memory, whole.overlap) == (10, 10, 0)


def test_costs_of_nothing_overlap_nowhere():
    assert appraise([FREE], [4], lambda sizes, images: Cost(1.0, 0.0, 1.0), [2]).overlap == 0


def test_a_whole_that_costs_more_than_its_tiles_does_not_overlap():
    costs = lambda sizes, images: Cost(1.0, float(prod(sizes)) ** 2, 1.0)  # noqa: E731
    assert appraise([FREE], [4], costs, [2]).overlap == 0


def test_what_fits_is_not_cut():
    costs = PerVoxel()
    assert choose([WIDE], [100], costs, 104) == Choice((100,), 1, 1, 208.0, 104.0, 0.0, 104.0)
    assert choose([WIDE], [100], costs, 103).tiles == 2
    assert len(costs.calls) < 40


def test_tiles_are_as_large_as_memory_allows():
    # 4 voxels more than a tile are fed: of 100 voxels, five tiles of 20 are the fewest that fit
    assert choose([WIDE], [100], PerVoxel(), 24) == Choice(
        (20,), 1, 5, 240.0, 120.0, pytest.approx(1 - 104 / 120), 24.0
    )
    assert choose([WIDE], [100], PerVoxel(), 29).tile == (25,)


def test_the_axis_without_a_border_is_cut():
    choice = choose([FREE, WIDE], [32, 32], PerVoxel(fixed=1.0), 36 * 8)
    assert choice.tile == (8, 32) and choice.tiles == 4 and choice.overlap == 0
    assert choose([WIDE, FREE], [32, 32], PerVoxel(fixed=1.0), 36 * 8).tile == (32, 8)


def test_the_smallest_tile_is_taken_where_not_even_that_fits():
    assert choose([WIDE, FREE], [30, 30], PerVoxel(), 0).tile == (1, 1)
    assert choose([WIDE, FREE], [30, 30], PerVoxel(), 0, align=[4, 7]).tile == (4, 7)
    assert choose([PAIRS, FREE], [30, 30], PerVoxel(), 0, align=[3, 1]).tile == (6, 1)
    assert choose([PAIRS], [30], PerVoxel(), 0).tile == (2,)


def test_memory_that_no_cut_frees_ends_the_search():
    constant = lambda sizes, images: Cost(float(prod(sizes)), float(prod(sizes)), 100.0)  # noqa: E731
    assert choose([WIDE], [64], constant, 10).tile == (64,)


@pytest.mark.parametrize("budget", [30, 60, 120, 240, 480])
@pytest.mark.parametrize("axes", [(WIDE, FREE), (WIDE, WIDE), (AxisGeometry(-1, 1, 0, 0, 1), WIDE)])
def test_of_all_tiles_of_a_small_plane_a_good_one_is_found(axes, budget):
    out, costs = [24, 18], PerVoxel(fixed=5.0)
    fitting = [appraise(axes, out, costs, tile) for tile in product(range(1, 25), range(1, 19))]
    least = min(c.seconds for c in fitting if c.memory <= budget)
    found = choose(axes, out, costs, budget)
    assert found.memory <= budget and found.seconds <= 1.1 * least


def test_images_are_doubled_while_they_fit():
    for budget, together in ((14, 1), (27, 1), (28, 2), (55, 2), (56, 4), (69, 4), (70, 5), (1000, 5)):
        choice = choose([WIDE], [10], PerVoxel(), budget, images=5)
        assert (choice.images, choice.tiles) == (together, ceil(5 / together))
        assert choice.memory == 14 * together
    assert choose([WIDE], [10], PerVoxel(), 13, images=5).images == 1  # not while the image itself is cut
    assert choose([WIDE], [10], PerVoxel(), 1000).images == 1


def test_the_price_of_a_cut_is_work_per_memory_freed():
    larger, smaller = Choice((8,), 1, 1, 100.0, 1.0, 0.0, 100.0), Choice((4,), 1, 2, 130.0, 1.0, 0.0, 60.0)
    assert _price(smaller, larger) == 0.75


def test_work_that_costs_nothing_ends_the_search():
    assert choose([FREE], [4], lambda sizes, images: Cost(0.0, 0.0, 1.0), 1).tile == (4,)


def test_cuts_halve_one_axis_in_whole_units():
    assert _cuts((8, 5, 1), (1, 2, 1)) == [(4, 5, 1), (8, 4, 1)]
    assert _cuts((7, 4), (1, 4)) == [(4, 4)]
    assert _cuts((9, 3), (4, 4)) == [(8, 3)]


def test_neighbours_of_a_tile():
    # thirds and halves of 12: lengths 3, 4, 6 on the first axis, 4, 6, 12 on the second
    found = _neighbours((4, 6), (12, 12), (1, 1))
    assert set(found) == {(3, 6), (4, 6), (6, 6), (4, 4), (4, 12), (6, 4), (3, 12)}
    assert len(found) == len(set(found))
    # eighths of 100: 7, 9, 6 and 12 tiles, in whole units of 5
    assert set(_neighbours((13,), (100,), (1,))) == {(13,), (15,), (12,), (17,), (9,)}
    assert set(_neighbours((15,), (100,), (5,))) == {(15,), (20,), (15,), (10,)}
    # of the whole, only smaller ones; of a half, the whole although it is no multiple of the unit
    assert set(_neighbours((7,), (7,), (1,))) == {(7,), (4,)}
    assert set(_neighbours((8,), (14,), (8,))) == {(8,), (14,)}


def test_neighbours_of_a_tile_differ_from_it_on_two_axes_at_most():
    tile = (4, 6, 5)
    found = _neighbours(tile, (12, 12, 20), (1, 1, 1))
    changes = [tuple(np.sign(np.subtract(other, tile))) for other in found]
    assert all(np.count_nonzero(c) <= 2 and abs(sum(c)) <= 1 for c in changes)
    assert set(changes) == {c for c in product((-1, 0, 1), repeat=3) if np.count_nonzero(c) <= 2 and abs(sum(c)) <= 1}
