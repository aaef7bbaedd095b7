"""Sets of tiles, against Python's own sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neuromancer.dense.tileset import TileSet

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda r: (r[0], r[0] + r[1])), max_size=8)


@given(RANGES, st.integers(0, 40), st.integers(0, 40))
def test_it_is_the_union_of_its_ranges(ranges, start, length):
    tiles, plain = TileSet(ranges), {i for a, b in ranges for i in range(a, b)}
    asked = range(start, start + length)
    assert len(tiles) == len(plain)
    assert {i for i in range(-1, 45) if i in tiles} == plain
    assert list(tiles.missing(asked)) == [i for i in asked if i not in plain]
    assert tiles.count(asked) == len(plain.intersection(asked))


def test_ranges_that_touch_or_overlap_are_one():
    tiles = TileSet([(5, 9), (0, 2), (2, 4), (6, 7), (8, 12)])
    assert (tiles.starts, tiles.stops) == ([0, 5], [4, 12])


def test_ranges_apart_stay_apart():
    tiles = TileSet([(0, 2), (3, 4)])
    assert (tiles.starts, tiles.stops) == ([0, 3], [2, 4])
    assert 2 not in tiles and list(tiles.missing(range(4))) == [2]


def test_nothing_is_in_an_empty_set():
    tiles = TileSet()
    assert len(tiles) == 0 and 0 not in tiles and -1 not in tiles
    assert list(tiles.missing(range(2, 5))) == [2, 3, 4] and tiles.count(range(5)) == 0


def test_billions_of_tiles_are_counted_by_their_ends():
    tiles = TileSet([(0, 10**12), (2 * 10**12, 3 * 10**12)])
    assert len(tiles) == 2 * 10**12 and tiles.count(range(10**12 - 1, 2 * 10**12 + 2)) == 3
    assert list(tiles.missing(range(10**12 - 2, 10**12 + 2))) == [10**12, 10**12 + 1]
    assert list(tiles.missing(range(2 * 10**12 + 5, 3 * 10**12 + 1))) == [3 * 10**12]
