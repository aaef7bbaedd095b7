"""The cache of blocks: values, blocks read once, its limit, errors, several readers of one block."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.dense.cache import CachedSource
from neuromancer.errors import InputTypeError


class Counted:
    """An array that records what is read from it."""

    def __init__(self, array, chunks=None):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.seen = []
        if chunks is not None:
            self.chunks = chunks

    def __getitem__(self, where):
        self.seen.append(where)
        return self.array[where]


def numbers(*shape, dtype="int64"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def region(*bounds):
    return tuple(slice(a, b) for a, b in bounds)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_region_is_that_of_the_array_and_every_block_is_read_once(data):
    shape = data.draw(st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 9)))
    source = Counted(numbers(*shape))
    cached = CachedSource(source, 1 << 20)
    cached.block = tuple(data.draw(st.integers(1, n)) for n in shape)
    for _ in range(3):
        low = [data.draw(st.integers(0, n - 1)) for n in shape]
        where = region(*((a, data.draw(st.integers(a + 1, n))) for a, n in zip(low, shape, strict=True)))
        np.testing.assert_array_equal(cached[where], source.array[where])
    assert cached.reads == len(source.seen) == len(set(map(repr, source.seen)))
    assert cached.used == sum(source.array[where].nbytes for where in source.seen)


def test_blocks_are_whole_chunks_and_the_last_ones_end_with_the_array():
    source = Counted(numbers(1, 300, 500), chunks=(1, 256, 256))
    cached = CachedSource(source, 1 << 24)
    assert cached.block == (1, 256, 256)
    cached[region((0, 1), (250, 260), (0, 1))]
    assert source.seen == [region((0, 1), (0, 256), (0, 256)), region((0, 1), (256, 300), (0, 256))]


@pytest.mark.parametrize(
    ("shape", "dtype", "chunks", "least"),
    [
        ((1, 1000, 1000), "uint8", (1, 16, 16), 1 << 18),
        ((2, 100, 200, 300), "float32", (1, 4, 5, 6), 1 << 18),
        ((4, 200, 300), "uint16", None, 4 * 64 * 64 * 2),
        ((1, 20, 30), "uint8", (1, 7, 7), 600),  # the array is smaller than a block
    ],
)
def test_small_chunks_are_read_several_at_a_time(shape, dtype, chunks, least):
    block = CachedSource(Counted(np.zeros(shape, dtype), chunks), 1 << 30).block
    assert np.prod(block) * np.dtype(dtype).itemsize >= least
    for size, length, chunk in zip(block, shape, chunks or (shape[0], 64, 64), strict=True):
        assert size == length or size % chunk == 0


def test_all_channels_are_in_a_block_of_a_source_without_chunks():
    cached = CachedSource(Counted(np.zeros((3, 200, 300), "float64")), 1 << 30)
    assert cached.block[0] == 3


def test_what_was_used_last_stays():
    source = Counted(numbers(1, 40))
    cached = CachedSource(source, 3 * 10 * 8)
    cached.block = (1, 10)
    for k in (0, 1, 2, 0, 3):  # block 1 is the one that was not used for the longest time
        cached[region((0, 1), (10 * k, 10 * k + 1))]
        assert cached.used <= cached.nbytes
    assert cached.reads == 4
    cached[region((0, 1), (0, 1))]
    assert cached.reads == 4
    cached[region((0, 1), (10, 11))]
    assert cached.reads == 5


def test_a_region_larger_than_the_cache_is_read_at_once_and_not_kept():
    source = Counted(numbers(1, 40))
    cached = CachedSource(source, 3 * 10 * 8)
    cached.block = (1, 10)
    where = region((0, 1), (5, 36))
    np.testing.assert_array_equal(cached[where], source.array[where])
    assert source.seen == [where] and (cached.reads, cached.used) == (0, 0)


def test_an_error_is_passed_on_and_the_block_is_read_again():
    class Flaky(Counted):
        def __getitem__(self, where):
            value = super().__getitem__(where)
            if len(self.seen) == 1:
                raise OSError("unplugged")
            return value

    cached = CachedSource(Flaky(numbers(1, 20)), 1 << 20)
    with pytest.raises(OSError, match="unplugged"):
        cached[region((0, 1), (0, 5))]
    assert cached.used == 0
    np.testing.assert_array_equal(cached[region((0, 1), (0, 5))], numbers(1, 20)[:, :5])


def test_a_second_reader_waits_for_the_first_and_shares_its_error():
    started, go_on, outcomes = threading.Event(), threading.Event(), []

    class Slow(Counted):
        def __getitem__(self, where):
            super().__getitem__(where)
            started.set()
            go_on.wait(10)
            raise OSError("unplugged")

    source = Slow(numbers(1, 20))
    cached = CachedSource(source, 1 << 20)

    def read():
        try:
            cached[region((0, 1), (0, 5))]
        except OSError as error:
            outcomes.append(str(error))

    first = threading.Thread(target=read)
    first.start()
    assert started.wait(10)
    second = threading.Thread(target=read)
    second.start()
    second.join(0.05)
    assert second.is_alive() and len(source.seen) == 1
    go_on.set()
    first.join()
    second.join()
    assert outcomes == ["unplugged"] * 2 and len(source.seen) == 1


@pytest.mark.parametrize("nbytes", [1, 1 << 20])
def test_masked_voxels_are_never_dropped(nbytes):
    hidden = np.ma.masked_equal(numbers(1, 20), 3)
    with pytest.raises(InputTypeError, match="image"):
        CachedSource(Counted(hidden), nbytes)[region((0, 1), (0, 5))]
