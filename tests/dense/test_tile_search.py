"""Tile search: within the memory, aligned, and never more work than simple choices of the same size."""

from __future__ import annotations

from itertools import product
from math import ceil, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.dense import costs as costs_module
from neuromancer.dense import memory
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.tile_search import choose


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
        assert choice.tiles > 1 and choice.work > whole.work * 0.99 and choice.overlap > 0
    assert [c.work for c in smaller] == sorted(c.work for c in smaller)
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
            assert choice.work <= 1.1 * cost.work * prod(counts)


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
    assert after.work < before.work and after.products == before.products
    assert after.memory - before.memory > 2e9


def test_conv_cost_of_a_direct_convolution():
    work, kept, scratch = E.conv_cost((2, 3, 10, 12), (5, 3, 3, 3), (1, 2), "float64")
    assert (work, kept) == (2 * 8 * 8 * 5 * 3 * 9, 0)
    assert 0 <= scratch <= 8 * 8 * (3 * 9 + 2 * 5) * 8  # windows and results, if an engine copies them


def test_memory_of_the_control_group_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    free = memory.available()
    assert free > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert memory.available() == 600000
    assert memory.memory_budget() == memory.LEAST
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 600000
