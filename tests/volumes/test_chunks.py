"""Chunk, shard and tile shapes: blocks tile a volume, and tiles are whole write units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.volumes.chunks import aligned, blocks, chunks_for, shards_for

SHAPES = st.lists(st.integers(1, 3000), min_size=2, max_size=4)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from(["uint8", "float16", "float32", "float64"]), st.integers(4, 24))
def test_chunks_hold_one_channel_and_fit_their_size(shape, dtype, exponent):
    n_bytes = 1 << exponent
    chunks = chunks_for(shape, dtype, n_bytes)
    assert len(chunks) == len(shape) and chunks[0] == 1
    assert np.prod(chunks) * np.dtype(dtype).itemsize <= max(n_bytes, np.dtype(dtype).itemsize)
    divided = [c for c, n in zip(chunks[1:], shape[1:], strict=True) if c < n]
    if divided and min(divided) >= 16:
        assert all(c % 16 == 0 for c in divided)
    # A chunk is no larger than needed for as many chunks as there are.
    for c, n in zip(chunks[1:], shape[1:], strict=True):
        assert c < n + 16 and (c <= 16 or -(-n // c) < -(-n // (c - 16)) or -(-n // c) * c - n < c)


@pytest.mark.parametrize(
    ("shape", "dtype", "n_bytes", "expected"),
    [
        ((1, 100), "uint8", 1 << 10, (1, 100)),
        ((1, 100), "uint8", 32, (1, 32)),
        ((5, 8, 8, 8), "float64", 1 << 20, (1, 8, 8, 8)),
        ((1, 64, 64), "float32", 4 * 64 * 64, (1, 64, 64)),
        ((1, 64, 64), "float32", 4 * 64 * 64 - 4, (1, 32, 32)),
        ((1, 96, 96), "float32", 4 * 64 * 64, (1, 48, 48)),
        ((1, 97, 97), "float32", 4 * 64 * 64, (1, 64, 64)),
        ((1, 1, 1000, 1000), "uint8", 1 << 12, (1, 1, 64, 64)),
        ((1, 1000, 1000), "float64", 1, (1, 1, 1)),
    ],
)
def test_chunks_of_known_volumes(shape, dtype, n_bytes, expected):
    assert chunks_for(shape, dtype, n_bytes) == expected


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.data())
def test_shards_are_whole_chunks_and_no_larger_than_needed(shape, data):
    chunks = [data.draw(st.integers(1, n)) for n in shape]
    shards = shards_for(shape, chunks)
    assert shards[0] == chunks[0]
    for s, c, n in zip(shards[1:], chunks[1:], shape[1:], strict=True):
        assert s % c == 0 and 1 <= s // c <= 4 and (s == 4 * c or s - c < n <= s)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.data())
def test_aligned_tiles_are_whole_units_or_end_with_the_volume(shape, data):
    tile = [data.draw(st.integers(1, 2 * n)) for n in shape]
    unit = [data.draw(st.integers(1, 2 * n)) for n in shape]
    for t, u, n, got in zip(tile, unit, shape, aligned(tile, unit, shape), strict=True):
        assert got == n or (got % u == 0 and u <= got <= max(t, u) and got + u > min(t, n))
    assert aligned(tile, None, shape) == tuple(map(min, tile, shape))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=3), st.data())
def test_blocks_tile_a_volume_in_c_order(shape, data):
    block = [data.draw(st.integers(1, n + 2)) for n in shape]
    count, starts = np.zeros(shape, int), []
    for where in blocks(shape, block):
        count[where] += 1
        starts.append(tuple(s.start for s in where))
        assert all(1 <= s.stop - s.start <= b for s, b in zip(where, block, strict=True))
    assert (count == 1).all() and starts == sorted(starts)
