"""Blocks cover a volume once, and neighbours share their halos."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuromancer.instances.grid import BlockGrid, within


@st.composite
def grids(draw) -> BlockGrid:
    ndim = draw(st.integers(1, 3))
    sizes = [[draw(st.integers(low, high)) for _ in range(ndim)] for low, high in ((1, 9), (1, 5), (1, 6))]
    return BlockGrid(*map(tuple, sizes))


@given(grids())
def test_every_voxel_is_in_one_block(grid: BlockGrid):
    count = np.zeros(grid.shape, int)
    for index in range(len(grid)):
        count[grid.inner(index)] += 1
        assert count[grid.inner(index)].size == grid.voxels(index)
        assert np.zeros(grid.shape)[grid.outer(index)].size <= grid.most_voxels
    assert (count == 1).all()


@given(grids())
def test_neighbours_share_the_voxels_next_to_their_face(grid: BlockGrid):
    owner = np.zeros(grid.shape, int)
    for index in range(len(grid)):
        owner[grid.inner(index)] = index
    for index in range(len(grid)):
        seen = [np.zeros(grid.shape, bool) for _ in range(2)]
        for lower, upper, axis in grid.neighbours(index):
            assert index in (lower, upper) and lower < upper
            region = grid.shared(lower, upper, axis)
            for mask, block in zip(seen, (lower, upper), strict=True):
                mask[:] = False
                mask[grid.outer(block)] = True
            assert seen[0][region].all() and seen[1][region].all()
            face = grid.inner(upper)[axis].start
            reach = min(grid.halo[axis], 4)
            assert region[axis] == slice(max(face - reach, 0), min(face + reach, grid.shape[axis]))
            assert {lower, upper} <= set(np.unique(owner[region]))


def test_regions_relative_to_a_block():
    grid = BlockGrid((10, 10), (4, 5), (2, 2))
    shared, outer = grid.shared(0, 2, 0), grid.outer(2)
    volume = np.arange(100).reshape(10, 10)
    assert (volume[outer][within(shared, outer)] == volume[shared]).all()
