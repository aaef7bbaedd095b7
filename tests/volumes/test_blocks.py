"""Block-wise reading: an error names the damaged chunk, and only what is damaged is filled."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.errors import FileError, InputTypeError, MissingDependencyError, PredictionError
from neuromancer.volumes.blocks import chunks_of, read_block, regions_overlap, whole_index
from neuromancer.volumes.missing import Part
from neuromancer.volumes.opened import Opened

VALUES = np.arange(1, 7 * 9 + 1).reshape(7, 9)


def voxels(where):
    return set(product(*[range(s.start, s.stop) for s in where]))


@st.composite
def regions(draw, shape):
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    return tuple(slice(a, draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(0, 5), st.integers(0, 5)), st.data())
def test_an_index_is_made_whole(shape, data):
    ends = st.one_of(st.none(), st.integers(-7, 7))
    key = tuple(slice(data.draw(ends), data.draw(ends)) for _ in range(data.draw(st.integers(0, 2))))
    whole = whole_index(key, shape)
    array = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(array[whole], array[key])
    assert all(0 <= s.start <= s.stop <= n and s.step is None for s, n in zip(whole, shape, strict=True))


@pytest.mark.parametrize("key", [3, (0, slice(None)), slice(None, None, 2), slice(None, None, -1), (slice(None),) * 3])
def test_other_indices_have_no_chunks(key):
    assert whole_index(key, (4, 5)) is None


@settings(max_examples=40, deadline=None)
@given(regions((3, 3, 3)), regions((3, 3, 3)))
def test_regions_overlap_if_they_share_a_voxel(a, b):
    assert regions_overlap(a, b) == regions_overlap(b, a) == bool(voxels(a) & voxels(b))


@settings(max_examples=40, deadline=None)
@given(regions((5, 7)), st.tuples(st.integers(1, 6), st.integers(1, 8)))
def test_chunks_are_those_that_a_region_touches(where, chunks):
    every = list(
        product(*[[slice(i, min(i + c, n)) for i in range(0, n, c)] for n, c in zip((5, 7), chunks, strict=True)])
    )
    assert list(chunks_of(where, (5, 7), chunks)) == [c for c in every if voxels(c) & voxels(where)]


def test_without_chunks_there_are_planes():
    found = list(chunks_of((slice(1, 3), slice(2, 3), slice(0, 1), slice(4, 5)), (3, 4, 5, 6), None))
    assert found == [(slice(k, k + 1), slice(2, 3), slice(0, 5), slice(0, 6)) for k in (1, 2)]
    assert list(chunks_of((slice(0, 2),), (5,), (0,))) == [(slice(0, 5),)]  # an axis that is not divided


DAMAGE = OSError(5, "Input/output error")


def opened(bad=(), error=DAMAGE, **options):
    """Return an open array that fails where it has one of the values."""

    def read(array, key):
        if np.isin(array[key], bad).any():
            raise error
        return array[key].copy()

    return Opened(VALUES, chunks=(3, 4), read=read, **options)


WHERE = (slice(1, 6), slice(2, 9))
"""Covers the voxels with the values 21 and 33 in the chunks [0:3, 0:4] and [3:6, 4:8]."""
FIRST, SECOND = (slice(0, 3), slice(0, 4)), (slice(3, 6), slice(4, 8))


@pytest.mark.parametrize("on_missing", ["error", "fill"])
def test_a_block_that_can_be_read_is_what_the_array_holds(on_missing):
    found = []
    np.testing.assert_array_equal(read_block(opened(), WHERE, "raw", on_missing, found.extend), VALUES[WHERE])
    assert not found


def test_the_first_damaged_chunk_is_named():
    with pytest.raises(FileError) as caught:
        read_block(opened([33, 12]), WHERE, "raw")
    assert caught.value.node == "raw" and caught.value.got == "chunk [0:3, 0:4]: Input/output error"
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(FileError) as caught:
        read_block(opened([33], name_of=lambda where: f"part {where[0].start}"), WHERE, "raw")
    assert caught.value.got.startswith("part 3:")
    assert (read_block(opened([1]), WHERE, "raw") == VALUES[WHERE]).all()  # outside of the block, in the same chunk


def test_only_the_damaged_chunks_are_filled():
    found = []
    block = read_block(opened([33, 12], fill=-7), WHERE, "raw", "fill", found.extend)
    expected = VALUES.copy()
    expected[FIRST] = expected[SECOND] = -7
    np.testing.assert_array_equal(block, expected[WHERE])
    assert block.dtype == VALUES.dtype
    assert [part.where for part in found] == [FIRST, SECOND] and "Input/output" in found[0].reason


def test_parts_known_to_be_missing_are_recorded_once_and_only_where_they_are_read():
    known = [Part("page 0", "cut off", FIRST), Part("page 9", "cut off", (slice(6, 7), slice(0, 9)))]
    unplaced = Part("its header", "is short")
    found = []
    read_block(opened([33, 12], missing=[*known, unplaced]), WHERE, "raw", "fill", found.extend)
    assert [part.name for part in found] == ["page 0", "its header", "chunk [3:6, 4:8]"]


def test_a_failure_of_the_whole_block_only():
    def read(array, key):
        if array[key].size > 12:
            raise ValueError("too much at once")
        return array[key]

    array = Opened(VALUES, chunks=(3, 4), read=read)
    with pytest.raises(FileError) as caught:
        read_block(array, WHERE, "raw")
    assert caught.value.got == "[1:6, 2:9]: too much at once"
    found = []
    np.testing.assert_array_equal(read_block(array, WHERE, "raw", "fill", found.extend), VALUES[WHERE])
    assert not found


@pytest.mark.parametrize("on_missing", ["error", "fill"])
def test_an_index_without_chunks_that_fails_is_an_error(on_missing):
    with pytest.raises(FileError) as caught:
        read_block(opened([12]), (1, 2), "raw", on_missing)
    assert caught.value.node == "raw" and "(1, 2)" in caught.value.got


@pytest.mark.parametrize("on_missing", ["error", "fill"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (MemoryError("full"), MemoryError),
        (InputTypeError("wrong kind"), InputTypeError),
        (PredictionError("NaN"), PredictionError),
        (ImportError("No module named 'codec'"), MissingDependencyError),
    ],
)
def test_what_is_no_damage_is_never_filled(error, raised, on_missing):
    with pytest.raises(raised) as caught:
        read_block(opened([12], error), WHERE, "raw", on_missing, lambda parts: pytest.fail("filled"))
    assert raised is MissingDependencyError or caught.value is error
