"""Reading and scaling of raw data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromancer.dense.raw import fold, normalise, read, scale_of
from neuromancer.errors import InputTypeError


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("uint8", 255),
        ("int8", 255),
        ("uint16", 65535),
        ("int16", 32767),
        ("int64", 255),
        ("uint32", 255),
        ("bool", 1),
        ("float64", 1),
    ],
)
def test_scales(dtype, scale):
    assert scale_of(np.dtype(dtype)) == scale
    block = np.ones((2, 2), dtype)
    result = normalise(block, "float32")
    assert result.dtype == "float32"
    np.testing.assert_allclose(result, 1 / scale, rtol=1e-6)


def test_wide_integers_must_hold_8_bit_data():
    with pytest.raises(InputTypeError, match=r"no natural scale; got int64 with values 0 to 300"):
        normalise(np.array([0, 300]), "float32")


def test_integer_networks_get_integers():
    np.testing.assert_array_equal(normalise(np.array([0, 300], "uint16"), "int64"), [0, 300])


@given(st.integers(1, 7), st.integers(-30, 30), st.integers(1, 30))
def test_fold_is_numpy_symmetric_padding(size, start, length):
    pad = 60
    want = np.pad(np.arange(size), pad, mode="symmetric")[pad + start : pad + start + length]
    np.testing.assert_array_equal(fold(np.arange(start, start + length), size), want)


class Lazy:
    """Array that counts the voxels read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        part = self.array[key]
        self.most = max(self.most, part.size)
        return part


@given(st.integers(-6, 8), st.integers(1, 9), st.integers(-4, 5), st.integers(1, 9))
def test_read_mirrors_and_reads_no_more_than_needed(y, height, x, width):
    raw = np.arange(2 * 8 * 6).reshape(2, 8, 6)
    lazy = Lazy(raw)
    block = read(lazy, (slice(None),), (y, x), (y + height, x + width))
    padded = np.pad(raw, ((0, 0), (20, 20), (20, 20)), mode="symmetric")
    np.testing.assert_array_equal(block, padded[:, 20 + y : 20 + y + height, 20 + x : 20 + x + width])
    assert lazy.most <= 2 * height * width
